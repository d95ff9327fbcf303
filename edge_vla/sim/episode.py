"""One evaluation episode in lockstep: which room, what is asked, and an honest verdict from the simulator's truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from edge_vla.config import RobotProfile
from edge_vla.geometry import wrap
from edge_vla.goals import Goal
from edge_vla.guard.types import Base
from edge_vla.robot import guard_limits, make_plan
from edge_vla.sim.judge import facing_rad
from edge_vla.sim.lockstep import Conditions, Lockstep
from edge_vla.sim.mover import make_mover
from edge_vla.sim.objects import CLASSES
from edge_vla.sim.robot import RobotModel
from edge_vla.sim.rooms import Room, make_room
from edge_vla.sim.world import World
from edge_vla.types import Engine

NEAR_M = 0.6  # from the robot's centre to the target's nearest surface
FACING_RAD = math.radians(20)
MOVES_M = 1.0  # an avoid episode must get about at least this far


@dataclass(frozen=True, slots=True)
class Case:
    """What one episode asks. The room and everything in it follow from `seed`."""

    seed: int
    goal: Goal
    target: str
    absent: bool = False
    facing_away: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which terms every episode of an evaluation is run."""

    latency_ms: int = 200
    timeout_s: float = 120.0
    stop_at_m: float = 0.45
    compensate: bool = True  # place sightings where the robot was at exposure, not where it is at the reply


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it."""

    seed: int
    target: str
    absent: bool
    said: str  # what the pilot reported: reached, not_found, timeout, fault
    success: bool
    spl: float
    time_s: float
    path_m: float
    contacts: int
    touched: tuple[str, ...]
    distance_m: float
    facing_deg: float
    why: str
    room: Room
    trail: tuple[tuple[float, float], ...]


def draw_case(seed: int, goal: Goal, *, absent: bool, index: int) -> Case:
    """Targets go round all classes, every second start faces away."""
    target = "person" if goal is Goal.FOLLOW else CLASSES[index * 5 % len(CLASSES)]
    away = (index + index // len(CLASSES)) % 2 == 0  # half of them, in either half of every class
    return Case(seed, goal, target, absent, facing_away=away)


def build_room(case: Case) -> Room:
    """The room with the target in it (thing 0) or surely not, and the robot turned as the case wants."""
    room = make_room(case.seed, require=() if case.absent else (case.target,), exclude=(case.target,) if case.absent else ())
    x, y, yaw = room.start
    if not case.absent:
        spread = np.random.default_rng([case.seed, 31]).uniform(-1, 1)
        straight = math.atan2(room.things[0].y_m - y, room.things[0].x_m - x)
        yaw = wrap(straight + (math.pi + spread * math.pi / 3 if case.facing_away else spread * math.pi / 2))
    return replace(room, start=(x, y, yaw))


def robot_model(profile: RobotProfile) -> RobotModel:
    """The simulated robot with the profile's geometry."""
    camera = profile.camera
    return RobotModel(
        track_m=profile.base.track_m, camera_height_m=camera.height_m, camera_forward_m=camera.forward_m,
        camera_pitch_deg=camera.pitch_deg, hfov_deg=camera.hfov_deg, aspect=camera.width / camera.height,
    )  # fmt: skip


def run_case(case: Case, profile: RobotProfile, base: Base, make_engine: Callable[[Lockstep], Engine], terms: Terms) -> Verdict:
    """Run and judge one episode."""
    room = build_room(case)
    world = World(room, robot_model(profile))
    target = None if case.goal is Goal.AVOID else case.target
    plan = make_plan(profile, case.goal, target, stop_at_m=terms.stop_at_m, compensate=terms.compensate)
    conditions = Conditions(terms.latency_ms, profile.steer.hz, profile.camera.fps)
    run = Lockstep(world, plan, base, make_engine, guard_limits(profile), conditions)
    if case.goal is Goal.FOLLOW:
        run.mover = make_mover(world, 0, case.seed)
    try:
        start_m = math.inf if case.absent else world.surface_distance(0)
        said = run.run(terms.timeout_s)
        return _judge(case, run, said, start_m)
    finally:
        run.close()


def _judge(case: Case, run: Lockstep, said: str, start_m: float) -> Verdict:
    world = run.world
    path_m = sum(math.hypot(b.x_m - a.x_m, b.y_m - a.y_m) for a, b in pairwise(run.trail))
    distance_m, facing = (math.inf, math.pi) if case.absent else (world.surface_distance(0), facing_rad(world, 0))
    contacts = world.contacts.episodes
    at_target = distance_m <= run.plan.stop_at_m + (NEAR_M - 0.45) and facing <= FACING_RAD
    success = contacts == 0 and {
        Goal.LOOK: said == "reached" and facing <= FACING_RAD,
        Goal.AVOID: said == "reached" and path_m >= MOVES_M,
        Goal.FOLLOW: said == "reached" and distance_m <= run.plan.stop_at_m + 0.5 and facing <= 2 * FACING_RAD,
    }.get(case.goal, said == "reached" and at_target)
    if case.absent:
        success = said != "reached" and contacts == 0
    shortest_m = max(0.0, start_m - NEAR_M)  # straight line: a lower bound of any real path, so SPL is not flattered
    spl = float(success) * (shortest_m / max(shortest_m, path_m) if shortest_m > 0.05 else 1.0)
    return Verdict(
        case.seed, case.target, case.absent, said, success, 0.0 if case.absent else spl, run.elapsed_s, path_m, contacts,
        tuple(world.contacts.things), distance_m, math.degrees(facing), run.steering.state.why, world.room,
        tuple((p.x_m, p.y_m) for p in run.trail[::5]),
    )  # fmt: skip
