"""One evaluation episode in lockstep: which room, what is asked, and an honest verdict from the simulator's truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from edge_vla.config import RobotProfile
from edge_vla.errors import EdgeVLAError
from edge_vla.geometry import wrap
from edge_vla.goals import Goal
from edge_vla.guard.types import Base
from edge_vla.parts import make_base
from edge_vla.robot import guard_limits, instructed, make_plan
from edge_vla.sim.judge import facing_rad
from edge_vla.sim.lockstep import Conditions, Lockstep
from edge_vla.sim.mover import make_mover
from edge_vla.sim.objects import CLASSES
from edge_vla.sim.plant import track_of
from edge_vla.sim.robot import RobotModel
from edge_vla.sim.rooms import Room, make_room
from edge_vla.sim.world import World
from edge_vla.types import Engine

NEAR_M = 0.6  # from the robot's centre to the target's nearest surface: where a thing counts as found
OVERSHOOT_M = 0.15  # of who was told where to stop
ELSEWHERE_M = 0.2  # beyond where it counts as there: said "reached" this far off, it was another place
FREE_M = 0.15  # of the way is no detour: turning on the spot, and the last centimetres
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
    policy: bool = False  # the engine is told what to do instead of being asked


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
    elsewhere: bool  # said "reached" at another place, or facing another way
    why: str
    room: Room
    trail: tuple[tuple[float, float], ...]


def draw_case(seed: int, goal: Goal, *, absent: bool, index: int, things: tuple[str, ...] = ()) -> Case:
    """Targets go round all classes, or the things given, and every second start faces away."""
    turn = things or tuple(CLASSES[k * 5 % len(CLASSES)] for k in range(len(CLASSES)))
    target = "person" if goal is Goal.FOLLOW else turn[index % len(turn)]
    away = (index + index // len(turn)) % 2 == 0  # half of them, in either half of every class
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
    camera, drive = profile.camera, make_base(profile.base).traits.drive
    return RobotModel(
        track_m=track_of(drive, RobotModel().track_m), camera_height_m=camera.height_m, camera_forward_m=camera.forward_m,
        camera_pitch_deg=camera.pitch_deg, hfov_deg=camera.hfov_deg, aspect=camera.width / camera.height,
    )  # fmt: skip


def run_case(case: Case, profile: RobotProfile, base: Base, make_engine: Callable[[Lockstep], Engine], terms: Terms) -> Verdict:
    """Run and judge one episode."""
    room = build_room(case)
    world = World(room, robot_model(profile))
    target = None if case.goal is Goal.AVOID else case.target
    plan = make_plan(profile, case.goal, target, stop_at_m=terms.stop_at_m, compensate=terms.compensate)
    plan = instructed(plan) if terms.policy else plan
    conditions = Conditions(terms.latency_ms, profile.steer.hz, profile.camera.fps, base=profile.base.kind, base_options=profile.base.codec)
    run = Lockstep(world, plan, base, make_engine, guard_limits(profile), conditions)
    if case.goal is Goal.FOLLOW:
        run.mover = make_mover(world, 0, case.seed)
    try:
        start_m = math.inf if case.absent else world.surface_distance(0)
        return _judge(case, run, _drive(run, terms.timeout_s), start_m)
    finally:
        run.close()


def _drive(run: Lockstep, timeout_s: float) -> tuple[str, str]:
    """(what the pilot reported, why). An error is a result like any other: the episodes after it are run all the same."""
    try:
        said = run.run(timeout_s)
    except EdgeVLAError as err:
        return "fault", str(err)
    status = run.steering.guard.status
    latch = f"the guard latched {status.fault.name.lower()}" if said == "fault" and status is not None else ""
    return said, latch or run.steering.state.why


def reach_m(goal: Goal, stop_at_m: float) -> float:
    """How near the target's surface counts as there. A find is judged by one distance, however near it was told to stop."""
    return NEAR_M if goal is Goal.FIND_OBJECT else stop_at_m + OVERSHOOT_M


def spl_of(shortest_m: float, path_m: float) -> float:
    """Success weighted by path length, of a success: the shortest way over the way driven, at most 1.

    `shortest_m` is a straight line, a lower bound of any real path, so that nothing is flattered. FREE_M of it costs nothing: who begins
    where it should end has no way to go, and a way of 0.4 m from there is worth 0.15 / 0.4, not 1.
    """
    shortest_m = max(FREE_M, shortest_m)
    return shortest_m / max(shortest_m, path_m)


def _judge(case: Case, run: Lockstep, ended: tuple[str, str], start_m: float) -> Verdict:
    (said, why), world, goal = ended, run.world, case.goal
    path_m = sum(math.hypot(b.x_m - a.x_m, b.y_m - a.y_m) for a, b in pairwise(run.trail))
    distance_m, facing = (math.inf, math.pi) if case.absent else (world.surface_distance(0), facing_rad(world, 0))
    contacts, near_m = world.contacts.episodes, reach_m(goal, run.plan.stop_at_m)
    reached = said == "reached"
    success = contacts == 0 and {
        Goal.LOOK: reached and facing <= FACING_RAD,
        Goal.AVOID: reached and path_m >= MOVES_M,
        Goal.FOLLOW: reached and distance_m <= run.plan.stop_at_m + 0.5 and facing <= 2 * FACING_RAD,
    }.get(goal, reached and distance_m <= near_m and facing <= FACING_RAD)
    if case.absent:
        success = not reached and contacts == 0
    elsewhere = reached and {Goal.LOOK: facing > FACING_RAD, Goal.AVOID: False}.get(goal, distance_m > near_m + ELSEWHERE_M)
    shortest_m = 0.0 if goal is Goal.LOOK else start_m - near_m
    return Verdict(
        case.seed, case.target, case.absent, said, success, spl_of(shortest_m, path_m) if success and not case.absent else 0.0,
        run.elapsed_s, path_m, contacts, tuple(world.contacts.things), distance_m, math.degrees(facing), elsewhere, why, world.room,
        tuple((p.x_m, p.y_m) for p in run.trail[::5]),
    )  # fmt: skip
