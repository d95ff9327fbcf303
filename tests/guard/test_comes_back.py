"""What comes back drives nothing by itself: a base that is plugged in again, and a guard that starts where another was killed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from edge_vla.errors import GuardError
from edge_vla.guard.client import GuardProcess
from edge_vla.guard.memory import LatchMemory
from edge_vla.guard.settings import GuardSettings
from edge_vla.guard.state import FaultCode, GuardState
from edge_vla.guard.stopline import runtime_folder, stop_all
from edge_vla.latched import require_unlatched

pytestmark = pytest.mark.deadline

MOVING_MPS = 0.02


def commands(rig, since_ns: int) -> list[dict]:
    """The wheel commands that the base has accepted since."""
    rows = [row for row in rig.wheels() if row["t_ns"] >= since_ns and (row["accepted"] or "").startswith('{"T":1,')]
    return [json.loads(row["accepted"]) for row in rows]


def test_plugged_in_again_it_stays_latched_until_reset_and_armed(rig) -> None:
    worker = rig.drive()
    rig.unplug()
    rig.wait_for(lambda: rig.status()["fault"] == "PORT_LOST")
    again_ns = rig.replug()
    rig.wait_for(lambda: len(commands(rig, again_ns)) >= 10)
    assert all(frame["L"] == frame["R"] == 0.0 for frame in commands(rig, again_ns)), "the worker has asked for 0.3 m/s all the time"
    assert rig.status()["state"] == "FAULT_LATCHED"
    rig.tell("silent")

    def reset() -> bool:
        rig.tell("reset")
        return rig.status()["state"] == "DISARMED"

    rig.wait_for(reset)
    rig.tell("drive")
    reset_ns = rig.now_ns()
    rig.wait_for(lambda: len(commands(rig, reset_ns)) >= 20)
    assert all(frame["L"] == frame["R"] == 0.0 for frame in commands(rig, reset_ns)), "a reset arms nothing"
    rig.tell("silent")

    def arm() -> bool:
        rig.tell("arm")
        return rig.status()["state"] in ("ARMED_IDLE", "MOVING")

    rig.wait_for(arm)
    rig.tell("drive")
    rig.wait_for(lambda: min(rig.wheels()[-1]["wheels"]) > 0.25)
    rig.tell("leave")
    assert rig.line_of(worker) == "left 0 True"
    assert [detail for name, detail in rig.events() if name == "port"][-1].endswith("is there again")


def test_a_worker_that_was_killed_has_to_be_let_go_by_a_person(rig, tmp_path: Path) -> None:
    worker = rig.drive()
    rig.kill(worker.pid, signal.SIGKILL)
    rig.wait_for(rig.guard_ended)
    settings = GuardSettings("waveshare", rig.path, memory_path=str(tmp_path / "private" / "base.latch"))
    with GuardProcess.start(settings) as guard:
        status = guard.poll()
        assert status is not None
        assert (status.state, status.fault, status.fault_id) == (GuardState.FAULT_LATCHED, FaultCode.WORKER_DEAD, 1)
        with pytest.raises(GuardError, match=r"worker_dead \(fault 1\).*--reset 1"):
            require_unlatched(guard, None)
        with pytest.raises(GuardError, match=r"--reset 7: .* a reset names that number"):
            require_unlatched(guard, 7)
        assert require_unlatched(guard, 1) == "reset: worker_dead (fault 1)"
        rig.wait_for(lambda: guard.poll().state is GuardState.DISARMED)  # type: ignore[union-attr]
        assert require_unlatched(guard, None) == ""
        assert require_unlatched(guard, 1) == "--reset 1: nothing is latched"
    assert LatchMemory(settings.memory_path).machine.fault is FaultCode.NONE


def test_an_operators_stop_outlives_the_run_and_the_runs_own_does_not(rig, tmp_path: Path) -> None:
    settings = GuardSettings("waveshare", rig.path, memory_path=str(tmp_path / "private" / "base.latch"))
    with GuardProcess.start(settings) as guard:
        rig.wait_for(lambda: guard.poll().state is GuardState.DISARMED)  # type: ignore[union-attr]
        guard.stop()
        rig.wait_for(lambda: guard.poll().state is GuardState.ESTOP_LATCHED)  # type: ignore[union-attr]
    assert LatchMemory(settings.memory_path).machine.fault is FaultCode.NONE, "as Ctrl-C ends a run"
    with GuardProcess.start(settings) as guard:
        rig.wait_for(lambda: guard.poll().state is GuardState.DISARMED)  # type: ignore[union-attr]
        assert stop_all(runtime_folder())[0] >= 1
        rig.wait_for(lambda: guard.poll().state is GuardState.ESTOP_LATCHED)  # type: ignore[union-attr]
    found = LatchMemory(settings.memory_path).machine
    assert (found.state, found.fault, found.fault_id) == (GuardState.ESTOP_LATCHED, FaultCode.OPERATOR_STOP, 2)


def test_a_base_that_says_nothing_is_not_let_go(rig, tmp_path: Path) -> None:
    path = tmp_path / "private" / "base.latch"
    path.parent.mkdir(mode=0o700)
    path.write_text('{"fault_id": 4, "fault": "CLIFF"}\n')
    rig.unplug()
    rig.replug()
    rig.kill(rig.firmware.pid, signal.SIGSTOP)
    with GuardProcess.start(GuardSettings("waveshare", rig.path, memory_path=str(path))) as guard:
        with pytest.raises(GuardError, match=r"--reset 4: still stopped for cliff \(fault 4\): (not still|trigger recent)"):
            require_unlatched(guard, 4)
        rig.kill(rig.firmware.pid, signal.SIGCONT)
