"""RoboClaw: answers that carry no name, lost, damaged, late or never asked for; and what its status says."""

from __future__ import annotations

import binascii
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.bases.roboclaw import RoboClaw
from edge_vla.guard.types import NO_HAZARD, STILL, Feedback, Hazard, Twist

MS = 1_000_000
FAST = {"max_wheel_mps": 1.0, "ticks_per_m": 10000.0}
ACK = b"\xff"


def answer(command: int, data: bytes, address: int = 0x80) -> bytes:
    return data + struct.pack(">H", binascii.crc_hqx(bytes((address, command)) + data, 0))


def encoder(number: int, count: int, flags: int = 0, address: int = 0x80) -> bytes:
    return answer(15 + number, struct.pack(">IB", count & 0xFFFFFFFF, flags), address)


def battery(decivolts: int = 121) -> bytes:
    return answer(24, struct.pack(">H", decivolts))


def status(bits: int = 0, size: int = 4) -> bytes:
    return answer(90, bits.to_bytes(size, "big"))


def words(left: int, right: int, bits: int = 0) -> bytes:
    """All four answers."""
    return battery() + status(bits) + encoder(1, left) + encoder(2, right)


def ask(base: RoboClaw, ms: int, *, driving: bool = False) -> None:
    for frame in ([base.encode(STILL)] if driving else []) + base.poll_frames():
        base.sent(frame, ms * MS)


def hear(base: RoboClaw, ms: int, data: bytes, *, driving: bool = False) -> list[Feedback]:
    """Ask, and answer 10 ms later."""
    ask(base, ms, driving=driving)
    return base.feed(data, (ms + 10) * MS)


@pytest.fixture
def base() -> RoboClaw:
    """It has reported once, at 10 ms."""
    made = RoboClaw(**FAST)
    assert hear(made, 0, words(1000, -1000)) == [Feedback(10 * MS, battery_v=12.1, travel_m=(0.0, 0.0), hazards=NO_HAZARD)]
    return made


# -- answers


def test_four_answers_are_one_report(base: RoboClaw) -> None:
    (report,) = hear(base, 50, words(1100, -1200), driving=False)
    assert report.wheels_mps == pytest.approx((0.2, -0.4))
    assert report.travel_m == pytest.approx((0.01, -0.02))
    assert (report.t_ns, report.battery_v, report.hazards, report.rebooted) == (60 * MS, 12.1, NO_HAZARD, False)
    assert base.garbage_bytes == 0


def test_commands_between_are_acknowledged_and_cost_nothing(base: RoboClaw) -> None:
    ask(base, 50, driving=True)
    base.sent(base.encode(Twist(0.1)), 70 * MS)
    (report,) = base.feed(ACK + words(1100, -1200) + ACK, 70 * MS)
    assert report.wheels_mps == pytest.approx((0.1 / 0.6, -0.2 / 0.6))
    assert base.garbage_bytes == 0


def test_counters_of_32_bits_wrap() -> None:
    base = RoboClaw(**FAST)
    hear(base, 0, words(0xFFFFFFFF, 0x7FFFFFFF))
    (report,) = hear(base, 50, words(99, 0x80000063))
    assert report.travel_m == pytest.approx((0.01, 0.01))


def test_the_flags_of_a_counter_say_nothing_new(base: RoboClaw) -> None:
    (report,) = hear(base, 50, battery() + status() + encoder(1, 1100, 2) + encoder(2, -1200, 7))
    assert report.wheels_mps == pytest.approx((0.2, -0.4))


@given(st.integers(0, 29))
def test_answers_split_anywhere_are_read(cut: int) -> None:
    base = RoboClaw(**FAST)
    hear(base, 0, words(1000, -1000))
    ask(base, 50, driving=True)
    data = ACK + words(1100, -1200)
    reports = [*base.feed(data[:cut], 60 * MS), *base.feed(data[cut:], 60 * MS)]
    assert [report.wheels_mps for report in reports] == [pytest.approx((0.2, -0.4))]
    assert base.garbage_bytes == 0


def test_a_minus_in_a_counter_is_no_acknowledgement() -> None:
    """The command was damaged and its 0xFF never came; the counters begin with 0xFF bytes."""
    base = RoboClaw(**FAST)
    hear(base, 50, words(-1, -2))
    ask(base, 100, driving=True)
    (report,) = base.feed(words(-101, -102), 110 * MS)
    assert report.wheels_mps == pytest.approx((-0.2, -0.2))
    assert base.garbage_bytes == 0


