"""What a policy's host feeds lm_step, against what the model lays out itself; and the ways to read it that the matrix leaves out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_vla.backends import histories
from edge_vla.backends.bundle import Bundle
from edge_vla.backends.policy import PolicyEngine
from edge_vla.errors import ConfigError, EdgeVLAError
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.build import build_policy
from edge_vla.learn.sequence import attention
from tests.backends.models.policies import TASK, frames, host, itself, shaken
from tests.backends.models.torch_graphs import policy_bundle
from tests.learn.backbones.engines import QWEN_SIZE
from tests.learn.backbones.test_matrix import CASES, DIM, Config, at, make, tiny  # noqa: F401 - a fixture
from tests.learn.backbones.tiny_flamingo import write_flamingo
from tests.learn.backbones.tiny_moondream import write_moondream
from tests.learn.backbones.tiny_qwen import write_qwen25, write_qwen_v1

Tiny = Callable[[str], Config]
TASKS = (TASK, "go", "find the  cup in the red box", "  컵을 찾아  ")
NAMES = sorted({name for name, *_ in CASES})


class Spy:
    """While it lasts, what `run_text` is given: embeddings, mask and positions, and Media where there are."""

    def __init__(self, model: BaseRoboVLM) -> None:
        self.model, self.plain, self.seen = model, model.run_text, list[tuple[Tensor, Tensor, Tensor, Any]]()

    def __enter__(self) -> Spy:
        self.model.run_text = self.run_text  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        del self.model.run_text

    def run_text(self, embeddings: Tensor, mask: Tensor, positions: Tensor, *args: Any, **rest: Any) -> Any:
        self.seen.append((embeddings, mask, positions, rest.get("media")))
        return self.plain(embeddings, mask, positions, *args, **rest)


def policy(config: Config, head: str = "FCDecoder", *, window: int = 3, **rest: Any) -> BaseRoboVLM:
    torch.manual_seed(0)
    section = {
        "type": head, "hidden_size": 16, "action_dim": DIM, "action_space": "continuous", "history_type": "post", "down_sample": "none",
        **rest.pop("act_head", {}),
    }  # fmt: skip
    told = {"robovlm_name": config.get("robovlm_name"), "window_size": window, "fwd_pred_next_n": 2, "act_head": section} | config | rest
    return shaken(build_policy(told))


def same_as_itself(model: BaseRoboVLM, folder: Path, count: int = 4, task: str = TASK, **changes: Any) -> None:
    """Frame by frame, with the window that the model is called with."""
    engine, seen, told = host(model, folder, **changes), frames(count), []
    for k, frame in enumerate(seen):
        told.append(engine.says(frame, task))
        want = itself(model, seen[max(0, k + 1 - model.window_size) : k + 1], task)
        np.testing.assert_allclose(told[-1], want, atol=1e-5, rtol=1e-5)
    assert np.abs(told[-1] - told[-2]).max() > 1e-4, "it is blind"


@pytest.mark.parametrize("history", ["post", "pre", "video"])
@pytest.mark.parametrize("name", NAMES)
def test_it_feeds_what_the_model_lays_out(tiny: Tiny, tmp_path: Path, name: str, history: str) -> None:  # noqa: F811
    if (name, history) == ("RoboFlamingo", "video"):
        return
    model = shaken(make(tiny(name), name, "FCDecoder", history))
    engine, seen = host(model, tmp_path), frames(2)
    for task in TASKS:
        engine.forget()
        for frame in seen:
            engine.says(frame, task)
        (fed,) = [feed for graph, feed in engine.graphs.fed if graph == "lm_step"][-1:]
        with Spy(model) as spy:
            itself(model, seen, task)
        embeddings, mask, positions, media = spy.seen[-1]
        row = slice(-1, None)  # the newest frame's where each has a sequence of its own
        np.testing.assert_array_equal(fed["embeddings"], embeddings[row].detach().numpy())
        np.testing.assert_array_equal(fed["positions"], positions[..., row, :].numpy())
        np.testing.assert_array_equal(fed["mask"], attention(mask[row], mask.shape[1], torch.float32).numpy())
        if media is not None:
            np.testing.assert_array_equal(fed["latents"], media.latents[row].numpy())
            np.testing.assert_array_equal(fed["seen"], media.seen[row].numpy())


@pytest.mark.parametrize("window", [{"latent": 3}, {"fill_zero": True}, {"latent": 2, "fill_zero": True}])
@pytest.mark.parametrize("history", ["post", "pre"])
@pytest.mark.parametrize("name", ["RoboKosMos", "RoboQwen"])
def test_several_action_tokens_and_hidden_ones(tiny: Tiny, tmp_path: Path, name: str, history: str, window: Config) -> None:  # noqa: F811
    model = policy(tiny(name) | {"robovlm_name": name}, "LSTMDecoder", act_head={"history_type": history, **window})
    same_as_itself(model, tmp_path)


@pytest.mark.parametrize("history", ["post", "pre"])
def test_hidden_action_tokens_that_count_as_positions(tiny: Tiny, tmp_path: Path, history: str) -> None:  # noqa: F811
    model = policy(
        tiny("RoboPaligemma") | {"robovlm_name": "RoboPaligemma"}, act_head={"history_type": history, "fill_zero": True, "latent": 2},
        reference_padding=True,
    )  # fmt: skip
    same_as_itself(model, tmp_path)
    with pytest.raises(AssertionError):
        same_as_itself(model, tmp_path, reference_padding=False)


@pytest.mark.parametrize(
    ("name", "history", "how", "source"),
    [
        *(("RoboPaligemma", history, how, source) for history, how in (("post", "pooling"), ("pre", "resampler"))
          for source in ("all", "text", "vision")),
        ("RoboPaligemma", "video", "pooling", "vision"), ("RoboPaligemma", "post", "resampler", "all"),
        ("RoboQwen", "pre", "pooling", "vision"), ("RoboQwen", "video", "resampler", "all"), ("RoboFlamingo", "pre", "pooling", "text"),
        ("RoboFlamingo", "post", "resampler", "all"),
    ],
)  # fmt: skip
def test_down_sampled_tokens(tiny: Tiny, tmp_path: Path, name: str, history: str, how: str, source: str) -> None:  # noqa: F811
    head = "FCDecoder" if history == "video" else "LSTMDecoder"
    section = {"history_type": history, "action_space": "down_sample", "down_sample": how, "token_source": source, "latent": 2}
    same_as_itself(policy(tiny(name) | {"robovlm_name": name}, head, act_head=section), tmp_path)


@pytest.mark.parametrize(("tokens", "count"), [(7, 2), (8, 2), (7, 3), (5, 5), (3, 5), (1, 2), (20, 6)])
def test_shares_are_cut_as_torch_cuts_them(tokens: int, count: int) -> None:
    given = torch.randn(2, tokens, 4, generator=torch.Generator().manual_seed(tokens))
    want = torch.nn.functional.adaptive_max_pool1d(given.transpose(1, 2), count).transpose(1, 2)
    np.testing.assert_array_equal(histories.pooled(given.numpy(), count), want.numpy())


VARIANTS: dict[str, Callable[[Path], Config]] = {
    "qwen of 2023": lambda folder: at(write_qwen_v1(folder)) | {"robovlm_name": "RoboQwen"},
    "qwen larger": lambda folder: at(write_qwen25(folder)) | {"robovlm_name": "RoboQwen", "image_size": QWEN_SIZE},
    "flamingo neox": lambda folder: write_flamingo(folder, "gpt_neox"),
    "flamingo mosaic": lambda folder: write_flamingo(folder, "mosaic_gpt") | {"reference_hidden": True},
    "moondream c": lambda folder: (write_moondream(folder, "C"), at(folder) | {"robovlm_name": "RoboMoonDream"})[1],
    "moondream d": lambda folder: (write_moondream(folder, "D"), at(folder) | {"robovlm_name": "RoboMoonDream"})[1],
}


@pytest.mark.parametrize("history", ["post", "pre"])
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_backbones(tmp_path: Path, name: str, history: str) -> None:
    model = policy(VARIANTS[name](tmp_path / "model"), "GPTDecoder", act_head={"history_type": history})
    (tmp_path / "bundle").mkdir()
    same_as_itself(model, tmp_path / "bundle")


def test_moondreams_first_positions_see_each_other(tmp_path: Path) -> None:
    model = policy(VARIANTS["moondream d"](tmp_path / "model"))
    (tmp_path / "bundle").mkdir()
    engine = host(model, tmp_path / "bundle")
    engine.says(frames(1)[0], TASK)
    mask = engine.graphs.fed[1][1]["mask"][0, 0]
    assert model.prefix == 17
    assert not mask[:17, :17].any()
    assert mask[16, 17] == np.finfo(np.float32).min
    np.testing.assert_array_equal(mask[17:] == 0, np.tri(len(mask))[17:] == 1)


@pytest.mark.parametrize(("gemma2", "resampler"), [(True, False), (False, True)])
def test_paligemma_2_and_a_resampler(write_paligemma: Callable[..., Path], tmp_path: Path, gemma2: bool, resampler: bool) -> None:
    second = {"model_type": "gemma2", "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]} if gemma2 else {}
    folder = write_paligemma(tmp_path / "model", **second)
    shape = {"num_latents": 3, "depth": 1}
    rest = {"use_vision_resampler": True, "vision_resampler": shape} if resampler else {}
    model = policy(at(folder) | {"robovlm_name": "RoboPaligemma"}, act_head={"history_type": "pre"}, **rest)
    (tmp_path / "bundle").mkdir()
    same_as_itself(model, tmp_path / "bundle")


@pytest.mark.parametrize("most", [1, 3, 40])
@pytest.mark.parametrize("name", ["RoboPaligemma", "RoboKosMos", "RoboQwen"])
def test_long_instructions_are_cut_as_the_model_cuts_them(tiny: Tiny, tmp_path: Path, name: str, most: int) -> None:  # noqa: F811
    if name == "RoboKosMos" and most < 3:  # its two special tokens leave no room, which transformers refuses as well
        return
    model = policy(tiny(name) | {"robovlm_name": name}, tokenizer={"max_text_len": most})
    assert len(model.instruction_ids(TASK)) == min(most, len(policy(tiny(name) | {"robovlm_name": name}).instruction_ids(TASK)))
    same_as_itself(model, tmp_path, count=2)


def test_a_sequence_is_laid_out_once(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    model = shaken(make(tiny("RoboKosMos"), "RoboKosMos", "LSTMDecoder", "pre"))
    engine = host(model, tmp_path)
    laid: list[int] = []
    plain = histories.stencil
    monkeypatch.setattr(histories, "stencil", lambda *args: laid.append(args[3].window) or plain(*args))
    for _ in range(2):
        for frame in frames(5):
            engine.says(frame, TASK)
        engine.forget()
    assert laid == [1, 2, 3]
    engine.says(frames(1)[0], "go")
    assert laid == [1, 2, 3, 1]


def test_a_text_with_a_mark_of_its_own_is_refused(tiny: Tiny, tmp_path: Path) -> None:  # noqa: F811
    engine = host(shaken(make(tiny("RoboFlamingo"), "RoboFlamingo", "FCDecoder", "post")), tmp_path)
    with pytest.raises(ConfigError, match=r"a text with 2 marks of a picture \(row \d+\): want 1"):
        engine.says(frames(1)[0], "go <image> to")


def test_a_word_without_a_row_is_refused(tiny: Tiny, tmp_path: Path) -> None:  # noqa: F811
    model = shaken(make(tiny("RoboPaligemma"), "RoboPaligemma", "FCDecoder", "post"))
    rows = len(model.word_embedding.weight)
    model.tokenizer.add_tokens([f"<spare{k}>" for k in range(rows)])
    engine = host(model, tmp_path)
    with pytest.raises(ConfigError, match=rf"'<spare{rows - 1}>' in .*: want one of the language model's {rows} rows"):
        engine.says(frames(1)[0], f"go <spare{rows - 1}>")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "act.npy").write_bytes(b"no array"), "act.npy"),
        (lambda folder: np.save(folder / "act.npy", np.zeros((2, 32), np.float32)), r"want float16 or float32 of shape \(1, 32\)"),
        (lambda folder: np.save(folder / "embeddings.npy", np.zeros((400, 31), np.float32)), r"of shape \(400, 32\)"),
    ],
)
def test_files_that_are_not_what_the_manifest_says(tiny: Tiny, tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:  # noqa: F811
    bundle = policy_bundle(shaken(make(tiny("RoboPaligemma"), "RoboPaligemma", "FCDecoder", "post")), tmp_path)
    assert bundle.manifest.files >= {"act.npy", "embeddings.npy", "tokenizer.json"}
    spoil(tmp_path)
    with pytest.raises(EdgeVLAError, match=message):
        PolicyEngine(bundle, None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="has sha256"):
        Bundle(tmp_path)
