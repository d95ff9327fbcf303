"""Every error this package raises on purpose. One root, so `run` can turn any of them into a stop and an exit code."""

from collections.abc import Iterable
from difflib import get_close_matches


class EdgeVLAError(Exception):
    """Root of all errors raised on purpose; the message names the value and what is allowed."""


class ConfigError(EdgeVLAError):
    """A profile, bundle manifest or command line that cannot be used as it stands (exit code 2)."""


class CameraError(EdgeVLAError):
    """A camera that cannot be opened or read, or a frame that breaks the frame rules."""


class EngineError(EdgeVLAError):
    """An engine that failed, or answered with something that is not a reply."""


class ParseError(EdgeVLAError):
    """A reply that is no action; says what was wanted and what came."""


class UnsafeCommand(EdgeVLAError):
    """A command the guard refuses: not finite, out of range, or wrong for the base."""


class BaseError(EdgeVLAError):
    """A base that cannot be opened, written or understood."""


class GuardError(EdgeVLAError):
    """The guard process died, latched a fault, or refused to arm."""


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """The end of a sentence that refuses `name`: "; did you mean 'cup'?", or nothing when no known one is near."""
    near = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]!r}?" if near else ""
