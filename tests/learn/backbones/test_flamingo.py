"""RoboFlamingo against its derivation: images, hidden states, latents and logits, whatever the padding and the history."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from edge_vla.errors import ConfigError
from edge_vla.learn import actor
from edge_vla.learn.backbones.flamingo import RoboFlamingo
from edge_vla.learn.media import Media
from tests.learn.backbones.derive_flamingo import Derived, mosaic
from tests.learn.backbones.tiny_flamingo import KINDS, PIXELS, parts, write_flamingo

Make = Callable[..., RoboFlamingo]
HEAD = {
    "type": "LSTMDecoder",
    "hidden_size": 16,
    "action_dim": 4,
    "down_sample": "none",
    "action_space": "continuous",
    "history_type": "post",
}
NEAR = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return {kind: write_flamingo(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture(scope="module")
def derived() -> dict[str, Derived]:
    return {kind: Derived(kind, *parts(kind)) for kind in KINDS}


@pytest.fixture
def make(folders: dict[str, dict[str, Any]]) -> Make:
    def build(kind: str = "mosaic_gpt", head: dict[str, Any] | None = HEAD, **keys: Any) -> RoboFlamingo:
        torch.manual_seed(0)
        model = RoboFlamingo(folders[kind] | {"window_size": 3, "fwd_pred_next_n": 2, "act_head": head} | keys)
        if hasattr(model, "action_token"):
            torch.nn.init.normal_(model.action_token)
        return model.eval()

    return build


def pictures(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(seed))


def texts(model: RoboFlamingo, *lines: str) -> tuple[Tensor, Tensor]:
    ids = [model.tokenizer(model.instruction.format(text=line)).input_ids for line in lines]
    longest = max(map(len, ids))
    padded = torch.tensor([row + [model.tokenizer.pad_token_id] * (longest - len(row)) for row in ids])
    return padded, torch.tensor([[k < len(row) for k in range(longest)] for row in ids])


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_the_derivations(make: Make, derived: dict[str, Derived], kind: str) -> None:
    model, seen = make(kind, None), pictures(2, 2)
    with torch.no_grad():
        found = model.encode_images(seen)
    wanted = [[derived[kind].image(seen[b, t].numpy()) for t in range(2)] for b in range(2)]
    assert found.shape == (2, 2, 64, 64)
    np.testing.assert_allclose(found, wanted, **NEAR)


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_and_logits_are_the_derivations_with_pads_anywhere(make: Make, derived: dict[str, Derived], kind: str) -> None:
    """Two images a row, words before the first; the same sequences without pads, padded on the left, in the middle and on the right."""
    model, truth = make(kind, None), derived[kind]
    draw = np.random.default_rng(1)
    words, images = draw.standard_normal((9, 48)), draw.standard_normal((2, 64, 64))
    seen = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2])
    wanted = truth.hidden(words, images, seen)
    for where in ([*range(9)], [*range(3, 12)], [0, 1, 2, 5, 6, 7, 9, 10, 11]):
        x, mask, marks = torch.full((2, 12, 48), 5.0), torch.zeros(2, 12, dtype=torch.bool), torch.zeros(2, 12, dtype=torch.long)
        x[0, where], mask[0, where], x[1], mask[1] = torch.from_numpy(words).float(), True, torch.randn(12, 48), True
        marks[0, [where[2], where[5]]] = 1
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        with torch.no_grad():
            out = model.run_text(x, mask, positions, media=Media(torch.from_numpy(images).float().expand(2, -1, -1, -1), marks.cumsum(1)))
            logits = model.logits(out.hidden)
        np.testing.assert_allclose(out.hidden[0, where], wanted, **NEAR)
        np.testing.assert_allclose(logits[0, where], truth.logits(wanted), atol=1e-4, rtol=1e-5)
        assert torch.isfinite(out.hidden).all()


def test_the_parity_can_fail(make: Make, folders: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """Another seed, another picture or shut gates give other hidden states."""
    model, other = make("mpt", None), RoboFlamingo(write_flamingo(tmp_path, "mpt", seed=7)).eval()
    x, mask, positions = torch.randn(1, 5, 48), torch.ones(1, 5, dtype=torch.bool), torch.arange(5)[None]
    media = [Media(torch.randn(1, 1, 64, 64), torch.ones(1, 5, dtype=torch.long)) for _ in range(2)]
    with torch.no_grad():
        first, changed = (model.run_text(x, mask, positions, media=m).hidden for m in media)
        seeded = other.run_text(x, mask, positions, media=media[0]).hidden
        gate = model.backbone.lang_encoder.tower.flamingo_layers()[3].gated_cross_attn_layer
        gate.attn_gate.zero_()
        gate.ff_gate.zero_()
        shut = [model.run_text(x, mask, positions, media=m).hidden for m in media]
    assert (first - changed).abs().max() > 1e-2
    assert (first - seeded).abs().max() > 1e-2
    assert (first - shut[0]).abs().max() > 1e-2
    torch.testing.assert_close(shut[0], shut[1])


def test_words_before_the_first_image_see_none(make: Make) -> None:
    model, x, mask = make(head=None), torch.randn(1, 6, 48), torch.ones(1, 6, dtype=torch.bool)
    seen = torch.tensor([[0, 0, 1, 1, 2, 2]])
    with torch.no_grad():
        runs = [model.run_text(x, mask, torch.arange(6)[None], media=Media(torch.randn(1, 2, 64, 64), seen)).hidden for _ in range(2)]
    torch.testing.assert_close(runs[0][:, :2], runs[1][:, :2], atol=0, rtol=0)
    assert (runs[0][:, 2:] - runs[1][:, 2:]).abs().amin((0, 2)).max() > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_is_all_at_once(make: Make, kind: str) -> None:
    model = make(kind, None)
    x, mask, latents = torch.randn(2, 8, 48), torch.ones(2, 8, dtype=torch.bool), torch.randn(2, 1, 64, 64)
    mask[1, 3:5] = False
    seen, positions = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1]] * 2), (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        whole = model.run_text(x, mask, positions, media=Media(latents, seen)).hidden
        out = model.run_text(x[:, :5], mask[:, :5], positions[:, :5], keep=True, media=Media(latents, seen[:, :5]))
        found = [out.hidden]
        for k in range(5, 8):
            out = model.run_text(x[:, k : k + 1], mask[:, : k + 1], positions[:, k : k + 1], out.cache, keep=True)
            found.append(out.hidden)
    torch.testing.assert_close(torch.cat(found, 1)[mask], whole[mask], **NEAR)


@pytest.mark.parametrize("history", ["post", "pre"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_heads_tokens_are_the_derivations(make: Make, derived: dict[str, Derived], kind: str, history: str) -> None:
    """ACT follows a row's text, before its last token; with the hand camera an image is 128 latents."""
    model, truth = make(kind, HEAD | {"history_type": history, "latent": 2}, use_hand_rgb=True), derived[kind]
    seen, hand = pictures(2, 3), pictures(2, 3, seed=4)
    ids, mask = texts(model, "go to a cup", "go")
    with torch.no_grad():
        tokens = actor.read(model, seen, ids, mask, {"vision_gripper": hand})
        act = model.action_token.double().numpy()
    assert tokens.shape == (2, 3, 2, 48)
    for row in range(2):
        words = truth.words[ids[row][mask[row]]].double().numpy()
        frame = np.concatenate([words[:-1], [act, act], words[-1:]])
        images = np.stack([np.concatenate([truth.image(p[row, t].numpy()) for p in (seen, hand)]) for t in range(3)])
        n = len(frame)
        if history == "pre":
            marks = np.repeat([1, 2, 3], n)
            whole = truth.hidden(np.tile(frame, (3, 1)), images, marks).reshape(3, n, -1)
        else:
            whole = np.stack([truth.hidden(frame, images[t : t + 1], np.ones(n, int)) for t in range(3)])
        np.testing.assert_allclose(tokens[row], whole[:, -3:-1], **NEAR)


