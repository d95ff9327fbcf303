"""Models and their training. The only package that imports torch.

Lazy (PEP 562): `import edge_vla.learn` costs nothing until a model is asked for.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "ActionTokenizer": "action_tokenizer",
    "BasePolicyHead": "heads",
    "BaseRoboVLM": "backbones.base",
    "DiscreteDecoder": "heads",
    "FCDecoder": "heads",
    "GPTDecoder": "heads",
    "LSTMDecoder": "heads",
    "MLPSigmoidHead": "heads",
    "MLPTanhHead": "heads",
    "MobileVLAClassificationDecoder": "heads",
    "MobileVLALSTMDecoder": "heads",
    "PerceiverResampler": "resampler",
    "RoboFlamingo": "backbones.flamingo",
    "RoboKosMos": "backbones.kosmos",
    "RoboLLaVA": "backbones.llava",
    "RoboMoonDream": "backbones.moondream",
    "RoboPaligemma": "backbones.paligemma",
    "RoboQwen": "backbones.qwen",
    "RoboUform": "backbones.uform",
    "build_policy": "build",
    "build_vlm": "build",
    "load_config": "config",
    "load_policy": "build",
    "policy_loss": "losses",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    """Import a public name from its home module the first time somebody asks for it."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
