"""Places of a network's input back in the camera's picture."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.errors import ConfigError, ParseError
from edge_vla.grammars import PictureMap
from edge_vla.types import Box

sides = st.integers(1, 4000)
sizes = st.tuples(sides, sides)
maps = st.one_of(
    st.builds(PictureMap.squashed, sizes, sizes),
    st.builds(PictureMap.padded, sizes, sides),
    st.builds(PictureMap.middle, sizes, st.integers(1, 1000), rounded=st.booleans()),
)


@given(picture=maps, at=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_there_and_back_is_far_within_half_a_pixel(picture: PictureMap, at: tuple[float, float]) -> None:
    x, y = at[0] * picture.original[0], at[1] * picture.original[1]
    assert picture.to_original(*picture.to_input(x, y)) == pytest.approx((x, y), abs=1e-6)


@given(picture=maps)
def test_the_input_shows_the_pictures_middle(picture: PictureMap) -> None:
    """Padding and cropping are whole pixels, so the middles differ by half of one at most, the input's or the picture's."""
    x, y = picture.to_input(picture.original[0] / 2, picture.original[1] / 2)
    scale = max(picture.scaled[0] / picture.original[0], picture.scaled[1] / picture.original[1])
    slack = 0.5 * max(1.0, scale) + 1e-6
    assert abs(x - picture.canvas[0] / 2) <= slack
    assert abs(y - picture.canvas[1] / 2) <= slack


def test_values() -> None:
    padded = PictureMap.padded((640, 480), 336)  # 640 x 640, 80 above: at 0.525, 42
    assert padded.to_original(168, 168) == (320, 240)
    assert padded.to_original(0, 42) == pytest.approx((0, 0))
    assert padded.box_to_original(Box(0.125, 0, 0.875, 1)) == Box(0, 0, 1, 1)
    middle = PictureMap.middle((640, 480), 240)  # 320 x 240, 40 cut off on either side
    assert middle.to_original(0, 0) == (80, 0)
    assert middle.box_to_original(Box(0, 0, 1, 1)) == Box(0, 0.125, 1, 0.875)
    tall = PictureMap.middle((480, 640), 240)
    assert tall.to_original(0, 0) == (0, 80)
    assert PictureMap.squashed((640, 480), (448, 448)).to_original(224, 112) == (320, 120)
    assert PictureMap.padded((3, 2), 9).offset == (0, 0), "the odd pixel of padding is below"


@pytest.mark.parametrize(("rounded", "left"), [(False, 2), (True, 2)])
def test_half_a_pixel_is_cut_as_each_original_does(rounded: bool, left: int) -> None:
    assert PictureMap.middle((15, 10), 10, rounded=rounded).offset == (-left, 0)  # half of 5
    assert PictureMap.middle((17, 10), 10, rounded=rounded).offset == (-(4 if rounded else 3), 0)  # half of 7, to the even one


@given(picture=maps, edges=st.lists(st.floats(0, 1), min_size=4, max_size=4, unique=True))
def test_a_squashed_pictures_boxes_are_the_same_to_the_last_bit(picture: PictureMap, edges: list[float]) -> None:
    (x_min, x_max), (y_min, y_max) = sorted(edges[:2]), sorted(edges[2:])
    box = Box(y_min, x_min, y_max, x_max, "cup")
    squashed = PictureMap.squashed(picture.original, picture.canvas)
    assert squashed.box_to_original(box) == squashed.box_to_input(box) == box


def test_padding_is_no_part_of_a_box() -> None:
    padded = PictureMap.padded((640, 480), 336)
    assert padded.box_to_original(Box(0, 0.25, 0.5, 0.5)) == Box(0, 0.25, 0.5, 0.5)  # from above the picture's top edge
    with pytest.raises(ParseError, match=r"some of the picture \(0\.\.1\), got x 0\.\.1, y -0\.1667\.\.-0\.1"):
        padded.box_to_original(Box(0, 0, 0.05, 1))


@pytest.mark.parametrize("edge", range(4))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused(edge: int, value: float) -> None:
    edges = [0.1, 0.2, 0.3, 0.4]
    edges[edge] = value
    for picture in (PictureMap.squashed((64, 48), (8, 8)), PictureMap.padded((64, 48), 8)):
        with pytest.raises(ParseError, match=r"nan|inf"):
            picture.box_to_original(Box(*edges))
        with pytest.raises(ParseError, match=r"nan|inf"):
            picture.box_to_input(Box(*edges))


@pytest.mark.parametrize(
    ("sizes_", "reason"),
    [
        (((0, 480), (10, 10), (10, 10)), "original"),
        (((640, 480), (math.nan, 10), (10, 10)), "scaled"),
        (((640, 480), (10, 10), (10, -1)), "canvas"),
        (((640, 480), (10, 10), (10, 10), (math.nan, 0)), "offset"),
        (((640, 480), (10, 10), (10, 10), (10, 0)), "not on the canvas"),
        (((640, 480), (10, 10), (10, 10), (0, -10)), "not on the canvas"),
    ],
)
def test_impossible_maps_are_refused(sizes_: tuple[tuple[float, float], ...], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        PictureMap(*sizes_)  # type: ignore[arg-type]
