"""Rows 1 to 9: what a camera can do to a robot that drives."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np

from edge_vla.errors import CameraError
from edge_vla.guard.state import FaultCode
from edge_vla.types import Frame
from tests.faults.robot import Robot
from tests.faults.row import CONTROLLED, EVIDENCE_MS, LIMITS, SILENCE_MS, Row
from tests.faults.seams import ARRIVES_MS, FRAME_NS, HEIGHT, WIDTH

MS = 1_000_000
FREEZE_MS = 150 + FRAME_NS // MS  # a picture that repeats while the robot moves is found out on the first frame after 150 ms
BLIND_MS = EVIDENCE_MS + SILENCE_MS
WORKER_FAULT = (FaultCode.WORKER_FAULT,)
STILL_SCENE = np.random.default_rng(9).integers(70, 150, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def unplug(robot: Robot, ms: int | None = None) -> None:
    robot.camera.gone = "no such device: /dev/video0"
    if ms is not None:
        robot.at(ms, lambda: setattr(robot.camera, "gone", ""))


def nothing_comes(robot: Robot) -> None:
    robot.camera.change = lambda _frame: None


def show(robot: Robot, rgb: np.ndarray, *, noise: float = 0.0) -> None:
    """The same scene from now on, with a sensor's noise of that standard deviation."""
    rng = np.random.default_rng(3)

    def frame(real: Frame) -> Frame:
        grain = rng.normal(0.0, noise, rgb.shape) if noise else 0.0
        return replace(real, rgb=np.ascontiguousarray(np.clip(rgb + grain, 0, 255).astype(np.uint8)))

    robot.camera.change = frame


def shape(robot: Robot, rgb: np.ndarray) -> None:
    robot.camera.change = lambda real: replace(real, rgb=rgb)


def stamps(robot: Robot, off_s: float | None) -> None:
    """Stamps so far off, or with None the same one again and again."""
    first = robot.camera._next_ns
    robot.camera.change = lambda real: replace(real, t_capture_ns=first if off_s is None else real.t_capture_ns + off_s * 1e9)  # type: ignore[arg-type]


def numbers(robot: Robot) -> None:
    robot.camera.change = lambda real: replace(real, seq=7)


def slow(robot: Robot) -> None:
    robot.camera.period_ns = lambda: 1_000_000_000


def jitter(robot: Robot) -> None:
    rng = random.Random(8)
    delays: dict[int, int] = {}
    robot.camera.late_ms = lambda: delays.setdefault(robot.camera._seq, rng.randrange(0, 400))


