"""The verdict on an episode is read off the world: how near, facing what, touched how often, and what the pilot said."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from edge_vla.config import RobotProfile
from edge_vla.geometry import wrap
from edge_vla.goals import Goal
from edge_vla.robot import make_plan
from edge_vla.sim.episode import Case, Verdict, _judge, build_room, draw_case, spl_of
from edge_vla.sim.objects import CLASSES
from edge_vla.sim.world import World
from edge_vla.types import Pose

PROFILE = RobotProfile()
STRAIGHT = tuple(Pose(k, 0.1 * k, 0.0, 0.0) for k in range(21))  # two metres in a line


@pytest.fixture
def judge(make_world: Callable[..., World]) -> Callable[..., Verdict]:
    """judge(distance to the can's surface, degrees beside it, said=..., goal=..., ...): the verdict on a robot that stands so."""

    def judge(
        distance_m: float = 0.45, degrees: float = 0.0, *, said: str = "reached", goal: Goal = Goal.FIND_OBJECT, contacts: int = 0,
        absent: bool = False, trail: tuple[Pose, ...] = STRAIGHT, start_m: float = 2.0, stop_at_m: float = 0.45, name: str = "can",
    ) -> Verdict:  # fmt: skip
        world = make_world(name)
        radius = world.room.things[0].shape.half_x
        half_rad = math.asin(radius / (distance_m + radius))
        beside = math.copysign(math.radians(abs(degrees)) + half_rad, degrees) if degrees else 0.0
        world.place_robot(1.0 - radius - distance_m, 0.0, beside)
        world.contacts.episodes = contacts
        plan = make_plan(PROFILE, goal, None if goal is Goal.AVOID else name, stop_at_m=stop_at_m)
        run = SimpleNamespace(world=world, trail=list(trail), plan=plan, elapsed_s=12.5)
        return _judge(Case(1, goal, name, absent), run, (said, "so"), start_m)  # type: ignore[arg-type]

    return judge


@pytest.mark.parametrize(("distance_m", "success"), [(0.2, True), (0.45, True), (0.598, True), (0.602, False), (1.5, False)])
def test_within_sixty_centimetres_of_the_surface(judge, distance_m: float, success: bool) -> None:
    verdict = judge(distance_m)
    assert verdict.distance_m == pytest.approx(distance_m, abs=0.002)
    assert verdict.success is success


@pytest.mark.parametrize(("degrees", "success"), [(0, True), (19, True), (-19, True), (21, False), (-21, False), (150, False)])
def test_facing_it_within_twenty_degrees(judge, degrees: float, success: bool) -> None:
    verdict = judge(degrees=degrees)
    assert verdict.facing_deg == pytest.approx(abs(degrees), abs=1.0)
    assert verdict.success is success


def test_one_touch_spoils_it(judge) -> None:
    assert judge().success
    verdict = judge(contacts=1)
    assert (verdict.success, verdict.spl, verdict.contacts) == (False, 0.0, 1)


@pytest.mark.parametrize("said", ["not_found", "timeout", "fault"])
def test_being_there_without_saying_so_is_no_success(judge, said: str) -> None:
    assert not judge(said=said).success


@pytest.mark.parametrize(
    ("said", "contacts", "success"), [("not_found", 0, True), ("timeout", 0, True), ("reached", 0, False), ("not_found", 1, False)]
)
def test_with_the_target_absent_the_only_mistake_is_to_say_reached(judge, said: str, contacts: int, success: bool) -> None:
    verdict = judge(absent=True, said=said, contacts=contacts)
    assert (verdict.success, verdict.spl, verdict.distance_m) == (success, 0.0, math.inf)


@pytest.mark.parametrize(("stop_at_m", "distance_m", "success"), [(1.0, 1.14, True), (1.0, 1.16, False), (0.45, 1.0, False)])
def test_who_is_told_to_stop_further_away_is_judged_there(judge, stop_at_m: float, distance_m: float, success: bool) -> None:
    assert judge(distance_m, stop_at_m=stop_at_m, goal=Goal.NAVIGATE).success is success


@pytest.mark.parametrize("stop_at_m", [0.45, 0.55, 0.6])
def test_a_find_is_judged_by_one_distance_however_near_it_was_told_to_stop(judge, stop_at_m: float) -> None:
    assert judge(0.598, stop_at_m=stop_at_m).success
    assert not judge(0.602, stop_at_m=stop_at_m).success


@pytest.mark.parametrize(
    ("goal", "where", "elsewhere"),
    [
        (Goal.FIND_OBJECT, {"distance_m": 0.79}, False),
        (Goal.FIND_OBJECT, {"distance_m": 0.81}, True),
        (Goal.FIND_OBJECT, {"distance_m": 0.81, "said": "timeout"}, False),
        (Goal.NAVIGATE, {"distance_m": 1.3, "stop_at_m": 1.0}, False),
        (Goal.NAVIGATE, {"distance_m": 1.4, "stop_at_m": 1.0}, True),
        (Goal.LOOK, {"distance_m": 3.0}, False),  # it never was to go there
        (Goal.LOOK, {"distance_m": 3.0, "degrees": 40}, True),
        (Goal.AVOID, {"distance_m": 3.0}, False),
    ],
)
def test_another_place_than_the_targets(judge, goal: Goal, where: dict, elsewhere: bool) -> None:
    assert judge(goal=goal, **where).elsewhere is elsewhere


@pytest.mark.parametrize(("start_m", "spl"), [(2.6, 1.0), (1.6, 0.5), (1.1, 0.25), (0.64, 0.075), (0.5, 0.075)])
def test_spl_is_the_straight_way_over_the_way_driven(judge, start_m: float, spl: float) -> None:
    """Two metres driven; 0.6 m of the way need not be. Who begins in front of the target had no way to go, and drove two metres."""
    verdict = judge(start_m=start_m)
    assert verdict.path_m == pytest.approx(2.0)
    assert verdict.spl == pytest.approx(spl)


def test_the_last_centimetres_cost_nothing() -> None:
    assert [spl_of(0.0, path_m) for path_m in (0.0, 0.15, 0.3)] == [1.0, 1.0, 0.5]


def test_a_shorter_way_than_the_straight_one_flatters_nobody(judge) -> None:
    assert judge(start_m=5.0).spl == 1.0


@pytest.mark.parametrize(
    ("goal", "where", "success"),
    [
        (Goal.LOOK, {"distance_m": 1.5}, True),
        (Goal.LOOK, {"distance_m": 1.5, "degrees": 21}, False),
        (Goal.LOOK, {"distance_m": 1.5, "said": "not_found"}, False),
        (Goal.AVOID, {}, True),
        (Goal.AVOID, {"trail": STRAIGHT[:10]}, False),  # 0.9 m: it hardly moved
        (Goal.AVOID, {"contacts": 1}, False),
        (Goal.FOLLOW, {"distance_m": 1.28, "degrees": 39, "stop_at_m": 0.8}, True),
        (Goal.FOLLOW, {"distance_m": 1.32, "stop_at_m": 0.8}, False),
        (Goal.FOLLOW, {"distance_m": 1.0, "degrees": 41, "stop_at_m": 0.8}, False),
    ],
)
def test_the_other_goals(judge, goal: Goal, where: dict, success: bool) -> None:
    assert judge(goal=goal, **where).success is success


def test_a_verdict_says_what_happened(judge) -> None:
    verdict = judge()
    assert (verdict.seed, verdict.target, verdict.said, verdict.time_s, verdict.why) == (1, "can", "reached", 12.5, "so")
    assert verdict.trail[:2] == ((0.0, 0.0), (0.5, 0.0))  # every fifth point


# -- which rooms


@pytest.mark.parametrize("index", [0, 1, 6, 13])
def test_the_target_is_thing_zero_and_the_robot_faces_or_does_not(index: int) -> None:
    case = draw_case(970000 + index, Goal.FIND_OBJECT, absent=False, index=index)
    room = build_room(case)
    x, y, yaw = room.start
    off = abs(wrap(math.atan2(room.things[0].y_m - y, room.things[0].x_m - x) - yaw))
    assert room.things[0].shape.name == case.target
    assert off >= math.radians(119.9) if case.facing_away else off <= math.radians(90.1)
    assert build_room(case) == room


@pytest.mark.parametrize("index", [0, 5])
def test_an_absent_target_is_nowhere(index: int) -> None:
    case = draw_case(970000 + index, Goal.FIND_OBJECT, absent=True, index=index)
    assert case.target not in {thing.shape.name for thing in build_room(case).things}


def test_follow_follows_the_one_that_walks() -> None:
    assert {draw_case(k, Goal.FOLLOW, absent=False, index=k).target for k in range(12)} == {"person"}
    assert {draw_case(k, Goal.LOOK, absent=False, index=k).target for k in range(12)} == set(CLASSES)
