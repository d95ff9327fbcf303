"""The whole path in simulated rooms with true boxes: pixels to wheels in lockstep, judged by the simulator."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest

from edge_vla.bases import make_base
from edge_vla.config import RobotProfile
from edge_vla.geometry import to_robot, wrap
from edge_vla.goals import Goal
from edge_vla.robot import guard_limits, make_plan
from edge_vla.sim.episode import Case, build_room, robot_model
from edge_vla.sim.judge import facing_rad
from edge_vla.sim.lockstep import Conditions, Lockstep
from edge_vla.sim.oracle import OracleEngine
from edge_vla.sim.world import World
from edge_vla.track import Track
from edge_vla.types import Pose

PROFILE = RobotProfile()
TOLERANCE_RAD = math.radians(4)


@pytest.fixture
def lockstep() -> Callable[..., Lockstep]:
    """lockstep(case, latency_ms=..., ...): a run ready to be advanced, with true boxes; closed at the end of the test."""
    opened: list[Lockstep] = []

    def make(case: Case, *, latency_ms: int = 200, compensate: bool = True) -> Lockstep:
        world = World(build_room(case), robot_model(PROFILE))
        plan = make_plan(PROFILE, case.goal, case.target, compensate=compensate)
        base = make_base("waveshare", PROFILE.base.codec)
        run = Lockstep(world, plan, base, lambda it: OracleEngine(it.truth_of), guard_limits(PROFILE), Conditions(latency_ms))
        opened.append(run)
        return run

    yield make
    for run in opened:
        run.close()


def find(seed: int, target: str, **other: bool) -> Case:
    return Case(seed, Goal.FIND_OBJECT, target, **other)


def check_arrived(run: Lockstep, said: str) -> None:
    """What the pilot says is what the simulator sees."""
    assert (said, run.steering.state.outcome) == ("reached", "reached"), run.steering.state.why
    assert run.world.contacts.episodes == 0, run.world.contacts.things
    assert 0.3 < run.world.surface_distance(0) <= 0.6
    assert facing_rad(run.world, 0) <= math.radians(20)
    assert max(abs(v) for v in run.world.wheel_speeds()) < 0.005


@pytest.mark.parametrize(
    ("seed", "target", "away"),
    [(960000, "cup", True), (960001, "book", False), (960002, "door", True), (960005, "bottle", False), (960006, "chair", True)],
)
def test_it_reaches_the_target_and_touches_nothing(lockstep, seed: int, target: str, away: bool) -> None:
    run = lockstep(find(seed, target, facing_away=away))
    check_arrived(run, run.run(60.0))


@pytest.mark.parametrize("latency_ms", [50, 500])
def test_it_reaches_the_target_with_a_fast_and_with_a_slow_engine(lockstep, latency_ms: int) -> None:
    run = lockstep(find(960004, "plant", facing_away=True), latency_ms=latency_ms)
    check_arrived(run, run.run(60.0))
    tally = run.steering.guard.status.tally
    assert tally.get("soft_stops", 0) == 0  # a steady engine never lets its evidence run out
    assert tally.get("reject_range", 0) == tally.get("reject_not_finite", 0) == 0


def test_the_same_case_is_the_same_run_to_its_end(lockstep) -> None:
    one, same = (lockstep(find(960001, "book")) for _ in range(2))
    assert one.run(30.0) == same.run(30.0) == "reached"
    assert one.ticks == same.ticks
    assert one.trail == same.trail
    assert path_m(one) > 0.8  # and it is a run


def test_an_absent_target_is_given_up_within_the_time_and_without_a_touch(lockstep) -> None:
    """Room 950002: where exploring once drove along a wall that it had seen and forgotten again, into a door."""
    run = lockstep(find(950002, "plant", absent=True))
    assert run.run(120.0) == "not_found"
    assert run.steering.state.why == "no plant seen from 6 places"
    assert run.world.contacts.episodes == 0, run.world.contacts.things
    xs, ys = zip(*run.steering.state.visited, strict=True)
    assert math.hypot(max(xs) - min(xs), max(ys) - min(ys)) > 1.5


def path_m(run: Lockstep) -> float:
    return sum(math.dist((a.x_m, a.y_m), (b.x_m, b.y_m)) for a, b in itertools.pairwise(run.trail))


def track_error_rad(run: Lockstep) -> float:
    """How far beside the target's true direction the first track says it is, seen from where the robot is."""
    while run.steering.state.track is None:
        run.advance()
        assert run.elapsed_s < 30
    track: Track = run.steering.state.track
    inputs, truth, thing = run.ticks[-1].inputs, run.world.pose(), run.world.room.things[0]
    x, y = to_robot(truth, thing.x_m, thing.y_m)
    return wrap(track.seen_from(inputs.pose or Pose(0, 0.0, 0.0, 0.0))[1] - math.atan2(y, x))


def test_without_compensation_a_turning_robot_misplaces_what_it_sees(lockstep) -> None:
    """At 510 ms from exposure to reply it searches at 0.45 of half a view each: 0.27 rad go by under every look."""
    case = find(960005, "bottle", facing_away=True)
    compensated, not_so = (lockstep(case, latency_ms=500, compensate=compensate) for compensate in (True, False))
    turned = 0.45 * math.radians(70) / 0.51 / 2 * 0.51
    error, off = track_error_rad(compensated), track_error_rad(not_so)
    assert abs(error) < TOLERANCE_RAD
    assert off - error == pytest.approx(math.copysign(turned, compensated.steering.state.turn_sign), abs=TOLERANCE_RAD)
    assert compensated.run(60.0) == "reached"
    assert not_so.run(60.0) != "reached" or (not_so.elapsed_s >= compensated.elapsed_s and path_m(not_so) > path_m(compensated))
