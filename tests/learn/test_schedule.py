"""Learning-rate schedules: the reference's numbers, and the edges it trips over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup

from edge_vla.learn.schedule import SCHEDULES, constant, cosine, half_cosine

GOLDEN = np.load(Path(__file__).resolve().parents[1] / "golden" / "robovlms" / "half_cosine_lr.npz")


def test_half_a_cosine_is_the_references() -> None:
    def curve(least: float) -> list[float]:
        return [half_cosine(int(i), warmup_iters=50, iters=400, min_lr_scale=least) for i in GOLDEN["iter"]]

    np.testing.assert_allclose(curve(0.01), GOLDEN["scale"], rtol=0, atol=1e-12)
    assert np.abs(np.array(curve(0.02)) - GOLDEN["scale"]).max() > 1e-3


def test_the_rate_stays_down_at_the_end() -> None:
    """The reference's climbs again after `iters`, back to the peak."""
    for i in (400, 401, 750, 10_000):
        assert half_cosine(i, warmup_iters=50, iters=400, min_lr_scale=0.01) == pytest.approx(0.01)


def test_without_warm_up_and_with_nothing_else() -> None:
    assert half_cosine(0, warmup_iters=0, iters=10) == 1
    assert half_cosine(10, warmup_iters=10, iters=10, min_lr_scale=0.1) == pytest.approx(0.1)
    assert half_cosine(5, warmup_iters=10, iters=10) == 0.5
    assert constant(0, warmup_iters=0, iters=10) == 1


def test_the_others_are_transformers() -> None:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = {
        constant: get_constant_schedule_with_warmup(optimiser, 5).lr_lambdas[0],
        cosine: get_cosine_schedule_with_warmup(optimiser, 5, 20).lr_lambdas[0],
    }
    for own, other in theirs.items():
        for i in range(21):
            assert own(i, warmup_iters=5, iters=20, min_lr_scale=0.01) == pytest.approx(other(i), abs=1e-12)


@pytest.mark.parametrize("name", list(SCHEDULES))
@pytest.mark.parametrize(
    "wrong", [{"iteration": -1}, {"warmup_iters": -1}, {"warmup_iters": 11}, {"min_lr_scale": -0.1}, {"min_lr_scale": 1.1}]
)
def test_what_cannot_be_is_refused(name: str, wrong: dict[str, float]) -> None:
    arguments = {"iteration": 0, "warmup_iters": 5, "iters": 10, "min_lr_scale": 0.1, **wrong}
    with pytest.raises(ValueError, match="warmup_iters"):
        SCHEDULES[name](arguments.pop("iteration"), **arguments)
