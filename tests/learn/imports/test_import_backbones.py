"""Every backbone of RoboVLMs, as its own model would have saved it, acts after the import as the model that the weights came from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones import BACKBONES
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.build import build_policy, build_vlm, load_policy
from edge_vla.learn.checkpoint import read_weights
from edge_vla.learn.import_robovlms import WEIGHTS, import_checkpoint
from edge_vla.learn.reference_names import MADE_ANEW, MERGED, UNUSED
from tests.learn.imports.reference_checkpoints import CASES, Case, Tensors, folder_of
from tests.learn.imports.reference_wrappings import LORA, LORA_ALPHA, LORA_R, WRAPPINGS, doubled, lightning

CLOSE = {"atol": 1e-6, "rtol": 0.0}
Config = dict[str, Any]
Action = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Trained:
    """A policy and what RoboVLMs would have saved of it."""

    case: Case
    config: Config  # names a folder of the same model with other weights
    tensors: Tensors
    given: Config
    action: Action
    backbone: Tensors  # under our names
    public: set[str]  # names of the public files


def policy_config(case: Case, model: Config) -> Config:
    """As RoboVLMs' own are, but small; OpenFlamingo has no action token there."""
    pooled = case.robovlm == "RoboFlamingo"
    head = {
        "type": "LSTMDecoder", "hidden_size": 16, "num_layers": 1, "action_dim": 7, "latent": 1, "history_type": "post",
        "action_space": "down_sample" if pooled else "continuous", "down_sample": "pooling" if pooled else "none",
    }  # fmt: skip
    setup = {"train_vision": True, "lora_enable": True, "lora_r": LORA_R, "lora_alpha": LORA_ALPHA}
    return {"robovlm_name": case.robovlm, "window_size": 2, "fwd_pred_next_n": 2, "act_head": head, "train_setup": setup} | model


def batch(model: BaseRoboVLM) -> Config:
    """Two rows whose texts are not equally long, so that what the reference does with pads shows."""
    picture = model.preprocess(np.random.default_rng(7).integers(0, 255, (28, 28, 3), dtype=np.uint8))
    ids = [model.instruction_ids("go to the cup"), model.instruction_ids("go")]
    longest = max(len(row) for row in ids)
    return {
        "vision_x": torch.randn(2, 2, *picture.shape, generator=torch.Generator().manual_seed(7)),
        "lang_x": torch.tensor([row + [0] * (longest - len(row)) for row in ids]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids]).bool(),
    }


def train(case: Case, root: Path, writers: dict[str, Callable[..., Path]]) -> Trained:
    trained, untrained = (case.write(root / name, seed, writers) for name, seed in (("trained", 5), ("untrained", 0)))
    config = policy_config(case, trained)
    torch.manual_seed(0)
    model = build_policy(config | {"reference_padding": True, "train_setup": {}}).eval()
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("backbone.")}
    with torch.no_grad():
        for tensor in own.values():
            tensor.copy_(0.2 * torch.randn_like(tensor) if tensor.ndim < 2 else tensor)
    policy = {name: tensor.clone() for name, tensor in own.items()}
    if case.robovlm == "RoboPaligemma":  # Gemma multiplied it, then
        policy["action_token"] /= model.hidden_size**0.5
    given = batch(model)
    action, saved = model.inference(**given)["action"], case.saved(trained, 5) | policy
    return Trained(
        case, policy_config(case, untrained), saved, given, action, model.backbone.state_dict(), set(read_weights(folder_of(trained)))
    )


@pytest.fixture(scope="session")
def get_trained(
    tmp_path_factory: pytest.TempPathFactory, write_kosmos: Any, write_paligemma: Any, write_llava: Any, write_llava_mpt: Any
) -> Callable[[str], Trained]:
    writers = {"write_kosmos": write_kosmos, "write_llava": write_llava, "write_llava_mpt": write_llava_mpt}
    writers["write_paligemma"] = lambda folder, seed: with_width(write_paligemma(folder, seed=seed))
    made: dict[str, Trained] = {}

    def get(name: str) -> Trained:
        if name not in made:
            made[name] = train(CASES[name], tmp_path_factory.mktemp("case"), writers)
        return made[name]

    return get


