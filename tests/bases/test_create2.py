"""Create 2's bytes against the recorded vectors, its stream, its modes, and speeds by the robot's own beat."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.bases.create2 import Create2
from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.types import NO_HAZARD, STILL, Feedback, Hazard, Twist
from edge_vla.guard.wheels import Differential, check_decoded

MS = 1_000_000
VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "serial_vectors.json").read_text())["irobot_create2_oi"]
CANONICAL = VECTORS["canonical_vectors_drive_direct_145"]
COUNT_M = math.pi * 0.072 / 508.8  # of the document, about 0.44 mm
INIT = bytes.fromhex("80 94 0a 07 09 0a 0b 0c 0e 16 23 2b 2c 83")


def said(
    left: int = 0, right: int = 0, *, bumps: int = 0, edges: tuple[int, int, int, int] = (0, 0, 0, 0), currents: int = 0,
    millivolts: int = 15_800, mode: int = 2,
) -> bytes:  # fmt: skip
    """One report of the stream, put together by hand."""
    a, b, c, d = edges
    body = bytes((19, 23, 7, bumps, 9, a, 10, b, 11, c, 12, d, 14, currents, 22)) + struct.pack(">H", millivolts)
    body += bytes((35, mode, 43)) + (left & 0xFFFF).to_bytes(2, "big") + b"\x2c" + (right & 0xFFFF).to_bytes(2, "big")
    return body + bytes((-sum(body) & 0xFF,))


def hear(base: Create2, *reports: bytes, start_ms: int = 0) -> list[Feedback]:
    """One every 15 ms."""
    return [feedback for k, report in enumerate(reports) for feedback in base.feed(report, (start_ms + 15 * k) * MS)]


# -- commands


@pytest.mark.parametrize("vector", CANONICAL, ids=lambda vector: str(vector["cmd"]))
def test_golden_bytes(vector: dict[str, Any]) -> None:
    base, frame = Create2(VECTORS["wheelbase_m_used"]), bytes.fromhex(vector["hex"])
    right, left = vector["right_mm_s"], vector["left_mm_s"]
    told = base.decode_command(frame)
    assert base.traits.drive.wheels(told) == pytest.approx((left / 1000, right / 1000))
    assert base.encode(told) == frame
    wanted = Twist(vector["cmd"]["vx"], 0.0, vector["cmd"]["wz"])
    check_decoded(told, wanted, base.traits, 0.5)
    if vector["cmd"]["wz"] == 0:
        assert base.encode(wanted) == frame


def test_a_wheel_is_never_told_to_go_faster_than_wanted() -> None:
    """58.75 mm/s: the vector rounds to 59, this driver cuts."""
    assert Create2(0.235).encode(Twist(0.0, 0.0, -0.5)) == bytes.fromhex("91 ff c6 00 3a")


def test_the_right_wheel_comes_first() -> None:
    assert Create2(0.2).encode(Twist(0.2, 0.0, 1.0)) == bytes.fromhex("91 01 2c 00 64")


@pytest.mark.parametrize("vector", VECTORS["driver_recorded"]["vectors"], ids=lambda vector: vector["call"])
def test_of_another_drivers_frames_only_drive_direct_is_ours(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["hex"])
    if frame[0] == 145:
        assert Create2().encode(Create2().decode_command(frame)) == frame
        return
    with pytest.raises(UnsafeCommand, match="no drive-direct"):
        Create2().decode_command(frame)


@pytest.mark.parametrize("hex_", ["", "91", "91 00 c8 00", "91 00 c8 00 c8 00", "89 00 c8 7f ff", "92 00 40 00 40", "84", "00 91 00 00 00"])
def test_nothing_else_is_decoded(hex_: str) -> None:
    """Not drive (137), PWM (146) or Full (132)."""
    with pytest.raises(UnsafeCommand, match="no drive-direct"):
        Create2().decode_command(bytes.fromhex(hex_))


@pytest.mark.parametrize(("right", "left"), [(301, 0), (0, -301), (-32768, 0), (0, 32767)])
def test_a_frame_beyond_its_own_limit_is_refused(right: int, left: int) -> None:
    frame = struct.pack(">B2h", 145, right, left)
    with pytest.raises(UnsafeCommand, match="at most 300 mm/s"):
        Create2(max_wheel_mps=0.3).decode_command(frame)


LIMITS_MPS = [n / 100 for n in range(5, 51)]


def test_every_limit_can_be_driven_exactly_and_not_a_quantum_more() -> None:
    for most in LIMITS_MPS:
        base = Create2(max_wheel_mps=most)
        for sign in (1, -1):
            assert base.encode(Twist(sign * most)) == struct.pack(">B2h", 145, *[round(sign * most * 1000)] * 2)
            with pytest.raises(UnsafeCommand, match=f"wheels.*want at most {most}"):
                base.encode(Twist(sign * (most + 1e-3)))


@given(left=st.integers(-500, 500), right=st.integers(-500, 500))
def test_decode_and_encode_are_inverse(left: int, right: int) -> None:
    base, frame = Create2(), struct.pack(">B2h", 145, right, left)
    assert base.encode(base.decode_command(frame)) == frame


@given(x=st.floats(-0.38, 0.38), turn=st.floats(-1.0, 1.0))
def test_what_it_says_is_what_was_wanted(x: float, turn: float) -> None:
    base, wanted = Create2(), Twist(x, 0.0, turn)
    check_decoded(base.decode_command(base.encode(wanted)), wanted, base.traits, 0.5)


@pytest.mark.parametrize("twist", [Twist(0.1, 0.01), Twist(0.0, -0.3)])
def test_sideways_is_refused_not_dropped(twist: Twist) -> None:
    with pytest.raises(UnsafeCommand, match="sideways"):
        Create2().encode(twist)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    for twist in (Twist(bad), Twist(0.0, bad), Twist(0.0, 0.0, bad)):
        with pytest.raises(UnsafeCommand):
            Create2().encode(twist)


def test_zero_is_exactly_zero() -> None:
    for still in (STILL, Twist(-0.0, 0.0, -0.0), Twist(9e-4), Twist(-9e-4)):
        assert Create2().encode(still) == bytes.fromhex("91 00 00 00 00")
    assert str(Create2().decode_command(bytes.fromhex("91 00 00 00 00"))) == str(STILL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"track_m": 0.0}, "track_m=0.0: want more than 0 and at most 1.0"), ({"track_m": math.nan}, "track_m=nan"),
        ({"track_m": 1.01}, "at most 1.0"), ({"max_wheel_mps": 0.501}, "max_wheel_mps=0.501: want more than 0 and at most 0.5"),
        ({"max_wheel_mps": -0.1}, "max_wheel_mps=-0.1"),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Create2(**options)


def test_traits() -> None:
    traits = Create2(track_m=0.24, max_wheel_mps=0.4).traits
    assert (traits.drive, traits.max_wheel_mps, traits.wheel_quantum_mps) == (Differential(0.24), 0.4, 1e-3)
    assert (traits.feedback_period_ms, traits.watchdog_ms) == (15, None), "fail-active: it drives on"
    assert traits.travel_quantum_m == pytest.approx(0.00044456, rel=1e-4)


# -- configuration and modes


def test_it_is_configured_in_one_write_and_safe_comes_last() -> None:
    assert Create2().init_frames() == [INIT]
    assert Create2().poll_frames() == []
    assert b"\x84" not in INIT, "never Full"
    assert len(said()) <= 172, "what a beat can carry at 115200 baud"


def test_none_of_its_words_but_a_speed_moves_it() -> None:
    base = Create2()
    for frame in (INIT, b"\x83", base.traits.resync):
        with pytest.raises(UnsafeCommand):
            base.decode_command(frame)


def test_the_resync_has_data_for_the_longest_of_its_commands() -> None:
    """Ten packets and their number. Behind it a stop is heard as a stop."""
    assert Create2().traits.resync == bytes(11)


def test_before_safe_it_is_not_configured_and_its_reports_are_none() -> None:
    base = Create2()
    assert hear(base, said(mode=1), said(mode=1)) == []
    assert base.garbage_bytes == 0
    (report,) = hear(base, said(mode=2), start_ms=30)
    assert report.hazards == NO_HAZARD


@pytest.mark.parametrize("mode", [0, 1, 3])
def test_out_of_safe_after_it_has_tripped(mode: int) -> None:
    base = Create2()
    reports = hear(base, said(), said(mode=mode), said(mode=mode), said())
    assert [report.hazards for report in reports] == [NO_HAZARD, Hazard.TRIPPED, Hazard.TRIPPED, NO_HAZARD]
    assert reports[1].wheels_mps == (0.0, 0.0)


def test_the_way_through_passive_of_a_configuration_is_no_trip() -> None:
    base = Create2()
    hear(base, said())
    base.sent(bytes.fromhex("91 00 00 00 00"), 0)
    assert hear(base, said(mode=1), start_ms=15)[0].hazards == Hazard.TRIPPED
    base.sent(INIT, 0)
    assert hear(base, said(mode=1), start_ms=30) == []
    assert hear(base, said(), start_ms=45)[0].hazards == NO_HAZARD


@pytest.mark.parametrize(("mode", "frames"), [(0, [INIT]), (1, [b"\x83"]), (2, []), (3, [b"\x83"])])
def test_a_reset_leads_back_to_safe(mode: int, frames: list[bytes]) -> None:
    base = Create2()
    assert base.restart_frames() == [INIT]
    hear(base, said(), said(mode=mode))
    assert base.restart_frames() == frames


def test_its_name_is_a_reboot_and_the_configuration_is_gone() -> None:
    base = Create2()
    hear(base, said(300, 300), said(310, 300))
    banner = b"\r\nbl-start\r\nSTR730\r\nRoomba by iRobot!\r\nstm32\r\n"
    reports = [report for byte in banner for report in base.feed(bytes((byte,)), 40 * MS)]
    assert reports == [Feedback(40 * MS, rebooted=True)]
    assert base.restart_frames() == [INIT]
    assert hear(base, said(mode=1), start_ms=50) == []
    (report,) = hear(base, said(0, 0), start_ms=80)
    assert report.travel_m == pytest.approx((10 * COUNT_M, 0.0)), "counters start anew, ways do not"


# -- reports


def test_a_report() -> None:
    base = Create2()
    assert base.feed(said(-5, 7, millivolts=14_321), 7) == [Feedback(7, battery_v=14.321, travel_m=(0.0, 0.0), hazards=NO_HAZARD)]


@pytest.mark.parametrize(
    ("fields", "hazards"),
    [
        ({"bumps": 0x01}, Hazard.BUMPER), ({"bumps": 0x02}, Hazard.BUMPER), ({"bumps": 0x04}, Hazard.WHEEL_DROP),
        ({"bumps": 0x08}, Hazard.WHEEL_DROP), ({"bumps": 0xF0}, NO_HAZARD), ({"edges": (1, 0, 0, 0)}, Hazard.CLIFF),
        ({"edges": (0, 1, 0, 0)}, Hazard.CLIFF), ({"edges": (0, 0, 1, 0)}, Hazard.CLIFF), ({"edges": (0, 0, 0, 1)}, Hazard.CLIFF),
        ({"currents": 0x04}, Hazard.OVER_CURRENT), ({"currents": 0x08}, Hazard.OVER_CURRENT), ({"currents": 0x10}, Hazard.OVER_CURRENT),
        ({"currents": 0x03}, NO_HAZARD), ({"bumps": 0x09, "edges": (0, 0, 0, 1)}, Hazard.BUMPER | Hazard.WHEEL_DROP | Hazard.CLIFF),
    ],
)  # fmt: skip
def test_hazards(fields: dict[str, Any], hazards: Hazard) -> None:
    (report,) = Create2().feed(said(**fields), 0)
    assert report.hazards == hazards
