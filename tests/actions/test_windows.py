"""Chunks and windows of episodes: the reference's index tables, and the tables' own laws."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.actions import generate_chunck_data, generate_chunk_data, get_chunked_episode, get_tensor_chunk

GOLDEN = np.load(Path(__file__).resolve().parents[1] / "golden" / "robovlms" / "action_utils.npz")
Sampling = Literal["sliding", "range"]
COUNTS = st.integers(1, 6)


def test_chunks_are_the_references() -> None:
    np.testing.assert_array_equal(get_tensor_chunk(GOLDEN["chunk/tensor_in"], 3), GOLDEN["chunk/tensor_c3"])
    np.testing.assert_array_equal(generate_chunk_data(GOLDEN["chunk/generate_in"], 4, 3), GOLDEN["chunk/generate_w4_c3"])


def test_the_references_other_chunks_begin_a_step_later() -> None:
    assert generate_chunck_data is generate_chunk_data, "the reference's spelling"
    after = generate_chunk_data(GOLDEN["chunk/generate_in"], 4, 3, after_current=True)
    np.testing.assert_array_equal(after[:, :-1], GOLDEN["chunk/generate_w4_c3"][:, 1:])
    np.testing.assert_array_equal(after[:, -1], GOLDEN["chunk/generate_in"][:, 4:])


@pytest.mark.parametrize("sampling", ["sliding", "range"])
@pytest.mark.parametrize("pad", [0, 1])
def test_windows_are_the_references(sampling: Sampling, pad: int) -> None:
    index, mask = get_chunked_episode(sampling, bool(pad), 4, 3, np.arange(100, 106))
    np.testing.assert_array_equal(index, GOLDEN[f"episode/{sampling}_{pad}/idx"])
    np.testing.assert_array_equal(mask, GOLDEN[f"episode/{sampling}_{pad}/mask"])
    assert mask.dtype == np.bool_


@given(st.integers(1, 12), COUNTS, COUNTS, st.booleans())
def test_a_window_shows_its_own_steps(length: int, window: int, chunk: int, pad: bool) -> None:
    index, mask = get_chunked_episode("sliding", pad, window, chunk, np.arange(length))
    first = 0 if pad else window - 1
    assert index.shape == mask.shape == (max(0, length - first), window + chunk)
    for row, t in enumerate(range(first, length)):
        wanted = np.arange(t - window + 1, t + chunk + 1)
        np.testing.assert_array_equal(mask[row], (wanted >= 0) & (wanted < length))
        np.testing.assert_array_equal(index[row][mask[row]], wanted[mask[row]])
    assert ((index >= 0) & (index < length)).all()


@given(st.integers(1, 12), COUNTS, COUNTS)
def test_range_masks_the_history_one_step_more_each_time(length: int, window: int, chunk: int) -> None:
    _, sliding = get_chunked_episode("sliding", True, window, chunk, np.arange(length))
    _, ranged = get_chunked_episode("range", True, window, chunk, np.arange(length))
    for t in range(length):
        for hidden in range(window):
            row = ranged[t * window + hidden]
            assert not row[:hidden].any()
            np.testing.assert_array_equal(row[hidden:], sliding[t][hidden:])


@given(st.integers(1, 10), COUNTS, st.sampled_from([(), (2,), (2, 3)]))
def test_chunk_rows_are_slices(length: int, chunk: int, rest: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=(length, *rest))
    if length < chunk:
        with pytest.raises(ValueError, match="at least"):
            get_tensor_chunk(x, chunk)
        return
    for t, row in enumerate(get_tensor_chunk(x, chunk)):
        np.testing.assert_array_equal(row, x[t : t + chunk])


def test_what_has_no_windows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"4 \+ 3"):
        generate_chunk_data(np.zeros((2, 8, 2)), 4, 3)
    with pytest.raises(ValueError, match="window_size"):
        generate_chunk_data(np.zeros((2, 3, 2)), 0, 3)
    with pytest.raises(ValueError, match="fwd_pred_next_n"):
        get_tensor_chunk(np.zeros((3, 2)), 0)
    with pytest.raises(ValueError, match="sliding or range"):
        get_chunked_episode("tumbling", True, 4, 3, np.arange(6))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="episode_idx_range"):
        get_chunked_episode("sliding", True, 4, 3, [])
