"""Create 2's stream: what is a report and what is not, and speeds by the robot's beat whenever it is read."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.bases.create2 import Create2
from tests.bases.test_create2 import COUNT_M, MS, hear, said

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "serial_vectors.json").read_text())["irobot_create2_oi"]


def test_the_checksum_is_that_of_the_vendors_example() -> None:
    """All bytes and the header too; the Create 1's rule leaves the header out, and is refused."""
    example = bytes.fromhex(VECTORS["stream_vectors"][0]["response_hex"])
    assert sum(example) & 0xFF == sum(said(12, 34)) & 0xFF == 0
    older = bytearray(said())
    older[-1] = (older[-1] + 19) & 0xFF
    base = Create2()
    assert base.feed(bytes(older), 0) == []
    assert base.feed(bytes(26), 0) == []
    assert base.garbage_bytes >= 26


@pytest.mark.parametrize("at", range(26))
def test_a_damaged_byte_costs_its_report_and_no_other(at: int) -> None:
    base, damaged = Create2(), bytearray(said())
    damaged[at] ^= 0x10
    heard = base.feed(said() + bytes(damaged) + said() * 2, 0)
    assert len(heard) == 3
    assert base.garbage_bytes == 26


@pytest.mark.parametrize("mode", [4, 0x82, 0xFF])
def test_there_are_four_modes(mode: int) -> None:
    assert Create2().feed(said(mode=mode), 0) == []


@pytest.mark.parametrize("hex_", ["13 05 1d 02 19 0d 00 a3", "13 00 ed", "13 17 07", "13 13 13", "13"])
def test_a_stream_that_was_not_asked_for_is_garbage(hex_: str) -> None:
    """Another host's, from before, or the beginning of one of ours."""
    other, base = bytes.fromhex(hex_), Create2()
    assert len(base.feed(other * 3 + said() + said(), 0)) == 2
    assert base.garbage_bytes == len(other * 3)


@given(st.binary(max_size=900), st.integers(1, 60))
def test_any_bytes_split_anywhere(data: bytes, step: int) -> None:
    base = Create2()
    for start in range(0, len(data), step):
        base.feed(data[start : start + step], 0)
        assert len(base._rest) <= 25
    assert base.garbage_bytes + len(base._rest) <= len(data)
    assert len(base.feed(said(), 0)) + len(base.feed(said(), 15 * MS)) >= 1


@given(seed=st.integers(0, 2**32 - 1))
def test_flipped_bits_never_make_a_speed_no_wheel_has(seed: int) -> None:
    rng, base = random.Random(seed), Create2()
    for k in range(40):
        report = bytearray(said(6 * k, -3 * k))
        if rng.random() < 0.5:
            report[rng.randrange(3, 25)] ^= 1 << rng.randrange(8)
            report[25] = -sum(report[:25]) & 0xFF  # and by chance the checksum fits
        for heard in base.feed(bytes(report), rng.choice((0, 15 * k, 40 * k)) * MS):
            assert heard.wheels_mps is None or max(map(abs, heard.wheels_mps)) <= 3.0


def test_a_single_report_has_no_speed_and_two_that_agree_stand() -> None:
    first, second = hear(Create2(), said(77, 77), said(77, 77))
    assert first.wheels_mps is None
    assert (second.wheels_mps, second.travel_m) == ((0.0, 0.0), (0.0, 0.0))


def test_counters_wrap_and_ways_do_not() -> None:
    reports = hear(Create2(), *(said(32_700 + 20 * k, -32_700 - 20 * k) for k in range(5000)))
    assert reports[-1].travel_m == pytest.approx((20 * 4999 * COUNT_M, -20 * 4999 * COUNT_M))
    assert reports[-1].wheels_mps == pytest.approx((20 * COUNT_M / 0.015, -20 * COUNT_M / 0.015))


def test_a_speed_is_the_mean_of_ten_beats() -> None:
    reports = hear(Create2(), *(said(max(0, k - 20) * 10, 0) for k in range(40)))
    full = 10 * COUNT_M / 0.015
    lefts = [report.wheels_mps[0] for report in reports if report.wheels_mps is not None]
    assert lefts[19:31] == pytest.approx([full * k / 10 for k in range(11)] + [full])


