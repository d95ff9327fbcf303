"""ros_arduino_bridge: its lines against the recorded vectors, its options, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.bases.ros_arduino import RosArduino
from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.types import STILL, Twist
from edge_vla.guard.wheels import check_decoded

MS = 1_000_000
VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "serial_vectors.json").read_text())["ros_arduino_bridge"]
MOTIONS = [vector for vector in VECTORS["vectors"] if "left_ticks_per_frame" in vector]
(EXAMPLE,) = [vector for vector in VECTORS["vectors"] if "cmd" in vector]
QUESTIONS = [vector for vector in VECTORS["vectors"] if not vector["text"].startswith("m")]
FINE = {"ticks_per_m": 3000.0, "max_wheel_mps": 0.7}  # a count per frame is 0.01 m/s


@pytest.mark.parametrize("vector", MOTIONS, ids=lambda vector: vector["text"].strip())
def test_golden_motions(vector: dict[str, Any]) -> None:
    base = RosArduino(**FINE, track_m=0.3)
    left, right = vector["left_ticks_per_frame"], vector["right_ticks_per_frame"]
    said = base.decode_command(bytes.fromhex(vector["hex"]))
    assert said.linear_x == pytest.approx((left + right) * 0.005)
    assert said.angular_z == pytest.approx((right - left) * 0.01 / 0.3)
    assert base.encode(said) == bytes.fromhex(vector["hex"]) == vector["text"].encode()


def test_the_golden_example() -> None:
    params = EXAMPLE["params"]
    base = RosArduino(params["track_m"], ticks_per_m=params["cpr"] / (math.pi * params["wheel_diam_m"]), loop_hz=params["pid_hz"])
    assert base.encode(Twist(EXAMPLE["cmd"]["vx"], 0.0, EXAMPLE["cmd"]["wz"])) == bytes.fromhex(EXAMPLE["hex"]) == b"m -41 41\r"


@pytest.mark.parametrize("vector", QUESTIONS, ids=lambda vector: vector["text"].strip())
def test_what_is_no_motion_is_none(vector: dict[str, Any]) -> None:
    with pytest.raises(UnsafeCommand, match="no motor line"):
        RosArduino().decode_command(bytes.fromhex(vector["hex"]))


def test_it_is_asked_for_its_counters_and_nothing_else() -> None:
    base = RosArduino()
    assert base.init_frames() == base.poll_frames() == [b"e\r"]
    assert base.restart_frames() == []
    assert base.traits.resync == b"\r"


def test_traits() -> None:
    traits = RosArduino().traits
    assert traits.wheel_quantum_mps == pytest.approx(30 / 16571)
    assert traits.travel_quantum_m == pytest.approx(1 / 16571)
    assert (traits.max_wheel_mps, traits.feedback_period_ms, traits.watchdog_ms) == (0.5, 50, None)
    assert traits.drive.wheels(Twist(0.0, 0.0, 1.0)) == pytest.approx((-0.1485, 0.1485))


def test_the_published_sketch_has_no_watchdog_worth_the_name_and_ours_has() -> None:
    """A5."""
    assert RosArduino(auto_stop_ms=None).traits.watchdog_ms is None
    for auto_stop_ms in (100, 300, 1000):
        assert RosArduino(auto_stop_ms=auto_stop_ms).traits.watchdog_ms == auto_stop_ms


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"track_m": 0.0}, "track_m=0.0: want more than 0 and at most 1"), ({"track_m": 1.01}, "track_m"),
        ({"track_m": math.nan}, "track_m"),
        ({"max_wheel_mps": 0.0}, "max_wheel_mps"), ({"max_wheel_mps": 2.01}, "at most 2"), ({"max_wheel_mps": math.inf}, "max_wheel_mps"),
        ({"loop_hz": 1.0}, "loop_hz=1.0: want more than 1 and at most 200"), ({"loop_hz": 200.1}, "loop_hz"),
        ({"ticks_per_m": 2999.0}, "at 30 frames a second want 3000 to"), ({"ticks_per_m": math.nan}, "ticks_per_m"),
        ({"ticks_per_m": 1.97e6}, "ticks_per_m"), ({"ticks_per_m": 3000.0, "loop_hz": 50.0}, "want 5000"),
        ({"auto_stop_ms": 99}, "auto_stop_ms=99: want 100 to 1000, or none for 2000"), ({"auto_stop_ms": 2000}, "auto_stop_ms"),
        ({"auto_stop_ms": math.nan}, "auto_stop_ms"),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        RosArduino(**options)


def test_the_coarsest_encoder_that_will_do() -> None:
    assert RosArduino(ticks_per_m=3000.0).traits.wheel_quantum_mps == pytest.approx(0.01)
    assert RosArduino(ticks_per_m=1.9e6).encode(Twist(0.5)) == b"m 31666 31666\r"


@pytest.mark.parametrize("most", [0.07, 0.29, 0.3, 0.57, 0.7])
def test_a_limit_that_is_met_exactly_can_be_driven_and_not_a_hair_more(most: float) -> None:
    base = RosArduino(ticks_per_m=3000.0, max_wheel_mps=most)
    count = round(100 * most)
    for sign in (1, -1):
        frame = b"m %d %d\r" % (sign * count, sign * count)
        assert base.encode(Twist(sign * most)) == frame
        assert base.decode_command(frame).linear_x == pytest.approx(sign * most)
        with pytest.raises(UnsafeCommand, match=f"wheels .* want at most {most}"):
            base.encode(Twist(sign * (most + 1e-6)))
        with pytest.raises(UnsafeCommand, match=f"want at most {count} counts"):
            base.decode_command(b"m 0 %d\r" % (sign * (count + 1)))


def test_no_argument_is_ever_longer_than_its_buffer() -> None:
    """A1: 15 characters fit."""
    longest = max(RosArduino(ticks_per_m=32767 * 15, max_wheel_mps=2.0).encode(Twist(-2.0)).split(), key=len)
    assert longest == b"-32767"


@pytest.mark.parametrize("tiny", [0.0, -0.0, 0.0099, -0.0099])
def test_counts_are_cut_towards_zero_and_there_is_no_minus_zero(tiny: float) -> None:
    base = RosArduino(**FINE)
    assert base.encode(Twist(tiny, 0.0, -0.0)) == b"m 0 0\r" == base.encode(STILL)
    assert str(base.decode_command(b"m 0 0\r")) == str(STILL)
    assert base.encode(Twist(math.copysign(0.0199, tiny))) == (b"m 1 1\r" if math.copysign(1, tiny) > 0 else b"m -1 -1\r")


@pytest.mark.parametrize(
    "bad", [Twist(0.1, 0.01), Twist(0.0, math.nan), Twist(math.nan), Twist(0.0, 0.0, math.inf), Twist(1e308, 0.0, 1e308)]
)
def test_what_cannot_be_said_is_refused(bad: Twist) -> None:
    with pytest.raises(UnsafeCommand):
        RosArduino().encode(bad)


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"\r", b"m 1 1", b"m 1 1\n", b"m 1 1\r\n", b"\rm 1 1\r", b"m 1 1\rm 1 1\r", b"m  1 1\r", b"m 1  1\r", b"m 1\r", b"m 1 1 1\r",
        b"m 01 1\r", b"m -0 1\r", b"m +1 1\r", b"m 1.0 1\r", b"o 1 1\r", b"M 1 1\r", b"m 100000 1\r", "m \u0661 1\r".encode(), b" m 1 1\r",
    ],
)  # fmt: skip
def test_only_our_own_exact_form_is_decoded(frame: bytes) -> None:
    with pytest.raises(UnsafeCommand, match="no motor line"):
        RosArduino().decode_command(frame)


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_every_pair_of_wheels_is_said_within_a_quantum_and_said_again(left: float, right: float) -> None:
    base = RosArduino()
    twist = base.traits.drive.twist((left, right))
    frame = base.encode(twist)
    said = base.decode_command(frame)
    check_decoded(said, twist, base.traits, 0.5)
    assert base.encode(said) == frame
