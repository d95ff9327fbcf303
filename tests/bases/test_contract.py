"""What every base must do. A base joins by being registered; `conftest.py` asks for its sample words."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from edge_vla.bases import BASES, make_base
from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.limits import TURN_CEILING_RADPS
from edge_vla.guard.types import STILL, Base, Feedback, Twist
from edge_vla.guard.wheels import Differential, check_decoded, saturate
from tests.bases.conftest import Sample

every_base = pytest.mark.parametrize("name", BASES)
same_bases = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_every_base_is_here(samples: dict[str, Sample]) -> None:
    assert set(samples) == set(BASES), "a registered base needs its sample in tests/bases/conftest.py"


MS = 1_000_000
speeds = st.floats(-0.5, 0.5)
turns = st.floats(-1.0, 1.0)


def asked(base: Base, data: bytes, t_ms: int) -> list[Feedback]:
    """What it makes of an answer, asked for as a guard asks."""
    for frame in base.poll_frames():
        base.sent(frame, t_ms * MS)
    return base.feed(data, t_ms * MS)


def hear(base: Base, sample: Sample) -> list[Feedback]:
    """What it says of the motion, after what had to be heard before."""
    asked(base, sample.before, 0)
    return asked(base, sample.report, 50)


def fitting(base: Base, x: float, y: float, turn: float) -> Twist:
    """What this base can do of it."""
    return saturate(Twist(x, y if base.traits.drive.sideways else 0.0, turn), base.traits.drive, base.traits.max_wheel_mps)


@every_base
def test_traits_make_sense(name: str) -> None:
    traits = make_base(name).traits
    assert 0.2 <= traits.max_wheel_mps <= 3.0
    assert 0 < traits.wheel_quantum_mps <= 0.01
    assert 10 <= traits.feedback_period_ms <= 200
    assert traits.watchdog_ms is None or 100 <= traits.watchdog_ms <= 1000
    assert traits.travel_quantum_m is None or 0 < traits.travel_quantum_m <= 0.01


@every_base
def test_its_drive_turns_to_the_left_with_the_right_wheels(name: str) -> None:
    drive = make_base(name).traits.drive
    wheels = drive.wheels(Twist(0.0, 0.0, 1.0))
    assert [math.copysign(1, wheel) for wheel in wheels] == [-1, 1] * (len(wheels) // 2)
    assert drive.twist(drive.wheels(Twist(0.3, 0.0, 0.5))).angular_z == pytest.approx(0.5)


@every_base
def test_zero_is_exactly_zero(name: str) -> None:
    base = make_base(name)
    for still in (STILL, Twist(-0.0, 0.0, -0.0), Twist(-0.0, -0.0, 0.0)):
        said = base.decode_command(base.encode(still))
        assert said == STILL
        assert str(said) == str(STILL), "no minus zero"


@every_base
@given(x=speeds, y=speeds, turn=turns)
def test_decode_is_the_inverse_of_encode_within_a_quantum(name: str, x: float, y: float, turn: float) -> None:
    base = make_base(name)
    twist = fitting(base, x, y, turn)
    said = base.decode_command(base.encode(twist))
    check_decoded(said, twist, base.traits, base.traits.max_wheel_mps)
    again = base.decode_command(base.encode(said))
    check_decoded(again, said, base.traits, base.traits.max_wheel_mps)
    assert again == base.decode_command(base.encode(again)), "what it says it can say again"


@every_base
@given(x=speeds, turn=turns)
def test_no_wheel_is_told_to_go_the_other_way(name: str, x: float, turn: float) -> None:
    base = make_base(name)
    drive, quantum = base.traits.drive, base.traits.wheel_quantum_mps
    twist = fitting(base, x, 0.0, turn)
    for said, meant in zip(drive.wheels(base.decode_command(base.encode(twist))), drive.wheels(twist), strict=True):
        assert said * meant >= 0 or abs(said) <= quantum


@every_base
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(name: str, bad: float) -> None:
    for twist in (Twist(bad), Twist(0.0, bad), Twist(0.0, 0.0, bad)):
        with pytest.raises(UnsafeCommand):
            make_base(name).encode(twist)


@every_base
def test_sideways_is_refused_where_no_wheel_rolls_so(name: str) -> None:
    base = make_base(name)
    if base.traits.drive.sideways:
        assert base.decode_command(base.encode(Twist(0.0, 0.2))).linear_y == pytest.approx(0.2, abs=2e-3)
        return
    for twist in (Twist(0.1, 0.01), Twist(0.0, -0.3)):
        with pytest.raises(UnsafeCommand, match="sideways"):
            base.encode(twist)


@every_base
def test_a_wheel_too_fast_is_refused_at_the_edge(name: str) -> None:
    base = make_base(name)
    traits = base.traits
    most, quantum = traits.max_wheel_mps, traits.wheel_quantum_mps
    fast = base.decode_command(base.encode(Twist(most)))
    assert max(traits.drive.wheels(fast)) == pytest.approx(most, abs=quantum)
    per_turn = max(traits.drive.wheels(Twist(0.0, 0.0, 1.0)))
    for twist in (Twist(most + 2 * quantum), Twist(-most - 2 * quantum), Twist(0.0, 0.0, 1.05 * most / per_turn)):
        with pytest.raises(UnsafeCommand, match="wheels"):
            base.encode(twist)


@every_base
@pytest.mark.parametrize("huge", [Twist(1e300), Twist(1e308, 0.0, 1e308), Twist(-1.7e308, 0.0, 1.7e308), Twist(0.0, 0.0, -1.7e308)])
def test_what_is_finite_but_no_speed_is_refused(name: str, huge: Twist) -> None:
    with pytest.raises(UnsafeCommand):
        make_base(name).encode(huge)


@every_base
@given(frame=st.binary(max_size=64))
def test_a_frame_that_is_none_is_refused(name: str, frame: bytes) -> None:
    with pytest.raises(UnsafeCommand):
        make_base(name).decode_command(frame)


@every_base
@given(x=speeds, turn=turns, data=st.data())
def test_a_damaged_frame_is_refused_or_says_what_it_says(name: str, x: float, turn: float, data: st.DataObject) -> None:
    """One byte changed: whatever is still a frame says something that can be encoded, so the check sees exactly what would be driven."""
    base = make_base(name)
    frame = bytearray(base.encode(fitting(base, x, 0.0, turn)))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    try:
        said = base.decode_command(bytes(frame))
    except UnsafeCommand:
        return
    assume(max(map(abs, base.traits.drive.wheels(said))) <= base.traits.max_wheel_mps)
    assert base.decode_command(base.encode(said)) == said


@every_base
def test_a_report_split_at_every_byte_is_read(name: str, samples: dict[str, Sample]) -> None:
    sample = samples[name]
    for cut in range(len(sample.report) + 1):
        base = make_base(name, sample.options)
        asked(base, sample.before, 0)
        reports = [*asked(base, sample.report[:cut], 50), *base.feed(sample.report[cut:], 50 * MS)]
        assert [(r.t_ns, r.battery_v, r.rebooted) for r in reports] == [(50 * MS, sample.battery_v, False)]
        assert reports[0].wheels_mps == pytest.approx(sample.wheels_mps)
        assert base.garbage_bytes == 0


@every_base
def test_byte_by_byte_and_all_at_once_are_the_same(name: str, samples: dict[str, Sample]) -> None:
    sample = samples[name]
    one, other = make_base(name, sample.options), make_base(name, sample.options)
    slowly: list[Feedback] = []
    fast: list[Feedback] = []
    for t_ms, said in ((0, sample.before), (50, sample.report), (100, sample.again or sample.report)):
        slowly += asked(one, b"", t_ms) + [report for byte in said for report in one.feed(bytes([byte]), t_ms * MS)]
        fast += asked(other, said, t_ms)
    assert slowly == fast
    assert sum(report.wheels_mps is not None for report in slowly) == 2


@every_base
@same_bases
@given(data=st.binary(max_size=400))
def test_after_any_garbage_the_next_reports_are_read(name: str, samples: dict[str, Sample], data: bytes) -> None:
    """The first may be eaten by what came before it."""
    sample = samples[name]
    base = make_base(name, sample.options)
    assert all(_plausible(report) for report in base.feed(data, 0))
    again = sample.again or sample.report
    base.feed(bytes(100) + base.traits.resync, 100 * MS)
    heard = [report for k, said in enumerate((sample.before, sample.report, again, again)) for report in asked(base, said, 300 + 50 * k)]
    assert any(report.wheels_mps == pytest.approx(sample.wheels_mps) for report in heard if report.wheels_mps is not None)


def _plausible(report: Feedback) -> bool:
    return report.wheels_mps is None or max(map(abs, report.wheels_mps)) <= 3.0


@every_base
@same_bases
@given(seed=st.integers(0, 2**32 - 1))
def test_flipped_bits_never_raise_and_never_invent_a_speed_no_wheel_has(name: str, samples: dict[str, Sample], seed: int) -> None:
    rng, sample = random.Random(seed), samples[name]
    base = make_base(name, sample.options)
    stream = bytearray(sample.before + sample.report * 5 + (sample.again or sample.report) * 5)
    for _ in range(rng.randint(1, 40)):
        stream[rng.randrange(len(stream))] ^= 1 << rng.randrange(8)
    assert all(_plausible(report) for report in base.feed(bytes(stream), 50 * MS))


@every_base
def test_memory_is_bounded_and_garbage_is_counted(name: str, samples: dict[str, Sample]) -> None:
    sample = samples[name]
    base = make_base(name, sample.options)
    for _ in range(256):
        assert not [report for report in base.feed(b"\xa5" * 4096, 0) if report.wheels_mps is not None]
    assert base.garbage_bytes >= 1_000_000
    base.feed(bytes(100) + b"\r\n", 0)
    asked(base, sample.before, 100)
    assert [report.wheels_mps for report in asked(base, sample.report, 150)] == [pytest.approx(sample.wheels_mps)]


@every_base
def test_a_reboot_is_reported(name: str, samples: dict[str, Sample]) -> None:
    sample = samples[name]
    if sample.boot is not None:
        base = make_base(name, sample.options)
        hear(base, sample)
        assert any(report.rebooted for report in asked(base, sample.boot, 100))


@every_base
def test_configuration_moves_nothing(name: str, samples: dict[str, Sample]) -> None:
    sample = samples[name]
    base = make_base(name, sample.options)
    assert base.init_frames()
    hear(base, sample)
    for frame in [*base.init_frames(), *base.poll_frames(), *base.restart_frames(), base.traits.resync]:
        try:
            said = base.decode_command(frame)
        except UnsafeCommand:
            continue
        assert said == STILL


@every_base
def test_the_ceiling_of_turning_can_be_said(name: str) -> None:
    base = make_base(name)
    said = base.decode_command(base.encode(Twist(0.0, 0.0, TURN_CEILING_RADPS)))
    per_turn = max(base.traits.drive.wheels(Twist(0.0, 0.0, 1.0)))
    assert said.angular_z == pytest.approx(TURN_CEILING_RADPS, abs=base.traits.wheel_quantum_mps / per_turn)


def test_an_unknown_base_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'waveshare'"):
        make_base("waveshar")


@every_base
def test_an_unknown_option_is_refused_and_the_nearest_named(name: str) -> None:
    with pytest.raises(ConfigError, match=r"max_wheel_mpss.*did you mean 'max_wheel_mps'"):
        make_base(name, {"max_wheel_mpss": 0.5})


@every_base
@pytest.mark.parametrize("bad", [0.0, -0.5, math.nan, math.inf, 99.0])
def test_a_wheel_speed_out_of_range_is_refused(name: str, bad: float) -> None:
    with pytest.raises(ConfigError, match="max_wheel_mps"):
        make_base(name, {"max_wheel_mps": bad})


def test_options_reach_the_base() -> None:
    assert make_base("waveshare", {"track_m": 0.2}).traits.drive == Differential(0.2)
