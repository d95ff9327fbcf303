"""Looks made to measure, and a robot on paper that does exactly what it is told: the behaviours' tests need no simulator."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edge_vla.behaviours.state import Inputs, Phase, Plan, State
from edge_vla.errors import ParseError
from edge_vla.geometry import CameraPose, to_robot
from edge_vla.goals import Goal
from edge_vla.parse import box_to_locs, parse_all
from edge_vla.pilot import step, understand
from edge_vla.types import Box, Frame, Look, Pose, Reply, RobotAction, Sighting

CAMERA = CameraPose(math.radians(70), 4 / 3, 0.25, math.radians(10), 0.08)
MS, SECOND = 1_000_000, 1_000_000_000
NO_IMAGE = np.zeros((1, 1, 3), np.uint8)
COLUMNS = 16
STEER_S = 1 / 30
FRAME_S = 1 / 15
CAP_M = 4.0


@pytest.fixture(scope="session")
def camera() -> CameraPose:
    """The simulated rover's: 70 degrees wide, 0.25 m high, 0.08 m ahead of the wheel axis, 10 degrees down."""
    return CAMERA


@pytest.fixture(scope="session")
def make_plan() -> Callable[..., Plan]:
    """make_plan(goal="find_object", target="cup", text=..., any other field of a Plan)."""

    def make(goal: str = "find_object", target: str | None = "cup", text: str = "", **other: object) -> Plan:
        return Plan(Goal(goal), target, CAMERA, commands=parse_all(text) if text else (), **other)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def make_look() -> Callable[..., Look]:
    """make_look(at_s=1.0, sees=(x, y) in the odometry frame, pose=(x, y, yaw), free=metres or a list of them, ...)."""

    def make(
        at_s: float = 1.0, sees: tuple[float, float] | None = None, pose: tuple[float, float, float] = (0.0, 0.0, 0.0),
        free: float | list[float] | None = None, reply_s: float = 0.2, confidence: float = 0.95, **other: object,
    ) -> Look:  # fmt: skip
        captured = round(at_s * SECOND)
        where = Pose(captured, *pose)
        sighting = None
        if sees is not None:
            x, y = to_robot(where, *sees)
            sighting = Sighting(*sees, math.hypot(x, y), math.atan2(y, x), 0.1, confidence)
        distances = tuple([free] * COLUMNS if isinstance(free, float) else free) if free is not None else None
        look = Look(
            captured // MS, captured, captured + round(reply_s * SECOND), captured + max(500 * MS, round(2 * reply_s * SECOND)), where, "",
            sighting, None, confidence if sees else 0.0, distances,
        )  # fmt: skip
        return replace(look, **other)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def project() -> Callable[[float, float], tuple[float, float]]:
    """Where a point of the floor, in the robot's frame, is in the picture: the pinhole camera forwards, in plain vectors."""
    return image_of


def image_of(x_m: float, y_m: float) -> tuple[float, float]:
    ray = np.array((x_m - CAMERA.forward_m, y_m, -CAMERA.height_m))
    c, s = math.cos(CAMERA.pitch_rad), math.sin(CAMERA.pitch_rad)
    depth, right, down = ray @ (c, 0, -s), ray @ (0, -1, 0), ray @ (-s, 0, -c)
    half = math.tan(CAMERA.hfov_rad / 2)
    return 0.5 + right / depth / (2 * half), 0.5 + down / depth * CAMERA.aspect / (2 * half)