def test_down_sample_reads_every_token_and_reference_padding_the_pads_too(make: Make, derived: dict[str, Derived]) -> None:
    head = HEAD | {"action_space": "down_sample", "down_sample": "pooling"}
    model, truth, seen = make(head=head), derived["mosaic_gpt"], pictures(2, 1)
    ids, mask = texts(model, "go to a cup", "go")
    with torch.no_grad():
        tokens = actor.read(model, seen, ids, mask, {})
        padded = actor.read(make(head=head, reference_padding=True), seen, ids, mask, {})
    words = truth.words[ids[1][mask[1]]].double().numpy()
    wanted = truth.hidden(words, truth.image(seen[1, 0].numpy())[None], np.ones(len(words), int))
    np.testing.assert_allclose(tokens[1, 0, : len(words)], wanted, **NEAR)
    np.testing.assert_allclose(tokens[1, 0].amax(0), wanted.max(0), **NEAR)
    assert (padded[1, 0].amax(0) - tokens[1, 0].amax(0)).abs().max() > 1e-2
    torch.testing.assert_close(padded[1, 0, : len(words)], tokens[1, 0, : len(words)], **NEAR)


def test_reference_hidden_reads_what_goes_into_the_last_block(make: Make, derived: dict[str, Derived]) -> None:
    model, truth, seen = make(reference_hidden=True), derived["mosaic_gpt"], pictures(1, 1)
    ids, mask = texts(model, "go")
    with torch.no_grad():
        tokens = actor.read(model, seen, ids, mask, {})
        act = model.action_token.double().numpy()
    words = truth.words[ids[0]].double().numpy()
    frame = np.concatenate([words[:-1], [act], words[-1:]])
    wanted = mosaic(truth.w, frame, truth.image(seen[0, 0].numpy())[None], np.ones(len(frame), int))[1]
    np.testing.assert_allclose(tokens[0, 0, 0], wanted[-2], **NEAR)


