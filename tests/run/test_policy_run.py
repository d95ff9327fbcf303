"""A run that a policy drove: recorded with its actions, replayed to the same, and refused where a policy or its layout does not fit."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_vla.behaviours.state import Phase
from edge_vla.config import BaseProfile, RobotProfile
from edge_vla.errors import ConfigError
from edge_vla.goals import Goal
from edge_vla.guard.limits import Limits
from edge_vla.opening import prove
from edge_vla.parts import make_base
from edge_vla.record import Recorder
from edge_vla.replay import load, main, replay
from edge_vla.robot import instructed, make_plan
from edge_vla.run import _worded, parse_args, request_of
from edge_vla.sim.lockstep import Lockstep
from edge_vla.sim.rooms import make_room
from edge_vla.sim.world import World
from edge_vla.types import Chunk, Frame, Look, Reply, Twist

PROFILE = RobotProfile()
WHEELS = frozenset({"linear_x", "angular_z"})


class Waltz:
    """Drives by the number of times it was asked: turns, a curve, a broken answer now and then, and at last it rests."""

    targets = None

    def __init__(self, moves: frozenset[str] = WHEELS) -> None:
        self.moves, self.asked, self.prompts = moves, 0, list[str]()

    def ask(self, frame: Frame, prompt: str) -> Reply:
        self.prompts.append(prompt)
        self.asked += 1
        rate, speed = 0.1 * (self.asked % 7) - 0.3, 0.031 * (self.asked % 5)
        twists = tuple(Twist(speed / (1 + k), 0.0, rate / 3 + 0.01 * k) for k in range(4))
        if self.asked % 6 == 0:
            twists = (Twist(float("nan")), *twists)
        if self.asked > 24:
            twists = (Twist(0.001, 0.0, 0.002),)
        return Reply("", 1.0, chunk=Chunk(twists, 0.15, "chunk" if self.asked % 2 else "first"))

    def forget(self) -> None:
        self.asked = 0

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Lockstep, str]:
    """(folder, run, outcome) of find_object under Waltz. Others must not change the folder."""
    folder, plan = tmp_path_factory.mktemp("runs") / "run", instructed(make_plan(PROFILE, Goal.FIND_OBJECT, "cone"))
    run = Lockstep(World(make_room(5001, require=("cone",))), plan, make_base(BaseProfile()), lambda _: Waltz(), Limits())
    asked, said = run.seeing.ask, dict[int, Reply]()

    def ask(frame: Frame) -> Reply:
        said[frame.seq] = asked(frame)
        return said[frame.seq]

    run.seeing.ask = ask  # type: ignore[method-assign]
    with Recorder(folder, plan, profile={}, engine={"name": "waltz"}, simulated=True) as recorder:

        def keep(frame: Frame, look: Look) -> None:
            recorder.look(frame, said[frame.seq], look, run.seeing.p99_ns)

        run.keep = keep
        outcome = run.run(30.0)
        for tick in run.ticks:
            recorder.tick(tick)
    run.close()
    return folder, run, outcome


def test_it_replays_to_identical_actions(driven: tuple[Path, Lockstep, str]) -> None:
    folder, run, outcome = driven
    result = replay(folder)
    assert (result.identical, result.differences, result.notes) == (True, (), ())
    assert (outcome, result.ticks) == ("reached", len(run.ticks))
    moved = {(tick.action.linear_x, tick.action.angular_z) for tick in run.ticks}
    assert len(moved) > 25  # not a trivial run
    assert {tick.phase for tick in run.ticks} == {Phase.SEARCH, Phase.ACT, Phase.DONE}
    assert any(tick.action.description.startswith("reply refused: want actions that are finite") for tick in run.ticks)


def test_chunks_are_read_as_they_were_given(driven: tuple[Path, Lockstep, str]) -> None:
    folder, run, _ = driven
    read = load(folder)
    assert (read.header.plan.instruction, read.header.prompt) == ("find the cone", "find the cone")
    chunks = [look.reply.chunk for look in read.looks.values()]
    waltz = Waltz()
    wanted = [waltz.ask(Frame(np.zeros((1, 1, 3), np.uint8), 0, 0), "").chunk for _ in chunks]
    assert [repr(chunk) for chunk in chunks] == [repr(chunk) for chunk in wanted]  # a nan is not equal to itself
    assert {look.rejected == "" for look in read.looks.values()} == {True, False}
    assert run.engine.prompts == ["find the cone"] * len(run.engine.prompts)  # type: ignore[attr-defined]


def test_another_chunk_replays_to_other_actions(driven: tuple[Path, Lockstep, str], tmp_path: Path, capsys) -> None:
    for name in ("run.json", "ticks.jsonl", "looks.jsonl"):
        (tmp_path / name).write_bytes((driven[0] / name).read_bytes())
    looks = [json.loads(line) for line in (tmp_path / "looks.jsonl").read_text().splitlines()]
    looks[3]["reply"]["chunk"]["twists"][0]["angular_z"] += 1e-9
    (tmp_path / "looks.jsonl").write_text("".join(json.dumps(look) + "\n" for look in looks))
    assert main([str(tmp_path)]) == 1
    assert "action.angular_z was" in capsys.readouterr().out


def test_the_robot_moved_no_faster_than_it_may(driven: tuple[Path, Lockstep, str]) -> None:
    """A policy sees no clear distance: 0.15 m/s, whatever it asks for."""
    _, run, _ = driven
    assert max(tick.action.linear_x for tick in run.ticks) == pytest.approx(0.124)
    assert max(tick.applied_linear_x for tick in run.ticks) <= 0.15


# -- what does not fit


@pytest.fixture
def request_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., object]:
    """request_for("--goal", ...): what the operator asked of engine "oracle", whose name only is looked at."""
    monkeypatch.chdir(tmp_path)

    def make(*words: str) -> object:
        args: argparse.Namespace = parse_args([*words, "--engine", "oracle"])
        return request_of(args)

    return make


@pytest.mark.parametrize(
    ("moves", "why"),
    [
        (frozenset(), "is a policy with an arm's layout: none of its dimensions is linear_x or angular_z; base 'waveshare' has wheels"),
        (WHEELS | {"linear_y"}, "drives angular_z, linear_x, linear_y: base 'waveshare' is differential and cannot move sideways"),
        (frozenset({"linear_y"}), "drives linear_y: base 'waveshare' is differential"),
    ],
)
def test_a_layout_that_is_not_the_bases_is_refused(moves: frozenset[str], why: str) -> None:
    engine = Waltz(moves)
    with pytest.raises(ConfigError, match=why):
        prove(engine, "engines/arm", PROFILE, ["find the cone"], ["cone"])
    assert engine.asked == 0


@pytest.mark.parametrize("moves", [WHEELS, frozenset({"linear_x"}), frozenset({"angular_z"})])
def test_a_layout_of_wheels_is_taken(moves: frozenset[str]) -> None:
    prove(Waltz(moves), "engines/policy", PROFILE, ["find the elephant"], ["elephant"])  # its vocabulary is open


@pytest.mark.parametrize("goal", ["describe_scene", "identify_main_object", "save_image", "stop"])
def test_a_goal_no_policy_can_do_is_refused(request_for, goal: str) -> None:
    with pytest.raises(ConfigError, match=f"goal '{goal}' is nothing a policy can do"):
        _worded(request_for("--goal", goal), Waltz())


def test_a_policy_is_told_the_operators_own_sentence(request_for) -> None:
    """Which no parser of this package would take for a command."""
    plan = _worded(request_for("--goal", "command", "--text", "tidy up the  kitchen"), Waltz()).plan
    assert (plan.instruction, plan.commands) == ("tidy up the kitchen", ())
    with pytest.raises(ConfigError, match="cannot obey 'tidy up the kitchen'"):
        _worded(request_for("--goal", "command", "--text", "tidy up the kitchen"), object())


def test_nobody_tells_a_policy_where_to_stop(request_for) -> None:
    request = request_for("--goal", "find_object", "--target", "cup", "--stop-at", "0.5")
    with pytest.raises(ConfigError, match=r"--stop-at 0\.5: engine 'oracle' is a policy and stops where it was trained to"):
        _worded(request, Waltz())
    assert _worded(request, object()).plan.stop_at_m == 0.5
    assert _worded(replace(request, stop_at_m=None), Waltz()).plan.instruction == "find the cup"
