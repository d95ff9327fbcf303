"""Pictures, questions and what the model itself answered, inside its bundle: so that it can be verified without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from edge_vla.agreement import difference, told
from edge_vla.backends.bundle import Bundle, PolicyManifest, Strict
from edge_vla.backends.reference import Picture
from edge_vla.errors import ConfigError, EngineError
from edge_vla.types import Engine, Frame, Reply

PERIOD_NS = 200_000_000  # between the frames of a window, if its bundle says nothing else


class Case(Strict):
    """One question: a window of pictures, oldest first, and the last one's answer, in words or in the head's own numbers."""

    pictures: list[int] = Field(min_length=1)
    prompt: str
    text: str = ""
    confidence: float | None = Field(default=None, ge=0, le=1)  # None: not compared
    says: list[list[float]] | None = None  # (chunk, action_dim), of a policy


class Answers(Strict):
    """The whole file."""

    pictures: list[Picture] = Field(min_length=1)
    cases: list[Case] = Field(min_length=1)


class Saying(Protocol):
    """A policy's engine, asked for what its head says."""

    def says(self, frame: Frame, instruction: str) -> NDArray[Any]: ...

    def forget(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Kept:
    """How far an answer may lie from the model's own: corners of 1024, confidence, and the head's numbers, which lie in -1..1."""

    bins: int
    confidence: float
    action: float

    def action_holds(self, got: NDArray[Any], want: NDArray[Any]) -> bool:
        """Within `action` of it, or of its size where that is more: a gripper's number has no bounds. False for nan."""
        return got.shape == want.shape and bool((np.abs(got - want) <= self.action * np.maximum(1.0, np.abs(want))).all())

    def reply_holds(self, got: Reply, want: Reply) -> bool:
        off = difference(got, want)
        return off is not None and off.bins <= self.bins and off.confidence <= self.confidence


EXACT = Kept(bins=1, confidence=1e-3, action=1e-3)
NEAR = Kept(bins=16, confidence=0.1, action=0.02)
WIDE = Kept(bins=52, confidence=0.3, action=0.1)  # a box moved by a twentieth of the picture
KEPT = {"fp32": EXACT, "fp16": NEAR, "w8": NEAR, "w8a8": WIDE, "int8": WIDE, "w4": WIDE}  # by precision


def read_answers(bundle: Bundle) -> Answers:
    """Raises ConfigError where there are none or they are none."""
    name = bundle.manifest.reference
    if name is None:
        raise ConfigError(f"engine {bundle.folder} holds no answers to verify it with; export it again")
    try:
        found = Answers.model_validate_json(bundle.path(name).read_bytes())
    except (OSError, ValidationError) as err:
        raise ConfigError(f"engine {bundle.path(name)}: {err}") from err
    for i, case in enumerate(found.cases):
        if not all(0 <= k < len(found.pictures) for k in case.pictures):
            raise ConfigError(f"engine {bundle.path(name)}: cases.{i}.pictures: want 0..{len(found.pictures) - 1}, got {case.pictures}")
    return found


def window_of(found: Answers, case: Case, period_ns: int = PERIOD_NS) -> list[Frame]:
    """A case's frames, as far apart as a policy's actions."""
    frames = [found.pictures[k].frame() for k in case.pictures]
    return [Frame(frame.rgb, k * period_ns, k) for k, frame in enumerate(frames)]


def compare(engine: Engine, bundle: Bundle, kept: Kept, say: Callable[[str], None] = lambda _: None) -> tuple[int, int]:
    """(asked, agreeing) over the bundle's answers; `say` is told each that is another one. Raises ConfigError, EngineError."""
    found = read_answers(bundle)
    period_ns = PERIOD_NS
    if isinstance(bundle.manifest, PolicyManifest):
        period_ns = round(bundle.manifest.policy.period_s * 1e9)
    agreeing = 0
    for case in found.cases:
        frames = window_of(found, case, period_ns)
        same = _policy_agrees(engine, case, frames, kept) if case.says is not None else _reply_agrees(engine, case, frames[-1], kept)
        agreeing += same == ""
        if same:
            say(f"{case.prompt!r} about pictures {case.pictures}: {same}")
    return len(found.cases), agreeing


def require(engine: Engine, bundle: Bundle) -> int:
    """How many answers agree. Raises EngineError when fewer do than the verified bundle's have to, ConfigError as `compare` does."""
    others: list[str] = []
    asked, agreeing = compare(engine, bundle, KEPT[bundle.manifest.precision], others.append)
    share = bundle.manifest.verified.share if bundle.manifest.verified else 1.0
    if agreeing < share * asked:
        raise EngineError(f"engine {bundle.folder}: {others[0]}; {agreeing} of {asked} answers are as they were at export")
    return agreeing


def questions(bundle: Bundle) -> Iterator[tuple[Frame, str, Reply | None]]:
    """Each case's last picture, its prompt, and the answer in words if it is one. Raises ConfigError as `read_answers` does."""
    found = read_answers(bundle)
    for case in found.cases:
        want = Reply(case.text, case.confidence) if case.says is None else None
        yield found.pictures[case.pictures[-1]].frame(), case.prompt, want


def _policy_agrees(engine: Any, case: Case, frames: Sequence[Frame], kept: Kept) -> str:
    """ "" or what differs."""
    policy: Saying = engine
    policy.forget()
    for frame in frames:
        got = policy.says(frame, case.prompt)
    want = np.asarray(case.says)
    return "" if kept.action_holds(got, want) else f"want {np.round(want, 4).tolist()}, got {np.round(got, 4).tolist()}"


def _reply_agrees(engine: Engine, case: Case, frame: Frame, kept: Kept) -> str:
    got = engine.ask(frame, case.prompt)
    want = Reply(case.text, got.confidence if case.confidence is None else case.confidence)
    return "" if kept.reply_holds(got, want) else f"want {told(want)}, got {told(got)}"
