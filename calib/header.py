"""What every calibration file begins with: its kind, when it was made, and with what."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from typing import Any

from edge_vla import __version__

VERSION = 1  # of the files' form


def header(kind: str, **versions: str) -> dict[str, Any]:
    """The first keys of a file; `versions` are those of the packages that did the work."""
    known = {"edge_vla": __version__, "python": platform.python_version(), **versions}
    return {"kind": kind, "version": VERSION, "made": datetime.now(timezone.utc).replace(microsecond=0), "versions": known}
