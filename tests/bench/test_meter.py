"""Which sample is cold, which warms up, and which block a warm one belongs to."""

from __future__ import annotations

import pytest

from edge_vla.bench.meter import WHAT, Meter


def test_the_first_is_cold_and_the_next_warm_up() -> None:
    meter = Meter(rounds=8)
    for ms, round_ in ((9.0, None), (5.0, None), (4.0, None), (1.0, 0), (2.0, 0), (3.0, 7)):
        meter.take("vision", ms, round_)
    assert meter.cold == {"vision": 9.0}
    assert meter.warm_up == {"vision": 2}
    assert meter.blocks["vision"] == [[1.0, 2.0], [], [], [], [], [], [], [3.0]]


def test_rounds_are_shared_out_evenly() -> None:
    meter = Meter(rounds=20)
    meter.take("x", 0.0, None)
    for round_ in range(20):
        meter.take("x", float(round_), round_)
    assert meter.blocks["x"] == [[0, 1, 2], [3, 4], [5, 6, 7], [8, 9], [10, 11, 12], [13, 14], [15, 16, 17], [18, 19]]


def test_samples_without_rounds_are_cut_in_order() -> None:
    meter = Meter(rounds=8)
    meter.take_all("guard", [100.0, 50.0, 40.0, *map(float, range(16))], warm_up=2)
    assert (meter.cold["guard"], meter.warm_up["guard"]) == (100.0, 2)
    assert meter.blocks["guard"] == [[2.0 * k, 2.0 * k + 1] for k in range(8)]


@pytest.mark.parametrize("rounds", [8, 9, 13, 100])
def test_blocks_measured_one_by_one_keep_their_place(rounds: int) -> None:
    meter = Meter(rounds)
    for block in range(8):
        meter.take_block("guard", [9.0] * (2 + (block == 0)) + [float(block)], warm_up=2, block=block)
    assert (meter.cold["guard"], meter.warm_up["guard"]) == (9.0, 16)
    assert meter.blocks["guard"] == [[float(block)] for block in range(8)]


def test_stages_are_told_along_the_data_path() -> None:
    meter = Meter(8)
    for name in ("serial", "answer: drive", "mystery", "vision", "answer", "preprocess", "answer: detect", "capture age"):
        meter.take(name, 1.0, None)
    assert meter.stages() == [
        "capture age", "preprocess", "vision", "answer", "answer: detect", "answer: drive", "serial", "mystery",
    ]  # fmt: skip
    assert set(meter.stages()[:4]) < set(WHAT)
