"""What the engine is asked while it is measured: a bundle's reference questions, a folder of images or a recorded run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from edge_vla.errors import ConfigError
from edge_vla.goals import Goal, get_vlm_prompt
from edge_vla.parts import reference_of
from edge_vla.record import frame_path
from edge_vla.replay import load
from edge_vla.types import Engine, Frame, Reply

MOST = 64  # questions; more are thinned out evenly, so that a round stays short
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True, slots=True)
class Question:
    """One frame, one prompt. `want` is what the bundle answered at export, where these are its own questions."""

    frame: Frame
    prompt: str
    want: Reply | None = None

    @property
    def key(self) -> str:
        """Of pixels and prompt: two runs with the same keys asked the same."""
        told = f"{self.frame.rgb.shape} {self.prompt}".encode()
        return hashlib.sha256(told + np.ascontiguousarray(self.frame.rgb).tobytes()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Questions:
    """All questions of a run, where they come from, and the capture ages (ms) a recording brings."""

    asked: tuple[Question, ...]
    source: str
    capture_age_ms: tuple[float, ...] = ()


def choose(source: Path | None, engine_folder: str, engine: Engine, prompts: tuple[str, ...]) -> Questions:
    """The questions in `source`, or those the engine's own bundle brings. Raises ConfigError for a source without any."""
    folder = source or Path(engine_folder)
    if (folder / "manifest.json").is_file():
        return _of_bundle(folder, engine_folder, prompts)
    if (folder / "run.json").is_file():
        return _of_run(folder, prompts)
    if folder.is_dir():
        return _of_images(folder, prompts or (_default_prompt(engine),))
    raise ConfigError(f"--frames {folder}: want a bundle with reference answers, a recorded run or a folder of images")


def _of_bundle(folder: Path, engine_folder: str, prompts: tuple[str, ...]) -> Questions:
    found = tuple(Question(*triple) for triple in reference_of(str(folder)))
    if folder.resolve() != Path(engine_folder).resolve():  # another engine's answers are what BASE is for
        found = tuple(replace(question, want=None) for question in found)
    if prompts:
        known = dict.fromkeys(question.prompt for question in found)
        if strange := [prompt for prompt in prompts if prompt not in known]:
            raise ConfigError(f"--prompt {strange[0]!r}: {folder} brings answers to {', '.join(map(repr, known))}")
        found = tuple(question for question in found if question.prompt in prompts)
    return Questions(_thinned(found), f"reference of {folder}")


def _of_run(folder: Path, prompts: tuple[str, ...]) -> Questions:
    recording = load(folder)
    asked, ages = list[Question](), list[float]()
    for look in recording.looks.values():
        frame = _read(frame_path(folder, look.seq), look.seq)
        asked += [Question(frame, prompt) for prompt in prompts or (look.prompt,)]
        if look.stages.camera_ns:
            ages.append(look.stages.camera_ns * 1e-6)
    if not asked:
        raise ConfigError(f"--frames {folder}: nothing was looked at in that run")
    return Questions(_thinned(tuple(asked)), f"run {folder}", tuple(ages))


def _of_images(folder: Path, prompts: tuple[str, ...]) -> Questions:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)
    if not paths:
        raise ConfigError(f"--frames {folder}: holds no manifest.json, no run.json and no image ({', '.join(IMAGES)})")
    asked = tuple(Question(_read(path, k), prompt) for k, path in enumerate(paths) for prompt in prompts)
    return Questions(_thinned(asked), f"images in {folder}")


def _default_prompt(engine: Engine) -> str:
    if not engine.targets:
        raise ConfigError("an engine with an open vocabulary: say what to ask with --prompt 'detect cup'")
    return get_vlm_prompt(Goal.FIND_OBJECT, engine.targets[0])


def _read(path: Path, number: int) -> Frame:
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ConfigError(f"{path}: no image that can be read")
    return Frame(np.ascontiguousarray(bgr[..., ::-1], np.uint8), 0, number)


def _thinned(asked: tuple[Question, ...]) -> tuple[Question, ...]:
    """At most MOST of them, evenly, the first one among them."""
    step = max(1.0, len(asked) / MOST)
    return tuple(asked[int(k * step)] for k in range(min(MOST, len(asked))))
