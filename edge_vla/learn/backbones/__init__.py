"""Backbones by name. A new one is a file here, a line in BACKBONES and a tiny checkpoint in tests/learn/backbones."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edge_vla.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from edge_vla.learn.backbones.base import BaseRoboVLM

# The class that `robovlm_name` names, and the module it is in; imported when it is asked for, since transformers is slow to load.
BACKBONES = {
    "RoboFlamingo": "flamingo",
    "RoboKosMos": "kosmos",
    "RoboLLaVA": "llava",
    "RoboMoonDream": "moondream",
    "RoboPaligemma": "paligemma",
    "RoboQwen": "qwen",
    "RoboUform": "uform",
}


def backbone_class(name: str) -> type[BaseRoboVLM]:
    """The class of a backbone. Raises ConfigError with the nearest name for an unknown one."""
    if name not in BACKBONES:
        raise ConfigError(f"robovlm_name {name!r}: want one of {', '.join(BACKBONES)}{did_you_mean(name, BACKBONES)}")
    found: type[BaseRoboVLM] = getattr(import_module(f"{__name__}.{BACKBONES[name]}"), name)
    return found


def __getattr__(name: str) -> Any:
    """`from edge_vla.learn.backbones import RoboPaligemma` and the others, each imported when it is asked for."""
    if name not in BACKBONES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(BACKBONES)}")
    return backbone_class(name)
