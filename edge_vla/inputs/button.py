"""A button that is held or not, whatever it hangs on. Knows nothing about what holding it means."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from edge_vla.errors import EdgeVLAError


class InputGone(EdgeVLAError):
    """A button that is not there, or no longer: plugging it in again may help."""


class Button(Protocol):
    """One button, open. One file per kind in `edge_vla/inputs/`."""

    def fileno(self) -> int:
        """What to select on: readable when there may be news. A terminal's key is let go in silence: ask it every 50 ms as well."""
        ...

    def read(self) -> bool | None:
        """The oldest news not told yet, held or not; None for none. Never waits. Raises InputGone.

        The first news after opening is how the button stands. A tap that is over by now is told as well: held, then not.
        """
        ...

    def close(self) -> None:
        """Also twice."""
        ...


class News:
    """Changes of one button that have not been told yet. The newest two say it all, so that is what is kept."""

    def __init__(self) -> None:
        self._last: bool | None = None
        self._untold: deque[bool] = deque(maxlen=2)

    def note(self, *, held: bool) -> None:
        """What has been heard; the same again is no news."""
        if held is not self._last:
            self._last = held
            self._untold.append(held)

    def __len__(self) -> int:
        return len(self._untold)

    def tell(self) -> bool | None:
        """The oldest, told now."""
        return self._untold.popleft() if self._untold else None
