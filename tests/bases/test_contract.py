"""What every base must do. A base joins by being registered; `conftest.py` asks for its sample words."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_vla.bases import BASES, make_base
from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.types import STILL, Feedback, Twist
from edge_vla.guard.wheels import check_decoded, wheels_from_twist

every_base = pytest.mark.parametrize("name", BASES)
same_bases = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
twists = st.builds(Twist, st.floats(-0.5, 0.5), st.just(0.0), st.floats(-1.0, 1.0))


def test_every_base_is_here(samples) -> None:
    assert set(samples) == set(BASES), "a registered base needs its sample in tests/bases/conftest.py"


@every_base
def test_traits_make_sense(name: str) -> None:
    traits = make_base(name).traits
    assert 0.05 <= traits.track_m <= 1.0
    assert 0.2 <= traits.max_wheel_mps <= 3.0
    assert 0 < traits.wheel_quantum_mps <= 0.01
    assert 10 <= traits.feedback_period_ms <= 200
    assert traits.watchdog_ms is None or 100 <= traits.watchdog_ms <= 1000


@every_base
def test_zero_is_exactly_zero(name: str) -> None:
    base = make_base(name)
    assert base.decode_command(base.encode(STILL)) == STILL
    assert base.encode(Twist(-0.0, 0.0, -0.0)) == base.encode(STILL)


@every_base
@given(twist=twists)
def test_decode_is_the_inverse_of_encode_within_a_quantum(name: str, twist: Twist) -> None:
    base = make_base(name)
    frame = base.encode(twist)
    check_decoded(base.decode_command(frame), twist, base.traits, base.traits.max_wheel_mps)
    assert base.encode(base.decode_command(frame)) == frame


@every_base
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(name: str, bad: float) -> None:
    for twist in (Twist(bad), Twist(0.0, 0.0, bad)):
        with pytest.raises(UnsafeCommand):
            make_base(name).encode(twist)


@every_base
def test_a_wheel_too_fast_is_refused_at_the_edge(name: str) -> None:
    base = make_base(name)
    most = base.traits.max_wheel_mps
    wheels = wheels_from_twist(base.decode_command(base.encode(Twist(most))), base.traits.track_m)
    assert max(wheels) == pytest.approx(most)
    for twist in (Twist(most + 2 * base.traits.wheel_quantum_mps), Twist(0.0, 0.0, 2.1 * most / base.traits.track_m)):
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
def test_a_report_split_at_every_byte_is_read(name: str, samples) -> None:
    sample = samples[name]
    for cut in range(len(sample.report) + 1):
        base = make_base(name)
        reports = [*base.feed(sample.report[:cut], 5), *base.feed(sample.report[cut:], 5)]
        assert [(r.t_ns, r.left_mps, r.right_mps, r.battery_v, r.rebooted) for r in reports] == [
            (5, sample.left_mps, sample.right_mps, sample.battery_v, False)
        ]
        assert base.garbage_bytes == 0


@every_base
def test_byte_by_byte_and_all_at_once_are_the_same(name: str, samples) -> None:
    one, other = make_base(name), make_base(name)
    stream = samples[name].report * 5
    slowly = [report for byte in stream for report in one.feed(bytes([byte]), 0)]
    assert slowly == other.feed(stream, 0)
    assert len(slowly) == 5


@every_base
@same_bases
@given(data=st.binary(max_size=400))
def test_after_any_garbage_the_second_report_is_read(name: str, samples, data: bytes) -> None:
    base = make_base(name)
    base.feed(data, 0)
    reports = base.feed(base.traits.resync + samples[name].report * 2, 1)
    assert reports[-1].left_mps == samples[name].left_mps
    assert all(_plausible(report) for report in reports)


def _plausible(report: Feedback) -> bool:
    return report.rebooted or (report.left_mps is not None and abs(report.left_mps) <= 3.0)


@every_base
@same_bases
@given(seed=st.integers(0, 2**32 - 1))
def test_flipped_bits_never_raise_and_never_invent_a_speed_no_wheel_has(name: str, samples, seed: int) -> None:
    rng, base = random.Random(seed), make_base(name)
    stream = bytearray(samples[name].report * 10)
    for _ in range(rng.randint(1, 40)):
        stream[rng.randrange(len(stream))] ^= 1 << rng.randrange(8)
    assert all(_plausible(report) for report in base.feed(bytes(stream), 0))


@every_base
def test_memory_is_bounded_and_garbage_is_counted(name: str, samples) -> None:
    base = make_base(name)
    for _ in range(256):
        assert base.feed(b"\xa5" * 4096, 0) == []
    assert base.garbage_bytes >= 1_000_000
    assert len(base.feed(b"\n" + samples[name].report, 0)) == 1


@every_base
def test_a_reboot_is_reported(name: str, samples) -> None:
    boot = samples[name].boot
    if boot is not None:
        assert any(report.rebooted for report in make_base(name).feed(boot, 0))


@every_base
def test_configuration_moves_nothing(name: str) -> None:
    base = make_base(name)
    assert base.init_frames()
    for frame in [*base.init_frames(), base.traits.resync]:
        with pytest.raises(UnsafeCommand):
            base.decode_command(frame)


def test_an_unknown_base_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'waveshare'"):
        make_base("waveshar")


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigError, match="track_mm"):
        make_base("waveshare", {"track_mm": 172})


def test_options_reach_the_base() -> None:
    assert make_base("waveshare", {"track_m": 0.2}).traits.track_m == 0.2
