"""`python -m edge_vla.bases.check --profile P`: with the wheels off the ground, is this the base the profile says, and what stops it?

It hears the base, turns each wheel slowly, then kills the guard while they turn and measures how long the base takes to stop by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_vla.bases import make_base
from edge_vla.bases.port import Port
from edge_vla.config import RobotProfile, load_profile
from edge_vla.errors import BaseError, EdgeVLAError, GuardError
from edge_vla.guard.client import Evidence, GuardProcess
from edge_vla.guard.link import Count, Status
from edge_vla.guard.ramp import STILL_MPS
from edge_vla.guard.settings import GuardSettings
from edge_vla.guard.state import GuardState
from edge_vla.guard.types import STILL, Base, Feedback, Speeds, Twist

WHEEL_MPS = 0.08  # slow enough to look at
SPIN_S, ANSWER_S, UNPLUGGED_S = 1.2, 8.0, 5.0
PERIOD_S = 0.02
QUIET_S = 0.5  # for the wheels to come to rest
SHARE, CROSSTALK = 0.5, 0.3  # of the speed asked: what a wheel has to do, and what the others may
OK, WARN, FAIL = "ok", "warn", "fail"
NAMES = {2: ("left", "right"), 4: ("front left", "front right", "rear left", "rear right")}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing looked at."""

    level: str
    what: str
    found: str


