"""Episodes on disk: what the teacher saw on its way, in order, in shards of the views' kind. Recording resumes where it stopped.

`python -m edge_vla.learn.policy.episodes data/policy --episodes 160`
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vla.config import RobotProfile
from edge_vla.goals import Goal
from edge_vla.learn.data.shards import read_shard, write_shard
from edge_vla.learn.data.views import HELD_OUT_SEED, SIZE_PX, View
from edge_vla.learn.policy.teacher import SPEED_MPS, TURN_RPS, Teacher, chunk_of
from edge_vla.parts import make_base
from edge_vla.robot import camera_pose
from edge_vla.sim.episode import Case, Terms, run_case
from edge_vla.sim.lockstep import Lockstep
from edge_vla.sim.objects import CLASSES
from edge_vla.sim.view import Truth
from edge_vla.types import Acting, Frame, Reply

FIRST_SEED = 700_000  # rooms of episodes; the views' are below, those of validation and evaluation above
THINGS = ("cone",)  # what is taught: a few million weights see one colour within the hour, not twelve shapes
EPISODES_PER_SHARD = 8
TIMEOUT_S = 60.0
LATENCIES_MS = (100, 200, 300)
NUDGED = 0.12  # share of looks at which the driver is pushed off its way: so the student sees how one gets back
NUDGE_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Episode:
    """Views in order, a look apart, on the way to one thing. Images stay JPEG."""

    thing: str
    views: tuple[tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]], ...]  # as `read_shard` gives them


class Recorded:
    """A driver that keeps every frame it is asked about with its truth, and is nudged off its way now and then."""

    targets = None

    def __init__(self, driver: Acting, truth_of: Callable[[int], Truth | None], rng: np.random.Generator) -> None:
        self.views: list[View] = []
        self._driver, self._truth_of, self._rng = driver, truth_of, rng
        self._nudge, self._left = np.zeros(2, np.float32), 0

    @property
    def moves(self) -> frozenset[str]:
        return self._driver.moves

    def ask(self, frame: Frame, prompt: str) -> Reply:
        truth = self._truth_of(frame.seq)
        if truth is not None:
            self.views.append(view_of(frame, truth))
        reply = self._driver.ask(frame, prompt)
        if self._left == 0 and self._rng.random() < NUDGED / NUDGE_LOOKS:
            self._left = NUDGE_LOOKS
            self._nudge = self._rng.uniform((0.0, -TURN_RPS), (SPEED_MPS, TURN_RPS)).astype(np.float32)
        if self._left == 0:
            return reply
        self._left -= 1
        return Reply("", 1.0, chunk=chunk_of(self._nudge[None]))

    def forget(self) -> None:
        self._driver.forget()

    def close(self) -> None:
        self._driver.close()


def view_of(frame: Frame, truth: Truth) -> View:
    """A frame as the views have them. A truth counts no pixels: a box's whole area stands for them."""
    height, width = frame.rgb.shape[:2]
    rows = [
        (CLASSES.index(b.label), b.y_min, b.x_min, b.y_max, b.x_max, (b.y_max - b.y_min) * (b.x_max - b.x_min) * height * width)
        for b in truth.boxes
    ]
    rgb = cv2.resize(frame.rgb, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)
    return View(rgb.astype(np.uint8), np.array(rows, np.float32).reshape(-1, 6), np.array(truth.free_distance_m, np.float32))


def drive(seed: int, thing: str, profile: RobotProfile, driver: Callable[[Lockstep], Acting] | None = None) -> list[View]:
    """What was seen on the way to one thing in one room; the teacher drives unless told otherwise. Raises ValueError for held-out rooms."""
    if seed >= HELD_OUT_SEED:
        raise ValueError(f"seed {seed} is held out for evaluation; training seeds are below {HELD_OUT_SEED}")
    rng = np.random.default_rng([seed, 41])
    kept: list[Recorded] = []

    def build(run: Lockstep) -> Recorded:
        engine = Teacher(run.truth_of, camera_pose(profile)) if driver is None else driver(run)
        kept.append(Recorded(engine, run.truth_of, rng))
        return kept[0]

    base = make_base(profile.base)
    case = Case(seed, Goal.FIND_OBJECT, thing, facing_away=bool(rng.random() < 0.5))
    terms = Terms(latency_ms=int(rng.choice(LATENCIES_MS)), timeout_s=TIMEOUT_S, policy=True)
    run_case(case, profile, base, build, terms)
    return kept[0].views


def record(folder: Path, episodes: int, first_seed: int = FIRST_SEED, driver: Callable[[Lockstep], Acting] | None = None) -> None:
    """Drive the episodes not on disk yet, telling how fast it goes."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, episodes, EPISODES_PER_SHARD):
        path = folder / f"{first_seed + start:07d}.npz"
        if path.exists():
            continue
        began, views, ends = time.monotonic(), list[View](), list[int]()
        things = [THINGS[k % len(THINGS)] for k in range(start, start + EPISODES_PER_SHARD)]
        for k, thing in enumerate(things):
            views += drive(first_seed + start + k, thing, RobotProfile(), driver)
            ends.append(len(views))
        write_shard(path, views, episode_end=np.array(ends), thing=np.array([CLASSES.index(thing) for thing in things]))
        print(f"{path.name}: {len(views)} views, {len(views) / (time.monotonic() - began):.1f} a second", flush=True)


def read_episodes(path: Path) -> list[Episode]:
    """The episodes of one shard."""
    views = read_shard(path)
    with np.load(path) as data:
        ends, things = data["episode_end"].tolist(), data["thing"].tolist()
    starts = [0, *ends[:-1]]
    return [Episode(CLASSES[c], tuple(views[a:b])) for c, a, b in zip(things, starts, ends, strict=True)]


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description="Record what the teacher sees on its way to things in random rooms.")
    cli.add_argument("folder", type=Path)
    cli.add_argument("--episodes", type=int, default=160, help=f"in shards of {EPISODES_PER_SHARD}")
    cli.add_argument("--seed", type=int, default=FIRST_SEED, help="first room")
    cli.add_argument("--student", type=Path, help="a trained policy that drives instead, so that it learns from where it gets to by itself")
    given = cli.parse_args()
    student = None
    if given.student:
        from edge_vla.learn.policy.driver import Driver  # torch, which the teacher does without

        loaded = Driver.load(given.student)
        student = lambda _: loaded  # noqa: E731
    record(given.folder, given.episodes, given.seed, student)
