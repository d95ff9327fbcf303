"""What each codec says of its base, to the digit, and the last value it takes of everything."""

from __future__ import annotations

import math

import pytest

from edge_vla.bases import BASES, make_base
from edge_vla.bases.create2 import COUNT_M
from edge_vla.bases.ev1 import EV1, MAX_SEQ, _sealed
from edge_vla.bases.kobuki import Kobuki
from edge_vla.bases.roboclaw import RoboClaw
from edge_vla.bases.ros_arduino import RosArduino
from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.types import STILL, Base, BaseTraits, Twist
from edge_vla.guard.wheels import Differential, Mecanum

SEALED = ("rosmaster", "kobuki", "roboclaw", "ev1")  # their frames carry a checksum
ROUNDED = ("ros_arduino", "rosmaster", "kobuki", "roboclaw", "ev1")  # they compare wheels before they cut them


def test_what_the_bases_are() -> None:
    assert {name: make_base(name).traits for name in BASES} == {
        "waveshare": BaseTraits(Differential(0.172), 1.3, 1e-4, 50, 300, b"\n", 0.01),
        "ros_arduino": BaseTraits(Differential(0.297), 0.5, 30.0 / 16571.0, 50, None, b"\r", 1.0 / 16571.0),
        "rosmaster": BaseTraits(Mecanum(0.1646), 0.7, 2.1646e-3, 41, None, bytes.fromhex("ff fc 0a 12 01 00 00 00 00 00 00 1d"), 0.01),
        "kobuki": BaseTraits(Differential(0.23), 0.7, 0.0075, 20, None, bytes(8), 0.000085292),
        "create2": BaseTraits(Differential(0.235), 0.5, 1e-3, 15, None, bytes(11), COUNT_M),
        "roboclaw": BaseTraits(Differential(0.3), 0.5, 1e-4, 50, 300, b"", 1e-4),
        "ev1": BaseTraits(Differential(0.2), 0.7, 1.1e-3, 50, 200, b"\n", 2e-4),
    }


def test_what_the_other_kinds_are() -> None:
    assert make_base("rosmaster", {"car": "x3plus"}).traits.drive == Mecanum(0.2141)
    assert make_base("ev1", {"drive": "mecanum", "reach_m": 0.25}).traits.drive == Mecanum(0.25)
    assert make_base("ev1", {"drive": "mecanum", "reach_m": 0.25}).traits.wheel_quantum_mps == pytest.approx(2.25e-3)


@pytest.mark.parametrize(
    ("name", "option", "most"),
    [
        ("waveshare", "max_wheel_mps", 1.3),
        ("ros_arduino", "track_m", 1.0),
        ("rosmaster", "max_wheel_mps", 1.0),
        ("kobuki", "max_wheel_mps", 0.7),
        ("create2", "track_m", 1.0),
        ("create2", "max_wheel_mps", 0.5),
        ("roboclaw", "track_m", 1.0),
        ("roboclaw", "max_wheel_mps", 2.0),
        ("roboclaw", "ticks_per_m", 1e6),
        ("ev1", "track_m", 1.0),
        ("ev1", "reach_m", 1.0),
        ("ev1", "max_wheel_mps", 2.0),
        ("ev1", "counts_per_m", 1e7),
    ],
)
def test_an_option_ends_here(name: str, option: str, most: float) -> None:
    assert make_base(name, {option: most})
    assert make_base(name, {option: most * 0.6})
    with pytest.raises(ConfigError, match=option):
        make_base(name, {option: math.nextafter(most, math.inf)})


def test_as_many_counts_as_the_sketch_can_be_told() -> None:
    most = 32767 * 30.0 / 0.37  # counts a frame, frames a second, m/s
    assert RosArduino(max_wheel_mps=0.37, ticks_per_m=most)
    with pytest.raises(ConfigError, match="ticks_per_m"):
        RosArduino(max_wheel_mps=0.37, ticks_per_m=math.nextafter(most, math.inf))


@pytest.mark.parametrize("track_m", [0.2289, 0.2311, 0.46, 0.0, math.nan])
def test_the_kobukis_track_is_the_kobukis(track_m: float) -> None:
    assert Kobuki(track_m=0.2309)
    with pytest.raises(ConfigError, match="track_m"):
        Kobuki(track_m=track_m)


