"""Scaling of actions: the reference's numbers, inverses, and the gripper left where it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edge_vla import actions
from edge_vla.actions import (
    inverse_mu_law_companding,
    mu_law_companding,
    normalize_action,
    regularize_action,
    unnoramalize_action,
    unnormalize_action,
    unregularize_action,
)

GOLDEN = np.load(Path(__file__).resolve().parents[1] / "golden" / "robovlms" / "action_utils.npz")
CLOSE = {"rtol": 0, "atol": 1e-5}
WITH_SHAPES = st.tuples(st.integers(1, 4), st.integers(2, 9))

Array = NDArray[np.float64]


def values(limit: float, dtype: type = np.float64) -> st.SearchStrategy[NDArray[Any]]:
    width = 8 * np.dtype(dtype).itemsize
    bound = float(np.dtype(dtype).type(limit))
    return WITH_SHAPES.flatmap(lambda shape: arrays(dtype, shape, elements=st.floats(-bound, bound, width=width)))


def mean_std(size: int) -> tuple[Array, Array]:
    return np.linspace(-0.3, 0.4, size), np.linspace(0.1, 0.8, size)


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.startswith("norm/")])
def test_normalising_is_the_references(name: str) -> None:
    _, source, limits, keep, way = name.split("/")
    low, high = (float(x) for x in limits.split("_"))
    forth = normalize_action(GOLDEN[source], low, high, maintain_last=keep == "1")
    got = forth if way == "fwd" else unnormalize_action(forth, low, high, maintain_last=keep == "1")
    np.testing.assert_allclose(got, GOLDEN[name], **CLOSE)


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.startswith("mu/")])
def test_companding_is_the_references_with_its_last_step_kept(name: str) -> None:
    _, source, mu, keep, way = name.split("/")
    flags = {"maintain_last": keep == "1", "reference_last_step": True}
    forth = mu_law_companding(GOLDEN[source], float(mu), **flags)
    got = forth if way == "fwd" else inverse_mu_law_companding(forth, float(mu), **flags)
    np.testing.assert_allclose(got, GOLDEN[name], **CLOSE)


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.startswith("reg/v")])
def test_regularising_is_the_references_with_its_last_step_kept(name: str) -> None:
    _, source, keep, way = name.split("/")
    flags = {"maintain_last": keep == "1", "reference_last_step": True}
    statistics = GOLDEN["reg/mean"], GOLDEN["reg/std"]
    forth = regularize_action(GOLDEN[source], *statistics, **flags)
    got = forth if way == "fwd" else unregularize_action(forth, *statistics, **flags)
    np.testing.assert_allclose(got, GOLDEN[name], **CLOSE)


def test_without_the_option_a_sequence_differs_from_the_reference() -> None:
    """The golden test can fail: the gripper column, not the last row, is what stays."""
    got, theirs = mu_law_companding(GOLDEN["v2"]), GOLDEN["mu/v2/255/1/fwd"]
    np.testing.assert_array_equal(got[:, -1], GOLDEN["v2"][:, -1])
    assert np.abs(got[-1, :-1] - theirs[-1, :-1]).max() > 0.1
    np.testing.assert_allclose(got[:-1, :-1], theirs[:-1, :-1], **CLOSE)


@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 4, 3, 7)])
def test_every_step_keeps_its_gripper_and_loses_nothing_else(shape: tuple[int, ...]) -> None:
    """Training sees (T, A), evaluation sees (A,): both must say the same."""
    x = np.random.default_rng(0).uniform(-0.6, 0.6, shape)
    for forth in (mu_law_companding, lambda a: regularize_action(a, *mean_std(7))):
        whole = forth(x)
        np.testing.assert_array_equal(whole[..., -1], x[..., -1])
        each = np.stack([forth(row) for row in x.reshape(-1, 7)]).reshape(shape)
        np.testing.assert_array_equal(whole, each)
        assert (whole[..., :-1] != x[..., :-1]).all()


@given(values(0.65))
def test_normalising_comes_back(x: Array) -> None:
    for keep in (False, True):
        back = unnormalize_action(normalize_action(x, -0.65, 0.65, maintain_last=keep), -0.65, 0.65, maintain_last=keep)
        np.testing.assert_allclose(back, x, rtol=0, atol=1e-12)


@given(values(10))
def test_normalised_actions_are_within_one_and_the_kept_gripper_is_untouched(x: Array) -> None:
    assert np.abs(normalize_action(x, -0.3, 0.5)).max() <= 1
    np.testing.assert_array_equal(normalize_action(x, -0.3, 0.5, maintain_last=True)[..., -1], x[..., -1])


@given(values(3), st.floats(0.5, 500))
def test_companding_comes_back(x: Array, mu: float) -> None:
    for keep in (False, True):
        np.testing.assert_allclose(inverse_mu_law_companding(mu_law_companding(x, mu, keep), mu, keep), x, rtol=0, atol=1e-9)


@given(values(3))
def test_regularising_comes_back(x: Array) -> None:
    for keep in (False, True):
        there = regularize_action(x, *mean_std(x.shape[-1]), maintain_last=keep)
        np.testing.assert_allclose(unregularize_action(there, *mean_std(x.shape[-1]), maintain_last=keep), x, rtol=0, atol=1e-12)


@given(values(0.65, np.float32))
def test_float32_stays_float32_and_comes_back(x: NDArray[np.float32]) -> None:
    there = mu_law_companding(normalize_action(x, -0.65, 0.65))
    back = unnormalize_action(inverse_mu_law_companding(there), -0.65, 0.65)
    assert there.dtype == back.dtype == np.float32
    np.testing.assert_allclose(back, x, rtol=0, atol=2e-6)


def test_the_argument_is_not_written_to_and_lists_become_float64() -> None:
    x = np.array([0.5, -0.5, 1.0])
    for forth in ALL:
        forth(x)
        np.testing.assert_array_equal(x, [0.5, -0.5, 1.0])
        assert forth([0.5, -0.5, 1]).dtype == np.float64


def test_the_references_spelling_is_kept() -> None:
    assert unnoramalize_action is unnormalize_action


ALL: list[Callable[[Any], Any]] = [
    normalize_action,
    unnormalize_action,
    mu_law_companding,
    inverse_mu_law_companding,
    lambda a: regularize_action(a, 0.1, 0.5),
    lambda a: unregularize_action(a, 0.1, 0.5),
]


@pytest.mark.parametrize("forth", ALL)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(forth: Callable[[Any], Any], bad: float) -> None:
    with pytest.raises(ValueError, match="nan or inf"):
        forth([0.0, bad])


@pytest.mark.parametrize("forth", ALL)
@pytest.mark.parametrize("bad", [0.5, np.zeros((3, 0))])
def test_what_is_no_action_is_refused(forth: Callable[[Any], Any], bad: Any) -> None:
    with pytest.raises(ValueError, match="want"):
        forth(bad)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (1, -1), (np.nan, 1), (-1, np.inf)])
def test_an_empty_or_endless_range_is_refused(low: float, high: float) -> None:
    for scale in (normalize_action, unnormalize_action):
        with pytest.raises(ValueError, match="action_min < action_max"):
            scale([0.0], low, high)


@pytest.mark.parametrize("mu", [0, -1, np.nan, np.inf])
def test_a_mu_that_compands_nothing_is_refused(mu: float) -> None:
    for compand in (mu_law_companding, inverse_mu_law_companding):
        with pytest.raises(ValueError, match="mu"):
            compand([0.0], mu)


@pytest.mark.parametrize(
    ("mean", "std", "said"), [([0, 0], 1, "x_mean"), (0, [1, 1], "x_std"), (np.nan, 1, "x_mean"), (0, [1, 1, -1], "negative")]
)
def test_statistics_that_do_not_fit_are_refused(mean: Any, std: Any, said: str) -> None:
    for regular in (regularize_action, unregularize_action):
        with pytest.raises(ValueError, match=said):
            regular([0.0, 0.0, 0.0], mean, std)


def test_the_epsilon_is_the_references() -> None:
    assert actions.EPS == 1e-6
    assert regularize_action([1.0, 0], 0, 0)[0] == pytest.approx(1e6)