def with_width(folder: Path) -> Path:
    """As PaliGemma 1 is: config.json's own hidden_size is the text model's."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": config["text_config"]["hidden_size"]}))
    return folder


def bring(trained: Trained, content: object, tmp_path: Path) -> tuple[Any, BaseRoboVLM]:
    torch.save(content, tmp_path / "policy.pt")
    (tmp_path / "project.json").write_text(json.dumps(trained.config))
    parts = import_checkpoint(tmp_path / "policy.pt", tmp_path / "project.json", tmp_path / "out")
    return parts, load_policy(tmp_path / "out")


def assert_acts_alike(trained: Trained, model: BaseRoboVLM) -> None:
    for got, want in zip(model.inference(**trained.given)["action"], trained.action, strict=True):
        torch.testing.assert_close(got, want, **CLOSE)
        assert want.std() > 1e-4, "every policy would act so"


def assert_nothing_is_lost(trained: Trained, saved: Tensors, parts: Any) -> None:
    """Every name that was saved is in OUT/ or in the table, and no weight of ours came from the untrained folder."""
    policy = {name for name in saved if not name.startswith(("backbone.", "model.", "vision_encoder.", "perceiver."))}
    assert set(parts.policy) == policy
    assert len(parts.backbone) + len(parts.policy) + len(parts.dropped) == len(saved)
    assert set(parts.dropped) <= set(saved)


def test_every_backbone_is_here() -> None:
    assert {case.robovlm for case in CASES.values()} == set(BACKBONES)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("name", CASES)
def test_it_acts_as_the_model_that_its_weights_came_from(
    name: str, wrapping: str, get_trained: Callable[[str], Trained], tmp_path: Path
) -> None:
    trained = get_trained(name)
    assert set(trained.case.names) <= set(trained.tensors), "the names are RoboVLMs' own"
    parts, model = bring(trained, WRAPPINGS[wrapping](trained.tensors), tmp_path)
    assert_acts_alike(trained, model)
    assert_nothing_is_lost(trained, trained.tensors, parts)
    assert "untrained" not in (tmp_path / "out" / "config.json").read_text(), "OUT/ is whole by itself"
    assert [file.name for file in (tmp_path / "out" / "vlm").iterdir() if file.stat().st_size and file.suffix in WEIGHTS] == [
        "model.safetensors"
    ]


@pytest.mark.parametrize("name", [name for name in CASES if "since" in name])
def test_newer_names_become_the_public_ones(name: str, get_trained: Callable[[str], Trained], tmp_path: Path) -> None:
    trained = get_trained(name)
    parts, _ = bring(trained, trained.tensors, tmp_path)
    assert set(parts.backbone) == trained.public


@pytest.mark.parametrize("name", [name for name in CASES if "D (a" not in name])  # what a fork would have called `model` nobody knows
def test_weights_under_two_names_are_one(name: str, get_trained: Callable[[str], Trained], tmp_path: Path) -> None:
    trained = get_trained(name)
    saved = doubled(trained.case, trained.tensors)
    parts, model = bring(trained, {"state_dict": {f"model.{n}": t for n, t in saved.items()}}, tmp_path)
    assert_acts_alike(trained, model)
    assert_nothing_is_lost(trained, saved, parts)
    twins = {n: why for n, why in parts.dropped.items() if n.startswith("model.")}
    assert len(twins) == sum(n.startswith("model.") for n in saved)
    assert all(why.startswith("doubled as backbone.") or why in (MADE_ANEW, UNUSED) for why in twins.values())


@pytest.mark.parametrize(
    "name", [*(n for n in CASES if n.startswith(("kosmos", "pali", "uform"))), "llava on mpt", "qwen2.5-vl 3B (a fork's)", "flamingo mpt"]
)
def test_a_head_that_is_not_the_word_embedding_is_refused(name: str, get_trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """Where the model of RoboVLMs ties the two, another head would be lost without a word."""
    trained = get_trained(name)
    head = next(n for n in trained.tensors if n.endswith("lm_head.weight"))
    with pytest.raises(ConfigError, match="are one weight in RoboVLMs, and differ here"):
        bring(trained, trained.tensors | {head: trained.tensors[head] + 1}, tmp_path)


def test_two_weights_that_are_one_in_memory_are_two_on_disk(get_trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """As a fork would save that ties what its configuration does not."""
    trained = get_trained("llava 1.5 (a fork's)")
    head, table = (f"backbone.language_model.{name}.weight" for name in ("lm_head", "model.embed_tokens"))
    parts, model = bring(trained, trained.tensors | {head: trained.tensors[table]}, tmp_path)
    assert {head.removeprefix("backbone."), table.removeprefix("backbone.")} <= set(parts.backbone)
    assert torch.equal(model.backbone.lm_head.weight, model.word_embedding.weight)


@pytest.mark.parametrize("kind", LORA)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.lora])
def test_adapters_are_merged(name: str, kind: str, get_trained: Callable[[str], Trained], tmp_path: Path) -> None:
    trained = get_trained(name)
    saved = LORA[kind](trained.case, trained.tensors)
    parts, model = bring(trained, {"state_dict": {f"model.{n}": t for n, t in saved.items()}}, tmp_path)
    assert_acts_alike(trained, model)
    assert sum(why == MERGED for why in parts.dropped.values()) == sum(".lora_" in n and not n.startswith("model.") for n in saved)
    stored = load_file(tmp_path / "out" / "vlm" / "model.safetensors")
    assert not any("lora" in n or "base_layer" in n or "base_model" in n for n in stored)


@pytest.mark.parametrize("name", CASES)
def test_other_weights_act_otherwise(name: str, get_trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """So that equality above is no accident: a layer of either tower shows in the action."""
    trained = get_trained(name)
    layers = [n for n, t in trained.tensors.items() if ("mlp" in n or "ffn" in n) and n.endswith(".weight") and t.ndim == 2]
    seeing = [n for n in layers if any(word in n for word in ("vision", "visual", "image_encoder"))]
    thinking = [n for n in layers if n not in seeing]
    for changed in (seeing[0], thinking[0]):
        other = {n: t * 1.5 if t is trained.tensors[changed] else t for n, t in trained.tensors.items()}
        out = tmp_path / changed
        out.mkdir()
        _, model = bring(trained, other, out)
        assert (model.inference(**trained.given)["action"][0] - trained.action[0]).abs().max() > 1e-5, changed


@pytest.mark.parametrize("name", CASES)
def test_the_backbone_alone_answers_with_the_same_weights(name: str, get_trained: Callable[[str], Trained], tmp_path: Path) -> None:
    trained = get_trained(name)
    bring(trained, lightning(trained.tensors), tmp_path)
    vlm = trained.config["vlm"] | {"name": BACKBONES[trained.case.robovlm], "pretrained_model_name_or_path": str(tmp_path / "out" / "vlm")}
    found = build_vlm(vlm, precision="fp32").backbone.state_dict()
    assert found.keys() == trained.backbone.keys()
    assert all(torch.equal(found[n], tensor) for n, tensor in trained.backbone.items())
