"""Pictures, questions and the answers given at export, inside the bundle: a device without torch can verify what it loaded."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from pydantic import Base64Bytes, Field, ValidationError

from edge_vla.agreement import ANOTHER_MACHINE, BINS, CONFIDENCE, FREE_M, LOC, Agreement, difference, told
from edge_vla.backends.bundle import Bundle, FinderManifest, Strict
from edge_vla.backends.decode import calibrated
from edge_vla.errors import ConfigError, EngineError
from edge_vla.types import Engine, Frame, Reply

__all__ = [
    "BINS", "CONFIDENCE", "FREE_M", "Agreement", "Answer", "Picture", "Reference", "difference", "questions", "read_reference", "verify",
]  # fmt: skip


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


def questions(bundle: Bundle) -> Iterator[tuple[int, Frame, str, Reply]]:
    """(picture number, picture, prompt, answer at export), in the order of the file. Raises ConfigError as `read_reference` does."""
    reference = read_reference(bundle)
    frames = [picture.frame() for picture in reference.pictures]
    calibration = bundle.manifest.calibration if isinstance(bundle.manifest, FinderManifest) else None
    for answer in reference.answers:
        confidence = calibrated(answer.confidence, calibration) if calibration and LOC.search(answer.text) else answer.confidence
        columns = reference.pictures[answer.picture].free_distance_m
        want = Reply(answer.text, confidence, None if columns is None else tuple(columns))
        yield answer.picture, frames[answer.picture], answer.prompt, want


def verify(engine: Engine, bundle: Bundle) -> Agreement:
    """Ask the loaded engine what its bundle was asked at export. Raises EngineError at the first answer that is another one.

    The same words; corners within BINS, free distances within FREE_M, confidences within CONFIDENCE.
    """
    worst = Agreement(0, 0, 0.0, 0.0)
    for number, frame, prompt, want in questions(bundle):
        got = engine.ask(frame, prompt)
        off = difference(got, want)
        if off is None or not ANOTHER_MACHINE.holds(off):
            raise EngineError(
                f"engine {bundle.folder}: {prompt!r} about reference picture {number}: want {told(want)} "
                f"within {ANOTHER_MACHINE}, got {told(got)}; this machine does not run the bundle as it was exported"
            )
        worst = Agreement(
            worst.answers + 1, max(worst.bins, off.bins), max(worst.confidence, off.confidence), max(worst.free_m, off.free_m)
        )
    return worst
