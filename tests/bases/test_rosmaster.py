"""ROSMASTER's bytes against frames its own driver was recorded to send, its reports, and what no frame may say."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.bases.rosmaster import CARS, COUNTS_PER_M, Rosmaster
from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.types import STILL, Feedback, Twist

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "serial_vectors.json").read_text())["yahboom_rosmaster"]
CALLS = {
    "set_car_motion(0.2, 0, 0)": Twist(0.2), "set_car_motion(0, 0.2, 0)": Twist(0.0, 0.2),
    "set_car_motion(0, 0, 0.5)": Twist(0.0, 0.0, 0.5),
    "set_car_motion(0.3, -0.1, 0.25)": Twist(0.3, -0.1, 0.25), "set_car_motion(0.0005, 0, 0)": Twist(0.0005),
    "set_car_motion(-0.0019, 0, 0)": Twist(-0.0019),
}  # fmt: skip
RECORDED = [(car, one["call"], one["hex"]) for car in (1, 2) for one in VECTORS["driver_recorded"][f"car_type_{car}"]]
SPEED, COUNTS = (bytes.fromhex(one["hex"]) for one in VECTORS["feedback_vectors"])


def report(function: int, data: bytes) -> bytes:
    body = bytes((len(data) + 3, function)) + data
    return b"\xff\xfb" + body + bytes((sum(body) & 0xFF,))


def car(kind: int) -> Rosmaster:
    return Rosmaster(car=next(name for name, car in CARS.items() if car.type == kind))


@pytest.mark.parametrize(("kind", "call", "hex_"), [one for one in RECORDED if one[1] in CALLS])
def test_golden_motion(kind: int, call: str, hex_: str) -> None:
    frame = car(kind).encode(CALLS[call])
    assert frame == bytes.fromhex(hex_)
    want = CALLS[call]
    said = car(kind).decode_command(frame)
    for got, asked in ((said.linear_x, want.linear_x), (said.linear_y, want.linear_y), (said.angular_z, want.angular_z)):
        assert abs(got - asked) < 1e-3
        assert abs(got) <= abs(asked) + 1e-12, "cut towards zero"


def test_golden_configuration() -> None:
    (hex_,) = {hex_ for _, call, hex_ in RECORDED if call == "set_auto_report_state(True)"}
    assert Rosmaster().init_frames() == [bytes.fromhex(hex_)]
    assert Rosmaster().poll_frames() == Rosmaster().restart_frames() == []


@pytest.mark.parametrize(("kind", "call", "hex_"), [one for one in RECORDED if one[1] not in CALLS])
def test_what_its_own_driver_also_sends_is_no_motion_of_ours(kind: int, call: str, hex_: str) -> None:
    with pytest.raises(UnsafeCommand, match="no motion frame"):
        car(kind).decode_command(bytes.fromhex(hex_))


def test_the_other_car_and_yaw_hold_are_refused() -> None:
    """Bit 0x80 of the type makes the firmware ignore the turn rate."""
    frame = bytearray(Rosmaster().encode(Twist(0.1)))
    with pytest.raises(UnsafeCommand, match="car type 2"):
        Rosmaster(car="x3plus").decode_command(bytes(frame))
    frame[4] |= 0x80
    frame[-1] = sum(frame[2:-1]) & 0xFF
    with pytest.raises(UnsafeCommand, match="car type 1"):
        Rosmaster().decode_command(bytes(frame))


def test_an_axis_that_does_not_fit_is_refused_and_nothing_is_swallowed() -> None:
    """Its own driver catches the overflow and sends nothing: the base would keep its last speed."""
    base = Rosmaster(max_wheel_mps=1.0)
    with pytest.raises(UnsafeCommand, match="wheels"):
        base.encode(Twist(40.0))
    tiny = Rosmaster(max_wheel_mps=1.0)
    object.__setattr__(tiny._traits.drive, "reach_m", 1e-6)  # wheels so small that only the number is too large
    with pytest.raises(UnsafeCommand, match=r"beyond 32\.767"):
        tiny.encode(Twist(0.0, 0.0, 40.0))


def test_a_wheel_is_never_asked_for_more_than_its_limit() -> None:
    """The firmware clips wheels one by one, which turns the direction: x, y and turn at once are refused instead."""
    base = Rosmaster(max_wheel_mps=0.5)
    assert base.encode(Twist(0.25, 0.25))
    with pytest.raises(UnsafeCommand, match=r"want at most 0\.5"):
        base.encode(Twist(0.25, 0.25, 0.1))


def test_golden_speeds() -> None:
    (said,) = Rosmaster().feed(SPEED, 7)
    assert (said.t_ns, said.battery_v, said.travel_m, said.hazards) == (7, 11.8, None, None)
    assert said.wheels_mps is not None
    twist = Rosmaster().traits.drive.twist(said.wheels_mps)
    assert (twist.linear_x, twist.linear_y, twist.angular_z) == pytest.approx((0.2, -0.05, 0.5))


def test_golden_counters_come_with_the_next_speeds_in_the_order_of_the_drive() -> None:
    """Motors: front left, rear left, front right, rear right."""
    base = Rosmaster()
    assert base.feed(COUNTS, 0) == []
    (said,) = base.feed(SPEED, 1)
    assert said.travel_m == pytest.approx([count / COUNTS_PER_M for count in (100, 2464, -100, 0)])
    assert pytest.approx(9803.9, abs=0.1) == COUNTS_PER_M


def test_counters_that_all_fall_back_are_a_board_that_started_anew() -> None:
    base = Rosmaster()
    base.feed(report(0x0D, struct.pack("<4i", 5000, -4000, 3000, 900)), 0)
    assert base.feed(report(0x0D, struct.pack("<4i", 100, 5, -3, 0)), 1) == []  # 100 is not yet near zero
    base.feed(report(0x0D, struct.pack("<4i", 5000, -4000, 3000, 900)), 2)
    assert base.feed(report(0x0D, struct.pack("<4i", 99, -99, 0, 0)), 3) == [Feedback(3, rebooted=True)]
    base.feed(report(0x0D, struct.pack("<4i", 1000, 0, 0, 0)), 4)
    assert base.feed(report(0x0D, struct.pack("<4i", 0, 0, 0, 0)), 5) == []  # so little may have been rolled back by hand


@pytest.mark.parametrize("numbers", [(3100, 0, 0), (0, -3001, 0), (1600, 1500, 0), (0, 0, 19000)])
def test_a_speed_no_wheel_has_is_a_flipped_bit(numbers: tuple[int, int, int]) -> None:
    base = Rosmaster()
    assert base.feed(report(0x0A, struct.pack("<3hB", *numbers, 118)), 0) == []
    assert base.garbage_bytes == 12


@pytest.mark.parametrize(
    "frame",
    [
        report(0x0C, bytes(6)),
        report(0x0B, bytes(18)),
        report(0x51, b"\x03\x05"),
        report(0x0A, bytes(6)),
        report(0x0D, bytes(15)),
        report(0x0A, b""),
    ],
)
def test_other_reports_are_known_and_dropped(frame: bytes) -> None:
    base = Rosmaster()
    if len(frame) == 5:  # nothing in it: too short to be one
        assert base.feed(frame, 0) == []
        return
    assert base.feed(frame + SPEED, 0)[0].battery_v == 11.8
    assert base.garbage_bytes == 0


@pytest.mark.parametrize(
    ("garbage", "lost"),
    [(b"\xff", 1), (b"\xff\xff", 2), (b"\x00\xfb", 2), (b"\xff\xfb\x03", 3), (b"\xff\xfb\x41\x0a", 4), (b"abc\xff\xfb", 5)],
)
def test_it_finds_the_next_report_behind_half_a_head(garbage: bytes, lost: int) -> None:
    base = Rosmaster()
    assert len(base.feed(garbage + SPEED + SPEED * 6, 0)) >= 1
    assert base.garbage_bytes >= lost


def test_a_head_cut_in_two_is_waited_for() -> None:
    base = Rosmaster()
    assert base.feed(SPEED[:1], 0) == []
    assert base.feed(SPEED[1:2], 1) == []
    assert base.feed(SPEED[2:], 2) != []
    assert base.garbage_bytes == 0


@given(st.binary(max_size=600))
def test_any_bytes_are_read_and_memory_is_bounded(data: bytes) -> None:
    base = Rosmaster()
    for start in range(0, len(data), 7):
        for said in base.feed(data[start : start + 7], 0):
            assert said.wheels_mps is None or max(map(abs, said.wheels_mps)) <= 3.0
    assert len(base._buffer) <= 66
    assert base.garbage_bytes <= len(data)


@given(x=st.floats(-0.3, 0.3), y=st.floats(-0.3, 0.3), turn=st.floats(-1, 1))
def test_no_axis_is_said_larger_or_the_other_way(x: float, y: float, turn: float) -> None:
    base = Rosmaster(max_wheel_mps=1.0)
    said = base.decode_command(base.encode(Twist(x, y, turn)))
    for got, want in ((said.linear_x, x), (said.linear_y, y), (said.angular_z, turn)):
        assert abs(got) <= abs(want) + 1e-9
        assert abs(got - want) < 1e-3 + 1e-9
        assert got * want >= 0


def test_the_resync_is_a_stop() -> None:
    """Twice, then: a torn frame eats the first."""
    base = Rosmaster()
    assert base.decode_command(base.traits.resync) == STILL


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"car": "r2"}, "car='r2': want one of x3, x3plus"),
        ({"max_wheel_mps": 1.01}, "at most 1.0"),
        ({"max_wheel_mps": 0.71, "car": "x3plus"}, "at most 0.7"),
        ({"max_wheel_mps": math.nan}, "nan"),
        ({"max_wheel_mps": 0.0}, "more than 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Rosmaster(**options)


def test_without_a_watchdog() -> None:
    """R1: nobody stops it when the host dies."""
    assert Rosmaster().traits.watchdog_ms is None
