"""RoboClaw's packets against the recorded vectors, and answers that carry no name."""

from __future__ import annotations

import binascii
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
from edge_vla.guard.types import NO_HAZARD, STILL, Feedback, Hazard, Twist
from edge_vla.guard.wheels import check_decoded

MS = 1_000_000
VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "golden" / "serial_vectors.json").read_text())[
    "roboclaw_packet_serial"
]["driver_recorded"]["vectors"]
SPEEDS = [(vector, struct.unpack(">2i", bytes.fromhex(vector["hex"])[2:10])) for vector in VECTORS if vector["hex"].startswith("80 25")]
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


# -- commands


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
