"""Lockstep: the same seed gives the same run, tick for tick; another seed does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from edge_vla.bases import make_base
from edge_vla.behaviours.state import Phase
from edge_vla.config import RobotProfile
from edge_vla.drive import Tick
from edge_vla.goals import Goal
from edge_vla.robot import guard_limits, make_plan
from edge_vla.sim.lockstep import Conditions, Lockstep
from edge_vla.sim.mover import make_mover
from edge_vla.sim.oracle import OracleEngine
from edge_vla.sim.rooms import make_room
from edge_vla.sim.world import World
from edge_vla.types import Pose

Run = Callable[..., tuple[list[Tick], list[Pose], list[bytes]]]


@pytest.fixture
def run() -> Run:
    """run(goal, target, for_s=..., **conditions): the ticks, the true trail and the frames of an oracle run."""

    def run(goal: Goal, target: str, for_s: float, *, latency_ms: int = 200, seed: int = 0) -> tuple[list[Tick], list[Pose], list[bytes]]:
        profile = RobotProfile()
        world = World(make_room(1_000_004, require=(target,)))
        step = Lockstep(
            world, make_plan(profile, goal, target), make_base("waveshare"), lambda it: OracleEngine(it.truth_of), guard_limits(profile),
            Conditions(latency_ms, seed=seed),
        )  # fmt: skip
        if goal is Goal.FOLLOW:
            step.mover = make_mover(world, 0, 5)
        frames: list[bytes] = []
        step.keep = lambda frame, _look: frames.append(frame.rgb.tobytes())
        try:
            while step.elapsed_s < for_s:
                step.advance()
            return step.ticks, step.trail, frames
        finally:
            step.close()

    return run


@pytest.mark.parametrize(("goal", "target"), [(Goal.FIND_OBJECT, "cup"), (Goal.FOLLOW, "person")])
def test_the_same_seed_is_the_same_run_tick_for_tick(run: Run, goal: Goal, target: str) -> None:
    one, same = run(goal, target, 4.0), run(goal, target, 4.0)
    assert one == same
    assert len(one[2]) > 10
    assert any(tick.action.twist.angular_z or tick.action.twist.linear_x for tick in one[0])  # and it is a run


def test_another_seed_and_another_latency_are_other_runs(run: Run) -> None:
    one = run(Goal.FIND_OBJECT, "cup", 3.0)
    other = run(Goal.FIND_OBJECT, "cup", 3.0, seed=1)
    assert other[1] != one[1]  # encoders and gyro
    assert other[2][0] != one[2][0]  # read noise
    assert run(Goal.FIND_OBJECT, "cup", 3.0, latency_ms=300)[1] != one[1]


@pytest.mark.parametrize("speed_mps", [0.35, 0.5])
def test_a_run_that_ends_in_motion_is_judged_once_the_robot_stands(speed_mps: float) -> None:
    """A stop from 0.35 m/s takes 0.8 s: ramp, motors, wheels."""
    profile = RobotProfile()
    step = Lockstep(
        World(make_room(1_000_004, require=("cup",))), make_plan(profile, Goal.FIND_OBJECT, "cup"), make_base("waveshare"),
        lambda it: OracleEngine(it.truth_of), guard_limits(profile),
    )  # fmt: skip
    try:
        step.advance()
        step._wheels.set_target(speed_mps, speed_mps)
        for _ in range(250):
            step._wheels.advance(0.004)
        assert min(step.world.wheel_speeds()) > 0.95 * speed_mps
        step.steering.state = replace(step.steering.state, phase=Phase.DONE, outcome="reached")
        assert step.run(60.0) == "reached"
        assert max(abs(v) for v in step.world.wheel_speeds()) < 0.005
        assert 0.5 < step.elapsed_s < 2.0
    finally:
        step.close()
