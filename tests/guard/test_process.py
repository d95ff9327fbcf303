"""The real guard process between a real worker and a firmware behind a pty, timed by what the wheels did (`wheels.jsonl`).

DESIGN §4 bounds two figures. *Stop bytes accepted* within R: for a stop at once that is the zero itself; for a protective stop it is
the first slower frame, and the zero follows within R and the declared ramp. *Wheels below 0.02 m/s* within R and the declared stop time,
which has that ramp and the motor in it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_vla.errors import GuardError
from edge_vla.guard.client import GuardProcess
from edge_vla.guard.limits import Limits
from edge_vla.guard.ramp import declared_stop_s
from edge_vla.guard.settings import GuardSettings
from edge_vla.guard.state import FaultCode, GuardState
from edge_vla.guard.types import STILL

pytestmark = pytest.mark.deadline

SPEED = 0.3
TAU_S = 0.15
SIGNAL_MS = 150  # R for signals, the worker's death and orders
SILENCE_MS = 250  # R for silences, beyond their lifetime
RAMP_MS = 1000 * SPEED / Limits().dec_mps2 + 50  # the declared ramp of a protective stop
P0_MS = 1000 * declared_stop_s(SPEED, TAU_S)
P1_MS = 1000 * declared_stop_s(SPEED, TAU_S, Limits().dec_mps2)
WATCHDOG_MS = 300  # of the base
TTL_MS = 150  # of the worker script's commands
EVIDENCE_MS = 500  # and of its frames
ORACLE_MS = 15  # the firmware steps every 5 ms; on two busy cores now and then a step comes late


def report(record_property: Callable[[str, object], None], name: str, figures: tuple[float, float, float]) -> tuple[float, float, float]:
    print(f"\n{name}: slower {figures[0]:.0f} ms, zero {figures[1]:.0f} ms, wheels still {figures[2]:.0f} ms")
    record_property(name, figures)
    return figures


@pytest.mark.parametrize("phase_ms", [0, 7, 13])
def test_kill_9_of_the_worker(rig, record_property, phase_ms: int) -> None:
    worker = rig.drive()
    time.sleep(phase_ms / 1000)
    onset_ns = rig.kill(worker.pid, signal.SIGKILL)
    _, zero_ms, still_ms = report(record_property, "kill -9 of the worker", rig.measure(onset_ns))
    assert zero_ms <= SIGNAL_MS
    assert still_ms <= SIGNAL_MS + P0_MS + ORACLE_MS
    rig.wait_for(rig.guard_ended, 3.0)  # it outlives the worker only until zero is confirmed
    assert ("fault", "1 WORKER_DEAD: the worker is gone") in rig.events()
    cost = re.fullmatch(r"n (\d+), p50 ([\d.]+) ms, p99 ([\d.]+) ms, p99.9 [\d.]+ ms, longest ([\d.]+) ms", dict(rig.events())["ticks"])
    assert cost is not None
    assert int(cost[1]) > 50
    assert 0 < float(cost[2]) <= float(cost[3]) <= float(cost[4])


def test_sigstop_of_the_worker_stops_and_sigcont_does_not_move(rig, record_property) -> None:
    worker = rig.drive()
    onset_ns = rig.kill(worker.pid, signal.SIGSTOP)
    _, zero_ms, still_ms = report(record_property, "SIGSTOP of the worker", rig.measure(onset_ns))
    assert zero_ms <= SIGNAL_MS
    assert still_ms <= SIGNAL_MS + P0_MS + ORACLE_MS
    again_ns = rig.kill(worker.pid, signal.SIGCONT)
    rig.tell("status")
    status = json.loads(rig.line_of(worker))  # it goes on asking for 0.3 m/s
    assert (status["state"], status["applied"]["linear_x"]) == ("FAULT_LATCHED", 0.0)
    rig.wait_for(lambda: rig.wheels()[-1]["t_ns"] > again_ns + 500_000_000)
    assert all(abs(row["wheels"][0]) < 0.02 for row in rig.wheels() if row["t_ns"] > again_ns)


def test_silence(rig, record_property) -> None:
    rig.drive()
    slower_ms, zero_ms, still_ms = report(record_property, "command silence", rig.measure(rig.tell("silent")))
    assert slower_ms <= TTL_MS + SILENCE_MS
    assert zero_ms <= TTL_MS + SILENCE_MS + RAMP_MS
    assert still_ms <= TTL_MS + SILENCE_MS + P1_MS + ORACLE_MS
    assert ("soft_stop", "TTL") in rig.events()


@pytest.mark.parametrize(("word", "counted"), [("stale", "reject_evidence"), ("renew", "renewals")])
def test_a_hung_see_stops_the_robot_while_steer_talks_on(rig, record_property, word: str, counted: str) -> None:
    """The worker goes on sending about one frame, honestly or with a new deadline each time: only the guard can know better."""
    worker = rig.drive()
    told_ns = rig.tell(word)
    slower_ms, zero_ms, still_ms = report(record_property, f"evidence expiry ({word})", rig.measure(told_ns))
    assert 400 <= slower_ms <= EVIDENCE_MS + SILENCE_MS
    assert zero_ms <= EVIDENCE_MS + SILENCE_MS + RAMP_MS
    assert still_ms <= EVIDENCE_MS + SILENCE_MS + P1_MS + ORACLE_MS
    rig.wait_for(lambda: rig.wheels()[-1]["t_ns"] > told_ns + 2_500_000_000)  # longer than a soft stop whose cause has gone
    rig.tell("status")
    status = json.loads(rig.line_of(worker))
    assert (status["state"], status["cause"], status["applied"]["linear_x"]) == ("SOFT_STOP", "EVIDENCE", 0.0)
    assert status["tally"][counted] > 50  # it never stopped asking for 0.3 m/s
    assert "ttl_expiries" not in status["tally"]
    stopped_ns = told_ns + round((still_ms + 1) * 1e6)
    assert all(abs(row["wheels"][0]) < 0.02 for row in rig.wheels() if row["t_ns"] > stopped_ns)
    assert [detail for name, detail in rig.events() if name == "soft_stop"] == ["EVIDENCE"]


def test_sigterm_of_the_guard(rig, record_property) -> None:
    worker = rig.drive()
    onset_ns = rig.kill(rig.guard_pid, signal.SIGTERM)
    _, zero_ms, still_ms = report(record_property, "SIGTERM of the guard", rig.measure(onset_ns))
    assert zero_ms <= SIGNAL_MS
    assert still_ms <= SIGNAL_MS + P0_MS + ORACLE_MS
    assert worker.wait(5) == 3
    assert rig.line_of(worker) == "guard gone True: the guard is gone: exit code 0"  # it had seen the wheels stand


def test_kill_9_of_the_guard_leaves_it_to_the_base(rig, record_property) -> None:
    worker = rig.drive()
    onset_ns = rig.kill(rig.guard_pid, signal.SIGKILL)
    _, _, still_ms = report(record_property, "kill -9 of the guard", rig.measure(onset_ns))
    assert still_ms <= WATCHDOG_MS + P0_MS + ORACLE_MS
    assert worker.wait(5) == 3
    assert rig.line_of(worker) == "guard gone False: the guard is gone: exit code -9"


def test_sigint_is_not_for_the_guard(rig) -> None:
    worker = rig.drive()
    since_ns = rig.kill(rig.guard_pid, signal.SIGINT)
    rig.wait_for(lambda: rig.wheels()[-1]["t_ns"] > since_ns + 300_000_000)
    assert all(row["wheels"][0] > 0.28 for row in rig.wheels() if row["t_ns"] > since_ns)
    rig.tell("leave")
    assert rig.line_of(worker) == "left 0 True"


def test_leaving_confirms_zero(rig, record_property) -> None:
    worker = rig.drive()
    _, zero_ms, still_ms = report(record_property, "BYE", rig.measure(rig.tell("leave")))
    assert zero_ms <= SIGNAL_MS
    assert still_ms <= SIGNAL_MS + P0_MS + ORACLE_MS
    assert rig.line_of(worker) == "left 0 True"
    assert worker.wait(5) == 0


def test_an_unplugged_base_is_a_fault_and_no_busy_loop(rig) -> None:
    worker = rig.drive()
    onset_ns = rig.kill(rig.firmware.pid, signal.SIGKILL)
    rig.wait_for(lambda: any(name == "fault" for name, _ in rig.events()))
    fault = next(line for line in map(json.loads, (rig.folder / "guard.jsonl").read_text().splitlines()) if line["event"] == "fault")
    assert "PORT_LOST" in fault["detail"]
    assert (fault["t_ns"] - onset_ns) / 1e6 <= 100
    before = cpu_s(rig.guard_pid), time.monotonic()
    rig.wait_for(lambda: time.monotonic() > before[1] + 1.0)
    assert (cpu_s(rig.guard_pid) - before[0]) / (time.monotonic() - before[1]) < 0.15
    rig.tell("leave")
    assert rig.line_of(worker) == "left 3 False"  # it could not confirm zero, and says so


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().split(") ")[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_two_guards_cannot_have_one_base(rig) -> None:
    worker = rig.drive()
    with pytest.raises(GuardError, match=rig.path):
        GuardProcess.start(GuardSettings("waveshare", rig.path))
    rig.tell("leave")
    assert rig.line_of(worker) == "left 0 True"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base": "waveshar"}, "did you mean 'waveshare'"),
        ({"port": "/dev/missing"}, "/dev/missing"),
        ({"base_options": {"track_m": 9.0}}, "track_m=9.0"),
        ({"log_path": "/missing/guard.jsonl"}, "guard log"),
    ],
)
def test_a_guard_that_refuses_says_why(rig, fields: dict[str, object], message: str) -> None:
    with pytest.raises(GuardError, match=message):
        GuardProcess.start(GuardSettings(**{"base": "waveshare", "port": rig.path} | fields))


def test_stop_reset_and_arm_again_with_a_full_disk(rig) -> None:
    with GuardProcess.start(GuardSettings("waveshare", rig.path, log_path="/dev/full")) as guard:

        def reach(state: GuardState) -> None:
            rig.wait_for(lambda: guard.poll().state is state)  # type: ignore[union-attr]

        reach(GuardState.DISARMED)
        guard.arm()
        reach(GuardState.ARMED_IDLE)
        guard.stop()
        reach(GuardState.ESTOP_LATCHED)
        status = guard.status
        assert status is not None
        assert status.fault is FaultCode.OPERATOR_STOP

        def reset() -> bool:
            guard.reset(status.fault_id)
            return guard.poll().state is GuardState.DISARMED  # type: ignore[union-attr]

        rig.wait_for(reset)
        guard.arm()
        reach(GuardState.ARMED_IDLE)
        assert guard.confirmed_still is None
    assert (guard.exit_code, guard.confirmed_still) == (0, True)


def test_a_killed_guard_has_confirmed_nothing(rig) -> None:
    guard = GuardProcess.start(GuardSettings("waveshare", rig.path))
    rig.kill(guard.pid, signal.SIGKILL)
    with pytest.raises(GuardError, match="exit code -9"):
        rig.wait_for(lambda: not guard.poll())  # it has said something, so this ends with the guard
    assert (guard.exit_code, guard.confirmed_still) == (-9, False)
    guard.close()
    assert guard.confirmed_still is False


def test_systemd_hears_that_it_is_ready_alive_and_ending(rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten beats in what its watchdog would wait for 2.5 times: not one more than it asks for."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        with GuardProcess.start(GuardSettings("waveshare", rig.path)):
            began_ns = time.monotonic_ns()
            assert systemd.recv(64) == b"READY=1"
            assert [systemd.recv(64) for _ in range(10)] == [b"WATCHDOG=1"] * 10
            assert 0.7e9 <= time.monotonic_ns() - began_ns <= 2.5e9
        rest = systemd.recv(64)
        while rest == b"WATCHDOG=1":
            rest = systemd.recv(64)
        assert rest == b"STOPPING=1"


def full(guard: GuardProcess) -> None:
    """Say something until the link has no room."""
    while guard.unsent == 0:
        guard.send(STILL)


def test_a_stop_that_has_no_room_on_the_link_goes_by_signal(rig) -> None:
    guard = GuardProcess.start(GuardSettings("waveshare", rig.path))
    rig.wait_for(lambda: guard.poll().state is GuardState.DISARMED)  # type: ignore[union-attr]
    rig.kill(guard.pid, signal.SIGSTOP)
    full(guard)
    assert guard.stop() is guard.fault() is False
    rig.kill(guard.pid, signal.SIGCONT)
    with pytest.raises(GuardError, match="exit code 0"):
        rig.wait_for(lambda: not guard.poll())
    assert guard.confirmed_still is True


def test_a_guard_that_hangs_is_ended_by_force(rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_vla.guard.client.END_S", 0.2)
    guard = GuardProcess.start(GuardSettings("waveshare", rig.path))
    rig.kill(guard.pid, signal.SIGSTOP)
    full(guard)
    guard.close()
    assert (guard.exit_code, guard.confirmed_still) == (-signal.SIGKILL, False)


def test_a_guard_that_says_nothing_at_its_start_is_given_up(rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_vla.guard.client.START_S", 0.0)
    with pytest.raises(GuardError, match=r"said nothing for 0\.0 s"):
        GuardProcess.start(GuardSettings("waveshare", rig.path))
