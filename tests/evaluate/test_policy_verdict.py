"""Policies in closed loop: told instead of asked, believed when they stand, judged by where they stand."""

from __future__ import annotations

import pytest

from edge_vla.config import RobotProfile
from edge_vla.errors import ConfigError
from edge_vla.evaluate import parse_args, setting_of
from edge_vla.goals import Goal
from edge_vla.learn.policy.teacher import Teacher
from edge_vla.parts import make_base
from edge_vla.robot import camera_pose
from edge_vla.series import Setting, cases, controls
from edge_vla.sim.episode import Case, Terms, Verdict, run_case
from edge_vla.types import Chunk, Engine, Frame, Reply, Twist

PROFILE = RobotProfile()
SETTING = Setting(Goal.FIND_OBJECT, "oracle")


class Same:
    """Wants the same motion whatever it sees."""

    targets = None
    moves = frozenset({"linear_x", "angular_z"})

    def __init__(self, twist: Twist) -> None:
        self.twist, self.prompts = twist, list[str]()

    def ask(self, frame: Frame, prompt: str) -> Reply:
        self.prompts.append(prompt)
        return Reply("", 1.0, chunk=Chunk((self.twist,), 0.2))

    def forget(self) -> None:
        self.prompts.clear()

    def close(self) -> None: ...


def verdict(engine: Engine | None, goal: Goal = Goal.FIND_OBJECT, seed: int = 600_005, timeout_s: float = 6.0, **case: bool) -> Verdict:
    """One episode; without an engine the teacher drives."""
    base = make_base(PROFILE.base)
    told = Case(seed, goal, "cone", **{"facing_away": True, **case})
    terms = Terms(timeout_s=timeout_s, policy=True)
    return run_case(told, PROFILE, base, lambda run: engine or Teacher(run.truth_of, camera_pose(PROFILE)), terms)


def test_the_teacher_gets_there_and_says_so() -> None:
    """The ceiling of any student, through the same pilot, guard and wheels."""
    found = verdict(None, timeout_s=40.0)
    assert (found.said, found.success, found.elsewhere, found.contacts) == ("reached", True, False, 0)
    assert found.why == "the policy stands still; told to find the cone"
    assert found.distance_m < 0.6


def test_a_policy_that_never_moves_says_reached_and_is_not_believed() -> None:
    engine = Same(Twist())
    found = verdict(engine)
    assert (found.said, found.success, found.elsewhere) == ("reached", False, True)
    assert found.time_s < 3.0
    assert found.path_m < 0.01
    assert set(engine.prompts) == {"find the cone"}


def test_where_there_is_no_such_thing_an_arrival_is_a_false_one() -> None:
    found = verdict(Same(Twist()), absent=True)
    assert (found.said, found.success) == ("reached", False)
    searching = verdict(Same(Twist(0.0, 0.0, 0.5)), absent=True, timeout_s=3.0)
    assert (searching.said, searching.success) == ("timeout", True)


def test_a_policy_told_to_wander_wanders_until_the_time_is_over() -> None:
    found = verdict(Same(Twist(0.0, 0.0, 0.4)), Goal.AVOID, timeout_s=3.0)
    assert (found.said, found.why) == ("reached", "the policy drove until the time was over; told to drive around and touch nothing")
    assert not found.success  # it has got nowhere


# -- which things


def test_targets_are_those_asked_for_in_turn() -> None:
    setting = Setting(Goal.FIND_OBJECT, "oracle", episodes=8, targets=("cone", "cup"), absent_fraction=0.25)
    drawn = cases(setting)
    assert [case.target for case in drawn] == ["cone", "cup"] * 4
    assert [case.facing_away for case in drawn] == [True, False, False, True] * 2
    assert sum(case.absent for case in drawn) == 2


@pytest.mark.parametrize(
    ("goal", "asked", "why"),
    [
        ("find_object", ["cones"], "the simulator does not know 'cones'; did you mean 'cone'"),
        ("avoid", ["cone"], "--target cone: goal 'avoid' is judged by no thing"),
        ("follow", ["cone"], "--target cone: goal 'follow' is judged by a person"),
    ],
)
def test_a_thing_that_cannot_be_asked_for_is_refused(arguments_of, goal: str, asked: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        setting_of(arguments_of(goal, asked), PROFILE)


def test_things_asked_for_twice_count_once(arguments_of) -> None:
    assert setting_of(arguments_of("find_object", ["cone", "cup", "cone"]), PROFILE).targets == ("cone", "cup")
    assert setting_of(arguments_of("find_object", []), PROFILE).targets == ()


@pytest.fixture
def arguments_of():
    """arguments_of(goal, things): the command line that asks for them."""

    def make(goal: str, things: list[str]):
        asked = [word for thing in things for word in ("--target", thing)]
        return parse_args(["--engine", "oracle", "--goal", goal, *asked])

    return make


def test_a_policys_controls_need_no_untrained_bundle_and_no_compensation() -> None:
    rows = controls(SETTING, policy=True)
    assert list(rows) == ["oracle boxes", "swapped target word", "blank camera", "50 ms", "500 ms"]
    assert (rows["swapped target word"].control, rows["blank camera"].control) == ("swapped", "blank")
