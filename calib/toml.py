"""A TOML file, written whole or not at all. Writes what calibrations hold: numbers, texts, moments, lists, tables, lists of tables."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from edge_vla.errors import ConfigError


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Put it in place of what is there. Raises ConfigError for a place that cannot be written."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(dumps(document), "utf-8")
        part.replace(path)
    except (OSError, UnicodeEncodeError) as err:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {err.strerror if isinstance(err, OSError) else err}") from err


def dumps(document: Mapping[str, Any]) -> str:
    """Raises ConfigError for a number that is none: a file must not hold what its reader refuses."""
    return "\n".join(_table(document, ())).strip("\n") + "\n"


def _table(table: Mapping[str, Any], name: tuple[str, ...]) -> Iterator[str]:
    """Plain values first: whatever follows a header belongs to it."""
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping) or _is_tables(value)}
    for key, value in table.items():
        if key not in inner:
            yield f"{_key(key)} = {_value(value, (*name, key))}"
    for key, value in inner.items():
        path = (*name, key)
        dotted = ".".join(_key(part) for part in path)
        for one in value if _is_tables(value) else [value]:
            yield ""
            yield f"[[{dotted}]]" if _is_tables(value) else f"[{dotted}]"
            yield from _table(one, path)


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else _text(key)


def _text(text: str) -> str:
    """A TOML basic string escapes what a JSON string does, and DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any, name: tuple[str, ...]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item, name) for item in value)}]"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(float(value))
    raise ConfigError(f"{'.'.join(name)} = {value!r}: want a finite number, a text, a moment or a list of them")
