"""A goal in words and a camera go in, safe wheel commands come out.

Lazy on purpose (PEP 562): the guard process imports `edge_vla.guard` and must not pay for, or depend on, anything else.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "ActionType": "edge_vla.types",
    "RobotAction": "edge_vla.types",
    "Twist": "edge_vla.types",
    "Goal": "edge_vla.goals",
    "get_vlm_prompt": "edge_vla.goals",
    "VLAActionParser": "edge_vla.parse",
    "ActionValidator": "edge_vla.validate",
    "execute_action": "edge_vla.execute",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    """Import a public name from its home module the first time somebody asks for it."""
    if name not in _HOME:
        raise AttributeError(f"module 'edge_vla' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
