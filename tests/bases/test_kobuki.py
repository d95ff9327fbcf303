"""Kobuki's bytes against vectors that its own driver was compiled to make, its reports, and the radii that say something else."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.bases.kobuki import TICK_M, Kobuki, _frame
from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.types import NO_HAZARD, STILL, Feedback, Hazard, Twist

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "serial_vectors.json").read_text())["kobuki"]
CORE = bytes.fromhex(VECTORS["feedback_vectors"][0]["hex"])


def core(
    stamp: int, left: int = 0, right: int = 0, *, bumper: int = 0, drop: int = 0, cliff: int = 0, decivolts: int = 164, current: int = 0
) -> bytes:
    return bytes((1, 15)) + struct.pack("<H3B2H2b4B", stamp, bumper, drop, cliff, left, right, 0, 0, 0, 0, decivolts, current)


def said(*parts: bytes) -> bytes:
    payload = b"".join(parts)
    body = bytes((len(payload),)) + payload
    check = 0
    for byte in body:
        check ^= byte
    return b"\xaa\x55" + body + bytes((check,))


@pytest.mark.parametrize("vector", VECTORS["canonical_vectors_base_control"], ids=lambda vector: str(vector["cmd"]))
def test_golden_bytes(vector: dict[str, Any]) -> None:
    frame = Kobuki().encode(Twist(vector["cmd"]["vx"], 0.0, vector["cmd"]["wz"]))
    assert frame == bytes.fromhex(vector["hex"])
    assert struct.unpack_from("<2h", frame, 5) == (vector["speed"], vector["radius"])


def test_golden_power() -> None:
    """Without these bits the external rails drop, and one of them may feed the host."""
    (hex_,) = [one["hex"] for one in VECTORS["other_vectors"] if one["name"].startswith("gp_out all power on")]
    assert Kobuki().init_frames() == [bytes.fromhex(hex_)]
    assert Kobuki().poll_frames() == Kobuki().restart_frames() == []


@pytest.mark.parametrize("hex_", [*(one["hex"] for one in VECTORS["other_vectors"]), VECTORS["negative_vectors"][0]["hex"]])
def test_other_frames_and_damaged_ones_move_nothing(hex_: str) -> None:
    with pytest.raises(UnsafeCommand, match="no base control"):
        Kobuki().decode_command(bytes.fromhex(hex_))


@pytest.mark.parametrize(("speed", "radius"), [(100, -1), (-100, -1), (0, 500), (0, 1), (1, 32767), (1, -32767)])
def test_a_frame_that_this_driver_never_says_is_refused(speed: int, radius: int) -> None:
    """A radius of -1 above all: what the firmware makes of it no source says."""
    with pytest.raises(UnsafeCommand, match=r"nothing this driver says|no base control"):
        Kobuki().decode_command(_frame(1, struct.pack("<2h", speed, radius)))


@pytest.mark.parametrize("radius_mm", [-1.99, -1.5, -1.0, 1.0, 1.5, 1.99])
@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_a_radius_of_a_millimetre_is_a_turn_on_the_spot_to_the_same_side(radius_mm: float, turn: float) -> None:
    said_ = Kobuki().decode_command(Kobuki().encode(Twist(radius_mm * 1e-3 * turn, 0.0, turn)))
    assert (said_.linear_x, said_.angular_z) == (0.0, pytest.approx(turn, abs=0.01))


@given(x=st.floats(-0.5, 0.5), turn=st.floats(-1.5, 1.5))
def test_every_wheel_is_said_within_the_quantum(x: float, turn: float) -> None:
    base = Kobuki()
    drive, twist = base.traits.drive, Twist(x, 0.0, turn)
    frame = base.encode(twist)
    for got, want in zip(drive.wheels(base.decode_command(frame)), drive.wheels(twist), strict=True):
        assert abs(got - want) <= base.traits.wheel_quantum_mps
    assert struct.unpack_from("<2h", frame, 5)[1] != -1


@pytest.mark.parametrize(
    ("twist", "message"), [(Twist(0.0, 0.0, 1.51), "at most 1.5"), (Twist(0.0, 0.0, -1.51), "at most 1.5"), (Twist(0.71), "wheels")]
)
def test_what_it_cannot_say_well_is_refused(twist: Twist, message: str) -> None:
    with pytest.raises(UnsafeCommand, match=message):
        Kobuki().encode(twist)


def test_golden_report() -> None:
    (report,) = Kobuki().feed(CORE, 7)
    assert report == Feedback(7, None, None, 16.4, travel_m=(0.0, 0.0), hazards=Hazard.BUMPER)


def test_speeds_are_counts_over_its_own_clock_and_both_wrap() -> None:
    base = Kobuki()
    base.feed(said(core(65530, 65535, 10)), 0)
    (report,) = base.feed(said(core(14, 99, 65446)), 999_000_000)  # 20 ms later by its own clock: +100 and -100 counts
    assert report.wheels_mps == pytest.approx((100 * TICK_M / 0.02, -100 * TICK_M / 0.02))
    assert report.travel_m == pytest.approx((100 * TICK_M, -100 * TICK_M))
    (report,) = base.feed(said(core(34, 199, 65446)), 0)
    assert report.travel_m == pytest.approx((200 * TICK_M, -100 * TICK_M))


def test_the_same_stamp_is_the_same_report() -> None:
    base = Kobuki()
    base.feed(said(core(100)), 0)
    assert base.feed(said(core(100, 5, 5)), 0) == []


@pytest.mark.parametrize(("stamp", "left"), [(120, 800), (120, 64736), (1101, 0), (99, 0)])
def test_counters_or_a_clock_that_jump_have_started_anew(stamp: int, left: int) -> None:
    """800 counts in 20 ms are 3.4 m/s."""
    base = Kobuki()
    base.feed(said(core(100)), 0)
    assert base.feed(said(core(stamp, left)), 3) == [Feedback(3, rebooted=True)]
    (report,) = base.feed(said(core(stamp + 20, left)), 4)
    assert (report.wheels_mps, report.travel_m) == ((0.0, 0.0), (0.0, 0.0))


@pytest.mark.parametrize(
    ("fields", "hazards"),
    [
        ({}, NO_HAZARD), ({"bumper": 1}, Hazard.BUMPER), ({"bumper": 4}, Hazard.BUMPER), ({"drop": 1}, Hazard.WHEEL_DROP),
        ({"drop": 2}, Hazard.WHEEL_DROP), ({"cliff": 1}, Hazard.CLIFF), ({"cliff": 4}, Hazard.CLIFF),
        ({"current": 1}, Hazard.OVER_CURRENT), ({"current": 2}, Hazard.OVER_CURRENT),
        ({"bumper": 2, "cliff": 2}, Hazard.BUMPER | Hazard.CLIFF),
    ],
)  # fmt: skip
def test_hazards(fields: dict[str, int], hazards: Hazard) -> None:
    (report,) = Kobuki().feed(said(core(1, **fields)), 0)
    assert report.hazards == hazards


def test_the_gyro_is_in_radians_a_second() -> None:
    """Hundredths of a degree."""
    inertia = bytes((4, 7)) + struct.pack("<2h3x", 1234, 18000)
    assert Kobuki().feed(said(core(1), bytes((3, 3, 0, 0, 0)), inertia), 0)[0].gyro_z_radps == pytest.approx(math.pi)


@pytest.mark.parametrize("payload", [b"", bytes((5, 2, 0, 0)), bytes((1, 14)) + bytes(14), bytes((1, 15)) + bytes(14), bytes((9,))])
def test_a_payload_without_a_core_report_is_known_and_dropped(payload: bytes) -> None:
    base = Kobuki()
    assert base.feed(said(payload), 0) == []
    assert base.garbage_bytes == 0


@pytest.mark.parametrize("garbage", [b"\xaa", b"\xaa\xaa", b"\x00\x55", b"\xaa\x55\x02\x00\x00\x01", b"\xaa\x55\x00\x01"])
def test_it_finds_the_next_report_behind_garbage(garbage: bytes) -> None:
    base = Kobuki()
    base.feed(garbage, 0)
    assert base.feed(said(core(1)) + said(core(21)) * 20, 0)[-1].battery_v == 16.4


@given(st.binary(max_size=900), st.integers(1, 60))
def test_any_bytes_split_anywhere(data: bytes, step: int) -> None:
    base = Kobuki()
    for start in range(0, len(data), step):
        base.feed(data[start : start + step], 0)
    assert len(base._buffer) <= 255 + 4
    assert base.garbage_bytes <= len(data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"track_m": 0.25}, "drives with 0.23 m"),
        ({"track_m": math.nan}, "nan"),
        ({"max_wheel_mps": 0.71}, "at most 0.7"),
        ({"max_wheel_mps": 0.0}, "more than 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Kobuki(**options)


def test_it_counts_as_a_base_that_never_stops_by_itself() -> None:
    assert Kobuki().traits.watchdog_ms is None
    assert Kobuki().decode_command(Kobuki().encode(STILL)) == STILL
