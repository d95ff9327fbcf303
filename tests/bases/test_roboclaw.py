"""RoboClaw's packets against the recorded vectors, its options, and what it refuses."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.bases.roboclaw import RoboClaw
from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.types import STILL, Twist
from edge_vla.guard.wheels import check_decoded

MS = 1_000_000
VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "golden" / "serial_vectors.json").read_text())[
    "roboclaw_packet_serial"
]["driver_recorded"]["vectors"]
SPEEDS = [(vector, struct.unpack(">2i", bytes.fromhex(vector["hex"])[2:10])) for vector in VECTORS if vector["hex"].startswith("80 25")]
FAST = {"max_wheel_mps": 1.0, "ticks_per_m": 10000.0}


@pytest.mark.parametrize(("vector", "counts"), SPEEDS, ids=lambda value: value["call"] if isinstance(value, dict) else "")
def test_golden_speeds(vector: dict[str, Any], counts: tuple[int, int]) -> None:
    base, frame = RoboClaw(track_m=0.4, **FAST), bytes.fromhex(vector["hex"])
    left, right = (count / 10000.0 for count in counts)
    said = base.decode_command(frame)
    assert (said.linear_x, said.angular_z) == pytest.approx(((left + right) / 2, (right - left) / 0.4))
    assert base.encode(said) == frame


def test_four_golden_speeds_are_there() -> None:
    assert [counts for _, counts in SPEEDS] == [(0, 0), (-1000, -1000), (-1000, 1000), (10000, 10000)]


@pytest.mark.parametrize(
    "vector", [vector for vector in VECTORS if not vector["hex"].startswith("80 25")], ids=lambda vector: vector["call"]
)
def test_another_drivers_packets_are_not_ours(vector: dict[str, Any]) -> None:
    with pytest.raises(UnsafeCommand, match="no speed packet"):
        RoboClaw(**FAST).decode_command(bytes.fromhex(vector["hex"]))


def test_configuration_is_these_bytes() -> None:
    """300 ms in steps of 100; the recorded call sets 5 of them."""
    base = RoboClaw()
    assert base.init_frames() == [bytes.fromhex("80 0e 03 28 36")]
    assert base._packet(14, b"\x05") == bytes.fromhex(VECTORS[-1]["hex"])
    assert base.poll_frames() == [b"\x80\x18", b"\x80\x5a", b"\x80\x10", b"\x80\x11"]
    assert base.restart_frames() == []


def test_traits() -> None:
    traits = RoboClaw(ticks_per_m=2000.0).traits
    assert (traits.wheel_quantum_mps, traits.travel_quantum_m) == (0.0005, 0.0005)
    assert (traits.max_wheel_mps, traits.feedback_period_ms, traits.watchdog_ms, traits.resync) == (0.5, 50, 300, b"")
    assert traits.drive.wheels(Twist(0.0, 0.0, 1.0)) == pytest.approx((-0.15, 0.15))


@pytest.mark.parametrize("address", range(0x80, 0x88))
def test_every_address_has_its_own_packets(address: int) -> None:
    base = RoboClaw(address=address, **FAST)
    frame = base.encode(Twist(0.1))
    assert frame[0] == base.init_frames()[0][0] == base.poll_frames()[0][0] == address
    assert base.decode_command(frame) == Twist(0.1)
    with pytest.raises(UnsafeCommand, match="address"):
        RoboClaw(address=0x87 if address == 0x80 else 0x80, **FAST).decode_command(frame)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"track_m": 0.0}, "track_m=0.0: want more than 0 and at most 1"), ({"track_m": 1.1}, "track_m"),
        ({"track_m": math.nan}, "track_m"),
        ({"max_wheel_mps": -0.1}, "max_wheel_mps"), ({"max_wheel_mps": 2.1}, "at most 2"), ({"max_wheel_mps": math.inf}, "max_wheel_mps"),
        ({"ticks_per_m": 99.0}, "ticks_per_m=99.0: want 100 to 1e"), ({"ticks_per_m": 1e6 + 1}, "ticks_per_m"),
        ({"ticks_per_m": math.nan}, "ticks"),
        ({"address": 0x7F}, "address=127: want 128 to 135"), ({"address": 0x88}, "address=136"), ({"address": "0x80"}, "address=0x80"),
        ({"status_bytes": 1}, "status_bytes=1: want 4, or 2"), ({"status_bytes": 3}, "status_bytes"),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        RoboClaw(**options)


@pytest.mark.parametrize("most", [0.07, 0.29, 0.3, 0.57, 0.7])
def test_a_limit_that_is_met_exactly_can_be_driven_and_not_a_hair_more(most: float) -> None:
    base = RoboClaw(ticks_per_m=100.0, max_wheel_mps=most)
    count = round(100 * most)
    for sign in (1, -1):
        frame = base._packet(37, struct.pack(">2i", sign * count, sign * count))
        assert base.encode(Twist(sign * most)) == frame
        assert base.decode_command(frame).linear_x == pytest.approx(sign * most)
        with pytest.raises(UnsafeCommand, match=f"wheels .* want at most {most}"):
            base.encode(Twist(sign * (most + 1e-6)))
        with pytest.raises(UnsafeCommand, match=f"want at most {count} counts"):
            base.decode_command(base._packet(37, struct.pack(">2i", 0, sign * (count + 1))))


@pytest.mark.parametrize("tiny", [0.0, -0.0, 9.9e-5, -9.9e-5])
def test_counts_are_cut_towards_zero_and_there_is_no_minus_zero(tiny: float) -> None:
    base = RoboClaw(**FAST)
    frame = base.encode(Twist(tiny, 0.0, -0.0))
    assert frame == base.encode(STILL) == bytes.fromhex(VECTORS[0]["hex"])
    assert str(base.decode_command(frame)) == str(STILL)


@pytest.mark.parametrize(
    "bad", [Twist(0.1, 0.01), Twist(0.0, math.nan), Twist(math.nan), Twist(0.0, 0.0, math.inf), Twist(1e308, 0.0, 1e308)]
)
def test_what_cannot_be_said_is_refused(bad: Twist) -> None:
    with pytest.raises(UnsafeCommand):
        RoboClaw().encode(bad)


def test_a_packet_with_any_bit_changed_is_refused() -> None:
    base = RoboClaw(**FAST)
    frame = base.encode(Twist(0.3, 0.0, 0.2))
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UnsafeCommand):
            base.decode_command(bytes(damaged))
    for other in (b"", frame[:-1], frame + b"\x00", frame + frame):
        with pytest.raises(UnsafeCommand):
            base.decode_command(other)


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_every_pair_of_wheels_is_said_within_a_quantum_and_said_again(left: float, right: float) -> None:
    base = RoboClaw(ticks_per_m=1234.5)
    twist = base.traits.drive.twist((left, right))
    frame = base.encode(twist)
    said = base.decode_command(frame)
    check_decoded(said, twist, base.traits, 0.5)
    assert base.encode(said) == frame