@pytest.mark.parametrize("lost", ["battery", "status", "left", "right"])
def test_an_answer_that_is_lost_is_not_taken_from_another_question(base: RoboClaw, lost: str) -> None:
    parts = {"battery": battery(), "status": status(), "left": encoder(1, 1100), "right": encoder(2, -1200)}
    data = b"".join(part for name, part in parts.items() if name != lost)
    reports = hear(base, 50, data)
    assert [(report.wheels_mps, report.battery_v) for report in reports] == (
        [(pytest.approx((0.2, -0.4)), None)] if lost == "battery" else []
    )
    (report,) = hear(base, 150, words(1300, -1600))
    assert report.wheels_mps == pytest.approx((0.2, -0.4))
    assert base.garbage_bytes == 0


@pytest.mark.parametrize("noise", [b"\x00", b"\xff", b"\x12\x34\x56\x78", b"\xff" * 9])
@pytest.mark.parametrize("where", [0, 4, 10, 17])
def test_noise_between_answers_costs_itself(base: RoboClaw, noise: bytes, where: int) -> None:
    data = words(1100, -1200)
    (report,) = hear(base, 50, data[:where] + noise + data[where:] + bytes(10))
    assert report.wheels_mps == pytest.approx((0.2, -0.4))
    assert base.garbage_bytes == len(noise) + 10


def test_noise_before_an_acknowledgement_hides_only_that(base: RoboClaw) -> None:
    (report,) = hear(base, 50, b"\x01" + ACK + words(1100, -1200), driving=True)
    assert report.wheels_mps == pytest.approx((0.2, -0.4))
    assert base.garbage_bytes == 2