def torn(robot: Robot) -> None:
    def half(real: Frame) -> Frame:
        rgb = real.rgb.copy()
        rgb[HEIGHT // 2 :] = 0
        return replace(real, rgb=rgb)

    robot.camera.change = half


def drives_on(robot: Robot, onset_ns: int) -> None:
    assert max(fast for _, fast in robot.commands(robot.now_ns - 500 * MS)) > 0.9 * robot.cruise_mps, "nothing was wrong any more"


def refused(reason: str):
    def check(robot: Robot, onset_ns: int) -> None:
        assert robot.see.tally()[f"frame_{reason}"] > 0
        assert robot.ended.startswith("no usable frame")

    return check


def misshapen(robot: Robot, onset_ns: int) -> None:
    refused("shape")(robot, onset_ns)
    latched_ns = next(t_ns for t_ns, status in robot.states if status.fault is FaultCode.WORKER_FAULT)
    assert latched_ns - onset_ns <= 1200 * MS, "no waiting mends a wrong size"


def only_fresh_frames(robot: Robot, onset_ns: int) -> None:
    """No frame older than 200 ms was asked about, and no command outlived its look."""
    assert max(robot.engine.asked_ages_ns) <= 200 * MS
    lasts_ns = max(EVIDENCE_MS * MS, 2 * robot.see.seeing.p99_ns)
    captures = [look.t_capture_ns for look in [robot.loop.look] if look is not None]
    assert captures
    moving = [t for t, fast in robot.commands(onset_ns) if fast > 0.0]
    assert not moving or moving[-1] <= captures[-1] + lasts_ns + SILENCE_MS * MS


def slows_down(robot: Robot, onset_ns: int) -> None:
    only_fresh_frames(robot, onset_ns)
    assert any(fast == 0.0 for _, fast in robot.commands(onset_ns)), "between two frames a second apart a look runs out"


def gone_says_so(robot: Robot, onset_ns: int) -> None:
    assert "no such device: /dev/video0" in robot.ended
    assert isinstance(CameraError(""), Exception)


ROWS = [
    Row(1, "camera unplugged", CONTROLLED, unplug, BLIND_MS, WORKER_FAULT, check=gone_says_so),
    Row(1, "camera unplugged for 1.2 s", CONTROLLED, lambda robot: unplug(robot, 1200), BLIND_MS, check=drives_on, lasts_ms=8000),
    Row(2, "camera blocks in read", CONTROLLED, nothing_comes, BLIND_MS, WORKER_FAULT),
    Row(
        3,
        "frozen picture, new stamps",
        CONTROLLED,
        lambda r: show(r, STILL_SCENE),
        FREEZE_MS + BLIND_MS,
        WORKER_FAULT,
        check=refused("frozen"),
    ),
    Row(3, "still scene, a live sensor's noise", LIMITS, lambda r: show(r, STILL_SCENE, noise=1.0), check=drives_on),
    Row(
        4,
        "black picture, lens covered",
        CONTROLLED,
        lambda r: show(r, np.zeros((HEIGHT, WIDTH, 3)), noise=1.0),
        BLIND_MS,
        WORKER_FAULT,
        check=refused("black"),
    ),
    Row(
        5,
        "over-exposed",
        CONTROLLED,
        lambda r: show(r, np.full((HEIGHT, WIDTH, 3), 255.0), noise=0.5),
        BLIND_MS,
        WORKER_FAULT,
        check=refused("overexposed"),
    ),
    Row(6, "half the resolution", CONTROLLED, lambda r: shape(r, STILL_SCENE[::2, ::2].copy()), BLIND_MS, WORKER_FAULT, check=misshapen),
    Row(6, "wrong stride", CONTROLLED, lambda r: shape(r, STILL_SCENE[:, ::-1]), BLIND_MS, WORKER_FAULT, check=misshapen),
    Row(6, "YUYV as RGB", CONTROLLED, lambda r: shape(r, STILL_SCENE[..., :2].copy()), BLIND_MS, WORKER_FAULT, check=misshapen),
    Row(7, "stamps 5 s back", CONTROLLED, lambda r: stamps(r, -5.0), BLIND_MS, WORKER_FAULT, check=refused("stamp")),
    Row(7, "stamps 5 s ahead", CONTROLLED, lambda r: stamps(r, 5.0), BLIND_MS, WORKER_FAULT, check=refused("future")),
    Row(7, "the same stamp again", CONTROLLED, lambda r: stamps(r, None), BLIND_MS, WORKER_FAULT, check=refused("stamp")),
    Row(7, "stamps that are no number", CONTROLLED, lambda r: stamps(r, math.nan), BLIND_MS, WORKER_FAULT, check=refused("stamp")),
    Row(7, "frame numbers that stand still", CONTROLLED, numbers, BLIND_MS, WORKER_FAULT, check=refused("sequence")),
    Row(8, "one frame a second", LIMITS, slow, check=slows_down, lasts_ms=8000),
    Row(8, "frames 0 to 400 ms late", LIMITS, jitter, check=only_fresh_frames, lasts_ms=8000),
    Row(9, "torn picture (cannot be told)", LIMITS, torn, check=drives_on),
]
assert ARRIVES_MS < 200
