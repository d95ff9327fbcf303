"""Configurations and folders to models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones import BACKBONES, backbone_class
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.checkpoint import load_strict, read_weights
from edge_vla.learn.config import check_config, load_config
from edge_vla.learn.trainable import dtype_of

POLICY_WEIGHTS = "policy.safetensors"
CONFIG = "config.json"
FAMILIES = {module: name for name, module in BACKBONES.items()}  # vlm.name of a configuration to its class


def build_policy(configs: Mapping[str, Any]) -> BaseRoboVLM:
    """The model a configuration describes: its backbone from `vlm.pretrained_model_name_or_path`, a fresh head. Raises ConfigError."""
    checked = check_config(configs)
    name = checked.get("robovlm_name")
    if not isinstance(name, str):
        raise ConfigError(f"robovlm_name {name!r}: want one of {', '.join(BACKBONES)}")
    return backbone_class(name)(checked)


def build_vlm(vlm_config: Mapping[str, Any], tokenizer_config: Mapping[str, Any] | None = None, precision: str = "bf16") -> BaseRoboVLM:
    """A backbone without a head, for questions in words. `vlm_config` has `name` and `pretrained_model_name_or_path`.

    The tokenizer is the one in the model's folder; a `tokenizer_config` that names another folder is refused.
    """
    name, path = vlm_config.get("name"), vlm_config.get("pretrained_model_name_or_path")
    if name not in FAMILIES:
        raise ConfigError(f"vlm.name {name!r}: want one of {', '.join(FAMILIES)}")
    other = (tokenizer_config or {}).get("pretrained_model_name_or_path", path)
    if other is not None and Path(str(other)) != Path(str(path)):
        raise ConfigError(f"tokenizer {other}: this backbone reads the tokenizer in its own folder, {path}")
    model = backbone_class(FAMILIES[name])({"model": name, "vlm": dict(vlm_config)})
    return model.to(dtype_of(precision)).eval()


def load_policy(folder: Path) -> BaseRoboVLM:
    """What `import_robovlms` and the trainer write: configuration, backbone folder, policy weights. Strict. Raises ConfigError."""
    configs = load_config(folder / CONFIG)
    configs["vlm"] = {**configs["vlm"], "pretrained_model_name_or_path": str(folder / configs["vlm"]["pretrained_model_name_or_path"])}
    model = build_policy(configs)
    load_policy_weights(model, read_weights(folder / POLICY_WEIGHTS), str(folder))
    return model.eval()


def load_policy_weights(model: BaseRoboVLM, tensors: Mapping[str, Any], what: str) -> None:
    """Everything of a model but its backbone."""
    backbone = {name for name in model.state_dict() if name.startswith("backbone.")}
    load_strict(model, tensors, what, optional=backbone)
