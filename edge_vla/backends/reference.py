"""Pictures, questions and the answers given at export, inside the bundle: a device without torch can verify what it loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Base64Bytes, Field, ValidationError

from edge_vla.backends.bundle import Bundle, Strict
from edge_vla.backends.decode import calibrated
from edge_vla.errors import ConfigError, EngineError
from edge_vla.types import Engine, Frame, Reply

# Of another machine's answers: int8 products round differently from one instruction set to the next.
BINS = 8  # of 1024, each corner
FREE_M = 0.05
CONFIDENCE = 0.1
_LOC = re.compile(r"<loc(\d{4})>")


class Picture(Strict):
    """One picture and what its columns said."""

    png: Base64Bytes
    free_distance_m: list[float] | None

    def frame(self) -> Frame:
        """Raises ConfigError for bytes that are no picture."""
        bgr = cv2.imdecode(np.frombuffer(self.png, np.uint8), cv2.IMREAD_COLOR) if self.png else None  # OpenCV raises for nothing at all
        if bgr is None:
            raise ConfigError(f"want a reference picture as PNG, got {len(self.png)} bytes that are none")
        return Frame(np.ascontiguousarray(bgr[..., ::-1], np.uint8), 0, 0)


class Answer(Strict):
    """One question about one picture. `confidence` is raw: a bundle may be calibrated after its answers were written."""

    picture: int = Field(ge=0)
    prompt: str
    text: str
    confidence: float = Field(ge=0, le=1)


class Reference(Strict):
    """The whole file."""

    pictures: list[Picture] = Field(min_length=1)
    answers: list[Answer] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the answers lie from the reference, at worst."""

    answers: int
    bins: int
    confidence: float
    free_m: float


def read_reference(bundle: Bundle) -> Reference:
    """The bundle's reference, its hash checked when the bundle was opened. Raises ConfigError where there is none or it is none."""
    name = bundle.manifest.reference
    if name is None:
        raise ConfigError(f"engine {bundle.folder} holds no reference answers to verify it with; export it again")
    try:
        found = Reference.model_validate_json(bundle.path(name).read_bytes())
    except (OSError, ValidationError) as err:
        raise ConfigError(f"engine {bundle.path(name)}: {err}") from err
    for i, answer in enumerate(found.answers):
        if answer.picture >= len(found.pictures):
            raise ConfigError(f"engine {bundle.path(name)}: answers.{i}.picture: want 0..{len(found.pictures) - 1}, got {answer.picture}")
    return found


def verify(engine: Engine, bundle: Bundle) -> Agreement:
    """Ask the loaded engine what its bundle was asked at export. Raises EngineError at the first answer that is another one.

    The same words; corners within BINS, free distances within FREE_M, confidences within CONFIDENCE.
    """
    reference = read_reference(bundle)
    frames = [picture.frame() for picture in reference.pictures]
    worst = Agreement(0, 0, 0.0, 0.0)
    for answer in reference.answers:
        got = engine.ask(frames[answer.picture], answer.prompt)
        confidence = calibrated(answer.confidence, bundle.manifest.calibration) if _LOC.search(answer.text) else answer.confidence
        want = Reply(answer.text, confidence, _columns(reference.pictures[answer.picture].free_distance_m))
        off = difference(got, want)
        if off is None or not (off.bins <= BINS and off.confidence <= CONFIDENCE and off.free_m <= FREE_M):  # nan too
            raise EngineError(
                f"engine {bundle.folder}: {answer.prompt!r} about reference picture {answer.picture}: want {_told(want)} "
                f"within {BINS} bins, {CONFIDENCE} of confidence and {FREE_M} m, got {_told(got)}; "
                "this machine does not run the bundle as it was exported"
            )
        worst = Agreement(
            worst.answers + 1, max(worst.bins, off.bins), max(worst.confidence, off.confidence), max(worst.free_m, off.free_m)
        )
    return worst


def difference(got: Reply, want: Reply) -> Agreement | None:
    """How far one answer lies from another; None where the words, the number of corners or the number of columns differ."""
    corners, wanted = _corners(got.text), _corners(want.text)
    columns, wanted_columns = _distances(got), _distances(want)
    if _LOC.sub("", got.text) != _LOC.sub("", want.text) or corners.shape != wanted.shape or columns.shape != wanted_columns.shape:
        return None
    return Agreement(
        1,
        int(np.abs(corners - wanted).max(initial=0)),
        abs((got.confidence or 0.0) - (want.confidence or 0.0)),
        float(np.abs(columns - wanted_columns).max(initial=0.0)),
    )


def _corners(text: str) -> NDArray[np.int64]:
    return np.array([int(k) for k in _LOC.findall(text)], np.int64)


def _columns(distances: list[float] | None) -> tuple[float, ...] | None:
    return None if distances is None else tuple(distances)


def _distances(reply: Reply) -> NDArray[np.float64]:
    return np.array(reply.free_distance_m or (), np.float64)


def _told(reply: Reply) -> str:
    free = "none" if reply.free_distance_m is None else " ".join(f"{d:.2f}" for d in reply.free_distance_m)
    return f"{reply.text!r} ({reply.confidence or 0.0:.2f}; free {free} m)"
