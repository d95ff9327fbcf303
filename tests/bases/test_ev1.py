"""EV1's lines by hand: numbers, nonces, lifetimes, and every line that is not exactly right."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.bases import ev1
from edge_vla.bases.ev1 import EV1, _crc16, _sealed
from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.types import NO_HAZARD, STILL, Hazard, Twist

MS = 1_000_000


def said(ms: int, *counts: int, seq: int = 1, state: int = 1, nonce: int = 99, millivolts: int = 11_800, flags: int = 0) -> bytes:
    return _sealed(" ".join(map(str, ("A", ms, seq, state, nonce, millivolts, flags, 0, *counts))))


def test_the_checksum_is_the_published_check_value() -> None:
    assert _crc16(b"123456789") == 0x29B1  # CRC-16 with 0x1021 from 0xFFFF, of the catalogue of CRC algorithms
    assert _crc16(b"") == 0xFFFF


def test_velocities_are_numbered_and_cut_towards_zero() -> None:
    base = EV1()
    assert base.encode(Twist(0.1239, 0.0, -0.5009)) == b"V 1 123 0 -500 200 *%04X\n" % _crc16(b"V 1 123 0 -500 200")
    assert base.encode(STILL) == _sealed("V 2 0 0 0 200")
    assert base.encode(Twist(-0.0009)) == _sealed("V 3 0 0 0 200")


def test_the_last_number_is_the_last() -> None:
    base = EV1()
    base._seq = 0xFFFFFFFE
    assert base.encode(STILL) == _sealed("V 4294967295 0 0 0 200")
    with pytest.raises(UnsafeCommand, match="no more velocities"):
        base.encode(STILL)


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"V 1 0 0 0 200\n", _sealed("V 1 0 0 0 200")[:-1], _sealed("V 1 0 0 0 200") + b"\n", _sealed("V 0 0 0 0 200"),
        _sealed("V 01 0 0 0 200"), _sealed("V 1 -0 0 0 200"), _sealed("V 1 00 0 0 200"), _sealed("V 1 0 0 0 199"), _sealed("V 1 0 0 0 201"),
        _sealed("V 4294967296 0 0 0 200"), _sealed("V 1 0 0 200"), _sealed("V 1 0 0 0 0 200"), _sealed("S"), _sealed("H"), _sealed("R 5"),
        _sealed("V 1 2001 0 0 200"), _sealed("V 1 0 -2001 0 200"), _sealed("V 1 0 0 6001 200"), b"V 1 0 0 0 200 *0000\n",
        _sealed("V 1 0 0 0 200").lower(), b"V 1 0 0 0 200 *" + b"%04x\n" % _crc16(b"V 1 0 0 0 200"),
    ],
)  # fmt: skip
def test_only_our_own_exact_velocities_are_decoded(frame: bytes) -> None:
    with pytest.raises(UnsafeCommand):
        EV1().decode_command(frame)


def test_mecanum_goes_sideways_and_counts_four_wheels() -> None:
    base = EV1(drive="mecanum", reach_m=0.2, counts_per_m=1000)
    assert base.decode_command(base.encode(Twist(0.1, -0.2, 0.3))) == Twist(0.1, -0.2, 0.3)
    base.feed(said(100, 0, 0, 0, 0), 0)
    (report,) = base.feed(said(200, 10, 20, 30, -40), 0)
    assert report.wheels_mps == pytest.approx((0.1, 0.2, 0.3, -0.4))
    assert base.feed(said(300, 1, 2), 0) == []  # a base with two wheels
    assert base.garbage_bytes > 0


def test_what_its_numbers_cannot_say_is_refused() -> None:
    base = EV1(track_m=0.05, max_wheel_mps=2.0)
    with pytest.raises(UnsafeCommand, match=r"want at most 2\.0 m/s and 6\.0 rad/s"):
        base.encode(Twist(0.0, 0.0, 6.01))
    assert base.encode(Twist(0.0, 0.0, 6.0))


def test_speeds_are_counts_over_the_bases_own_time() -> None:
    base = EV1(counts_per_m=1000)
    (first,) = base.feed(said(1000, 50, -50), 5 * MS)
    assert (first.wheels_mps, first.travel_m, first.battery_v, first.hazards) == (None, (0.0, 0.0), 11.8, NO_HAZARD)
    (second,) = base.feed(said(1040, 60, -70), 999 * MS)  # late on the line, not in time
    assert second.wheels_mps == pytest.approx((0.25, -0.5))
    assert second.travel_m == pytest.approx((0.01, -0.02))
    assert second.t_ns == 999 * MS


def test_counters_and_clock_wrap() -> None:
    base = EV1(counts_per_m=1000)
    base.feed(said(0xFFFFFFFF - 9, 0x7FFFFFFF, -0x80000000), 0)
    (report,) = base.feed(said(40, -0x80000000 + 9, 0x7FFFFFFF - 9), 0)
    assert report.wheels_mps == pytest.approx((0.2, -0.2))
    assert report.travel_m == pytest.approx((0.01, -0.01))


@pytest.mark.parametrize("ms", [1000, 999, 1])
def test_a_report_whose_time_does_not_move_on_is_none(ms: int) -> None:
    base = EV1()
    base.feed(said(1000, 0, 0), 0)
    assert base.feed(said(ms, 0, 0), 0) == []


def test_a_wheel_too_fast_to_be_true_gives_no_speed_and_no_way() -> None:
    base = EV1(counts_per_m=1000)
    base.feed(said(1000, 0, 0), 0)
    (report,) = base.feed(said(1100, 301, 0), 0)
    assert (report.wheels_mps, report.travel_m) == (None, (0.0, 0.0))
    (report,) = base.feed(said(1200, 301 + 300, 0), 0)
    assert report.wheels_mps == pytest.approx((3.0, 0.0))


@pytest.mark.parametrize(
    ("flags", "hazards"),
    [
        (0, NO_HAZARD),
        (1, Hazard.BUMPER),
        (2, Hazard.CLIFF),
        (4, Hazard.WHEEL_DROP),
        (8, Hazard.OVER_CURRENT),
        (5, Hazard.BUMPER | Hazard.WHEEL_DROP),
        (16, NO_HAZARD),
    ],
)
def test_flags(flags: int, hazards: Hazard) -> None:
    assert EV1().feed(said(1, 0, 0, flags=flags), 0)[0].hazards == hazards


def test_no_battery_is_none_not_zero() -> None:
    assert EV1().feed(said(1, 0, 0, millivolts=0), 0)[0].battery_v is None


def test_a_base_that_has_booted_is_armed_and_one_that_has_latched_is_not_before_a_reset() -> None:
    base = EV1()
    hello = _sealed("H")
    assert (base.init_frames(), base.poll_frames(), base.restart_frames()) == ([hello], [], [])
    (report,) = base.feed(said(50, 0, 0, state=0, nonce=7), 0)
    assert report.hazards == Hazard.TRIPPED
    assert (base.init_frames(), base.poll_frames(), base.restart_frames()) == ([], [_sealed("R 7")], [_sealed("R 7")])
    base.feed(said(100, 0, 0, state=1, nonce=8), 0)
    assert (base.init_frames(), base.poll_frames(), base.restart_frames()) == ([], [], [])
    (report,) = base.feed(said(150, 0, 0, state=2, nonce=9), 0)
    assert report.hazards == Hazard.TRIPPED
    assert (base.poll_frames(), base.restart_frames()) == ([], [_sealed("R 9")])
    (boot,) = base.feed(_sealed("B 1"), 3)
    assert boot.rebooted
    assert (base.init_frames(), base.poll_frames(), base.restart_frames()) == ([hello], [], [])


@pytest.mark.parametrize("line", [_sealed("V 1 0 0 0 200"), _sealed("R 9"), _sealed("S"), _sealed("H")])
def test_echoes_are_known_and_dropped(line: bytes) -> None:
    base = EV1()
    assert base.feed(line, 0) == []
    assert base.garbage_bytes == 0


@pytest.mark.parametrize(
    "line",
    [
        b"A 1 1 1 9 0 0 0 0 0 *0000\n", b" *FFFF\n", b"*FFFF\n", _sealed("AB 1"), _sealed("1 2"), _sealed("A 1 x"), _sealed("A 1 01"),
        _sealed("Q 1"),
        said(1, 0, 0, state=3), said(1, 0), said(1, 0, 0, 0), _sealed("A"), b"hello\n",
    ],
)  # fmt: skip
def test_what_is_no_line_is_counted(line: bytes) -> None:
    base = EV1()
    assert base.feed(line, 0) == []
    assert base.garbage_bytes == len(line) - 1


def test_an_endless_line_is_forgotten() -> None:
    base = EV1()
    base.feed(b"A" * 161, 0)
    assert (base.garbage_bytes, len(base._line)) == (161, 0)
    base.feed(b"A" * 160, 0)
    assert (base.garbage_bytes, len(base._line)) == (161, 160)


@given(st.binary(max_size=500), st.integers(1, 50))
def test_any_bytes_split_anywhere(data: bytes, step: int) -> None:
    base = EV1()
    for start in range(0, len(data), step):
        base.feed(data[start : start + step], 0)
    assert len(base._line) <= 160


@pytest.mark.parametrize(
    "options",
    [
        {"track_m": 0.0},
        {"track_m": 1.01},
        {"counts_per_m": -1},
        {"counts_per_m": math.inf},
        {"reach_m": math.nan},
        {"drive": "tank"},
        {"max_wheel_mps": 2.01},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        EV1(**options)


def test_the_header_and_the_codec_agree_on_every_number(checkout: Any) -> None:
    header = (checkout / "edge_vla" / "sim" / "firmware" / "ev1" / "ev1.h").read_text()
    for text in (
        f"EV1_MAX_LINEAR = {ev1.MAX_LINEAR}", f"EV1_MAX_TURN = {ev1.MAX_TURN}", f"EV1_REPORT_MS = {ev1.FEEDBACK_MS}",
        f"EV1_DISARMED = {ev1.DISARMED}, EV1_ARMED = {ev1.ARMED}, EV1_LATCHED = {ev1.LATCHED}",
        "EV1_BUMPER = 1, EV1_CLIFF = 2, EV1_WHEEL_DROP = 4, EV1_OVER_CURRENT = 8", "EV1_MAX_TTL_MS = 500",
    ):  # fmt: skip
        assert text in header
    assert ev1.TTL_MS <= 500
    assert ev1.FLAGS == {1: Hazard.BUMPER, 2: Hazard.CLIFF, 4: Hazard.WHEEL_DROP, 8: Hazard.OVER_CURRENT}
