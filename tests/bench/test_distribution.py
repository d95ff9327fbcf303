"""Figures of known samples, to the last digit, and what noise may and may not make of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.bench.distribution import BLOCKS, FLOOR_MS, Spread, describe, in_blocks, judge, quantile


@pytest.mark.parametrize(
    ("share", "want"), [(0.5, 50), (0.95, 95), (0.99, 99), (0.991, 100), (1.0, 100), (0.01, 1), (0.001, 1), (0.505, 51)]
)
def test_a_quantile_is_the_nearest_rank(share: float, want: float) -> None:
    assert quantile(range(1, 101), share) == want


def test_the_quantile_of_one_is_it() -> None:
    assert [quantile([7.0], share) for share in (0.01, 0.5, 0.99)] == [7.0] * 3


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_numpys_inverted_cdf(values: list[float], share: float) -> None:
    assert quantile(sorted(values), share) == np.quantile(values, share, method="inverted_cdf")


def test_figures_of_known_samples() -> None:
    """Block k holds k + 1, k + 2, ... k + 20."""
    found = describe([[float(k + i) for i in range(20, 0, -1)] for k in range(BLOCKS)])
    assert found.n == 160
    assert found.p50 == Spread(14.0, (10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0))
    assert found.p95 == Spread(24.0, (19.0, 20.0, 21.0, 22.0, 23.0, 24.0, 25.0, 26.0))
    assert (found.p99_ms, found.max_ms, found.mean_ms) == (26.0, 27.0, 14.0)


def test_an_empty_block_counts_for_nothing() -> None:
    assert describe([[1.0], [], [3.0]]).p50 == Spread(1.0, (1.0, 3.0))


@pytest.mark.parametrize("n", [8, 9, 15, 16, 100])
def test_blocks_are_consecutive_and_of_one_size(n: int) -> None:
    blocks = in_blocks(list(range(n)))
    assert [x for block in blocks for x in block] == list(range(n))
    assert len(blocks) == BLOCKS
    assert max(map(len, blocks)) - min(map(len, blocks)) <= 1


def spread(value: float, low: float | None = None, high: float | None = None) -> Spread:
    return Spread(value, (value if low is None else low, value, value if high is None else high))


@pytest.mark.parametrize(
    ("base", "new", "want"),
    [
        (spread(10), spread(11), "same"),  # exactly the limit
        (spread(10), spread(11.01), "slower"),
        (spread(10, 9, 11.0), spread(11.5, 11.01, 12), "slower"),  # brackets just apart
        (spread(10, 9, 11.01), spread(11.5, 11.01, 12), "unclear"),  # and touching
        (spread(10, 9, 30), spread(20, 15, 25), "unclear"),
        (spread(11.01), spread(10), "faster"),
        (spread(11), spread(10), "same"),
        (spread(12, 9, 13), spread(10, 8, 11), "same"),  # faster is not said lightly either
        (spread(0.1), spread(0.1 + 0.99 * FLOOR_MS), "same"),  # half again, and nothing anybody could notice
        (spread(0.1), spread(0.1 + 1.01 * FLOOR_MS), "slower"),
        (spread(0.0), spread(1.0), "slower"),
    ],
)
def test_a_verdict(base: Spread, new: Spread, want: str) -> None:
    assert judge(base, new, 0.1) == want


@pytest.mark.parametrize(("limit", "want"), [(0.0, "slower"), (0.5, "same"), (0.49, "slower")])
def test_the_limit_is_the_callers(limit: float, want: str) -> None:
    assert judge(spread(10), spread(15), limit) == want


def test_noise_alone_is_no_regression() -> None:
    """Two runs of the same thing on a machine that drifts by 30 % over seconds: a thousand pairs, none slower or faster."""
    rng = np.random.default_rng(7)

    def run() -> Spread:
        drift = np.repeat(1 + 0.3 * rng.random(BLOCKS), 30)
        samples = 10 * drift * rng.lognormal(0, 0.05, 240)
        return describe([list(block) for block in samples.reshape(BLOCKS, 30)]).p50

    said = [judge(run(), run(), 0.1) for _ in range(1000)]
    assert {"slower", "faster"} & set(said) == set()


def test_a_real_regression_shows_through_the_noise() -> None:
    """The same drift of a tenth, and everything a third slower: found in all but a few of a thousand."""
    rng = np.random.default_rng(8)

    def run(slower: float) -> Spread:
        samples = 10 * slower * np.repeat(1 + 0.1 * rng.random(BLOCKS), 30) * rng.lognormal(0, 0.05, 240)
        return describe([list(block) for block in samples.reshape(BLOCKS, 30)]).p50

    assert [judge(run(1.0), run(1.33), 0.1) for _ in range(1000)].count("slower") > 990