class Check:
    """One base on one port. `say` hears each line as soon as it is known."""

    def __init__(self, profile: RobotProfile, port: str, say: Callable[[Line], object]) -> None:
        self.lines: list[Line] = []
        self._profile, self._port, self._say = profile, port, say
        self._base = make_base(profile.base.kind, profile.base.codec)
        self._drive = self._base.traits.drive

    def run(self) -> bool:
        """Whether nothing failed. Raises GuardError where the guard or the base refuses."""
        base = self._profile.base
        settings = GuardSettings(base=base.kind, port=self._port, baud=base.baud, base_options=base.codec)
        with GuardProcess.start(settings) as guard:
            if self._answers(guard):
                self._wheels_turn(guard)
                self._pull_away(guard)
        return all(line.level != FAIL for line in self.lines)

    def _tell(self, level: str, what: str, found: str) -> None:
        self.lines.append(Line(level, what, found))
        self._say(self.lines[-1])

    def _answers(self, guard: GuardProcess) -> bool:
        until_s = time.monotonic() + ANSWER_S
        while (status := _heard(guard)).state is not GuardState.DISARMED and time.monotonic() < until_s:
            guard.wait(PERIOD_S)
        if status.state is not GuardState.DISARMED:
            heard = f"{status.counts[Count.FEEDBACKS]} reports, {status.counts[Count.GARBAGE_BYTES]} bytes that are none"
            self._tell(FAIL, "answers", f"no, or its wheels do not stand: {heard} in {ANSWER_S:.0f} s; is it {self._profile.base.kind}?")
            return False
        before = status.counts[Count.FEEDBACKS]
        self._hold(guard, STILL, 1.0)
        status = _heard(guard)
        volts = "no battery voltage" if status.battery_v is None else f"{status.battery_v:.1f} V"
        self._tell(OK, "answers", f"{self._profile.base.kind}, {status.counts[Count.FEEDBACKS] - before} reports a second, {volts}")
        if status.hazards:
            self._tell(WARN, "hazards", f"{status.hazards}: free it")
        return True

    def _wheels_turn(self, guard: GuardProcess) -> None:
        """One after the other, forwards."""
        self._arm(guard)
        for wheel, name in enumerate(NAMES[len(self._drive.wheels(STILL))]):
            wanted = tuple(WHEEL_MPS * (k == wheel) for k in range(len(self._drive.wheels(STILL))))
            measured = self._hold(guard, self._drive.twist(wanted), SPIN_S)
            told = self._drive.wheels(self._drive.twist(wanted))  # four wheels cannot turn one alone
            self._tell(*_judged(name, told, measured))
            self._hold(guard, STILL, 0.6)

    def _pull_away(self, guard: GuardProcess) -> None:
        """Kill the guard in motion and listen on, saying nothing that keeps a base going."""
        measured = self._hold(guard, Twist(WHEEL_MPS), SPIN_S)
        if max(map(abs, measured)) < SHARE * WHEEL_MPS:
            self._tell(FAIL, "host gone", "not tried: the wheels do not turn")
            return
        os.kill(guard.pid, signal.SIGKILL)
        gone_s = time.monotonic()
        while _alive(guard.pid):
            time.sleep(0.001)
        with Port(self._port, self._profile.base.baud, self._base.traits.resync) as port:
            try:
                after_s = self._listen(port, gone_s)
            finally:
                _stop(port, self._base)
        watchdog_ms = self._base.traits.watchdog_ms
        if after_s is None:
            level = FAIL if watchdog_ms is not None else WARN
            self._tell(
                level, "host gone", f"it drives on: no stop within {UNPLUGGED_S:.0f} s; it was stopped. Nothing but a switch stops it then"
            )
        else:
            bound = "at most " if self._quiet_s() else ""
            self._tell(OK, "host gone", f"it stopped by itself, wheels still {bound}{1000 * after_s:.0f} ms after the host was gone")

    def _listen(self, port: Port, gone_s: float) -> float | None:
        """Seconds until the wheels stand, by the last report of them turning."""
        quiet_s = self._quiet_s()
        time.sleep(quiet_s)
        turned_s, poll_s, heard = gone_s + quiet_s, 0.0, list[Feedback]()
        while (now_s := time.monotonic()) < gone_s + UNPLUGGED_S:
            if now_s >= poll_s:
                poll_s = now_s + self._base.traits.feedback_period_ms / 1000
                for frame in self._base.poll_frames():
                    port.write(frame)
                    self._base.sent(frame, time.monotonic_ns())
            for report in self._base.feed(port.read(), time.monotonic_ns()):
                if report.wheels_mps is not None:
                    heard.append(report)
                    turned_s = now_s if max(map(abs, report.wheels_mps)) >= STILL_MPS else turned_s
            if heard and now_s - turned_s > 1.0 and now_s - heard[-1].t_ns * 1e-9 < 1.0:
                return turned_s - gone_s
            time.sleep(0.002)
        if not heard:
            raise BaseError(f"{self._port}: no report after the guard was gone")
        return None

    def _quiet_s(self) -> float:
        """How long to ask nothing: where questions may feed the base's own timeout, until that must be over and the wheels stand."""
        watchdog_ms = self._base.traits.watchdog_ms
        return watchdog_ms / 1000 + QUIET_S if watchdog_ms is not None and self._base.poll_frames() else 0.0

    def _arm(self, guard: GuardProcess) -> None:
        until_s = time.monotonic() + ANSWER_S
        while (status := _heard(guard)).state is not GuardState.ARMED_IDLE:
            if time.monotonic() > until_s:
                raise GuardError(f"the guard does not arm: {status.state.name}, {status.fault.name}, {status.refusal.name}")
            guard.arm()
            guard.wait(PERIOD_S)
            time.sleep(PERIOD_S)

    def _hold(self, guard: GuardProcess, twist: Twist, seconds: float) -> Speeds:
        """The wheels' speeds at its end. Raises GuardError when the guard stops it."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            now_ns = time.monotonic_ns()
            if twist != STILL:
                guard.send(twist, Evidence(now_ns - 1, now_ns + 400_000_000, 6.0, 5.0))
            elif _heard(guard).state is not GuardState.DISARMED:
                guard.send(STILL)
            status = _heard(guard)
            if status.state is GuardState.FAULT_LATCHED:
                raise GuardError(f"the guard stopped it: {status.fault.name}; told {status.applied}, saw {status.measured}")
            time.sleep(PERIOD_S)
        status = _heard(guard)
        return self._drive.wheels(status.measured or STILL)


def _judged(name: str, wanted: Speeds, measured: Speeds) -> tuple[str, str, str]:
    """Level, what and why for one wheel."""
    most = max(map(abs, wanted))
    seen = ", ".join(f"{speed:+.2f}" for speed in measured)
    for asked, got in zip(wanted, measured, strict=True):
        if abs(asked) > 0.9 * most and asked * got <= 0.0:
            what = "does not turn" if abs(got) < STILL_MPS else "turns the other way"
            return FAIL, f"{name} wheel", f"{what}: wheels at {seen} m/s"
        if abs(got - asked) > max(SHARE * most, STILL_MPS):
            return (
                FAIL,
                f"{name} wheel",
                f"wheels at {seen} m/s, asked {', '.join(f'{speed:+.2f}' for speed in wanted)}: swapped, or stuck?",
            )
    return OK, f"{name} wheel", f"forwards, wheels at {seen} m/s"


def _heard(guard: GuardProcess) -> Status:
    status = guard.poll()
    assert status is not None  # noqa: S101 - for mypy: a started guard has said something
    return status


def _alive(pid: int) -> bool:
    """A killed child that nobody has waited for is a zombie, and holds no port."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1] not in ("Z", "X")
    except OSError:
        return False


