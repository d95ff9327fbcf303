"""From configurations and folders to models: what is not given, what is null, what is wrong, and one clear error for each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones import backbone_class
from edge_vla.learn.backbones.flamingo_files import PUBLISHED
from edge_vla.learn.build import FLAMINGOS, build_policy, build_vlm, load_policy

Config = dict[str, Any]
Make = Callable[..., Config]
PATH = "pretrained_model_name_or_path"


def pictures(rows: int = 1) -> dict[str, torch.Tensor]:
    return {"vision_x": torch.zeros(rows, 2, 3, 28, 28), "lang_x": torch.full((rows, 4), 5)}


# -- where the backbone is


@pytest.mark.parametrize("name", ["RoboPaligemma", "RoboQwen", "RoboFlamingo"])
@pytest.mark.parametrize("vlm", [None, {}, {PATH: None}, {PATH: ""}, {PATH: 3}, "models/x"])
def test_no_folder_is_one_clear_error(vlm: Any, name: str) -> None:
    for build in (lambda: build_policy({"robovlm_name": name, "vlm": vlm}), lambda: backbone_class(name)({"vlm": vlm})):
        with pytest.raises(ConfigError, match=r"vlm\.pretrained_model_name_or_path|vlm 'models/x': want a section"):
            build()


def test_model_path_is_where_it_is_if_the_vlm_section_does_not_say(make: Make) -> None:
    config = make()
    folder = config.pop("vlm")[PATH]
    assert build_policy(config | {"model_path": folder}).model_path == Path(folder)
    with pytest.raises(ConfigError, match=r"no such file; vlm\.openflamingo_checkpoint is to name"):  # and no KeyError
        build_policy(config | {"robovlm_name": "RoboFlamingo", "model_path": folder})


def test_a_folder_that_is_gone_names_where_its_files_are() -> None:
    config = {"robovlm_name": "RoboPaligemma", "vlm": {PATH: "nowhere"}}
    with pytest.raises(ConfigError, match=r"model nowhere: no config\.json \(no such folder\)"):
        build_policy(config)
    with pytest.raises(ConfigError, match=r"no such folder; the files are at https://example\.org"):
        build_policy(config | {"model_url": "https://example.org"})


def test_no_name_and_another_name() -> None:
    with pytest.raises(ConfigError, match="configuration of type list: want a section"):
        build_policy([1])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="robovlm_name None: want one of RoboFlamingo"):
        build_policy({"vlm": {PATH: "x"}})
    with pytest.raises(ConfigError, match="robovlm_name 'RoboPaliGemma': want one of"):
        build_policy({"robovlm_name": "RoboPaliGemma"})


# -- null means that it is not given


TOPS = ("window_size", "fwd_pred_next_n", "use_hand_rgb", "use_state", "image_size", "image_mean", "vision_resampler",
        "use_vision_resampler", "train_setup", "arm_gripper_loss_ratio", "tokenizer", "reference_padding", "model_path")  # fmt: skip
HEADS = ("latent", "hidden_size", "down_sample", "action_space", "history_type", "token_source", "num_layers", "fill_zero",
         "gripper_probability", "policy_rnn_dropout_p")  # fmt: skip


@pytest.mark.parametrize("key", TOPS)
def test_null_at_the_top(key: str, make: Make) -> None:
    config = make() | {key: None}
    model = build_policy(config)
    without = build_policy({name: value for name, value in config.items() if name != key})
    assert {n: t.shape for n, t in model.state_dict().items()} == {n: t.shape for n, t in without.state_dict().items()}
    assert (model.window_size, model.fwd_pred_next_n) == (without.window_size, without.fwd_pred_next_n)
    labels = (torch.zeros(1, 2, model.fwd_pred_next_n, 3), torch.zeros(1, 2, model.fwd_pred_next_n))
    losses = model(**pictures(), action_labels=labels)
    torch.testing.assert_close(losses["loss"], losses["loss_arm_act"] + 0.01 * losses["loss_gripper_act"])


@pytest.mark.parametrize("key", HEADS)
def test_null_in_the_heads_section(key: str, make: Make) -> None:
    config = make(act_head={key: None})
    without = make()
    without["act_head"].pop(key, None)
    assert build_policy(config).state_dict().keys() == build_policy(without).state_dict().keys()


@pytest.mark.parametrize("key", ["lora_r", "lora_alpha", "lora_dropout", "lora_bias", "train_decoder_layers", "precision", "reinit"])
def test_null_in_the_training_section(key: str, make: Make) -> None:
    config = make(train_setup={"lora_enable": True, key: None})
    assert build_policy(config).state_dict().keys() == build_policy(make(train_setup={"lora_enable": True})).state_dict().keys()


def test_null_for_a_head_is_no_head(make: Make) -> None:
    model = build_policy(make() | {"act_head": None})
    assert model.act_head is None
    with pytest.raises(ConfigError, match="act_head is null"):
        model.inference(**pictures())


def test_a_shipped_null_parent_is_none(make: Make) -> None:
    assert build_policy(make() | {"parent": None}).window_size == 2
    with pytest.raises(ConfigError, match=r"parent 'x\.json': only a file has one"):
        build_policy(make() | {"parent": "x.json"})


@pytest.mark.parametrize("kind", ["direct", "built"])
@pytest.mark.parametrize("key", ["fwd_head", "act_encoder"])
def test_a_part_that_the_reference_never_had_is_refused(key: str, kind: str, make: Make) -> None:
    """Its `forward_head` module is missing."""
    config = make() | {key: {"type": "MIMHead"}}
    with pytest.raises(ConfigError, match=key):
        build_policy(config) if kind == "built" else backbone_class("RoboPaligemma")(config)
    with pytest.raises(ConfigError, match=key):
        backbone_class("RoboPaligemma")(make(), **{f"{key}_configs": {"type": "MIMHead"}})


# -- build_vlm


def test_the_documents_call(tiny: Callable[[str], Config], paligemma: Path) -> None:
    vlm = {"type": "PaliGemmaForConditionalGeneration", PATH: str(paligemma), "name": "paligemma"}
    words = {"type": "AutoProcessor", PATH: str(paligemma), "tokenizer_type": "paligemma", "max_text_len": 3}
    model = build_vlm(vlm, words, precision="bf16")
    assert (type(model).__name__, model.act_head, model.training) == ("RoboPaligemma", None, False)
    assert next(model.parameters()).dtype == torch.bfloat16
    assert len(model.instruction_ids("go to the cup")) == 3
    assert isinstance(model.generate("find the cup", np.zeros((30, 30, 3), np.uint8), 3), str)


def test_openflamingo_by_its_own_names(tiny: Callable[[str], Config], tmp_path: Path) -> None:
    assert set(FLAMINGOS) == set(PUBLISHED)
    vlm = tiny("RoboFlamingo")["vlm"]
    assert vlm["name"] == "mpt_1b_ift"
    tower = Path(vlm[PATH]).parent / "clip-vit-large-patch14"
    checkpoint = Path(vlm[PATH]).parent / PUBLISHED["mpt_1b_ift"][0] / "checkpoint.pt"
    named = {**vlm, "clip_vision_encoder_pretrained": str(tower), "openflamingo_checkpoint": str(checkpoint)}
    for said in (vlm, {**vlm, "clip_vision_encoder_pretrained": "openai"}, named, {**named, "name": "flamingo"}):
        assert type(build_vlm(said, precision="fp32")).__name__ == "RoboFlamingo"
    with pytest.raises(ConfigError, match="gone"):
        build_vlm({**named, "clip_vision_encoder_pretrained": str(tmp_path / "gone")}, precision="fp32")
    with pytest.raises(ConfigError, match="gone"):
        build_vlm({**named, "openflamingo_checkpoint": str(tmp_path / "gone.pt")}, precision="fp32")
    with pytest.raises(ConfigError, match=r"vlm\.name 'mpt_7b': its gates are at every 4"):
        build_vlm({**named, "name": "mpt_7b"})


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ({"name": "paligema"}, None, "vlm.name 'paligema': want one of .*; did you mean 'paligemma'?"),
        ({"name": None}, None, "vlm.name None: want one of flamingo, kosmos"),
        ({"foo": 1}, None, "unknown key 'vlm.foo'"),
        ({"revison": "x"}, None, "unknown key 'vlm.revison'; did you mean 'vlm.revision'?"),
        ({PATH: None}, None, "vlm.pretrained_model_name_or_path None: want the folder"),
        ({PATH: "nowhere"}, None, "model nowhere: no config.json"),
        ({}, {"max_text_length": 3}, "unknown key 'tokenizer.max_text_length'; did you mean 'tokenizer.max_text_len'?"),
        ({}, {"max_text_len": 0}, "tokenizer.max_text_len 0: want a whole number of at least 1"),
        ({}, {PATH: "elsewhere"}, "tokenizer elsewhere: this backbone reads the tokenizer in its own folder"),
        ({"vlm": {}}, None, "this is a whole configuration; build_vlm takes its 'vlm' section"),
        ({"residual": "no"}, None, "vlm.residual 'no': want true or false"),
    ],
)
def test_build_vlm_says_what_is_wrong(change: Config, words: Config | None, message: str, paligemma: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        build_vlm({"name": "paligemma", PATH: str(paligemma), **change}, words)


def test_build_vlm_refuses_a_precision_before_it_reads_weights(paligemma: Path) -> None:
    with pytest.raises(ConfigError, match="precision 'int8': want one of bf16"):
        build_vlm({"name": "paligemma", PATH: str(paligemma)}, precision="int8")


# -- load_policy


@pytest.fixture
def saved(make: Make, tmp_path: Path) -> Path:
    config = make()
    model = build_policy(config)
    (tmp_path / "vlm").symlink_to(config["vlm"][PATH])
    (tmp_path / "config.json").write_text(json.dumps(config | {"vlm": {PATH: "vlm"}}))
    save_file({n: t for n, t in model.state_dict().items() if not n.startswith("backbone.")}, tmp_path / "policy.safetensors")
    return tmp_path


def test_a_folder_by_its_path_and_by_its_name(saved: Path) -> None:
    one, other = load_policy(saved), load_policy(str(saved))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("vlm", [None, {}, {PATH: None}, {"name": "paligemma"}])
def test_a_folder_whose_configuration_names_no_backbone(vlm: Config | None, saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"vlm": vlm}))
    with pytest.raises(ConfigError, match=r"config.json: vlm.pretrained_model_name_or_path is not there"):
        load_policy(saved)
