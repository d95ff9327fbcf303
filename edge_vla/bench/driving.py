"""Guard and serial line, measured with the guard process itself and the firmware simulator behind a pty. No robot is ever moved.

The worker's clock, the guard's and the firmware's are one: CLOCK_MONOTONIC. Every command asks for a speed no other lately had, so that
the guard's status and the firmware's log say which command they speak of.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from edge_vla.bench.distribution import BLOCKS
from edge_vla.bench.meter import Meter
from edge_vla.config import RobotProfile
from edge_vla.errors import BaseError, ConfigError, GuardError
from edge_vla.guard.client import Evidence, GuardProcess
from edge_vla.guard.link import Status
from edge_vla.guard.settings import GuardSettings
from edge_vla.guard.state import GuardState
from edge_vla.guard.types import Base, Twist
from edge_vla.live import favoured, swept
from edge_vla.parts import make_base

SIMULATED = "waveshare"  # the base whose firmware is simulated
TICKS = re.compile(r"n (\d+), p50 ([\d.]+) ms, p99 ([\d.]+) ms, p99\.9 [\d.]+ ms, longest ([\d.]+) ms")  # as the guard logs them
MS = 1_000_000
PERIOD_NS = 32_360_680  # 20 ms x the golden ratio: commands meet all phases of the guard's 50 Hz evenly; a run's 30 Hz meets three
PER_ROUND = 16  # commands
WARM_UP = 4  # of each session
TAIL = 8  # commands behind the last one measured, while the base reports on it
SPEEDS = 64  # different ones, a quantum apart, so that each is reached in one tick
SPEED_MPS = 0.2
PATIENCE_S = 10.0
EARLY_NS = 5 * MS  # the firmware stamps what it hears with the beginning of its 5 ms step
LATE_NS = 1000 * MS  # half of the time until a speed comes again: what was obeyed later is another command's
LOST = 0.1  # share of the commands that may be overtaken by the next before a tick saw them


@dataclass(frozen=True, slots=True)
class Sent:
    """One command: what the base is told of it, as the guard says it and as the line carries it."""

    said: Twist
    frame: str
    sent_ns: int


@dataclass(frozen=True, slots=True)
class Heard:
    """One status of the guard, and when it arrived."""

    status: Status
    arrived_ns: int


class Firmware:
    """A Waveshare controller without a robot, in a process of its own. `log` is complete once the context is left."""

    def __init__(self, folder: Path, baud: int) -> None:
        self.log = folder / "wheels.jsonl"
        words = [sys.executable, "-m", "edge_vla.sim.firmware", "--log", str(self.log), "--baud", str(baud)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.path = self._process.stdout.readline().strip() if self._process.stdout else ""

    def __enter__(self) -> Firmware:
        if not self.path:
            raise BaseError(f"the firmware simulator did not start: {self._process.communicate()[1].strip()}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.communicate()

    def accepted(self) -> list[tuple[int, str]]:
        """(when, frame) of every frame the controller has obeyed."""
        lines = (json.loads(line) for line in self.log.read_text("utf-8").splitlines())
        return [(line["t_ns"], line["accepted"]) for line in lines if line["accepted"] is not None]


def drive(profile: RobotProfile, meter: Meter, between: Callable[[int, int], object] = lambda _a, _b: None) -> str:
    """Measure in one session a block; what the guards say their ticks cost, in words. `between` is called with (done, of).

    Guard and firmware keep the phase they happened to start with: 5 ms of step against 20 ms of tick. One session would report that
    chance as a latency, and the next another one.
    Raises ConfigError for a base without a simulated firmware, GuardError and BaseError when one of the two fails.
    """
    if profile.base.kind != SIMULATED:
        raise ConfigError(f"stages 'guard': base {profile.base.kind!r} has no firmware simulator; want {SIMULATED!r}")
    count = WARM_UP + PER_ROUND * meter.rounds // BLOCKS
    told = []
    for block in range(BLOCKS):
        samples, ticks = _session(profile, count + (block == 0), _counted_from(block * count, BLOCKS * count, between))
        told.append(ticks)
        for stage, samples_ms in samples.items():
            meter.take_block(stage, samples_ms, WARM_UP, block)
    return summed_up(told)


def _counted_from(first: int, of: int, between: Callable[[int, int], object]) -> Callable[[int], object]:
    return lambda done: between(first + done, of)


def _session(profile: RobotProfile, count: int, between: Callable[[int], object]) -> tuple[dict[str, list[float]], str]:
    """(samples in ms by stage, what the guard says its ticks cost) of `count` commands between a new guard and a new firmware."""
    base = make_base(profile.base)
    with tempfile.TemporaryDirectory(prefix="edge_vla-bench-") as scratch:
        folder = Path(scratch)
        with Firmware(folder, profile.base.baud) as firmware:
            settings = GuardSettings(
                base=profile.base.kind, port=firmware.path, baud=profile.base.baud, log_path=str(folder / "guard.jsonl"),
                base_options=profile.base.codec,
            )  # fmt: skip
            with GuardProcess.start(settings) as guard, swept(), favoured():  # as a run steers
                sent, heard = _command(guard, base, count, between)
        events = [json.loads(line) for line in (folder / "guard.jsonl").read_text("utf-8").splitlines()]
        samples = attribute(sent, heard, firmware.accepted(), MS * 1000 // settings.tick_hz)
    return samples, next((str(line["detail"]) for line in events if line["event"] == "ticks"), "")


def summed_up(told: list[str]) -> str:
    """What several guards say of their ticks, in one line: the middle p50, the worst of the others."""
    found = [[float(value) for value in match.groups()] for each in told if (match := TICKS.match(each))]
    if not found:
        return ""
    n, p50, p99, longest = zip(*found, strict=True)
    middle = statistics.median(p50)
    return f"{sum(n):.0f} in {len(found)} sessions, p50 {middle:.3f} ms, p99 at most {max(p99):.3f} ms, longest {max(longest):.3f} ms"


def _command(guard: GuardProcess, base: Base, count: int, between: Callable[[int], object]) -> tuple[list[Sent], list[Heard]]:
    """Arm, get up to speed, then `count` commands at PERIOD_NS; every status that arrived from then on."""
    _until(guard, lambda status: status.state is GuardState.DISARMED)
    guard.arm()
    _until(guard, lambda status: status.state is GuardState.ARMED_IDLE)
    speeds = [_speed(base, k) for k in range(SPEEDS)]
    said = base.decode_command(base.encode(speeds[0]))
    _until(guard, lambda status: status.applied == said, lambda: _send(guard, base, speeds[0]))
    sent, heard = list[Sent](), list[Heard]()
    due_ns = time.monotonic_ns()
    for k in range(count + TAIL):
        due_ns += PERIOD_NS
        _listen(guard, heard, due_ns)
        sent.append(_send(guard, base, speeds[(k + 1) % SPEEDS]))
        between(min(k + 1, count))
    return sent[:count], heard


def _speed(base: Base, k: int) -> Twist:
    """Half a quantum above what the base can say, so that cutting it off is no matter of rounding."""
    quantum, most = base.traits.wheel_quantum_mps, base.traits.max_wheel_mps
    return Twist((int(min(SPEED_MPS, most / 2) / quantum) + k + 0.5) * quantum)


def _send(guard: GuardProcess, base: Base, twist: Twist) -> Sent:
    frame = base.encode(twist)
    now_ns = time.monotonic_ns()
    guard.send(twist, Evidence(now_ns - 40 * MS, now_ns + 460 * MS, 5.0, 5.0, 20.0))
    return Sent(base.decode_command(frame), frame.decode("ascii").strip(), now_ns)


def _listen(guard: GuardProcess, heard: list[Heard], until_ns: int) -> None:
    """Take in what the guard says until that moment. Raises GuardError once it is gone or no longer armed."""
    while (left_ns := until_ns - time.monotonic_ns()) > 0:
        guard.wait(left_ns * 1e-9)
        status, now_ns = guard.poll(), time.monotonic_ns()
        if status is not None and (not heard or status is not heard[-1].status):
            heard.append(Heard(status, now_ns))
            if status.state is not GuardState.MOVING:
                raise GuardError(f"the guard left MOVING for {status.state.name}: {status.fault.name}, {status.cause.name}")


def _until(guard: GuardProcess, met: Callable[[Status], bool], ask: Callable[[], object] = lambda: None) -> None:
    """Wait for a status that is met, asking every 30 ms. Raises GuardError when none comes."""
    give_up_s = time.monotonic() + PATIENCE_S
    while (status := guard.poll()) is None or not met(status):
        if time.monotonic() > give_up_s:
            raise GuardError(f"the guard stayed {status.state.name if status else 'silent'} for {PATIENCE_S:.0f} s")
        ask()
        guard.wait(0.03)


def attribute(sent: list[Sent], heard: list[Heard], accepted: list[tuple[int, str]], tick_ns: int) -> dict[str, list[float]]:
    """Which status, obeyed frame and report belong to which command: guard, serial out and serial in ms, in order.

    A report the guard heard less than a tick after the base obeyed may have been said before that; the next one cannot.
    Raises GuardError when more than LOST of the commands left no trace.
    """
    reports = sorted({pose.t_ns for each in heard for pose in each.status.poses})
    by_frame: dict[str, list[int]] = {}
    for t_ns, frame in accepted:
        by_frame.setdefault(frame, []).append(t_ns)
    guard, out, back = list[float](), list[float](), list[float]()
    start = 0
    for command in sent:
        found = next((k for k in range(start, len(heard)) if _is_of(heard[k], command)), None)
        if found is None:
            continue
        start, tick = found, heard[found].status.t_ns
        guard.append((heard[found].arrived_ns - command.sent_ns) / MS)
        obeyed = _first(by_frame.get(command.frame, []), tick - EARLY_NS)
        report = None if obeyed is None else _first(reports, max(obeyed, tick) + tick_ns)
        if obeyed is not None and report is not None and obeyed - tick < LATE_NS:
            out.append(max(0, obeyed - tick) / MS)
            back.append((report - tick) / MS)
    if min(len(guard), len(out)) < (1 - LOST) * len(sent):
        raise GuardError(f"of {len(sent)} commands {len(guard)} were applied and {len(out)} obeyed and reported: too busy to measure")
    return {"guard": guard, "serial out": out, "serial": back}


def _is_of(heard: Heard, command: Sent) -> bool:
    return heard.status.t_ns >= command.sent_ns and heard.status.applied == command.said


def _first(times_ns: list[int], from_ns: int) -> int | None:
    """The first of sorted times that is not before `from_ns`."""
    k = bisect_left(times_ns, from_ns)
    return times_ns[k] if k < len(times_ns) else None
