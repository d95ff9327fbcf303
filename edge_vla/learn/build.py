"""Configurations and folders to models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_vla.errors import ConfigError, did_you_mean
from edge_vla.learn.backbones import BACKBONES, backbone_class
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.checkpoint import load_strict, read_weights
from edge_vla.learn.config import check_config, given, load_config, model_folder
from edge_vla.learn.config_keys import INERT, SECTIONS
from edge_vla.learn.trainable import dtype_of

POLICY_WEIGHTS = "policy.safetensors"
CONFIG = "config.json"
MASKS = (".attn.bias", ".attn.masked_bias")  # a GPT head's buffers, which no checkpoint needs to say
# `vlm.name` of RoboVLMs to the class; OpenFlamingo goes by its language model's name, which says where its gates are.
FLAMINGOS = ("mpt_1b", "mpt_1b_ift", "mpt_3b", "mpt_3b_ift", "mpt_7b")
FAMILIES = {module: name for name, module in BACKBONES.items()} | dict.fromkeys(FLAMINGOS, "RoboFlamingo")
TYPE = "type"  # transformers' class, which the reference asks for; the model folder says it by itself


def build_policy(configs: Mapping[str, Any]) -> BaseRoboVLM:
    """The model a configuration describes: its backbone from `vlm.pretrained_model_name_or_path`, a fresh head. Raises ConfigError."""
    checked = check_config(configs)
    name = checked.get("robovlm_name")
    if not isinstance(name, str):
        raise ConfigError(f"robovlm_name {name!r}: want one of {', '.join(BACKBONES)}")
    return backbone_class(name)(checked)


def build_vlm(vlm_config: Mapping[str, Any], tokenizer_config: Mapping[str, Any] | None = None, precision: str = "bf16") -> BaseRoboVLM:
    """A backbone without a head, for questions in words. Raises ConfigError.

    `vlm_config` is a configuration's `vlm` section, with `name` and `pretrained_model_name_or_path`; tower and checkpoint of an
    OpenFlamingo may be named in it too, as the keys of `vision_encoder` and `openflamingo_checkpoint`. The tokenizer is the one in the
    model's folder: a `tokenizer_config` that names another folder is refused. A `type` is transformers' class name, and not needed.
    """
    if isinstance(vlm_config.get("vlm"), Mapping):
        raise ConfigError("vlm_config: this is a whole configuration; build_vlm takes its 'vlm' section, build_policy all of it")
    vision, vlm = SECTIONS["vision_encoder"], {*SECTIONS["vlm"], TYPE}
    said, tokens = given(vlm_config), given(tokenizer_config)
    _known("vlm", said, vlm | set(vision))
    _known("tokenizer", tokens, {*SECTIONS["tokenizer"], *(key.partition(".")[2] for key in INERT if key.startswith("tokenizer."))})
    name = said.get("name")
    if name not in FAMILIES:
        raise ConfigError(f"vlm.name {name!r}: want one of {', '.join(FAMILIES)}{did_you_mean(str(name), FAMILIES)}")
    path = model_folder({"vlm": said})
    other = tokens.pop("pretrained_model_name_or_path", path)
    if Path(other) != path:
        raise ConfigError(f"tokenizer {other}: this backbone reads the tokenizer in its own folder, {path}")
    dtype = dtype_of(precision)
    sections = {
        "vlm": {key: value for key, value in said.items() if key in vlm - {TYPE}},
        "vision_encoder": {key: value for key, value in said.items() if key in vision},
        "tokenizer": {key: value for key, value in tokens.items() if key in SECTIONS["tokenizer"]},
    }
    return backbone_class(FAMILIES[name])(check_config(sections)).to(dtype).eval()


def _known(section: str, said: Mapping[str, Any], known: set[str]) -> None:
    for key in said:
        if key not in known:
            name = f"{section}.{key}"
            raise ConfigError(f"unknown key {name!r}{did_you_mean(name, [f'{section}.{one}' for one in known], cutoff=0.6)}")


def load_policy(folder: str | Path) -> BaseRoboVLM:
    """What `import_robovlms` and the trainer write: configuration, backbone folder, policy weights. Strict. Raises ConfigError."""
    folder = Path(folder)
    configs = load_config(folder / CONFIG)
    vlm = given(configs.get("vlm"))
    inside = vlm.get("pretrained_model_name_or_path")
    if inside is None:
        raise ConfigError(f"{folder / CONFIG}: vlm.pretrained_model_name_or_path is not there: want the backbone's folder inside {folder}")
    model = build_policy(configs | {"vlm": vlm | {"pretrained_model_name_or_path": str(folder / inside)}})
    load_policy_weights(model, read_weights(folder / POLICY_WEIGHTS), str(folder))
    return model.eval()


def load_policy_weights(model: BaseRoboVLM, tensors: Mapping[str, Any], what: str) -> None:
    """Everything of a model but its backbone."""
    backbone = {name for name in model.state_dict() if name.startswith("backbone.")}
    masks = {name for name in model.state_dict() if name.startswith("act_head.") and name.endswith(MASKS)}
    load_strict(model, tensors, what, optional=backbone | masks)