def test_discrete_logits_are_the_derivations_with_a_mark_before_each_frame(make: Make, derived: dict[str, Derived]) -> None:
    model, truth, seen = (
        make("gpt_neox", HEAD | {"type": "DiscreteDecoder", "action_space": "discrete"}),
        derived["gpt_neox"],
        pictures(1, 2),
    )
    ids = torch.randint(2, 300, (1, 2, 6))
    batch = {"instr_and_action_ids": ids, "instr_and_action_labels": ids, "instr_and_action_mask": torch.ones_like(ids)}
    with torch.no_grad():
        logits, labels, mask = actor._discrete(model, seen, batch)
    strung = np.concatenate([[model.mark_id, *frame] for frame in ids[0].tolist()])
    images = np.stack([truth.image(seen[0, t].numpy()) for t in range(2)])
    wanted = truth.logits(truth.hidden(truth.words[strung].double().numpy(), images, np.repeat([1, 2], 7)))
    np.testing.assert_allclose(logits[0], wanted, atol=1e-4, rtol=1e-5)
    assert labels[0].tolist() == [-100, *ids[0, 0].tolist(), -100, *ids[0, 1].tolist()]
    assert mask.all()
    already = {k: torch.cat([torch.full((1, 2, 1), v), t], -1) for (k, t), v in zip(batch.items(), (model.mark_id, -100, 1), strict=True)}
    with torch.no_grad():
        torch.testing.assert_close(actor._discrete(model, seen, already)[0], logits)


