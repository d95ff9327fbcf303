"""The live status line: what it says, and that only a terminal gets it thirty times over."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from edge_vla.behaviours.state import Inputs, Phase
from edge_vla.drive import Tick
from edge_vla.status import StatusLine
from edge_vla.track import Track
from edge_vla.types import ActionType, Pose, RobotAction

ACTION = RobotAction(ActionType.NAVIGATE, 0.2, 0.0, 0.1, "cup", 1.0, "approaching")
TICK = Tick(Inputs(0, Pose(0, 0.0, 0.0, 0.0), None), Phase.APPROACH, ACTION, "MOVING", "NONE", 0.18, -0.05)
CUP = Track(1.0, 1.0, 0.05, 0.93, 0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def wait(condition: Callable[[], object]) -> None:
    give_up_s = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def test_the_line() -> None:
    line = StatusLine("find_object", "cup", simulated=True).line(TICK, CUP, 12.34)
    assert line == (
        "SIMULATED  find_object cup   12.3 s  moving  approach: approaching  seen 1.41 m +45° (0.93)  v +0.18 m/s  w -0.05 rad/s"
    )


@pytest.mark.parametrize(("simulated", "head"), [(True, "SIMULATED  avoid  "), (False, "avoid  ")])
def test_simulated_is_the_first_word_or_not_there(simulated: bool, head: str) -> None:
    line = StatusLine("avoid", None, simulated=simulated).line(TICK, None, 1.0)
    assert line.startswith(head)
    assert "seen" not in line


def test_a_log_gets_a_line_when_something_changes() -> None:
    log = io.StringIO()
    status = StatusLine("find_object", "cup", simulated=True, stream=log)
    for phase, at_s in ((Phase.APPROACH, 1.0), (Phase.APPROACH, 2.0), (Phase.ARRIVED, 3.0)):
        status._write(replace(TICK, phase=phase), CUP, at_s)
    assert [line.split("moving  ")[1].split(":")[0] for line in log.getvalue().splitlines()] == ["approach", "arrived"]
    assert "\r" not in log.getvalue()


def test_a_warning_is_in_the_line_and_a_change_for_a_log() -> None:
    log = io.StringIO()
    status = StatusLine("find_object", "cup", simulated=True, stream=log)
    status._write(TICK, CUP, 1.0)
    for seconds in (2, 3):
        status.notice = f"the same picture for {seconds} s"
        status._write(TICK, CUP, 2.0)
    status.notice = ""
    status._write(TICK, CUP, 3.0)
    lines = log.getvalue().splitlines()
    assert ["[the same picture for 2 s]" in line for line in lines] == [False, True, False]


def test_it_shows_the_newest_tick_from_a_thread_of_its_own() -> None:
    log = io.StringIO()
    with StatusLine("find_object", "cup", simulated=True, stream=log) as status:
        status.show(TICK, CUP, 1.0)
        wait(lambda: "approach" in log.getvalue())
        status.show(replace(TICK, phase=Phase.ARRIVED), CUP, 2.0)
        wait(lambda: "arrived" in log.getvalue())


def test_a_terminal_gets_one_line_that_rewrites_itself_and_is_gone_at_the_end() -> None:
    terminal = Terminal()
    with StatusLine("find_object", "cup", simulated=True, stream=terminal) as status:
        status.show(TICK, CUP, 1.0)
        wait(lambda: terminal.getvalue().count("\r\x1b[K") >= 2)
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
