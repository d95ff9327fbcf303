"""The picture of the distributions: one panel a stage, bars where the samples lie, the base behind them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_vla import draw
from edge_vla.bench.picture import BASE, PARTS, ROW_PX, WIDTH_PX, draw_report
from edge_vla.bench.report import Report

Make = Callable[..., Report]


def drawn(report: Report, path: Path, base: Report | None = None) -> np.ndarray:
    draw_report(report, path, base)
    image = cv2.imread(str(path))
    assert image is not None
    return image


def has(image: np.ndarray, colour: draw.Colour) -> int:
    """Pixels of exactly that colour."""
    return int((image == colour).all(axis=2).sum())


def test_every_stage_gets_a_panel(make_report: Make, tmp_path: Path) -> None:
    one = drawn(make_report({"vision": 10.0}), tmp_path / "one.png")
    three = drawn(make_report({"vision": 10.0, "decode": 1.0, "parse": 0.1}), tmp_path / "three.png")
    assert one.shape[1] == three.shape[1] == WIDTH_PX + 2 * draw.MARGIN_PX
    assert three.shape[0] - one.shape[0] == 2 * (ROW_PX + draw.GAP_PX)
    assert has(one, PARTS["vision"]) > 100
    assert has(one, PARTS["decode"]) == 0
    assert has(three, PARTS["decode"]) > 100


def test_the_shares_of_an_answer_are_as_wide_as_they_are_long(make_report: Make, tmp_path: Path) -> None:
    image = drawn(make_report({"vision": 30.0, "decode": 10.0, "answer": 40.0}), tmp_path / "shares.png")
    bar = image[draw.MARGIN_PX + 62 + draw.GAP_PX + 52]  # the coloured bar, below its words
    assert has(bar[None], PARTS["vision"]) / has(bar[None], PARTS["decode"]) == pytest.approx(3.0, rel=0.02)


def test_the_base_lies_behind(make_report: Make, tmp_path: Path) -> None:
    report = make_report({"vision": 12.0})
    assert has(drawn(report, tmp_path / "alone.png"), BASE) == 0
    assert has(drawn(report, tmp_path / "both.png", make_report({"vision": 10.0})), BASE) > 100


def test_samples_that_are_all_one_are_a_picture_too(make_report: Make, tmp_path: Path) -> None:
    assert has(drawn(make_report({"vision": 10.0}, jitter=0.0), tmp_path / "one.png"), PARTS["vision"]) > 0


def test_a_place_that_takes_no_picture_is_an_error(make_report: Make, tmp_path: Path) -> None:
    with pytest.raises((OSError, cv2.error)):
        draw_report(make_report(), tmp_path / "missing" / "x.png")