def test_spelled_actions_and_answers_are_greedy(make: Make, derived: dict[str, Derived]) -> None:
    """With the cache as without: the derivation on the growing sequence."""
    model, truth = make("mpt", HEAD | {"type": "DiscreteDecoder", "action_space": "discrete"}), derived["mpt"]
    seen, image = pictures(1, 1), None
    ids = torch.randint(2, 300, (1, 5))
    actions = model.inference(seen, ids)["action"]
    image = truth.image(seen[0, 0].numpy())[None]
    spelled = [model.mark_id, *ids[0].tolist()]
    for _ in range(4):
        spelled.append(
            int(truth.logits(truth.hidden(truth.words[spelled].double().numpy(), image, np.ones(len(spelled), int)))[-1].argmax())
        )
    wanted = model.act_head.action_tokenizer.decode_token_ids_to_actions(np.array(spelled[-4:]))
    np.testing.assert_allclose(actions[0, 0, :3], wanted[:3])
    rgb = np.random.default_rng(2).integers(0, 256, (20, 30, 3), np.uint8)
    asked = model.tokenizer("<image>Question:where? Short answer:").input_ids
    shown = truth.image(model.question_picture(rgb).numpy())[None]
    said: list[int] = []
    for _ in range(4):
        ids_now = asked + said
        best = int(truth.logits(truth.hidden(truth.words[ids_now].double().numpy(), shown, np.ones(len(ids_now), int)))[-1].argmax())
        if best in model.end_ids():
            break
        said.append(best)
    assert model.generate("where?", rgb, 4) == model.decode(said)


def test_an_answer_ends_with_the_chunk(make: Make) -> None:
    model = make(head=None)
    assert model.end_ids() == {320, 0}
    assert model.mark_id == 321
    assert model.tokenizer.pad_token_id == 322
    assert model.tokenizer(model.instruction.format(text="a")).input_ids[::2] == [321, 320]


def test_the_policys_picture_is_squashed(make: Make) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    small = np.asarray(Image.fromarray(rgb).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)) / 255
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    np.testing.assert_allclose(make(head=None).preprocess(rgb), ((small - mean) / std).transpose(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize(("height", "width", "left"), [(28, 56, 14), (28, 37, 4), (28, 39, 6), (56, 84, 7)])
def test_a_question_is_about_the_middle_square(make: Make, height: int, width: int, left: int) -> None:
    """Resize and CenterCrop of torchvision: 4.5 is rounded to 4, 5.5 to 6."""
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    small = (
        np.asarray(Image.fromarray(rgb).resize((width * PIXELS // height, PIXELS), Image.Resampling.BICUBIC))[:, left : left + PIXELS] / 255
    )
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    np.testing.assert_allclose(make(head=None).question_picture(rgb), ((small - mean) / std).transpose(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize("lines", [["no mark"], ["<image>one<image>two"]])
def test_a_text_has_one_mark_an_image(make: Make, lines: list[str]) -> None:
    model = make()
    ids = torch.tensor([model.tokenizer(line).input_ids for line in lines])
    with pytest.raises(ConfigError, match="'<image>' for 1 images"):
        model.inference(pictures(1, 1), ids)


def test_no_text_without_an_image(make: Make) -> None:
    with pytest.raises(ConfigError, match="without an image"):
        make(head=None).run_text(torch.randn(1, 2, 48), torch.ones(1, 2, dtype=torch.bool), torch.arange(2)[None])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"act_head": HEAD | {"history_type": "video"}}, "'video'"),
        ({"act_head": HEAD | {"action_space": "down_sample", "down_sample": "pooling", "token_source": "vision"}}, "no such tokens"),
        ({"use_vision_resampler": True}, "use_vision_resampler"),
        ({"train_setup": {"train_decoder_layers": 9}}, "has 1 gated"),
        ({"reference_hidden": True}, "only mosaic_gpt"),
        ({"tokenizer": {"additional_special_tokens": ["<image>"]}}, "endofchunk"),
    ],
)
def test_what_it_cannot_do_is_refused(folders: dict[str, dict[str, Any]], keys: dict[str, Any], said: str) -> None:
    def use() -> None:
        model = RoboFlamingo(folders["mpt"] | {"window_size": 3, "fwd_pred_next_n": 2, "act_head": HEAD} | keys)
        actor.read(model, pictures(1, 3), *texts(model, "go"), {})

    with pytest.raises(ConfigError, match=said):
        use()
