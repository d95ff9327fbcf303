"""The deadman: a robot that moves only while somebody says, again and again, that a button is held. Silence is a release."""

from __future__ import annotations

from pathlib import Path

from edge_vla.guard.private import PrivateSocket

SUFFIX = ".deadman"
HELD = b"HELD"


class DeadmanLine(PrivateSocket):
    """The guard's end. Its name carries the guard's pid."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError where no private socket can be made."""
        super().__init__(folder, SUFFIX)

    def said(self) -> bool | None:
        """Held or released by the newest word since the last call, None for none. What is no word for held is a release."""
        words = self.heard()
        return words[-1].strip() == HELD if words else None
