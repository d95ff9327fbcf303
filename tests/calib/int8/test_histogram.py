"""The three ranges of a distribution, against their definitions written out, and against ONNX Runtime's calibrators."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization.calibrate import HistogramCollector

from calib.histogram import Histogram, Span, divergence


def counted(values: np.ndarray, bins: int = 2048, parts: int = 1) -> Histogram:
    span = Span()
    pieces = np.array_split(values.astype(np.float32), parts)
    for piece in pieces:
        span.widen(piece)
    found = Histogram(span, bins)
    for piece in pieces:
        found.add(piece)
    return found


def written_out(sides: Sequence[float], kept: int, levels: int) -> float:
    """The divergence of the magnitudes' first bins, level by level and bin by bin."""
    p = [float(count) for count in sides[:kept]]
    p[-1] += sum(sides[kept:])
    q = [0.0] * kept
    for level in range(levels):
        mine = [k for k in range(kept) if level * kept // levels <= k < (level + 1) * kept // levels]
        filled = [k for k in mine if sides[k] > 0]
        for k in filled:
            q[k] = sum(sides[j] for j in mine) / len(filled)
    total = sum(sides)
    pairs = [(a / total, max(b, 1e-4) / total) for a, b in zip(p, q, strict=True) if a > 0]
    return sum(a * np.log(a / b) - a + b for a, b in pairs)  # 0 where they are the same, more wherever they are not


# -- counting


def test_the_span_is_of_all_that_was_seen() -> None:
    span = Span()
    for values in ([1.0, -2.0], [], [5.0], [0.5]):
        span.widen(np.array(values, np.float32))
    assert (span.low, span.high, span.peak, span.count) == (-2.0, 5.0, 5.0, 4)


def test_counts_are_numpys() -> None:
    values = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    found = counted(values, 256, parts=7)
    want, edges = np.histogram(values, 256, (-found.span.peak, found.span.peak))
    assert found.edges == pytest.approx(edges)
    assert np.abs(found.counts - want).sum() <= 2  # numpy rounds a value on an edge another way
    assert found.counts.sum() == 50_000


def test_what_is_always_zero_has_a_range_of_zero() -> None:
    found = counted(np.zeros(10))
    assert (found.min_max, found.percentile(99.9), found.entropy()) == ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
    assert found.clipped((0.0, 0.0)) == 0.0


# -- percentile


@pytest.mark.parametrize("percent", [99.0, 99.9, 99.99])
def test_percentile_keeps_what_it_says(percent: float) -> None:
    values = np.random.default_rng(1).standard_t(4, 200_000)
    found = counted(values)
    low, high = found.percentile(percent)
    beyond = (100 - percent) / 2
    width = found.edges[1] - found.edges[0]
    assert low == pytest.approx(np.percentile(values, beyond), abs=width)
    assert high == pytest.approx(np.percentile(values, 100 - beyond), abs=width)
    assert found.clipped((low, high)) <= 1 - percent / 100 + 1e-9


def test_percentile_cuts_no_more_and_no_less_than_it_may() -> None:
    """Ten of a thousand at either end, and two percent to cut: exactly those, and with a little less to cut none of them."""
    found = counted(np.repeat([-1.0, 0.5, 1.0], [10, 980, 10]), 128)
    assert found.percentile(98.0) == pytest.approx((0.5, 0.5 + 1 / 64))
    assert found.percentile(98.1) == (-1.0, 1.0)


def test_percentile_is_onnx_runtimes() -> None:
    """Its upper end is the lower edge of the bin it ends in, ours the upper one: it keeps the percentage."""
    values = np.random.default_rng(2).gamma(2.0, size=100_000).astype(np.float32)
    found = counted(values)
    collector = HistogramCollector("percentile", False, 2048, 128, 99.9, "same")
    with contextlib.redirect_stdout(io.StringIO()):
        collector.collect({"x": [values]})
        low, high = (float(end) for end in collector.compute_collection_result()["x"][:2])
    width = found.edges[1] - found.edges[0]
    assert found.percentile(99.9) == pytest.approx((low, high), abs=1.01 * width)
    assert high < 0.9 * found.span.high


# -- entropy


@settings(max_examples=60)
@given(st.lists(st.integers(0, 50), min_size=8, max_size=40).filter(any), st.data())
def test_the_divergence_is_the_one_written_out(sides: list[int], data: st.DataObject) -> None:
    levels = data.draw(st.integers(1, len(sides)))
    kept = data.draw(st.integers(levels, len(sides)))
    assert divergence(np.array(sides), kept, levels) == pytest.approx(written_out(sides, kept, levels), abs=1e-9)


def test_entropy_takes_the_range_that_loses_the_least() -> None:
    """The search over a small histogram, by the definition."""
    values = np.random.default_rng(3).laplace(size=20_000)
    found = counted(values, 128)
    sides = found.counts[64:] + found.counts[:64][::-1]
    sides[0] = sides[1]
    losses = {kept: written_out(sides, kept, 16) for kept in range(16, 65)}
    best = min(losses, key=lambda kept: losses[kept])
    assert 16 < best < 64
    low, high = found.entropy(16)
    assert (low, high) == pytest.approx((-best / 64 * found.span.peak, best / 64 * found.span.peak))


def test_entropy_cuts_a_lone_outlier_and_keeps_a_plain_distribution() -> None:
    rng = np.random.default_rng(4)
    plain = rng.uniform(-1, 1, 100_000)
    assert counted(plain).entropy() == pytest.approx((-1.0, 1.0), rel=0.05)
    low, high = counted(np.append(rng.normal(size=100_000), [40.0])).entropy()
    assert 3.0 < high < 6.0
    assert low == pytest.approx(-4.3, abs=0.5)


def test_entropy_is_near_onnx_runtimes_where_there_is_no_heap_of_zeros() -> None:
    """It counts both signs together in as many levels, so twice as coarse: within 15 %."""
    values = np.random.default_rng(5).normal(size=200_000)
    found = counted(values)
    collector = HistogramCollector("entropy", True, 2048, 128, 99.99, "same")
    edges = found.edges.astype(np.float32)
    low, high = collector.get_entropy_threshold((found.counts, edges, np.float32(found.span.low), np.float32(found.span.high)), 128)
    assert found.entropy() == pytest.approx((float(low), float(high)), rel=0.15)


def test_a_heap_of_zeros_does_not_decide() -> None:
    """Half of what a ReLU lets through is exactly zero; it must not make the rest look like outliers."""
    positive = np.abs(np.random.default_rng(6).normal(size=100_000))
    assert counted(np.append(positive, np.zeros(300_000))).entropy()[1] == pytest.approx(counted(positive).entropy()[1], rel=0.1)


def test_ranges_end_where_values_end() -> None:
    found = counted(np.random.default_rng(7).uniform(0.2, 3.0, 10_000))
    for low, high in (found.min_max, found.percentile(99.9), found.entropy()):
        assert 0.2 <= low < high <= 3.0


def test_one_value_alone_is_its_own_range() -> None:
    found = counted(np.full(100, 2.5))
    assert found.min_max == (2.5, 2.5)
    assert found.percentile(99.9) == (2.5, 2.5)
    assert found.entropy()[1] == 2.5