@pytest.mark.parametrize("bit", range(8 * 24))
def test_no_damaged_bit_changes_a_number(bit: int) -> None:
    base = RoboClaw(**FAST)
    hear(base, 0, words(1000, -1000))
    data = bytearray(words(1100, -1200))
    data[bit // 8] ^= 1 << bit % 8
    reports = hear(base, 50, bytes(data))
    assert [(report.wheels_mps, report.battery_v, report.hazards) for report in reports] == (
        [(pytest.approx((0.2, -0.4)), None, NO_HAZARD)] if bit < 32 else []
    )
    assert hear(base, 200, words(1400, -1800))[0].wheels_mps is not None


def test_what_nobody_asked_for_is_garbage() -> None:
    base = RoboClaw()
    assert base.feed(words(1, 2), 0) == []
    assert base.garbage_bytes == 24
    base.sent(b"", 0)
    base.sent(b"\x80", 0)
    assert base.feed(ACK, 0) == []
    assert base.garbage_bytes == 25


def test_a_question_of_another_kind_is_not_understood_and_harms_nothing(base: RoboClaw) -> None:
    """The guard never asks one; whoever does gets an acknowledgement's place in the queue."""
    base.sent(b"\x80\x15", 50 * MS)
    (report,) = hear(base, 50, words(1100, -1200))
    assert report.wheels_mps == pytest.approx((0.2, -0.4))


@pytest.mark.parametrize(("late_ms", "reports"), [(50, 1), (51, 0)])
def test_what_comes_too_late_is_forgotten(base: RoboClaw, late_ms: int, reports: int) -> None:
    ask(base, 100)
    assert len(base.feed(words(1100, -1200), (100 + late_ms) * MS)) == reports
    assert base.garbage_bytes == (0 if reports else 24)


def test_half_an_answer_does_not_hold_up_the_next(base: RoboClaw) -> None:
    assert hear(base, 50, words(1050, -1100)[:20]) == []
    (report,) = hear(base, 110, words(1100, -1200))
    assert report.wheels_mps == pytest.approx((100 / 10000 / 0.11, -200 / 10000 / 0.11))
    assert base.garbage_bytes == 3


def test_another_address_is_not_believed(base: RoboClaw) -> None:
    data = battery() + status() + encoder(1, 1100, address=0x81) + encoder(2, -1200)
    assert hear(base, 50, data) == []


@pytest.mark.parametrize("size", [1, 100, 257, 4096])
def test_memory_is_bounded_and_noise_takes_no_time(base: RoboClaw, size: int) -> None:
    for _ in range(40):
        ask(base, 50)
        base.feed(b"\xa5" * size, 60 * MS)
        assert len(base._waiting) <= 16
        assert len(base._buffer) < 7
    assert base.garbage_bytes >= 40 * size - 7
    (report,) = hear(base, 150, words(1200, -1000))
    assert report.wheels_mps == pytest.approx((0.02 / 0.15, 0.0))


def test_counters_at_zero_again_are_a_reboot(base: RoboClaw) -> None:
    (report,) = hear(base, 600, words(0, 3))
    assert report == Feedback(610 * MS, rebooted=True)
    assert hear(base, 650, words(100, 3))[0].wheels_mps == pytest.approx((0.2, 0.0))


def test_a_wheel_nobody_has_is_no_report(base: RoboClaw) -> None:
    assert hear(base, 50, words(1000 + 1501, -1000)) == []
    assert base.garbage_bytes == 14
    assert hear(base, 100, words(1200, -1000))[0].wheels_mps == pytest.approx((0.2, 0.0))


@given(
    st.lists(
        st.tuples(st.sampled_from("apv"), st.binary(max_size=40) | st.just(words(1000, -1000)) | st.just(ACK), st.integers(0, 100 * MS)),
        max_size=30,
    )
)
def test_no_bytes_break_it(chunks: list[tuple[str, bytes, int]]) -> None:
    base, now_ns = RoboClaw(**FAST), 0
    for sent, data, passed_ns in chunks:
        now_ns += passed_ns
        for frame in {"p": base.poll_frames(), "v": [base.encode(STILL)]}.get(sent, []):
            base.sent(frame, now_ns)
        for report in base.feed(data, now_ns):
            assert report.wheels_mps is None or max(map(abs, report.wheels_mps)) <= 3.0
    start = now_ns // MS + 1000
    heard = [report.hazards for ms in (0, 100, 200) for report in hear(base, start + ms, words(1000, -1000))]
    assert NO_HAZARD in heard, "and understands again"


# -- what its status says

NEW = {
    0x00000001: Hazard.TRIPPED, 0x00000002: Hazard.TRIPPED, 0x00000008: Hazard.TRIPPED, 0x00000020: Hazard.TRIPPED,
    0x00000040: Hazard.TRIPPED, 0x00000080: Hazard.TRIPPED, 0x00000100: Hazard.TRIPPED, 0x00000800: Hazard.TRIPPED,
    0x00001000: Hazard.TRIPPED | Hazard.OVER_CURRENT, 0x00002000: Hazard.TRIPPED | Hazard.OVER_CURRENT,
    0x00010000: Hazard.OVER_CURRENT, 0x00020000: Hazard.OVER_CURRENT, 0x00030001: Hazard.TRIPPED | Hazard.OVER_CURRENT,
    0x00040000: NO_HAZARD, 0x00080000: NO_HAZARD, 0x00100000: NO_HAZARD, 0x00800000: NO_HAZARD, 0x02000000: NO_HAZARD,
}  # fmt: skip
OLD = {
    0x0001: Hazard.OVER_CURRENT, 0x0002: Hazard.OVER_CURRENT, 0x0004: Hazard.TRIPPED, 0x0008: Hazard.TRIPPED, 0x0080: Hazard.TRIPPED,
    0x0100: Hazard.TRIPPED, 0x0200: Hazard.TRIPPED, 0x0400: NO_HAZARD, 0x0800: NO_HAZARD, 0x8000: NO_HAZARD,
}  # fmt: skip


@pytest.mark.parametrize(("size", "bits", "hazards"), [(4, *item) for item in NEW.items()] + [(2, *item) for item in OLD.items()])
def test_status_bits(size: int, bits: int, hazards: Hazard) -> None:
    base = RoboClaw(status_bytes=size)
    (report,) = hear(base, 0, battery() + status(bits, size) + encoder(1, 0) + encoder(2, 0))
    assert report.hazards == hazards
    assert base.unknown_statuses == 0


@pytest.mark.parametrize("bits", [0x00004000, 0x00008000, 0x04000000, 0x80000000])
def test_bits_nobody_explains_are_counted_and_nothing_else(bits: int) -> None:
    base = RoboClaw()
    for ms in (0, 100):
        (report,) = hear(base, ms, words(0, 0, bits))
        assert report.hazards == NO_HAZARD
    assert base.unknown_statuses == 2


@pytest.mark.parametrize(("expected", "sent"), [(4, 2), (2, 4)])
def test_the_wrong_layout_is_no_report_at_all(expected: int, sent: int) -> None:
    """So a robot that is configured so never starts."""
    base = RoboClaw(status_bytes=expected)
    for ms in range(0, 1000, 50):
        assert hear(base, ms, battery() + status(0, sent) + encoder(1, ms) + encoder(2, ms)) == []
    assert base.garbage_bytes >= 20 * (sent + 2)
