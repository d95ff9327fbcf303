"""The yardstick: an engine that knows everything scores full marks, one that knows nothing scores none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_vla.learn.data.shards import read_shard, write_shard
from edge_vla.learn.data.views import View
from edge_vla.learn.finder.score import calibrate, iou, report, score
from edge_vla.parse.loc import box_to_locs
from edge_vla.sim.objects import CLASSES
from edge_vla.types import Box, Frame, Reply

FREE = np.linspace(0.5, 4.0, 16, dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path, make_boxes: Callable[..., NDArray[np.float32]]) -> Path:
    """Two views: a small cup, and a large door with a cup too small to judge."""
    one = make_boxes(("cup", 0.5, 0.25, 0.75, 0.5, 50))
    two = make_boxes(("door", 0.0, 0.5, 0.75, 0.75, 9000), ("cup", 0.5, 0.25, 0.51, 0.26, 5))
    write_shard(tmp_path / "0.npz", [View(np.full((224, 224, 3), 90, np.uint8), boxes, FREE) for boxes in (one, two)])
    return tmp_path


class Told:
    """Reads the labels, finds boxes by its own rule, and is as sure as it is told to be."""

    targets = CLASSES

    def __init__(self, folder: Path, answer: Callable[[NDArray[np.float32] | None], str]) -> None:
        self._labels = [boxes for _, boxes, _ in read_shard(folder / "0.npz")]
        self._answer = answer

    def ask(self, frame: Frame, prompt: str) -> Reply:
        thing = prompt.removeprefix("detect ")
        rows = [row for row in self._labels[frame.seq] if CLASSES[int(row[0])] == thing]
        return Reply(self._answer(rows[0] if rows else None), 0.8, tuple(FREE.tolist()), 0.02)

    def close(self) -> None: ...


def truth(row: NDArray[np.float32] | None) -> str:
    return "" if row is None else box_to_locs(Box(*row[1:5].tolist()))


def test_who_knows_everything_scores_full_marks(folder: Path) -> None:
    out = score(Told(folder, truth), folder, limit=10)
    figures = report(out)
    assert (figures["iou"], figures["iou_over_half"], figures["recall"]) == (1.0, 1.0, 1.0)
    assert (figures["false_boxes"], figures["free_log_error"], figures["latency_ms_p50"]) == (0.0, 0.0, 20.0)
    assert figures["by_size"] == {"small": [1.0, 1.0, 1], "large": [1.0, 1.0, 1]}
    assert figures["by_class"] == {"cup": [1.0, 1], "door": [1.0, 1]}
    assert (out.absent, len(out.confidence), out.right) == (4, 2, [True, True])


def test_who_sees_nothing_scores_none(folder: Path) -> None:
    out = score(Told(folder, lambda row: ""), folder, limit=10)
    assert (out.iou, out.false_boxes, out.confidence) == ([0.0, 0.0], 0, [])
    assert report(out)["recall"] == 0.0


def test_who_sees_everything_everywhere_is_counted_false(folder: Path) -> None:
    out = score(Told(folder, lambda row: "<loc0000><loc0000><loc1023><loc1023>"), folder, limit=10)
    assert (out.absent, out.false_boxes, sum(out.right)) == (4, 4, 0)
    assert report(out)["false_boxes"] == 1.0
    assert sorted(out.iou) == pytest.approx([0.0625, 0.1875], rel=0.01)


@pytest.mark.parametrize(
    ("b", "want"),
    [((0, 0, 0.5, 0.5), 1.0), ((0, 0.25, 0.5, 0.75), 1 / 3), ((0.5, 0.5, 1, 1), 0.0), ((0, 0, 1, 1), 0.25), ((0, 0, 0, 0), 0.0)],
)
def test_iou(b: tuple[float, ...], want: float) -> None:
    assert iou(np.array([0, 0, 0.5, 0.5]), np.array(b, float)) == pytest.approx(want)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (2.0, -1.0), (0.4, 0.7)])
def test_calibration_finds_the_line_the_answers_were_drawn_from(scale: float, shift: float) -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.02, 0.98, 40_000)
    true = 1 / (1 + np.exp(-(scale * np.log(confidence / (1 - confidence)) + shift)))
    right = rng.random(40_000) < true
    assert calibrate(confidence.tolist(), right.tolist()) == pytest.approx((scale, shift), abs=0.06)


def test_calibration_of_a_few_answers_that_are_all_right_stays_finite() -> None:
    scale, shift = calibrate([0.9, 0.8, 1.0], [True, True, True])
    assert np.isfinite([scale, shift]).all()
    assert calibrate([], []) == (1.0, 0.0)