@pytest.mark.parametrize("read_ms", [5, 20, 33, 60])
def test_when_it_is_read_hardly_matters(read_ms: int) -> None:
    """A guard reads every 20 ms: one report, then two at once."""
    base, waiting, speeds = Create2(), b"", []
    for t in range(3000):
        waiting += said(t // 15 * 10, t // 15 * -10) if t % 15 == 0 else b""
        if t % read_ms == 0:
            speeds += [heard.wheels_mps for heard in base.feed(waiting, t * MS)]
            waiting = b""
    full = 10 * COUNT_M / 0.015
    for speed in speeds[150:]:
        assert speed == pytest.approx((full, -full), rel=0.02)


@pytest.mark.parametrize("beat_ms", [14, 16, 20])
def test_another_beat_than_documented_is_found_out(beat_ms: int) -> None:
    """10 counts a beat, read as they come."""
    base, full = Create2(), 10 * COUNT_M / (beat_ms * 1e-3)
    reports = [base.feed(said(10 * k, 0), beat_ms * k * MS)[0] for k in range(400)]
    wheels = reports[-1].wheels_mps
    assert wheels is not None
    assert wheels[0] == pytest.approx(full, rel=0.01)


def test_lost_reports_cost_no_way_and_make_no_lasting_speed() -> None:
    """One of four."""
    base = Create2()
    reports = [report for k in range(400) if k % 4 for report in base.feed(said(8 * k, 0), 15 * k * MS)]
    assert reports[-1].travel_m == pytest.approx((8 * 398 * COUNT_M, 0.0))
    lefts = [report.wheels_mps[0] for report in reports[100:] if report.wheels_mps is not None]
    assert sum(lefts) / len(lefts) == pytest.approx(8 * COUNT_M / 0.015, rel=0.03)


def test_a_gap_is_believed_to_the_hosts_clock() -> None:
    """300 ms without a word at 0.3 m/s: the mean over it, and not 20 times that."""
    base = Create2()
    hear(base, said(0, 0), said(10, 10))
    (report,) = base.feed(said(210, 210), 315 * MS)
    assert report.wheels_mps == pytest.approx((210 * COUNT_M / 0.315,) * 2)


def test_after_a_long_silence_counters_may_have_started_anew() -> None:
    base = Create2()
    hear(base, said(500, 500), said(510, 510))
    (report,) = base.feed(said(3, 3), 515 * MS + 1)
    assert (report.wheels_mps, report.travel_m) == (None, pytest.approx((10 * COUNT_M, 10 * COUNT_M)))
    (report,) = base.feed(said(13, 3), 530 * MS + 1)
    assert report.travel_m == pytest.approx((20 * COUNT_M, 10 * COUNT_M))
    assert report.wheels_mps == pytest.approx((10 * COUNT_M / 0.015, 0.0))


@pytest.mark.parametrize(("step", "taken"), [(101, True), (102, False), (-101, True), (-102, False)])
def test_what_no_wheel_can_do_is_garbage_and_forgotten(step: int, taken: bool) -> None:
    """3 m/s are 101.2 counts a beat."""
    base = Create2()
    hear(base, said())
    assert bool(hear(base, said(0, step), start_ms=15)) is taken
    assert base.garbage_bytes == (0 if taken else 26)
    (report,) = hear(base, said(0, 0 if not taken else step), start_ms=30)
    assert report.travel_m == pytest.approx((0.0, step * COUNT_M if taken else 0.0))


def test_counters_that_have_jumped_for_good_are_believed_after_half_a_second() -> None:
    base, heard = Create2(), []
    hear(base, said())
    for k in range(1, 60):
        heard += base.feed(said(20_000, 0), 15 * k * MS)
    assert heard[0].t_ns == 510 * MS
    assert heard[-1].wheels_mps == (0.0, 0.0)
    assert heard[-1].travel_m == (0.0, 0.0)


def test_reports_that_pour_in_at_once_do_not_stop_its_clock() -> None:
    """Ten seconds' worth in one moment, as no line carries them: slower or faster, but never beyond what a wheel can do."""
    base = Create2()
    for k in range(700):
        for report in base.feed(said(50 * k, 0), 0):
            assert report.wheels_mps is None or abs(report.wheels_mps[0]) <= 3.0