def _stop(port: Port, base: Base) -> None:
    for _ in range(3):
        port.write(base.traits.resync + base.encode(STILL))
        time.sleep(PERIOD_S)


@contextmanager
def opened(profile: RobotProfile) -> Iterator[str]:
    """The base's device; of a simulated profile that of a firmware simulator without a world."""
    if not profile.simulated:
        yield profile.base.port
        return
    with tempfile.TemporaryDirectory() as folder:
        words = ["--base", profile.base.kind, "--options", json.dumps(profile.base.codec), "--baud", str(profile.base.baud)]
        command = [sys.executable, "-m", "edge_vla.sim.firmware", "--log", str(Path(folder) / "wheels.jsonl"), *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as firmware:
            try:
                path = firmware.stdout.readline().strip() if firmware.stdout is not None else ""
                if not path:
                    raise BaseError(f"the firmware simulator ended with exit code {firmware.wait()}")
                yield path
            finally:
                firmware.terminate()


def main(words: list[str] | None = None) -> int:
    """0 when nothing failed, 1 when something did, 2 when it could not be tried."""
    cli = argparse.ArgumentParser(prog="python -m edge_vla.bases.check", description=__doc__)
    cli.add_argument("--profile", type=Path, required=True, help="a robot profile, for example launch/robot.toml")
    cli.add_argument("--yes", action="store_true", help="the wheels are off the ground: do not ask")
    cli.add_argument("--json", action="store_true", help="one line of JSON at the end instead of lines of text")
    args = cli.parse_args(words)
    try:
        profile = load_profile(args.profile)
        if not (args.yes or profile.simulated or _confirmed()):
            sys.stderr.write("nothing moved\n")
            return 2
        with opened(profile) as port:
            check = Check(profile, port, (lambda _: None) if args.json else _print)
            good = check.run()
    except EdgeVLAError as err:
        sys.stderr.write(f"check: {err}\n")
        return 2
    if args.json:
        told = {"ok": good, "simulated": profile.simulated, "lines": [asdict(line) for line in check.lines]}
        sys.stdout.write(json.dumps(told) + "\n")
    return 0 if good else 1


def _print(line: Line) -> None:
    sys.stdout.write(f"{line.level:5} {line.what:18} {line.found}\n")
    sys.stdout.flush()


def _confirmed() -> bool:
    return (
        input("Each wheel will turn, then the host is pulled away while they turn. Type 'up' when the wheels are off the ground: ") == "up"
    )


if __name__ == "__main__":
    sys.exit(main())
