"""The grammar of decoding: whatever the logits say, what comes out is an answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from edge_vla.backends.bundle import Calibration, Tokens
from edge_vla.backends.decode import MASS_BINS, Detection, decode_choice, decode_detection, decode_words, pick_bin

LOC, WORDS, EOS = 10, (5, 6, 7), 1
NEVER = -1e4  # a logit whose probability is 0 beside one of 0


def tokens(bins: int = 200) -> Tokens:
    return Tokens(file="t", bos=2, eos=EOS, pad=0, unk=3, newline=4, loc_start=LOC, loc_bins=bins, words=list(WORDS))


def vocab(bins: int) -> int:
    return LOC + bins + 2  # two rows behind the locs, which are none


def chances(size: int, at: dict[int, float]) -> NDArray[np.float32]:
    """Logits whose softmax is `at`, and 0 elsewhere."""
    logits = np.full(size, NEVER, np.float32)
    for index, chance in at.items():
        logits[index] = math.log(chance)
    return logits


@dataclass
class Model:
    """Answers each row with the next of its logits, and remembers the rows."""

    says: list[NDArray[np.float32]]
    heard: list[int] = field(default_factory=list)

    def feed(self, row: int) -> NDArray[np.float32]:
        self.heard.append(row)
        return self.says[min(len(self.heard), len(self.says)) - 1]


@st.composite
def any_logits(draw: st.DrawFn, size: int) -> NDArray[np.float32]:
    """Anything finite that a network may say, often with one row far above all others."""
    logits = draw(npst.arrays(np.float32, size, elements=st.floats(NEVER, -NEVER, width=32), fill=st.floats(-5, 5, width=32)))
    for row in draw(st.lists(st.integers(0, size - 1), max_size=2)):
        logits[row] = draw(st.sampled_from([20.0, -NEVER]))
    return logits


@st.composite
def detections(draw: st.DrawFn) -> tuple[int, NDArray[np.float32], Model]:
    bins = draw(st.sampled_from([2, 3, 40, 200]))
    first, *rest = draw(st.lists(any_logits(vocab(bins)), min_size=4, max_size=4))
    return bins, first, Model(rest)


@given(detections())
def test_any_logits_make_a_box_or_nothing(case: tuple[int, NDArray[np.float32], Model]) -> None:
    bins, first, model = case
    found = decode_detection(first, model.feed, tokens(bins))
    assert 0 <= found.present <= 1
    assert 0 <= found.sharpness <= 1
    assert 0 <= found.confidence(Calibration(scale=1.7, shift=-0.4)) <= 1
    if found.bins is None:
        assert found.present < 0.5
        assert model.heard == []
        return
    y_min, x_min, y_max, x_max = found.bins
    assert 0 <= y_min < y_max < bins
    assert 0 <= x_min < x_max < bins
    assert found.present >= 0.5
    assert model.heard == [LOC + k for k in found.bins[:3]]  # the last corner is only said


@given(any_logits(vocab(40)))
def test_an_end_that_outweighs_every_corner_is_nothing(first: NDArray[np.float32]) -> None:
    first[EOS] = first.max() + 5  # above ln 40, the most that 40 equal rows weigh together
    found = decode_detection(first, Model([]).feed, tokens(40))
    assert found.bins is None
    assert found.sharpness == 0
    assert found.confidence(Calibration()) == 1 - found.present > 0.5


@pytest.mark.parametrize(("odds", "present"), [(-30.0, 9.357623e-14), (-1e-3, 0.49975), (1e-3, 0.50025), (2.0, 0.88079708), (1e4, 1.0)])
def test_presence_is_the_whole_loc_mass_against_the_end(odds: float, present: float) -> None:
    first = chances(vocab(200), {LOC + 20: 0.5, LOC + 150: 0.5, LOC + 200: 1.0, WORDS[0]: 1.0})  # the last two count for nothing
    first[EOS] = -odds
    found = decode_detection(first, Model([first]).feed, tokens())
    assert found.present == pytest.approx(present, rel=1e-5)
    assert (found.bins is None) == (odds < 0)


def test_at_even_odds_it_is_there() -> None:
    even = chances(vocab(200), {LOC + 20: 1.0, EOS: 1.0})
    found = decode_detection(even, Model([even]).feed, tokens())
    assert found.present == 0.5
    assert found.bins is not None


def test_sharpness_is_the_geometric_mean_of_the_corners_mass() -> None:
    size = vocab(200)
    # y_min is two thirds at 20 and a third far away, x_min is sure, y_max is half, x_max is sure
    first = chances(size, {LOC + 20: 2 / 3, LOC + 150: 1 / 3})
    model = Model(
        [chances(size, {LOC + 30: 1.0}), chances(size, {LOC + 100: 0.5, LOC + 60: 0.25, LOC + 140: 0.25}), chances(size, {LOC + 90: 1.0})]
    )
    found = decode_detection(first, model.feed, tokens())
    assert found.bins == (20, 30, 100, 90)
    assert found.sharpness == pytest.approx((2 / 3 * 1 * 1 / 2 * 1) ** 0.25, rel=1e-6)
    assert found.confidence(Calibration()) == pytest.approx(found.present * found.sharpness, rel=1e-6)


def test_a_far_corner_that_wants_to_lie_before_the_near_one_lies_right_behind_it() -> None:
    size = vocab(200)
    backwards = Model([chances(size, {LOC + 80: 1.0}), chances(size, {LOC + 3: 1.0}), chances(size, {LOC + 80: 1.0})])
    backwards.says[1][LOC + 51] = backwards.says[2][LOC + 81] = -50.0  # the best of what is allowed
    assert decode_detection(chances(size, {LOC + 50: 1.0}), backwards.feed, tokens()).bins == (50, 80, 51, 81)


def test_a_near_corner_leaves_room_for_the_far_one() -> None:
    edge = chances(vocab(200), {LOC + 199: 1.0})
    edge[LOC + 198] = -50.0
    assert decode_detection(edge, Model([edge]).feed, tokens()).bins == (198, 198, 199, 199)


@given(
    st.floats(0.01, 20), st.floats(-20, 20), st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted), st.floats(0, 1),
)  # fmt: skip
def test_confidence_rises_with_presence(scale: float, shift: float, present: list[float], sharpness: float) -> None:
    calibration = Calibration(scale=scale, shift=shift)
    boxes = [Detection((0, 0, 1, 1), p, sharpness).confidence(calibration) for p in present]
    assert 0 <= boxes[0] <= boxes[1] <= 1
    nothings = [Detection(None, p, 0.0).confidence(calibration) for p in present]
    assert 1 >= nothings[0] >= nothings[1] >= 0


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (2.0, 0.0), (1.0, 1.0), (0.5, -0.5)])
def test_calibration_is_a_line_in_log_odds(scale: float, shift: float) -> None:
    found = Detection((1, 2, 3, 4), present=0.8, sharpness=0.75)  # 0.6, so odds of 1.5
    odds = 1.5**scale * math.exp(shift)
    assert found.confidence(Calibration(scale=scale, shift=shift)) == pytest.approx(odds / (1 + odds), rel=1e-9)


def test_a_sure_box_is_not_infinitely_sure() -> None:
    assert Detection((1, 2, 3, 4), 1.0, 1.0).confidence(Calibration()) == pytest.approx(1 - 1e-6, rel=1e-9)
    assert Detection((1, 2, 3, 4), 1.0, 0.0).confidence(Calibration()) == pytest.approx(1e-6, rel=1e-9)


PICKS: dict[str, tuple[dict[int, float], tuple[int, int], tuple[int, float]]] = {
    "one peak": ({37: 1.0}, (0, 200), (37, 1.0)),
    "the mean of neighbours": ({30: 0.25, 31: 0.5, 32: 0.25}, (0, 200), (31, 1.0)),
    "a lopsided neighbourhood": ({10: 0.6, 20: 0.4}, (0, 200), (14, 1.0)),
    "a far rival counts against, and does not pull": ({10: 0.7, 60: 0.3}, (0, 200), (10, 0.7)),
    "a rival 32 away pulls": ({10: 0.6, 42: 0.4}, (0, 200), (23, 0.6)),
    "a rival 33 away does not": ({10: 0.6, 43: 0.4}, (0, 200), (10, 0.6)),
    "a rival 32 before pulls": ({10: 0.4, 42: 0.6}, (0, 200), (29, 0.6)),
    "a rival 33 before does not": ({10: 0.4, 43: 0.6}, (0, 200), (43, 0.6)),
    "mass 16 away counts": ({84: 0.25, 100: 0.5, 116: 0.25}, (0, 200), (100, 1.0)),
    "mass 17 away does not": ({83: 0.25, 100: 0.5, 117: 0.25}, (0, 200), (100, 0.5)),
    "below low is shut": ({10: 0.9, 50: 0.1}, (11, 200), (50, 1.0)),
    "low itself is open": ({10: 0.9, 50: 0.1}, (10, 200), (10, 0.9)),
    "high itself is shut": ({10: 0.1, 50: 0.9}, (0, 50), (10, 1.0)),
    "below high is open": ({10: 0.1, 50: 0.9}, (0, 51), (50, 0.9)),
    "a single choice": ({10: 1.0}, (7, 8), (7, 1.0)),
    "the first bin": ({0: 1.0}, (0, 200), (0, 1.0)),
    "the last bin": ({199: 1.0}, (0, 200), (199, 1.0)),
}


@pytest.mark.parametrize(("at", "limits", "want"), PICKS.values(), ids=PICKS.keys())
def test_the_bin_and_its_mass(at: dict[int, float], limits: tuple[int, int], want: tuple[int, float]) -> None:
    bin_, mass = pick_bin(chances(200, at), *limits)
    assert bin_ == want[0]
    assert mass == pytest.approx(want[1], abs=1e-6)


@given(any_logits(60), st.integers(0, 59), st.integers(1, 60))
def test_a_bin_lies_within_its_limits_and_mass_within_one(logits: NDArray[np.float32], low: int, width: int) -> None:
    high = min(60, low + width)
    bin_, mass = pick_bin(logits, low, high)
    assert low <= bin_ < high
    assert 0 <= mass <= 1
    peak = low + int(logits[low:high].argmax())
    assert abs(bin_ - peak) <= 2 * MASS_BINS


def test_mass_is_at_most_one_though_float32_sums_overshoot() -> None:
    rng = np.random.default_rng(0)
    masses = [pick_bin(chances(200, {}), 0, 200)[1]]
    for _ in range(300):
        logits = chances(200, {})
        logits[60:90] = rng.normal(0, 2, 30)  # sums to 1.0000002 now and then
        masses.append(pick_bin(logits, 0, 200)[1])
    assert max(masses) <= 1
    assert sum(mass == 1 for mass in masses) > 10


def test_adding_a_constant_to_every_logit_changes_nothing() -> None:
    logits = np.random.default_rng(3).normal(0, 4, 200).astype(np.float32)
    bin_, mass = pick_bin(logits, 5, 190)
    assert pick_bin(logits + 64, 5, 190) == (bin_, pytest.approx(mass, rel=1e-4))


# -- words


def sentence(*steps: dict[int, float]) -> tuple[NDArray[np.float32], Model]:
    first, *rest = [chances(20, step) for step in steps]
    return first, Model(rest)


def test_a_sentence_ends_at_the_end() -> None:
    first, model = sentence({5: 0.8, 6: 0.2}, {6: 0.5, 7: 0.3, EOS: 0.2}, {EOS: 0.9, 5: 0.1}, {7: 1.0})
    assert decode_words(first, model.feed, tokens(), 10) == ([5, 6], pytest.approx((0.8 * 0.5 * 0.9) ** (1 / 3), rel=1e-6))
    assert model.heard == [5, 6]


def test_a_sentence_ends_at_the_limit() -> None:
    first, model = sentence({5: 0.8, 6: 0.2}, {6: 0.5, 7: 0.3, EOS: 0.2}, {EOS: 0.9, 5: 0.1})
    assert decode_words(first, model.feed, tokens(), 2) == ([5, 6], pytest.approx((0.8 * 0.5) ** (1 / 2), rel=1e-6))


def test_saying_nothing_is_as_sure_as_the_end() -> None:
    first, model = sentence({EOS: 0.7, 5: 0.3})
    assert decode_words(first, model.feed, tokens(), 10) == ([], pytest.approx(0.7, rel=1e-6))
    assert model.heard == []


def test_rows_that_are_no_words_are_neither_said_nor_counted() -> None:
    first, model = sentence({5: 0.1, EOS: 0.1, 4: 0.3, LOC: 0.5}, {6: 0.2, 2: 0.8}, {EOS: 1.0})
    assert decode_words(first, model.feed, tokens(), 10) == ([5, 6], pytest.approx((1 / 2 * 1 * 1) ** (1 / 3), rel=1e-6))


@given(st.lists(any_logits(20), min_size=1, max_size=6), st.integers(0, 8))
def test_any_logits_make_a_sentence_of_words(says: list[NDArray[np.float32]], limit: int) -> None:
    model = Model(says)
    rows, confidence = decode_words(says[0], model.feed, tokens(), limit)
    assert set(rows) <= set(WORDS)
    assert len(rows) <= limit
    assert rows == model.heard
    assert 0 <= confidence <= 1
    if len(rows) < limit:  # then something ended it
        last = says[0] if not rows else says[min(len(rows), len(says)) - 1]
        assert last[EOS] >= last[list(WORDS)].max()


def test_a_choice_is_the_likelier_row_and_its_share() -> None:
    logits = chances(20, {5: 0.3, 6: 0.1, 7: 0.6})
    assert decode_choice(logits, [5, 6]) == (5, pytest.approx(0.75, rel=1e-6))
    assert decode_choice(logits, [6, 7]) == (7, pytest.approx(6 / 7, rel=1e-6))


@pytest.mark.parametrize("function", [decode_words, decode_choice])
def test_huge_logits_do_not_overflow(function: Callable[..., tuple[object, float]]) -> None:
    logits = np.zeros(20, np.float32)
    logits[5], logits[EOS] = 1e30, -1e30
    args = (logits, [5, 6]) if function is decode_choice else (logits, Model([chances(20, {EOS: 1.0})]).feed, tokens(), 3)
    assert function(*args)[1] == 1.0
