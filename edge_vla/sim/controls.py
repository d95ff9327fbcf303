"""Engines made worse on purpose, to show that an evaluation can fail: each should score near zero."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edge_vla.errors import ConfigError
from edge_vla.types import Engine, Frame, Reply, acting


class _Around:
    """Everything of the engine it stands around but the answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def targets(self) -> tuple[str, ...] | None:
        return self._engine.targets

    def close(self) -> None:
        self._engine.close()

    def __getattr__(self, name: str) -> Any:
        """What not every engine has, as a policy's `moves` and `forget`."""
        return getattr(self._engine, name)


class Swapped(_Around):
    """Asks about another thing than it was asked about, and answers as if it had not."""

    def __init__(self, engine: Engine, known: Sequence[str] = ()) -> None:
        """`known` is for an engine that lists no things. Raises ConfigError with no other thing to ask about: it would answer honestly."""
        super().__init__(engine)
        self._known = engine.targets or known
        if len(set(self._known)) < 2:
            raise ConfigError(f"the swapped control needs an engine that lists two things or more, got {', '.join(self._known) or 'none'}")

    def ask(self, frame: Frame, prompt: str) -> Reply:
        """`detect cup` becomes `detect <the thing half a list away>`, and its box is called a cup; a policy's `go to the cup` alike."""
        asked = (thing for thing in self._known if prompt == f"detect {thing}" or (acting(self._engine) and prompt.endswith(f" {thing}")))
        thing = max(asked, key=len, default=None)
        if thing is None:
            return self._engine.ask(frame, prompt)
        other = self._known[(self._known.index(thing) + len(self._known) // 2) % len(self._known)]
        reply = self._engine.ask(frame, prompt.removesuffix(thing) + other)
        label = re.compile(rf"(?<![^\s>]){re.escape(other)}(?![^\s<;.,])", re.IGNORECASE)  # a word of the reply, not a part of a token
        return replace(reply, text=label.sub(lambda _: thing, reply.text))


class Blank(_Around):
    """Sees a uniform grey instead of the frame."""

    def ask(self, frame: Frame, prompt: str) -> Reply:
        return self._engine.ask(replace(frame, rgb=np.full_like(frame.rgb, 127)), prompt)
