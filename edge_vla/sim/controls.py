"""Engines made worse on purpose, to show that an evaluation can fail: each should score near zero."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_vla.types import Engine, Frame, Reply


class _Around:
    """Everything of the engine it stands around but the answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def targets(self) -> tuple[str, ...] | None:
        return self._engine.targets

    def close(self) -> None:
        self._engine.close()


class Swapped(_Around):
    """Asks about another thing than it was asked about, and answers as if it had not."""

    def ask(self, frame: Frame, prompt: str) -> Reply:
        """`detect cup` becomes `detect <the thing half a list away>`, and its box is called a cup."""
        known = self._engine.targets or ()
        thing = prompt.removeprefix("detect ")
        if thing == prompt or thing not in known:
            return self._engine.ask(frame, prompt)
        other = known[(known.index(thing) + len(known) // 2) % len(known)]
        reply = self._engine.ask(frame, f"detect {other}")
        return replace(reply, text=reply.text.replace(other, thing))


class Blank(_Around):
    """Sees a uniform grey instead of the frame."""

    def ask(self, frame: Frame, prompt: str) -> Reply:
        return self._engine.ask(replace(frame, rgb=np.full_like(frame.rgb, 127)), prompt)
