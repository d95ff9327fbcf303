"""Latches outlive the guard: what a killed one was stopped for, the next one of the same robot is stopped for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.errors import ConfigError
from edge_vla.guard.link import Count
from edge_vla.guard.memory import LatchMemory, latch_path, recall
from edge_vla.guard.state import LATCHED, FaultCode, GuardState, Machine, Refusal
from edge_vla.guard.types import STILL, Twist

MS = 1_000_000
GO = Twist(0.3)
BUMPED = Machine().latch(5, FaultCode.BUMPER)


def kept(folder: Path, *machines: Machine, forget: bool = False) -> Path:
    """The file that a guard of these moments leaves behind."""
    path = folder / "private" / "base.latch"
    memory = LatchMemory(str(path))
    for machine in machines:
        memory.keep(machine, forget=forget)
    memory.close()
    return path


def line(fault_id: object, fault: object) -> bytes:
    return json.dumps({"fault_id": fault_id, "fault": fault}).encode()


def test_a_latch_is_found_again(tmp_path: Path) -> None:
    path = kept(tmp_path, Machine(), BUMPED, BUMPED)
    assert [json.loads(row) for row in path.read_text().splitlines()] == [{"fault_id": 1, "fault": "BUMPER"}]
    found = LatchMemory(str(path)).machine
    assert (found.state, found.fault, found.fault_id) == (GuardState.FAULT_LATCHED, FaultCode.BUMPER, 1)


def test_an_operators_stop_stays_one(tmp_path: Path) -> None:
    found = LatchMemory(str(kept(tmp_path, Machine().latch(5, FaultCode.OPERATOR_STOP)))).machine
    assert (found.state, found.fault) == (GuardState.ESTOP_LATCHED, FaultCode.OPERATOR_STOP)


def test_after_a_reset_nothing_is_latched_and_numbers_go_on(tmp_path: Path) -> None:
    path = kept(tmp_path, BUMPED, BUMPED.reset(10_000 * MS, 1, still=True))
    found = LatchMemory(str(path)).machine
    assert (found.state, found.fault, found.fault_id) == (GuardState.BOOT, FaultCode.NONE, 1)
    assert found.latch(0, FaultCode.CLIFF).fault_id == 2, "an old reset must not fit a new latch"


def test_the_end_of_a_run_is_no_latch(tmp_path: Path) -> None:
    stopped = Machine().latch(5, FaultCode.OPERATOR_STOP)
    path = kept(tmp_path, stopped)
    memory = LatchMemory(str(path))
    memory.keep(stopped, forget=True)
    memory.close()
    assert LatchMemory(str(path)).machine.fault is FaultCode.NONE


def test_no_file_and_no_path_are_no_latch(tmp_path: Path) -> None:
    assert LatchMemory(None).machine == Machine()
    assert LatchMemory(str(tmp_path / "private" / "none.latch")).machine == Machine()


@pytest.mark.parametrize(
    "torn",
    [
        b'{"fault_id": 3, "fau', b"\x00" * 40, b"[]", b"7", b"{}", line(3, "BUMPED"), line("3", "BUMPER"), line(0, "BUMPER"),
        line(-1, "NONE"), line(1 << 32, "NONE"), line(True, "NONE"),
    ],
)  # fmt: skip
def test_a_last_line_that_cannot_be_read_is_a_latch(torn: bytes) -> None:
    """It may have been one when the power went."""
    found = recall([line(4, "BUMPER"), line(4, "NONE"), torn])
    assert (found.state, found.fault, found.fault_id) == (GuardState.FAULT_LATCHED, FaultCode.SELF_CHECK, 5)
    assert recall([torn]).fault_id == 1


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_file_is_survived_and_is_a_latch_or_reads_as_none(lines: list[bytes]) -> None:
    found = recall(lines)
    assert (found.state in LATCHED) or not any(row.strip() for row in lines)


def test_a_huge_file_is_read_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "private" / "base.latch"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"x" * 10_000_000 + b"\n" + line(7, "CLIFF") + b"\n")
    assert LatchMemory(str(path)).machine.fault_id == 7


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(ConfigError, match="0700"):
        LatchMemory(str(tmp_path / "open" / "base.latch"))


def test_a_file_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    (tmp_path / "private" / "base.latch").mkdir(parents=True, mode=0o700)
    (tmp_path / "private").chmod(0o700)
    with pytest.raises(ConfigError, match=r"base\.latch"):
        LatchMemory(str(tmp_path / "private" / "base.latch"))


def test_every_port_has_its_own() -> None:
    paths = {latch_path(Path("/run"), port) for port in ("/dev/ttyUSB0", "/dev/ttyUSB1", "/dev/serial/by-id/usb-x")}
    assert paths == {Path("/run/dev_ttyUSB0.latch"), Path("/run/dev_ttyUSB1.latch"), Path("/run/dev_serial_by-id_usb-x.latch")}


# -- a guard that starts in one


def test_it_does_not_move_until_it_is_reset_and_armed(make_bench) -> None:
    bench = make_bench(machine=BUMPED)
    bench.run(1000, bench.drive(GO))
    bench.local.arm()
    assert bench.run(500, bench.drive(GO)).refusal is Refusal.WRONG_STATE
    assert all(twist == STILL for _, twist in bench.frames)
    bench.run(500)
    bench.local.reset(2)
    assert bench.run(20).refusal is Refusal.WRONG_FAULT_ID
    bench.local.reset(1)
    assert bench.run(20).state is GuardState.DISARMED
    assert bench.run(500, bench.drive(GO)).state is GuardState.DISARMED
    bench.run(300)
    bench.local.arm()
    assert bench.run(500, bench.drive(GO)).state is GuardState.MOVING


def test_it_is_not_reset_before_the_base_says_that_it_stands(make_bench) -> None:
    bench = make_bench(machine=BUMPED)
    bench.line.mute = True
    bench.run(1000)
    bench.local.reset(1)
    assert bench.run(20).refusal in (Refusal.NOT_STILL, Refusal.TRIGGER_RECENT)
    assert bench.state is GuardState.FAULT_LATCHED


def test_only_the_workers_own_stop_at_the_end_is_forgotten(make_bench) -> None:
    """Ctrl-C says STOP and BYE. A stop that came from elsewhere, or was there before, is remembered."""
    own = make_bench().moving(GO)
    own.local.stop()
    own.run(20)
    assert not own.guard.control.own_end, "not before the worker says that it ends"
    own.local.bye()
    own.run(500)
    assert own.guard.control.own_end
    other = make_bench().moving(GO)
    other.stop = True
    other.run(20)
    other.local.stop()
    other.local.bye()
    other.run(500)
    assert not other.guard.control.own_end
    assert other.status.tally[Count.FAULTS.name.lower()] == 1


def test_being_asked_to_end_is_forgotten_unless_something_was_wrong_before(make_bench) -> None:
    fine = make_bench().moving(GO)
    fine.leave = True
    fine.run(500)
    assert fine.guard.control.machine.fault is FaultCode.TERMINATED
    assert fine.guard.control.own_end
    bad = make_bench(machine=BUMPED)
    bad.run(500)
    bad.leave = True
    bad.run(500)
    assert not bad.guard.control.own_end
