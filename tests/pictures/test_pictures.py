"""Pictures to network input: each kind against PIL and plain arithmetic, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge_vla.errors import ConfigError
from edge_vla.grammars import PictureMap
from edge_vla.pictures import Preparation, prepare, tiling

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIZES = ((96, 64), (64, 100), (31, 250), (64, 64), (1, 7))
FILTERS = {"bicubic": 3, "bilinear": 2, "lanczos": 1}  # PIL's own numbers


def how(kind: Any, side: int = 28, resample: Any = "bicubic", **rest: Any) -> Preparation:
    return Preparation(kind, side, side, resample, MEAN, STD, **rest)


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def numbers(rgb: np.ndarray, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD) -> np.ndarray:
    """(H, W, 3) uint8 to (3, H, W) float32 by the arithmetic itself."""
    plain = (rgb.astype(np.float32) / 255 - np.array(mean, np.float32)) / np.array(std, np.float32)
    return plain.transpose(2, 0, 1)


def resize(rgb: np.ndarray, width: int, height: int, resample: str) -> np.ndarray:
    return np.asarray(Image.fromarray(rgb).resize((width, height), FILTERS[resample]))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resample", FILTERS)
def test_squash_takes_all_of_it(resample: str, size: tuple[int, int]) -> None:
    told = replace(how("squash", resample=resample), height=20)
    got = prepare(picture(*size), told)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, numbers(resize(picture(*size), 28, 20, resample)))
    assert told.map(*size) == PictureMap.squashed(size, (28, 20))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
def test_pad_puts_it_into_the_middle_of_a_square(resample: str, size: tuple[int, int]) -> None:
    (width, height), longest = size, max(size)
    square = Image.new("RGB", (longest, longest), (122, 116, 104))  # CLIP's mean colour, cut off
    square.paste(Image.fromarray(picture(*size)), ((longest - width) // 2, (longest - height) // 2))
    told = how("pad", resample=resample, fill=MEAN)
    np.testing.assert_array_equal(prepare(picture(*size), told), numbers(resize(np.asarray(square), 28, 28, resample)))
    assert told.map(*size) == PictureMap.padded(size, 28)


@pytest.mark.parametrize(
    ("size", "scaled", "cut", "rounded"),
    [
        ((96, 64), (42, 28), (7, 0), (7, 0)),
        ((64, 100), (28, 43), (0, 7), (0, 8)),  # half a pixel: cut off, or to the even one
        ((100, 64), (43, 28), (7, 0), (8, 0)),
        ((31, 250), (28, 225), (0, 98), (0, 98)),
        ((64, 64), (28, 28), (0, 0), (0, 0)),
    ],
)
def test_middle_cuts_the_longer_side(
    size: tuple[int, int], scaled: tuple[int, int], cut: tuple[int, int], rounded: tuple[int, int]
) -> None:
    for even, (left, top) in ((False, cut), (True, rounded)):
        told = how("middle", rounded=even)
        want = numbers(resize(picture(*size), *scaled, "bicubic")[top : top + 28, left : left + 28])
        np.testing.assert_array_equal(prepare(picture(*size), told), want)
        assert told.map(*size) == PictureMap.middle(size, 28, rounded=even)


# -- layouts for a camera

SMALL = how("closest", 56, crop=56)
TILED = how("mosaic", 56, "lanczos", crop=56, margin=14, most=12)


@pytest.mark.parametrize(
    ("camera", "canvas"),
    [((96, 64), (56, 56)), ((511, 511), (56, 56)), ((512, 512), (112, 112)), ((512, 200), (56, 112)), ((300, 900), (112, 56))],
)
def test_closest_goes_by_aspect(camera: tuple[int, int], canvas: tuple[int, int]) -> None:
    told = SMALL.laid_out(camera)
    assert (told.height, told.width, told.camera) == (*canvas, camera)
    np.testing.assert_array_equal(prepare(picture(*camera), told), numbers(resize(picture(*camera), canvas[1], canvas[0], "bicubic")))
    assert told.map(*camera) == PictureMap.squashed(camera, (56, 56))


@pytest.mark.parametrize(("camera", "rows", "columns"), [((96, 64), 2, 4), ((120, 200), 4, 2), ((640, 480), 3, 3), ((57, 57), 3, 3)])
def test_a_mosaic_has_the_whole_and_its_tiles(camera: tuple[int, int], rows: int, columns: int) -> None:
    told, rgb = TILED.laid_out(camera), picture(*camera)
    assert told.tiles(*camera) == (rows, columns)
    assert (told.height, told.width) == (56 * (rows + 1), 56 * columns)
    got = prepare(rgb, told)
    np.testing.assert_array_equal(got[:, :56, :56], numbers(resize(rgb, 56, 56, "lanczos")))
    np.testing.assert_array_equal(got[:, :56, 56:], np.broadcast_to(numbers(np.zeros((1, 1, 3), np.uint8)), (3, 56, 56 * (columns - 1))))
    large = numbers(resize(rgb, 28 * columns + 28, 28 * rows + 28, "lanczos"))
    for r in range(rows):
        for c in range(columns):
            tile = got[:, 56 * (r + 1) :, 56 * c :][:, :56, :56]
            np.testing.assert_array_equal(tile, large[:, 28 * r : 28 * r + 56, 28 * c : 28 * c + 56])


def test_a_mosaic_of_a_small_picture_is_the_whole_alone() -> None:
    told = TILED.laid_out((40, 90))
    assert (told.height, told.width) == (56, 56)
    np.testing.assert_array_equal(prepare(picture(40, 90), told), numbers(resize(picture(40, 90), 56, 56, "lanczos")))


@pytest.mark.parametrize(
    ("told", "size", "canvas"),
    [(TILED.laid_out((96, 64)), (640, 480), "168 x 224 .* 224 x 168"), (SMALL.laid_out((512, 200)), (96, 64), "56 x 112 .* 56 x 56")],
)
def test_a_picture_that_would_be_laid_out_otherwise_is_refused(told: Preparation, size: tuple[int, int], canvas: str) -> None:
    camera = " x ".join(map(str, told.camera or ()))
    with pytest.raises(ConfigError, match=rf"picture of {size[0]} x {size[1]} px: .* a camera of {camera} px, as {canvas}"):
        prepare(picture(*size), told)


def test_a_picture_of_another_size_that_is_laid_out_alike_is_not() -> None:
    told, other = TILED.laid_out((96, 64)), TILED.laid_out((95, 63))
    np.testing.assert_array_equal(prepare(picture(95, 63), told), prepare(picture(95, 63), other))


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(10, 400), st.integers(1, 20))
def test_tiles_are_at_least_one_and_no_more_than_there_may_be(height: int, width: int, window: int, most: int) -> None:
    rows, columns = tiling(height, width, window, most)
    assert 1 <= rows * columns <= max(most, rows, columns)
    assert min(rows, columns) >= 1


# -- numbers


def test_every_value_of_every_channel_is_what_the_arithmetic_gives() -> None:
    """To the last bit: a table stands for the arithmetic."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    for mean, std in ((MEAN, STD), ((0.5,) * 3, (0.5,) * 3), ((0.0, 1.0, 0.3), (1.0, 1e-3, 0.7))):
        told = Preparation("squash", 1, 256, "bicubic", mean, std)
        np.testing.assert_array_equal(prepare(ramp, told), numbers(ramp, mean, std))


def test_lists_as_a_manifest_has_them_and_views_as_a_camera_gives_them() -> None:
    told = replace(how("pad", fill=list(MEAN)), mean=list(MEAN), std=list(STD))
    view = picture(96, 64)[::-1, :, ::-1]
    assert not view.flags.c_contiguous
    np.testing.assert_array_equal(prepare(view, told), prepare(view.copy(), how("pad", fill=MEAN)))


@pytest.mark.parametrize(
    "rgb", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3))]
)
def test_what_is_no_picture_is_refused(rgb: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r"want \(H, W, 3\) uint8 RGB"):
        prepare(rgb, how("squash"))


def test_a_layout_in_crops_wants_their_size() -> None:
    with pytest.raises(ConfigError, match="laid out in crops wants their side"):
        how("closest").laid_out((96, 64))
