"""Bringing a base to a stand on a virtual clock, against every firmware simulator. Oracle: what is written, what the wheels do."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edge_vla.bases import BASES, make_base
from edge_vla.bases.waveshare import WaveshareUGV
from edge_vla.errors import BaseError, UnsafeCommand
from edge_vla.guard.halt import Halt, bring_to_a_stand
from edge_vla.guard.types import STILL, Feedback, Twist
from edge_vla.sim.firmware import make_firmware
from edge_vla.sim.firmware.wheels import FirstOrderWheels

MS = 1_000_000
GO = Twist(0.2)
every_base = pytest.mark.parametrize("kind", BASES)


class Room:
    """A base that somebody drives, and then nobody does; the line to it for whoever comes next."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.now_ns = 1_000_000 * MS
        self.wheels = FirstOrderWheels(gains=[1.0] * len(make_base(kind).traits.drive.wheels(STILL)))
        self.firmware = make_firmware(kind, {}, self.wheels)
        self.mute = self.deaf = self.full = False
        self.written: list[tuple[int, bytes]] = []
        self.flushes = 0
        self.gone_at_ms: int | None = None

    @property
    def speed(self) -> float:
        return max(map(abs, self.wheels.speeds()))

    def driven(self) -> Room:
        """By a guard's codec, until it moves; then that one is gone, and what it was told has been read."""
        base = make_base(self.kind)
        for frame in base.init_frames():
            self.write(frame)
            base.sent(frame, self.now_ns)
        for tick in range(500):
            for frame in [*(base.poll_frames() if tick % 3 == 0 else []), base.encode(GO)]:
                self.write(frame)
                base.sent(frame, self.now_ns)
            self.pass_by(20)
            base.feed(self.read(), self.now_ns)
            if self.speed > 0.19:
                self.read()
                self.written.clear()
                return self
        raise AssertionError(f"{self.kind} never moved")

    def pass_by(self, ms: int = 5) -> None:
        for _ in range(ms // 5):
            self.now_ns += 5 * MS
            self.wheels.advance(0.005)
            self.firmware.step(self.now_ns)

    def flush(self) -> None:
        self.flushes += 1

    def read(self) -> bytes:
        said = self.firmware.read(self.now_ns)
        return b"" if self.mute else said

    def write(self, frame: bytes) -> bool:
        if self.gone_at_ms is not None and self.now_ns >= self.gone_at_ms * MS:
            raise BaseError("gone")
        self.written.append((self.now_ns, frame))
        if not self.deaf and not self.full:
            self.firmware.feed(frame, self.now_ns)
        return not self.full

    def halt(self):
        return bring_to_a_stand(make_base(self.kind), self, self.pass_by, lambda: self.now_ns)


def said_by(kind: str, frame: bytes) -> Twist | None:
    try:
        return make_base(kind).decode_command(frame)
    except UnsafeCommand:
        return None


@every_base
def test_moving_wheels_come_to_a_stand_and_nothing_but_zero_is_said(kind: str) -> None:
    room = Room(kind).driven()
    speeds = [room.speed]
    start_ns = room.now_ns
    halted = bring_to_a_stand(make_base(kind), room, lambda: (room.pass_by(), speeds.append(room.speed)), lambda: room.now_ns)
    assert (halted.opened, halted.still, halted.why) == (True, True, "the wheels stand")
    assert room.speed < 0.02
    assert all(after <= before + 1e-9 for before, after in pairwise(speeds[20:])), "from 100 ms on it only slows down"
    twists = [(frame, said_by(kind, frame)) for _, frame in room.written]
    assert {twist for _, twist in twists if twist is not None} == {STILL}
    resync = make_base(kind).traits.resync
    assert [frame for frame, _ in twists[:1]] == ([resync] if resync else [room.written[0][1]])
    assert twists[1 if resync else 0][1] == STILL, "zero is the first word"
    assert room.flushes == 1
    others = {frame for frame, twist in twists if twist is None} - {resync}
    base = make_base(kind)
    assert others <= {*base.init_frames(), *base.poll_frames()}, "configuration and questions, as a codec that knows of no arming has them"
    zeros = [t_ns for t_ns, frame in room.written[bool(resync) :] if said_by(kind, frame) == STILL]
    assert len(zeros) == halted.zeros
    assert {b - a for a, b in pairwise(zeros)} == {20 * MS}, "fifty a second"
    assert zeros[0] == start_ns
    assert room.now_ns - start_ns < 1500 * MS


@every_base
def test_a_base_that_stands_is_seen_to_stand_and_the_guard_may_have_it_next(kind: str) -> None:
    room = Room(kind)
    room.pass_by(6000)  # one that boots for seconds
    room.read()
    assert room.halt().still
    assert room.driven().speed > 0.19


@every_base
def test_a_base_that_says_nothing_gets_zeros_for_a_second(kind: str) -> None:
    room = Room(kind).driven()
    room.mute = True
    start_ns = room.now_ns
    halted = room.halt()
    assert (halted.still, halted.reports, halted.zeros) == (False, 0, 50)
    assert room.now_ns - start_ns == 1000 * MS
    assert "says nothing of its wheels" in halted.why
    assert room.speed < 0.02, "it obeyed all the same"


@pytest.mark.parametrize("kind", ["rosmaster", "kobuki", "create2"])
def test_a_base_that_does_not_obey_is_not_said_to_stand(kind: str) -> None:
    """Those that no timeout of their own stops."""
    room = Room(kind).driven()
    room.deaf = True
    start_ns = room.now_ns
    halted = room.halt()
    assert not halted.still
    assert halted.reports > 50
    assert room.now_ns - start_ns == 5000 * MS
    assert "does not say that its wheels stand" in halted.why


def test_zeros_that_found_no_room_are_not_counted() -> None:
    room = Room("rosmaster").driven()
    room.full = True
    halted = room.halt()
    assert (halted.still, halted.zeros) == (False, 0)


def test_ev1_is_not_armed() -> None:
    room = Room("ev1").driven()
    room.halt()
    assert any(frame.startswith(b"H *") for _, frame in room.written)
    assert not any(frame.startswith(b"R ") for _, frame in room.written)


def test_a_line_that_goes_away_is_the_callers_to_open_again() -> None:
    room = Room("kobuki").driven()
    room.gone_at_ms = room.now_ns // MS + 100
    with pytest.raises(BaseError, match="gone"):
        room.halt()


# -- when it is enough


def reports(halt: Halt, *speeds: float, start_ms: int = 100) -> None:
    for place, speed in enumerate(speeds):
        halt.hear(Feedback((start_ms + 50 * place) * MS, (0.0, speed)))


def started() -> Halt:
    halt = Halt(make_base("waveshare"), 0)
    for frame in halt.frames(0):
        halt.sent(frame)
    return halt


@pytest.mark.parametrize(
    ("speeds", "still"),
    [
        ((0.0,) * 4, False), ((0.0,) * 5, True), ((0.0199,) * 5, True), ((0.02,) * 5, False), ((-0.02,) * 5, False),
        ((0.0, 0.0, 0.0, 0.0, 0.1, 0.0), False), ((0.1, 0.0, 0.0, 0.0, 0.0, 0.0), True), ((float("nan"),) * 5, False),
    ],
)  # fmt: skip
def test_five_reports_in_a_row_of_both_wheels(speeds: tuple[float, ...], still: bool) -> None:
    halt = started()
    reports(halt, *speeds)
    assert halt.still is still
    assert halt.over(400 * MS) is still


def test_what_was_reported_before_the_first_zero_is_not_believed() -> None:
    halt = Halt(make_base("waveshare"), 0)
    reports(halt, *[0.0] * 9)
    assert (halt.still, halt.reports) == (False, 0)


def test_patience_with_one_that_says_nothing_and_with_one_that_moves() -> None:
    halt = started()
    assert [halt.over(now_ms * MS) for now_ms in (0, 999, 1000)] == [False, False, True]
    reports(halt, 0.1)
    assert [halt.over(now_ms * MS) for now_ms in (1000, 4999, 5000)] == [False, False, True]


def test_a_report_that_says_nothing_of_wheels_is_none() -> None:
    halt = started()
    for _ in range(9):
        halt.hear(Feedback(1, None, battery_v=12.0))
    assert (halt.still, halt.reports) == (False, 0)
    assert halt.over(1000 * MS)


def test_configured_once_then_every_second_in_silence_and_after_a_reboot() -> None:
    base = make_base("waveshare")
    halt = started()

    def configured(now_ms: int) -> bool:
        frames = halt.frames(now_ms * MS)
        for frame in frames:
            halt.sent(frame)
        assert frames[:1] == [base.encode(STILL)]
        assert frames[1:] in ([], base.init_frames())
        return len(frames) > 1

    assert [now_ms for now_ms in range(20, 3000, 20) if configured(now_ms)] == [20, 1020, 2020]
    reports(halt, 0.1, start_ms=2900)
    assert not any(configured(now_ms) for now_ms in range(3000, 5000, 20))
    halt.hear(Feedback(5000 * MS, rebooted=True))
    assert [now_ms for now_ms in range(5000, 6000, 20) if configured(now_ms)] == [5000]


def test_one_that_reports_by_itself_is_asked_nothing_and_one_that_does_not_is_asked_at_its_pace() -> None:
    halt = Halt(make_base("ros_arduino"), 0)
    questions = make_base("ros_arduino").poll_frames()
    asked = []
    for now_ms in range(0, 1000, 20):
        frames = halt.frames(now_ms * MS)
        for frame in frames:
            halt.sent(frame)
        asked += [now_ms] if now_ms != 20 and frames[1:] == questions else []  # at 20 they are its configuration
    period = -(-make_base("ros_arduino").traits.feedback_period_ms // 20) * 20
    assert asked == list(range(200, 1000, period))
    heard = Halt(make_base("ros_arduino"), 0)
    for now_ms in range(0, 1000, 20):
        for frame in heard.frames(now_ms * MS):
            heard.sent(frame)
            assert now_ms == 20 or frame == make_base("ros_arduino").encode(STILL)
        reports(heard, 0.1, start_ms=now_ms)


def test_a_base_whose_stop_is_none_is_told_nothing() -> None:
    class Runaway(WaveshareUGV):
        def decode_command(self, frame: bytes) -> Twist:
            return Twist(0.1)

    with pytest.raises(BaseError, match="is not a stop"):
        Halt(Runaway(), 0).frames(0)
