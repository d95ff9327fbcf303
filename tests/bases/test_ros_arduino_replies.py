"""ros_arduino_bridge: replies that do not say what they answer, counters, and a sketch without a base."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.bases.ros_arduino import RosArduino
from edge_vla.guard.types import NO_HAZARD, Feedback, Hazard

MS = 1_000_000
FINE = {"ticks_per_m": 3000.0, "max_wheel_mps": 0.7}  # a count per frame is 0.01 m/s


def hear(base: RosArduino, *lines: tuple[int, str]) -> list[Feedback]:
    """Replies with the milliseconds they come at."""
    return [report for ms, line in lines for report in base.feed(line.encode() + b"\r\n", ms * MS)]


# -- what it says


def test_counters_are_speeds_and_ways() -> None:
    reports = hear(RosArduino(**FINE), (0, "3000 -6000"), (50, "3030 -6060"), (150, "3000 -6060"))
    assert [report.t_ns for report in reports] == [0, 50 * MS, 150 * MS]
    assert [report.wheels_mps for report in reports] == [None, pytest.approx((0.2, -0.4)), pytest.approx((-0.1, 0.0))]
    assert [report.travel_m for report in reports] == [(0.0, 0.0), pytest.approx((0.01, -0.02)), pytest.approx((0.0, -0.02))]
    assert {report.hazards for report in reports} == {NO_HAZARD}
    assert {(report.battery_v, report.gyro_z_radps, report.rebooted) for report in reports} == {(None, None, False)}


def test_counters_of_32_bits_wrap() -> None:
    reports = hear(RosArduino(**FINE), (0, "2147483647 -2147483648"), (50, "-2147483639 2147483638"))
    assert reports[1].travel_m == pytest.approx((10 / 3000, -10 / 3000))


@pytest.mark.parametrize("line", ["2147483648 0", "0 -2147483649", "9999999999 0"])
def test_a_counter_of_more_bits_is_garbage(line: str) -> None:
    base = RosArduino()
    assert hear(base, (0, line)) == []
    assert base.garbage_bytes == len(line)


def test_counters_at_zero_again_are_a_reboot() -> None:
    """A3: opening the port resets many a board, so does a brown-out."""
    base = RosArduino(**FINE)
    hear(base, (0, "3000 3000"), (50, "3015 3015"))
    base.sent(b"e\r", 1500 * MS)
    (report,) = hear(base, (1520, "0 0"))
    assert report == Feedback(1520 * MS, rebooted=True)
    assert hear(base, (1570, "15 15"))[0].wheels_mps == pytest.approx((0.1, 0.1))


@pytest.mark.parametrize(
    "line", ["0 0 0", "12", "12 ", " 57600", "1 -0", "01 2", "1,2", "-- 1", "OK OK", "ok", "Invalid", "1 2 OK", "\x00"]
)
def test_what_is_no_reply_is_garbage(line: str) -> None:
    base = RosArduino()
    assert hear(base, (0, line)) == []
    assert base.garbage_bytes == len(line)


def test_known_replies_are_no_garbage() -> None:
    base = RosArduino()
    assert hear(base, (0, "OK"), (0, ""), (0, "Invalid Command")) == []
    assert base.garbage_bytes == 0


def test_a_wheel_nobody_has_is_a_damaged_line() -> None:
    base = RosArduino(**FINE)
    reports = hear(base, (0, "3000 3000"), (50, "3300 9015"), (100, "3030 3030"))
    assert [report.wheels_mps for report in reports] == [None, pytest.approx((0.1, 0.1))]
    assert base.garbage_bytes == len("3300 9015")


def test_two_replies_in_one_read_give_no_second_speed() -> None:
    reports = hear(RosArduino(**FINE), (0, "0 0"), (50, "15 15"), (50, "30 30"), (100, "45 45"))
    assert [report.wheels_mps for report in reports] == [None, pytest.approx((0.1, 0.1)), None, pytest.approx((0.1, 0.1))]


@given(st.integers(0, 19))
def test_a_reply_split_anywhere_is_read(cut: int) -> None:
    base, data = RosArduino(**FINE), b"3030 2970\r\nOK\r\n3045 2955\r\n"
    hear(base, (0, "3000 3000"))
    reports = [*base.feed(data[:cut], 50 * MS), *base.feed(data[cut:], 50 * MS)]
    assert [report.wheels_mps for report in reports] == [pytest.approx((0.2, -0.2)), None]
    assert base.garbage_bytes == 0


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_a_line_without_an_end_is_bounded_and_all_of_it_is_garbage(step: int) -> None:
    base = RosArduino()
    data = b"\xa5" * 10_000 + b" 7 8"
    for start in range(0, len(data), step):
        base.feed(data[start : start + step], 0)
    assert len(base._line) == 0
    assert base.garbage_bytes == len(data)
    assert base.feed(b"9 9\r\n5 5\r\n", 0) == [Feedback(0, travel_m=(0.0, 0.0), hazards=NO_HAZARD)]
    assert base.garbage_bytes == len(data) + 3


@given(
    st.lists(st.tuples(st.binary(max_size=80) | st.sampled_from([b"OK\r\n", b"Invalid Command\r\n", b"1 2\r\n"]), st.integers(0, 10**9)))
)
def test_no_bytes_break_it(chunks: list[tuple[bytes, int]]) -> None:
    base, now_ns = RosArduino(), 0
    for data, passed_ns in chunks:
        now_ns += passed_ns
        base.sent(b"m 1 1\r", now_ns)
        for report in base.feed(data, now_ns):
            assert report.wheels_mps is None or max(map(abs, report.wheels_mps)) <= 3.0
    assert len(base._waiting) <= 32
    base.feed(b"\n0 0\r\n", now_ns + 10**10)
    base.feed(b"0 0\r\n", now_ns + 20 * 10**9)
    assert base.feed(b"30 30\r\n", now_ns + 21 * 10**9)[0].wheels_mps is not None


# -- replies that do not say what they answer


def say(base: RosArduino, ms: int, *frames: bytes) -> None:
    for frame in frames:
        base.sent(frame, ms * MS)


REFUSED = "Invalid Command"
TRIPPED = [Hazard.TRIPPED]


def refusals(base: RosArduino, *lines: tuple[int, str]) -> list[Hazard | None]:
    return [report.hazards for report in hear(base, *lines)]


def test_a_sketch_without_a_base_refuses_to_drive() -> None:
    """It answers every motor line so, and the first may have been a damaged one."""
    base = RosArduino()
    for ms in (0, 20):
        say(base, ms, b"m 0 0\r", b"e\r")
    assert refusals(base, (5, REFUSED), (6, REFUSED)) == []
    assert hear(base, (25, REFUSED)) == [Feedback(25 * MS, hazards=Hazard.TRIPPED)]
    say(base, 40, b"m 0 0\r")
    assert refusals(base, (45, REFUSED), (46, REFUSED)) == TRIPPED, "the first answers the counters' question"


@pytest.mark.parametrize("between", ["OK", "10 20"])
def test_one_refusal_between_good_answers_is_a_damaged_line(between: str) -> None:
    base = RosArduino()
    for ms in (0, 20, 40):
        say(base, ms, b"e\r" if between != "OK" else b"m 1 1\r", b"m 1 1\r")
    assert refusals(base, (45, between), (45, REFUSED), (45, between), (45, REFUSED)) in ([], [NO_HAZARD, NO_HAZARD])


def test_a_trip_ends_when_it_counts() -> None:
    base = RosArduino()
    say(base, 0, b"m 0 0\r", b"m 0 0\r", b"e\r")
    assert refusals(base, (5, REFUSED), (5, REFUSED), (5, "0 0")) == [*TRIPPED, NO_HAZARD]


@pytest.mark.parametrize("asked", [b"\r", b"e\r", b"b\r"])
def test_a_refusal_of_anything_else_says_nothing(asked: bytes) -> None:
    base = RosArduino()
    say(base, 0, asked, asked, asked)
    assert refusals(base, (5, REFUSED), (5, REFUSED), (5, REFUSED), (5, REFUSED)) == []


def test_answers_that_were_skipped_are_not_waited_for() -> None:
    """The motor line was lost: what follows the counters answers what followed their question."""
    base = RosArduino()
    say(base, 0, b"m 0 0\r", b"m 0 0\r", b"e\r", b"\r", b"\r")
    assert refusals(base, (5, "0 0"), (5, REFUSED), (5, REFUSED)) == [NO_HAZARD]
    say(base, 20, b"e\r", b"m 0 0\r", b"\r", b"\r")
    assert refusals(base, (25, "OK"), (25, REFUSED), (25, REFUSED)) == []


def test_an_answer_nobody_asked_for_takes_nothing_away() -> None:
    base = RosArduino()
    say(base, 0, b"m 0 0\r", b"m 0 0\r")
    assert refusals(base, (5, "0 0"), (5, REFUSED), (5, REFUSED)) == [NO_HAZARD, *TRIPPED]
    say(base, 20, b"e\r")
    assert refusals(base, (25, "OK"), (25, REFUSED)) == []


def test_each_ok_answers_one_motor_line() -> None:
    base = RosArduino()
    say(base, 0, b"m 0 0\r", b"m 0 0\r", b"e\r", b"e\r")
    assert refusals(base, (5, "OK"), (5, "OK"), (5, REFUSED), (5, REFUSED)) == []


@pytest.mark.parametrize(("late_ms", "tripped"), [(100, TRIPPED), (101, [])])
def test_what_is_not_answered_in_time_is_forgotten(late_ms: int, tripped: list[Hazard]) -> None:
    base = RosArduino()
    say(base, 0, b"m 0 0\r", b"m 0 0\r")
    assert refusals(base, (late_ms, REFUSED), (late_ms, REFUSED)) == tripped


def test_a_reboot_forgets_what_was_asked() -> None:
    base = RosArduino(**FINE)
    hear(base, (0, "3000 3000"))
    say(base, 50, b"e\r", b"m 0 0\r", b"m 0 0\r")
    assert [report.rebooted for report in hear(base, (60, "0 0"), (60, REFUSED), (60, REFUSED))] == [True]
