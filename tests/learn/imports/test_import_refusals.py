"""What is refused, each with one line that says what is wrong and with what, and nothing written."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edge_vla.learn.build import build_policy
from edge_vla.learn.import_robovlms import main
from edge_vla.learn.reference_names import MARKS
from tests.learn.backbones.tiny_flamingo import write_flamingo
from tests.learn.backbones.tiny_moondream import write_moondream
from tests.learn.backbones.tiny_qwen import write_qwen25, write_qwen_v1
from tests.learn.backbones.tiny_uform import write_uform
from tests.learn.imports.reference_checkpoints import CASES, flamingo, llava_mpt, public, with_head

Tensors = dict[str, Tensor]
Config = dict[str, Any]
Said = Callable[..., str]
EMBEDDING = "text_model.model.embed_tokens.weight"


def config_for(robovlm: str, folder: Path, **changes: Any) -> Config:
    head = {"type": "FCDecoder", "hidden_size": 16, "action_dim": 7, "action_space": "continuous", "down_sample": "none", "latent": 1}
    setup = {"lora_r": 4, "lora_alpha": 16}
    vlm = {"name": "x", "pretrained_model_name_or_path": str(folder)}
    return {"robovlm_name": robovlm, "window_size": 2, "fwd_pred_next_n": 2, "act_head": head, "train_setup": setup, "vlm": vlm} | changes


@pytest.fixture(scope="module")
def kosmos(write_kosmos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kosmos(tmp_path_factory.mktemp("kosmos"))


@pytest.fixture(scope="module")
def whole(kosmos: Path) -> Tensors:
    """A KosMos policy, complete."""
    own = build_policy(config_for("RoboKosMos", kosmos)).state_dict()
    policy = {name: tensor.clone() for name, tensor in own.items() if not name.startswith("backbone.")}
    head = with_head("text_model.lm_head.weight", EMBEDDING)
    return head({"vlm": {"pretrained_model_name_or_path": str(kosmos)}}, 0) | policy


@pytest.fixture
def said(tmp_path: Path, kosmos: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """said(content, config): the one line of a refusal, exit code 2, OUT/ not there."""

    def run(content: object, config: Config | None = None, *more: str, file: Path | None = None) -> str:
        if file is None:
            file = tmp_path / "policy.pt"
            torch.save(content, file)
        (tmp_path / "project.json").write_text(json.dumps(config or config_for("RoboKosMos", kosmos)))
        capsys.readouterr()
        assert main([str(file), str(tmp_path / "project.json"), str(tmp_path / "made" / "out"), *more]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("import_robovlms: ")
        assert told.err.count("\n") == 1, told.err
        assert "tmp" not in told.err.replace(str(tmp_path), "").replace(str(kosmos), ""), "it speaks of a folder that is gone"
        assert not (tmp_path / "made" / "out").exists()
        assert not (tmp_path / "made").exists() or not list((tmp_path / "made").iterdir())
        return told.err.strip()

    return run


def test_the_whole_one_is_taken(whole: Tensors, kosmos: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {f"model.{n}": t for n, t in whole.items()}}, tmp_path / "policy.pt")
    (tmp_path / "project.json").write_text(json.dumps(config_for("RoboKosMos", kosmos)))
    assert main([str(tmp_path / "policy.pt"), str(tmp_path / "project.json"), str(tmp_path / "out")]) == 0


# -- weights

Q = "backbone.text_model.model.layers.0.self_attn.q_proj"
WEIGHTS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "a backbone's is missing": (
        lambda t: {n: v for n, v in t.items() if n != f"{Q}.bias"},
        "policy.pt: its backbone: these weights are not of a kosmos-2; 1 missing: text_model.model.layers.0.self_attn.q_proj.bias",
    ),
    "a head's is missing": (
        lambda t: {n: v for n, v in t.items() if n != "act_head.gripper.mlp.0.bias"},
        "policy.pt: its policy: these weights are not of this model; 1 missing: act_head.gripper.mlp.0.bias",
    ),
    "the action token is missing": (lambda t: {n: v for n, v in t.items() if n != "action_token"}, "1 missing: action_token"),
    "one of nobody's": (lambda t: t | {"surprise": torch.ones(1)}, "not a RoboVLMs checkpoint; unexpected keys: surprise"),
    "one of nobody's in the backbone": (
        lambda t: t | {"backbone.text_model.surprise": torch.ones(1)}, "1 unexpected: text_model.surprise"
    ),
    "one of nobody's in the head": (lambda t: t | {"act_head.surprise": torch.ones(1)}, "1 unexpected: act_head.surprise"),
    "another shape": (
        lambda t: t | {f"{Q}.weight": torch.ones(32, 31)}, "text_model.model.layers.0.self_attn.q_proj.weight (32, 31), want (32, 32)"
    ),
    "nan": (lambda t: t | {f"{Q}.bias": torch.full((32,), float("nan"))}, f"policy.pt: 1 tensors hold nan or inf: {Q}.bias"),
    "inf": (lambda t: t | {"action_token": torch.full((32,), float("inf"))}, "1 tensors hold nan or inf: action_token"),
    "a tied head of its own": (
        lambda t: t | {"backbone.text_model.lm_head.weight": t[f"backbone.{EMBEDDING}"] + 1},
        f"'backbone.text_model.lm_head.weight' and 'backbone.{EMBEDDING}' are one weight in RoboVLMs, and differ here",
    ),
    "a twin of its own": (
        lambda t: t | {f"model.base_model.model.{Q.removeprefix('backbone.')}.bias": torch.ones(32)},
        f"and '{Q}.bias' are one weight in RoboVLMs, and differ here",
    ),
    "a twin in another type": (
        lambda t: t | {f"model.{Q.removeprefix('backbone.')}.bias": t[f"{Q}.bias"].half()}, "are one weight in RoboVLMs, and differ here",
    ),
    "no backbone": (lambda t: {n: v for n, v in t.items() if not n.startswith("backbone.")}, "no key begins with backbone."),
    "the public model alone": (
        lambda t: {n.removeprefix("backbone."): v for n, v in t.items() if n.startswith("backbone.")}, "not a RoboVLMs checkpoint",
    ),
    "half of an adapter": (
        lambda t: t | {f"{Q}.lora_A.default.weight": torch.ones(4, 32)},
        f"adapters: want lora_A, lora_B and weight of {Q}, got lora_A and weight",
    ),
    "adapters of nothing": (
        lambda t: t | {f"backbone.x.lora_{k}.default.weight": torch.ones(4, 4) for k in "AB"},
        "adapters: want lora_A, lora_B and weight of backbone.x, got lora_A and lora_B",
    ),
    "adapters of another rank": (
        lambda t: t | {f"{Q}.lora_A.weight": torch.ones(8, 32), f"{Q}.lora_B.weight": torch.ones(32, 8)},
        "adapters of rank 8, the configuration's train_setup has lora_r 4 and lora_alpha 16",
    ),
    "adapters that do not fit": (
        lambda t: t | {f"{Q}.lora_A.weight": torch.ones(4, 31), f"{Q}.lora_B.weight": torch.ones(32, 4)},
        f"adapters: {Q} is (32, 32), its lora_A (4, 31) and lora_B (32, 4)",
    ),
    "two sets of adapters": (
        lambda t: t | {f"{Q}.lora_{k}.{s}.weight": torch.ones((4, 32) if k == "A" else (32, 4)) for k in "AB" for s in ("one", "two")},
        "want one set of lora_A and lora_B of linear layers, got one, two",
    ),
    "adapters of another kind": (
        lambda t: t | {f"{Q}.lora_magnitude_vector.default.weight": torch.ones(32)},
        f"want one set of lora_A and lora_B of linear layers, got {Q}.lora_magnitude_vector.default.weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights_that_are_not_a_whole_policy(change: Callable[[Tensors], Tensors], message: str, whole: Tensors, said: Said) -> None:
    told = said({"state_dict": {f"model.{name}": tensor for name, tensor in change(whole).items()}}).replace("model.backbone", "backbone")
    assert message in told.replace("model.action_token", "action_token")


def test_adapters_without_a_scale(whole: Tensors, kosmos: Path, said: Said) -> None:
    pair = {f"{Q}.lora_A.weight": torch.ones(4, 32), f"{Q}.lora_B.weight": torch.ones(32, 4)}
    for setup in (None, {"lora_r": 4}, {"lora_alpha": 16}):
        told = said({"state_dict": whole | pair}, config_for("RoboKosMos", kosmos, train_setup=setup))
        assert "adapters of rank 4, the configuration's train_setup has lora_r" in told


# -- files


def test_a_file_that_is_cut(whole: Tensors, said: Said, tmp_path: Path) -> None:
    torch.save({"state_dict": whole}, tmp_path / "cut.pt")
    content = (tmp_path / "cut.pt").read_bytes()
    for size in (0, 50, len(content) // 2, len(content) - 40):
        (tmp_path / "cut.pt").write_bytes(content[:size])
        assert f"cut.pt: not a whole torch file ({size} bytes; " in said(None, file=tmp_path / "cut.pt")


def test_a_file_that_is_still_to_be_fetched(said: Said, tmp_path: Path) -> None:
    for name in ("policy.pt", "policy.safetensors"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 6350000000\n")
        assert "a pointer of Git LFS; fetch the file itself" in said(None, file=tmp_path / name)


class Runs:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


def test_a_pickle_that_carries_code(whole: Tensors, said: Said, tmp_path: Path) -> None:
    told = said({"state_dict": whole, "callbacks": Runs(tmp_path / "ran")})
    assert "refused, a checkpoint may hold tensors only; it wants to run posix.mkdir; save its state_dict alone" in told
    assert not (tmp_path / "ran").exists()
    assert f"it wants to run {pathlib.PosixPath.__module__}.PosixPath" in said({"state_dict": whole, "x": pathlib.PosixPath("x")})


def test_a_file_without_tensors_and_no_file(whole: Tensors, said: Said, tmp_path: Path) -> None:
    told = said({"policy": {"state_dict": whole}, "epoch": 3})
    assert "no tensors at its top, nor in state_dict, model_state_dict, module; it has epoch, policy" in told
    assert "holds a list, want a state dict" in said([1])
    assert "no such file or folder" in said(None, file=tmp_path / "nothing.pt")


def test_deepspeeds_own_folder(said: Said, tmp_path: Path) -> None:
    place = tmp_path / "epoch=4.ckpt" / "checkpoint"
    place.mkdir(parents=True)
    (place / "zero_pp_rank_0_mp_rank_00_model_states.pt").touch()
    told = said(None, file=tmp_path / "epoch=4.ckpt")
    assert "epoch=4.ckpt: a folder of DeepSpeed's; RoboVLMs' tools/convert_deepspeed_to_fp32.py makes one file of it" in told


# -- configurations


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"act_head": {"action_dim": 4}}, "act_head: its weights are of action_dim 7, the configuration says 4"),
        ({"fwd_pred_next_n": 10}, "act_head: its weights are of fwd_pred_next_n 2, the configuration says 10"),
        (
            {"fwd_pred_next_n": None, "act_head": {"action_dim": None}},
            "its weights are of action_dim 7, the configuration says None; fwd_pred_next_n 2, the configuration says None",
        ),
        ({"act_head": {"hidden_size": 24}}, "of another shape: act_head.actions.mlp.0.weight"),
        ({"act_head": {"type": "LSTMDecoder"}}, "16 missing: act_head.rnn"),
        ({"act_head": {"type": "LSTMDecode"}}, "act_head.type 'LSTMDecode': want one of"),
        ({"act_head": None}, "unexpected: act_head.actions"),
        ({"use_vision_resampler": True}, "missing: vision_resampler."),
        ({"robovlm_name": None}, "robovlm_name 'None': want one of RoboFlamingo"),
        ({"robovlm_name": "RoboKosmos"}, "robovlm_name 'RoboKosmos': want one of"),
        ({"robovlm_name": "RoboPaligemma"}, "these weights are of KosMos-2, RoboKosMos; the configuration says robovlm_name RoboPaligemma"),
        ({"vlm": None}, "no model folder (none named); name with --vlm where the backbone's public files are"),
        ({"vlm": {"pretrained_model_name_or_path": "gone/kosmos"}}, "no model folder gone/kosmos; name with --vlm where the"),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else "",
)
def test_a_configuration_of_something_else(changes: Config, message: str, whole: Tensors, kosmos: Path, said: Said) -> None:
    config = config_for("RoboKosMos", kosmos)
    merged = {key: config[key] | value if key == "act_head" and value else value for key, value in changes.items()}
    assert message in said({"state_dict": whole}, config | merged)


def test_another_models_folder(whole: Tensors, kosmos: Path, said: Said, tmp_path: Path) -> None:
    write_uform(tmp_path / "uform")
    told = said({"state_dict": whole}, config_for("RoboKosMos", tmp_path / "uform"))
    assert "policy.pt: these weights are of KosMos-2; the model's folder has model_type 'vlm'" in told
    assert "these weights are of KosMos-2; the model's" in said({"state_dict": whole}, None, "--vlm", str(tmp_path / "uform"))
    assert "--vlm: no model folder" in said({"state_dict": whole}, None, "--vlm", str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    assert "no config.json (No such file or directory)" in said({"state_dict": whole}, None, "--vlm", str(tmp_path / "empty"))


OWNERS: dict[str, tuple[Callable[..., Any] | str, str]] = {
    "RoboPaligemma": ("write_paligemma", "PaliGemma"), "RoboLLaVA": ("write_llava", "LLaVA 1.5 of the Hub"),
    "RoboQwen": (write_qwen25, "Qwen2.5-VL"), "RoboMoonDream": (write_moondream, "Moondream 2 of 2024"),
    "RoboUform": (write_uform, "UForm-Gen2"),
}  # fmt: skip


@pytest.mark.parametrize("owner", OWNERS)
def test_whose_weights_they_are_is_told(owner: str, said: Said, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    writer, kind = OWNERS[owner]
    (request.getfixturevalue(writer) if isinstance(writer, str) else writer)(tmp_path / "vlm")
    tensors = public({"vlm": {"pretrained_model_name_or_path": str(tmp_path / "vlm")}}, 0)
    told = said({"state_dict": {f"model.{name}": tensor for name, tensor in tensors.items()}})
    assert f"these weights are of {kind}, {owner}; the configuration says robovlm_name RoboKosMos" in told


def test_another_generation_of_the_same_backbone_is_told(said: Said, tmp_path: Path) -> None:
    first, second = write_qwen_v1(tmp_path / "v1"), write_qwen25(tmp_path / "v2.5")
    for folder, other, kind, has in ((first, second, "Qwen-VL", "qwen2_5_vl"), (second, first, "Qwen2.5-VL", "qwen")):
        tensors = public({"vlm": {"pretrained_model_name_or_path": str(folder)}}, 0)
        told = said({"state_dict": tensors}, config_for("RoboQwen", other))
        assert f"these weights are of {kind}; the model's folder has model_type {has!r}" in told
    authors = {"backbone.model.mm_projector.0.weight": torch.ones(2, 2), "backbone.model.layers.0.mlp.up_proj.weight": torch.ones(2, 2)}
    assert "LLaVA on Llama in its authors' layout, which" in said({"state_dict": authors}, config_for("RoboLLaVA", first))


def test_a_flamingo_whose_lists_differ(said: Said, tmp_path: Path) -> None:
    config = config_for("RoboFlamingo", tmp_path) | write_flamingo(tmp_path / "vlms", "mpt")
    tensors = flamingo("mpt")(config, 0)
    tensors["backbone.old_decoder_blocks.1.attn.Wqkv.weight"] = tensors["backbone.old_decoder_blocks.1.attn.Wqkv.weight"] + 1
    del tensors["model.old_decoder_blocks.1.attn.Wqkv.weight"]
    told = said({"state_dict": {f"model.{name}": tensor for name, tensor in tensors.items()}}, config)
    assert "'backbone.old_decoder_blocks.1.attn.Wqkv.weight' and 'backbone.transformer.blocks.1.decoder_layer.attn.Wqkv.weight'" in told


def test_a_llava_on_mpt_without_its_tower(said: Said, tmp_path: Path, write_llava_mpt: Callable[..., Path]) -> None:
    folder = write_llava_mpt(tmp_path / "vlms")
    config = config_for("RoboLLaVA", folder)
    tensors = {name: tensor for name, tensor in llava_mpt(config, 0).items() if ".vision_tower." not in name}
    told = said({"state_dict": tensors}, config)
    assert "policy.pt: 1 missing: transformer.vision_tower.vision_tower.*, the vision tower, which RoboVLMs saves with the rest" in told


def test_every_name_a_case_spells_out_is_told_apart() -> None:
    """Marks of one backbone are in no other's names."""
    for case in CASES.values():
        found = {mark[2] for mark in MARKS for name in case.names if mark[0] in name}
        assert found <= {case.robovlm}, case.names
