"""When the wheels count as still, and when they contradict: report by report."""

from __future__ import annotations

import pytest

from edge_vla.guard.types import STILL, BaseTraits, Feedback, Twist
from edge_vla.guard.watch import FeedbackWatch
from edge_vla.guard.wheels import Differential

MS = 1_000_000
TRAITS = BaseTraits(Differential(0.172), 1.3, 1e-4, 50, 300, b"\n")


def watch(*reports: tuple[int, float], zero_ms: int = 0, traits: BaseTraits = TRAITS) -> FeedbackWatch:
    """A watch that was told zero and then heard (t_ms, speed of both wheels)."""
    out = FeedbackWatch(traits, None)
    out.commanded(zero_ms * MS, STILL)
    for t_ms, speed in reports:
        out.hear(Feedback(t_ms * MS, (speed, speed)))
    return out


def test_still_takes_two_reports_made_after_the_zero() -> None:
    assert not watch((50, 0.0)).still(50 * MS)
    assert watch((50, 0.0), (100, 0.0)).still(100 * MS)
    assert not watch((100, 0.0), (150, 0.0), zero_ms=100).still(150 * MS)  # the first may have been made before
    assert watch((101, 0.0), (150, 0.0), zero_ms=100).still(150 * MS)


@pytest.mark.parametrize(("speed", "still"), [(0.0199, True), (-0.0199, True), (0.02, False), (-0.02, False)])
def test_still_is_below_two_centimetres_a_second(speed: float, still: bool) -> None:
    assert watch((50, speed), (100, speed)).still(100 * MS) is still


def test_one_wheel_is_enough_to_be_moving() -> None:
    out = watch((50, 0.0), (100, 0.0))
    out.hear(Feedback(150 * MS, (0.0, -0.05)))
    assert not out.still(150 * MS)
    out.hear(Feedback(200 * MS, (0.0, 0.0)))
    assert not out.still(200 * MS)  # two again
    out.hear(Feedback(250 * MS, (0.0, 0.0)))
    assert out.still(250 * MS)


def test_old_reports_prove_nothing() -> None:
    out = watch((50, 0.0), (100, 0.0))
    assert out.still(300 * MS)
    assert not out.still(300 * MS + 1)


def test_a_new_speed_ends_stillness_and_a_new_zero_starts_it_afresh() -> None:
    out = watch((50, 0.0), (100, 0.0))
    out.commanded(110 * MS, Twist(0.1))
    out.hear(Feedback(150 * MS, (0.0, 0.0)))
    assert not out.still(150 * MS)
    out.commanded(160 * MS, STILL)
    out.hear(Feedback(200 * MS, (0.0, 0.0)))
    assert not out.still(200 * MS)
    out.hear(Feedback(250 * MS, (0.0, 0.0)))
    assert out.still(250 * MS)


def test_repeating_zero_does_not_start_it_afresh() -> None:
    out = watch((50, 0.0))
    out.commanded(60 * MS, STILL)
    out.hear(Feedback(100 * MS, (0.0, 0.0)))
    assert out.still(100 * MS)


@pytest.mark.parametrize(("period_ms", "gap_ms"), [(20, 200), (50, 200), (66, 200), (67, 201), (200, 600)])
def test_a_gap_is_three_periods_and_at_least_200_ms(period_ms: int, gap_ms: int) -> None:
    out = watch((0, 0.0), traits=BaseTraits(Differential(0.172), 1.3, 1e-4, period_ms, 300, b""))
    assert out.fresh(gap_ms * MS)
    assert not out.fresh(gap_ms * MS + 1)


@pytest.mark.parametrize(
    ("commanded", "measured", "contradicts"),
    [
        (0.0, 0.1, False),
        (0.0, 0.1001, True),
        (0.4, 0.2, False),
        (0.4, 0.1999, True),
        (0.4, 0.6, False),
        (0.4, 0.6001, True),
        (0.1, 0.0, False),
    ],
)
def test_a_contradiction_is_more_than_a_tenth_or_a_half(commanded: float, measured: float, contradicts: bool) -> None:
    assert contradicted_ms(commanded, [measured] * 40) == (350 if contradicts else None)


def contradicted_ms(commanded: float, measured: list[float]) -> int | None:
    """After which of these reports, 50 ms apart, it contradicts; it was told long before."""
    out = FeedbackWatch(TRAITS, None)
    out.commanded(0, Twist(commanded))
    for number, speed in enumerate(measured, 1):
        out.hear(Feedback((1000 + 50 * number) * MS, (speed, speed)))
        if out.contradicts():
            return 50 * number
    return None


@pytest.mark.parametrize("speed", [-0.5, 0.5])
def test_a_wheel_on_its_way_does_not_contradict_for_as_long_as_a_wheel_may_lag(speed: float) -> None:
    """Told another speed, it keeps the old one: three tenths of a second are a slow motor, three more are none."""
    out = FeedbackWatch(TRAITS, None)
    out.commanded(0, Twist(speed))
    for t_ms in range(20, 2000, 20):
        out.commanded(t_ms * MS, Twist(speed if t_ms < 1000 else -speed))
        out.hear(Feedback(t_ms * MS, (speed, speed)))
        if out.contradicts():
            break
    assert t_ms == 1000 + 300 + 280, "the report at 1300 is the first against it"


def test_between_what_it_was_and_what_it_is_told_anything_goes() -> None:
    out = FeedbackWatch(TRAITS, None)
    for t_ms in range(0, 3000, 20):
        out.commanded(t_ms * MS, Twist(0.5 if t_ms % 400 < 200 else -0.5))
        out.hear(Feedback(t_ms * MS, (0.0, 0.4)))
    assert not out.contradicts()


def test_what_agrees_now_and_then_contradicts_later_and_what_agrees_half_the_time_never() -> None:
    assert contradicted_ms(0.4, [0.0] * 5 + [0.4] + [0.0] * 40) == 450
    assert contradicted_ms(0.4, [0.0, 0.4] * 100) is None
    assert contradicted_ms(0.4, [0.4] * 100 + [0.0] * 40) == 50 * 106


def test_a_silence_is_no_contradiction_and_forgiven_it_starts_again() -> None:
    out = FeedbackWatch(TRAITS, None)
    out.commanded(0, Twist(0.4))
    for t_ms in (5000, 10_000):
        out.hear(Feedback(t_ms * MS, (0.0, 0.0)))
    assert not out.contradicts()
    out.forgive()
    for t_ms in range(10_050, 10_300, 50):
        out.hear(Feedback(t_ms * MS, (0.0, 0.0)))
    assert not out.contradicts()
