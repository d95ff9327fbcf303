"""JSON as replies have it, read strictly: every number is finite, every key is there once. Knows no format."""

from __future__ import annotations

import json
import math
from typing import Any

from edge_vla.errors import ParseError

MAX_DIGITS = 32  # of a number


def read_json(text: str) -> Any:
    """The value that is all of `text`, between spaces. Raises ParseError, also for what is cut short."""
    try:
        return json.loads(text, parse_int=_whole, parse_float=_real, parse_constant=_constant, object_pairs_hook=_once)
    except RecursionError as err:
        raise ParseError("want JSON a few levels deep, got more than can be read") from err
    except json.JSONDecodeError as err:
        cut = err.pos >= len(text.rstrip()) or err.msg.startswith("Unterminated")
        raise ParseError(
            f"want {'whole' if cut else 'plain'} JSON, got {err.msg} at {err.pos}: {text[max(0, err.pos - 20) :][:60]!r}"
        ) from err


def number(value: Any, what: str) -> float:
    """A number out of JSON. Raises ParseError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ParseError(f"want a finite number for {what}, got {str(value)[:40]!r}")
    return float(value)


def text_of(value: Any, what: str) -> str:
    """A text out of JSON. Raises ParseError."""
    if not isinstance(value, str):
        raise ParseError(f"want a text for {what}, got {str(value)[:40]!r}")
    return value


def _whole(digits: str) -> int:
    return int(_short(digits))


def _real(digits: str) -> float:
    return float(_short(digits))


def _short(digits: str) -> str:
    """Huge numbers take time beyond their length."""
    if len(digits) > MAX_DIGITS:
        raise ParseError(f"want a number of at most {MAX_DIGITS} characters, got {digits[:20]!r}... of {len(digits)}")
    return digits


def _constant(name: str) -> float:
    raise ParseError(f"want a finite number, got {name}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ParseError(f"want each key once, got {key[:40]!r} twice")
        found[key] = value
    return found
