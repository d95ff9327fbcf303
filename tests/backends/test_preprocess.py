"""From the camera's picture to the network's input, pixel by pixel as the manifest says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_vla.backends.finder import FinderEngine
from edge_vla.types import Frame

Paint = Callable[..., Frame]
MakeEngine = Callable[..., FinderEngine]


def test_the_picture_is_averaged_scaled_and_shifted(make_engine_of: MakeEngine) -> None:
    """64 x 32 to 32 x 16: each pixel is the mean of four, then (v/255 - mean) / std, channel by channel."""
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 0.2]
    engine = make_engine_of(lambda m: m["preprocess"].update(mean=mean, std=std))
    rgb = np.random.default_rng(0).integers(0, 64, (32, 64, 3), dtype=np.uint8) * 4  # so that a mean of four has no half
    got = engine.preprocess(rgb)
    assert got.shape == (1, 3, 16, 32)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    for y, x, c in [(0, 0, 0), (0, 1, 1), (1, 0, 2), (15, 31, 0), (7, 20, 1), (3, 9, 2)]:
        four = [int(rgb[2 * y + i, 2 * x + j, c]) for i in (0, 1) for j in (0, 1)]
        assert got[0, c, y, x] == pytest.approx((sum(four) / 4 / 255 - mean[c]) / std[c], abs=1e-5)


def test_a_bgr_network_gets_blue_first_under_blues_own_mean(make_engine_of: MakeEngine, paint: Paint) -> None:
    engine = make_engine_of(lambda m: m["preprocess"].update(colour="bgr", mean=[0.1, 0.2, 0.3], std=[1.0, 1.0, 1.0]))
    got = engine.preprocess(paint((255, 51, 0)).rgb)
    assert got[0, :, 5, 5] == pytest.approx([0 - 0.1, 0.2 - 0.2, 1 - 0.3], abs=1e-6)


@pytest.mark.parametrize(("resize", "middle"), [("area", 50), ("bilinear", 100), ("bicubic", 119)])
def test_the_resize_is_the_manifests(make_engine_of: MakeEngine, resize: str, middle: int) -> None:
    """Stripes 0 100 100 0 of one pixel, four to one: their mean, the mean of the middle two, or the cubic through all."""
    engine = make_engine_of(lambda m: m["preprocess"].update(resize=resize, mean=[0.0] * 3, std=[1.0] * 3))
    rgb = np.zeros((16, 128, 3), np.uint8)
    rgb[:, 1::4] = rgb[:, 2::4] = 100
    assert engine.preprocess(rgb)[0, :, 8, 10] * 255 == pytest.approx([middle] * 3, abs=1e-3)


def test_a_picture_of_any_size_is_squeezed_to_the_networks(engine: FinderEngine) -> None:
    for shape in ((240, 320, 3), (16, 32, 3), (7, 5, 3)):
        assert np.abs(engine.preprocess(np.full(shape, 255, np.uint8)) - 1).max() < 1e-5