@pytest.mark.parametrize("name", ROUNDED)
def test_a_sum_that_rounds_up_is_no_faster_wheel(name: str) -> None:
    base = make_base(name)
    most = base.traits.max_wheel_mps * (1.0 + 1e-9)
    said = base.decode_command(base.encode(Twist(most)))
    assert said.linear_x == pytest.approx(most, abs=base.traits.wheel_quantum_mps)
    with pytest.raises(UnsafeCommand, match="wheels"):
        base.encode(Twist(math.nextafter(most, math.inf)))


@pytest.mark.parametrize("name", SEALED)
def test_no_frame_with_one_bit_wrong_is_one(name: str) -> None:
    base = make_base(name)
    frame = base.encode(Twist(0.2, 0.0, 0.3))
    for bit in range(8 * len(frame)):
        bad = bytearray(frame)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UnsafeCommand):
            base.decode_command(bytes(bad))


@pytest.mark.parametrize("name", BASES)
def test_no_part_of_a_frame_is_one_and_nothing_more_than_a_frame(name: str) -> None:
    base = make_base(name)
    frame = base.encode(Twist(0.2, 0.0, 0.3))
    for bad in (*(frame[:size] for size in range(len(frame))), frame + b"\x00", frame + b"\n", frame + frame):
        with pytest.raises(UnsafeCommand):
            base.decode_command(bad)


@pytest.mark.parametrize(("name", "frame", "most"), [("roboclaw", b"\x80\x18", 16), ("ros_arduino", b"e\r", 32)])
def test_so_many_questions_wait_for_their_answers(name: str, frame: bytes, most: int) -> None:
    base: Base = make_base(name)
    for _ in range(100):
        base.sent(frame, 0)
    assert isinstance(base, (RoboClaw, RosArduino))
    assert len(base._waiting) == most


# -- EV1's numbers


@pytest.mark.parametrize(("text", "said"), [("V 1 2000 -2000 0", Twist(2.0, -2.0)), ("V 1 0 0 -6000", Twist(0.0, 0.0, -6.0))])
def test_ev1_takes_two_metres_and_six_radians_a_second(text: str, said: Twist) -> None:
    base = EV1(max_wheel_mps=2.0, drive="mecanum")
    assert base.decode_command(_sealed(f"{text} 200")) == said
    for more in (text.replace("000", "001"), text.replace("000", "999")):
        with pytest.raises(UnsafeCommand, match="want at most"):
            base.decode_command(_sealed(f"{more} 200"))


def test_ev1_turns_no_faster_than_its_base_takes() -> None:
    base = EV1(track_m=0.1, max_wheel_mps=2.0)
    assert base.decode_command(base.encode(Twist(0.0, 0.0, 6.0))) == Twist(0.0, 0.0, 6.0)
    assert base.decode_command(base.encode(Twist(2.0))) == Twist(2.0)
    with pytest.raises(UnsafeCommand, match=r"6\.0 rad/s"):
        base.encode(Twist(0.0, 0.0, 6.0011))


def test_ev1s_last_number() -> None:
    assert EV1().decode_command(_sealed(f"V {MAX_SEQ} 0 0 0 200")) == STILL
    with pytest.raises(UnsafeCommand, match="no velocity"):
        EV1().decode_command(_sealed(f"V {MAX_SEQ + 1} 0 0 0 200"))


# -- Kobuki's radius


@pytest.mark.parametrize(
    ("asked", "speed", "radius"),
    [
        (Twist(0.0025, 0.0, 1.0), 117, 2),  # (2.5 + 115) mm * 1 rad/s; the radius cut
        (Twist(0.0005, 0.0, 1.0), 115, 1),  # half a mm of radius is a turn on the spot, never straight on
        (Twist(-0.0015, 0.0, 1.0), 115, 1),  # nor is there a radius of -1
        (Twist(5e-5, 0.0, 0.01), 1, 1),  # too slow to be told from one
        (Twist(1e-4, 0.0, 0.04), 3, 1),  # 4 mm/s on 2 mm, which read back is too slow
        (Twist(0.3, 0.0, 1e-4), 300, 32767),  # the largest radius there is
        (Twist(0.3, 0.0, -0.005), 300, -32767),
        (Twist(0.3, 0.0, 9.9e-5), 300, 0),
        (Twist(0.0, 0.0, 1.5), 172, 1),
        (Twist(0.0005, 0.0, 0.001), 0, 0),
    ],
)
def test_what_the_kobuki_is_told(asked: Twist, speed: int, radius: int) -> None:
    frame = Kobuki().encode(asked)
    assert (int.from_bytes(frame[5:7], "little", signed=True), int.from_bytes(frame[7:9], "little", signed=True)) == (speed, radius)
