"""The bases this package can drive, by name. A new base is one file and one line here; tests/bases/ then tests it by itself."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from edge_vla.bases.waveshare import WaveshareUGV
from edge_vla.errors import ConfigError
from edge_vla.guard.types import Base

BASES: dict[str, Callable[..., Base]] = {"waveshare": WaveshareUGV}


def make_base(name: str, options: Mapping[str, object] | None = None) -> Base:
    """The base called `name`. Raises ConfigError for an unknown name or option, naming the nearest."""
    if name not in BASES:
        near = difflib.get_close_matches(name, BASES, n=1, cutoff=0.0)[0]
        raise ConfigError(f"base {name!r} is unknown; did you mean {near!r}? There are: {', '.join(BASES)}")
    try:
        return BASES[name](**dict(options or {}))
    except TypeError as err:
        raise ConfigError(f"base {name!r}: {err}") from err
