"""Bins of discrete actions: the reference's rows, half a bin of error, and no row that means nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.actions import ActionBins

HERE = Path(__file__).resolve().parents[1] / "golden" / "robovlms"
GOLDEN = np.load(HERE / "action_tokenizer.npz")
CASES: list[dict[str, Any]] = next(
    case["tok_cases"] for case in json.loads((HERE / "golden.json").read_text())["cases"] if case["head"] == "ActionTokenizer"
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['bins']}bins_{case['special_tokens_count']}special")
def test_rows_are_the_references(case: dict[str, Any]) -> None:
    bins = ActionBins(case["vocab_size"], case["special_tokens_count"], case["bins"], case["min_action"], case["max_action"])
    i = case["index"]
    assert (bins.orig_size, bins.begin_idx, bins.end_idx) == tuple(
        case[key] for key in ("tokenizer_orig_size", "action_token_begin_idx", "action_token_end_idx")
    )
    np.testing.assert_array_equal(bins.encode(GOLDEN[f"{i}/actions"]), GOLDEN[f"{i}/ids"])
    np.testing.assert_array_equal(bins.encode(GOLDEN[f"{i}/actions2d"]), GOLDEN[f"{i}/ids2d"])
    for ids, decoded in (("ids", "decoded"), ("probe_ids", "probe_decoded")):
        np.testing.assert_allclose(bins.decode(GOLDEN[f"{i}/{ids}"]), GOLDEN[f"{i}/{decoded}"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(bins.edges, GOLDEN[f"{i}/bins"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(bins.centers, GOLDEN[f"{i}/bin_centers"], rtol=0, atol=1e-12)
    other = ActionBins(case["vocab_size"], case["special_tokens_count"] + 1, case["bins"], case["min_action"], case["max_action"])
    assert (other.encode(GOLDEN[f"{i}/actions"]) != GOLDEN[f"{i}/ids"]).all()


@given(st.data(), st.integers(2, 300), st.floats(-5, 4.9), st.floats(0.01, 5), st.sampled_from([np.float32, np.float64]))
def test_half_a_bin_of_error_at_most(data: st.DataObject, n: int, low: float, span: float, dtype: type) -> None:
    bins = ActionBins(1000, 3, n, low, low + span)
    value = np.asarray(data.draw(st.floats(low - 1, low + span + 1)), dtype)
    row = bins.encode(value)
    assert bins.begin_idx < row < bins.end_idx
    half = span / (n - 1) / 2
    slack = 4 * np.finfo(dtype).eps * max(1, abs(low) + span)
    assert abs(bins.decode(row) - np.clip(float(value), low, low + span)) <= half + slack


@given(st.integers(2, 300))
def test_a_row_comes_back_as_itself(n: int) -> None:
    """All but the last, which shares the last bin with the one before it."""
    bins = ActionBins(1000, 0, n)
    rows = np.arange(bins.begin_idx + 2, bins.end_idx)
    np.testing.assert_array_equal(bins.encode(bins.decode(rows)), rows)
    assert bins.decode(bins.begin_idx + 1) == bins.decode(bins.begin_idx + 2)


def test_higher_actions_have_lower_rows() -> None:
    rows = ActionBins(1000).encode(np.linspace(-1, 1, 999))
    assert (np.diff(rows) <= 0).all()
    assert rows[0] == 989
    assert rows[-1] == 734


def test_a_float32_minimum_below_the_first_edge_still_has_a_row() -> None:
    """float32(-0.1) < -0.1: the reference gives it the row behind the last action row."""
    bins = ActionBins(1000, 0, 256, -0.1, 0.1)
    assert bins.encode(np.float32(-5)) == bins.end_idx - 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((1000, 0, 1), "at least 2"),
        ((1000, 0, 256, 1, 1), "action_min"),
        ((1000, 0, 256, np.nan, 1), "action_min"),
        ((265, 0, 256), "do not fit"),
    ],
)
def test_bins_that_cannot_be_are_refused(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ActionBins(*arguments)


def test_the_smallest_vocabulary_that_holds_the_bins() -> None:
    assert ActionBins(266, 0, 256).encode(1.0) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_nan_is_no_action(bad: float) -> None:
    with pytest.raises(ValueError, match="nan or inf"):
        ActionBins(1000).encode([0.0, bad])


def test_a_fraction_is_no_row() -> None:
    with pytest.raises(ValueError, match="integers"):
        ActionBins(1000).decode([733.5])