class Paper:
    """A flat world of round posts in a rectangle of walls. The robot turns and drives exactly as told; looks come late, as real ones do.

    `closest_m` is how near the robot's centre has come to any surface that is not the target's.
    """

    def __init__(
        self, plan: Plan, target: tuple[float, float] | None = None, posts: tuple[tuple[float, float, float], ...] = (),
        half_m: float = 3.0, reply_s: float = 0.2, radius_m: float = 0.05,
    ) -> None:  # fmt: skip
        self.plan, self.target, self.posts = plan, target, posts
        self.half_m, self.reply_s, self.radius_m = half_m, reply_s, radius_m
        self.x_m = self.y_m = self.yaw_rad = 0.0
        self.t_s = 1.0
        self.state = State()
        self.look: Look | None = None
        self.actions: list[tuple[State, RobotAction]] = []
        self.trail: list[Pose] = []
        self.closest_m = math.inf
        self.text = ""  # what the engine says when it sees no target
        self._seq = 0
        self._pending: tuple[float, Look] | None = None

    @property
    def pose(self) -> Pose:
        return Pose(round(self.t_s * SECOND), self.x_m, self.y_m, self.yaw_rad)

    @property
    def done(self) -> bool:
        return self.state.phase is Phase.DONE

    def run(self, for_s: float, until: Callable[[Paper], bool] = lambda paper: paper.done) -> State:
        """Let time pass, at most `for_s` seconds."""
        for _ in range(round(for_s / STEER_S)):
            if until(self):
                break
            self.tick()
        return self.state

    def tick(self) -> RobotAction:
        """One STEER period."""
        self._see()
        inputs = Inputs(round(self.t_s * SECOND), self.pose, self.look, armed=True)
        self.state, action = step(self.state, inputs, self.plan)
        self.actions.append((self.state, action))
        self.yaw_rad += action.angular_z * STEER_S
        self.x_m += action.linear_x * STEER_S * math.cos(self.yaw_rad)
        self.y_m += action.linear_x * STEER_S * math.sin(self.yaw_rad)
        self.t_s += STEER_S
        self.trail.append(self.pose)
        self.closest_m = min(self.closest_m, *(math.hypot(x - self.x_m, y - self.y_m) - r for x, y, r in self.posts), self._wall_m())
        return action

    def away_m(self) -> float:
        """From the robot's centre to the target's nearest surface."""
        assert self.target is not None
        return math.dist(self.target, (self.x_m, self.y_m)) - self.radius_m

    def bearing_rad(self) -> float:
        """To the target, left positive."""
        assert self.target is not None
        x, y = to_robot(self.pose, *self.target)
        return math.atan2(y, x)

    def _see(self) -> None:
        if self._pending is not None and self.t_s >= self._pending[0]:
            self.look, self._pending = self._pending[1], None
        if self._pending is None:
            self._seq += 1
            now = round(self.t_s * SECOND)
            ready = now + round(self.reply_s * SECOND)
            reply = Reply(self._answer(), 0.95, tuple(self.free_m(b) for b in CAMERA.column_bearings(COLUMNS)))
            look = understand(reply, Frame(NO_IMAGE, now, self._seq), self.pose, self.plan, (ready, round(self.reply_s * SECOND)))
            self._pending = (self.t_s + self.reply_s, look)

    def free_m(self, bearing_rad: float) -> float:
        """From under the camera to the first surface, the target's included."""
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        x, y = self.x_m + CAMERA.forward_m * c, self.y_m + CAMERA.forward_m * s
        dx, dy = math.cos(self.yaw_rad + bearing_rad), math.sin(self.yaw_rad + bearing_rad)
        free = min((math.copysign(self.half_m, d) - p) / d for p, d in ((x, dx), (y, dy)) if abs(d) > 1e-9)
        things = (*self.posts, *(((*self.target, self.radius_m),) if self.target else ()))
        for px, py, r in things:
            along, across = (px - x) * dx + (py - y) * dy, (py - y) * dx - (px - x) * dy
            if along > 0 and abs(across) < r:
                free = min(free, along - math.sqrt(r * r - across * across))
        return max(0.0, min(CAP_M, free))

    def _answer(self) -> str:
        """The target's box in loc tokens, when it is in view and nothing hides it."""
        box = self._box()
        if box is None:
            return self.text
        try:
            return f"{box_to_locs(box)} {self.plan.target}"
        except ParseError:  # out of the picture
            return self.text

    def _box(self) -> Box | None:
        if self.target is None:
            return None
        x, y = to_robot(self.pose, *self.target)
        away, bearing = math.hypot(x - CAMERA.forward_m, y), math.atan2(y, x - CAMERA.forward_m)
        if abs(bearing) > CAMERA.hfov_rad / 2 - 0.03 or self.free_m(bearing) < away - self.radius_m - 0.02:
            return None
        share = 1 - self.radius_m / math.hypot(x, y)
        column, row = image_of(x * share, y * share)
        half = self.radius_m / away / (2 * math.tan(CAMERA.hfov_rad / 2))
        return Box(max(0.0, row - 0.2), max(0.0, column - half), min(1.0, row), min(1.0, column + half))

    def _wall_m(self) -> float:
        return self.half_m - max(abs(self.x_m), abs(self.y_m))


@pytest.fixture(scope="session")
def make_paper(make_plan: Callable[..., Plan]) -> Callable[..., Paper]:
    """make_paper(goal, target=(x, y), posts=((x, y, radius), ...), ...): a world on paper for that goal."""

    def make(goal: str = "find_object", target: tuple[float, float] | None = None, plan: Plan | None = None, **world: object) -> Paper:
        return Paper(plan or make_plan(goal), target, **world)  # type: ignore[arg-type]

    return make
