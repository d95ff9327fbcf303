"""ros_arduino_bridge: its lines against the recorded vectors, its nameless replies, and the hazards of its sketch."""

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
from edge_vla.guard.types import NO_HAZARD, STILL, Feedback, Hazard, Twist
from edge_vla.guard.wheels import check_decoded

MS = 1_000_000
VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "serial_vectors.json").read_text())["ros_arduino_bridge"]
MOTIONS = [vector for vector in VECTORS["vectors"] if "left_ticks_per_frame" in vector]
(EXAMPLE,) = [vector for vector in VECTORS["vectors"] if "cmd" in vector]
QUESTIONS = [vector for vector in VECTORS["vectors"] if not vector["text"].startswith("m")]
FINE = {"ticks_per_m": 3000.0, "max_wheel_mps": 0.7}  # a count per frame is 0.01 m/s


def hear(base: RosArduino, *lines: tuple[int, str]) -> list[Feedback]:
    """Replies with the milliseconds they come at."""
    return [report for ms, line in lines for report in base.feed(line.encode() + b"\r\n", ms * MS)]


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
