"""PaliGemma's loc tokens: values both ways, every refusal with its reason, and the bearing of a box."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vla.errors import ParseError
from edge_vla.parse import bearing_rad, box_to_locs, parse_detections
from edge_vla.parse.loc import MAX_BOXES, MAX_CHARS
from edge_vla.types import Box

CUP = "<loc0256><loc0128><loc0768><loc0512>"


def test_order_and_scale() -> None:
    assert parse_detections(f"{CUP} cup") == [Box(y_min=0.25, x_min=0.125, y_max=0.75, x_max=0.5, label="cup")]


def test_extremes() -> None:
    assert parse_detections("<loc0000><loc0000><loc1023><loc1023> floor") == [Box(0.0, 0.0, 1023 / 1024, 1023 / 1024, "floor")]


def test_several_detections_keep_order_and_labels() -> None:
    boxes = parse_detections(f"{CUP} red cup ; <loc0000><loc0001><loc0002><loc0003> 컵;")
    assert [(box.label, box.x_min) for box in boxes] == [("red cup", 0.125), ("컵", 1 / 1024)]


@pytest.mark.parametrize(
    "text",
    [
        f"{CUP}cup", f"{CUP} cup", f"  {CUP}   cup\n", f"{CUP}<seg000><seg127><seg064> cup", f"detect cup\n{CUP} cup", f"cup {CUP}",
        f"detect cup\n{CUP}", f"<bos>{CUP} cup<eos>", f"{CUP} cup</s>", "<loc0256> <loc0128> <loc0768> <loc0512> cup",
    ],
)  # fmt: skip
def test_same_box(text: str) -> None:
    assert parse_detections(text) == [Box(0.25, 0.125, 0.75, 0.5, "cup")]


@pytest.mark.parametrize("text", ["", "  \n", "<eos>", "none", "Nothing"])
def test_nothing(text: str) -> None:
    assert parse_detections(text) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cup", "want 4 <locNNNN>"),
        ("<loc0100><loc0200><loc0300>cup", "got 3"),
        ("<loc0100><loc0200><loc0300><loc0400><loc0500>cup", "got 5"),
        (f"{CUP}{CUP} cup", "got 8"),
        ("<loc1024><loc0200><loc1025><loc0400> cup", "<loc1024>"),
        ("<loc500><loc300><loc700><loc600> cup", "four digits, got '<loc500>'"),
        ("<loc00500><loc0300><loc0700><loc0600> cup", "<loc00500>"),
        ("<loc-001><loc0300><loc0700><loc0600> cup", "<loc-001>"),
        ("<loc\u0660\u0661\u0662\u0663><loc0300><loc0700><loc0600> cup", "four digits"),
        ("<LOC0100><loc0300><loc0700><loc0600> cup", "<LOC0100>"),
        ("<loc0700><loc0300><loc0500><loc0600> cup", "y 700..500"),
        ("<loc0300><loc0600><loc0500><loc0300> cup", "x 600..300"),
        ("<loc0300><loc0300><loc0300><loc0600> cup", "y 300..300"),
        ("<loc0300><loc0600><loc0500><loc0600> cup", "x 600..600"),
        ("<loc0100><loc0200> cup <loc0300><loc0400>", "side by side"),
        ("<loc0100><loc0200><seg001><loc0300><loc0400> cup", "before '<seg001>'"),
        (f"<seg001>{CUP} cup", "before '<seg001>'"),
        (f"{CUP}<seg001> cup <loc0001>", "side by side"),
        (f"{CUP}<seg128> cup", "<seg128>"),
        (f"{CUP}<seg12> cup", "<seg12>"),
        (f"{CUP} cup ; dog", "got 0 in 'dog'"),
        (f"{CUP} cup ;; {CUP} dog", "got 0"),
        (f"{CUP} cup ; <loc0100><loc0200>", "got 2"),
        (f"{CUP} c<up", "got '<'"),
        (f"{CUP} <image> cup", "<image>"),
        ("<loc0100><loc0200><loc0300><loc04", "got '<'"),
    ],
)
def test_refusals(text: str, reason: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_detections(text)
    assert reason in str(caught.value)


def test_a_bad_detection_refuses_the_good_one_too() -> None:
    with pytest.raises(ParseError):
        parse_detections(f"{CUP} cup ; <loc0001> dog")


def test_sizes_are_bounded() -> None:
    many = ";".join([CUP] * MAX_BOXES)
    assert len(parse_detections(many)) == MAX_BOXES
    with pytest.raises(ParseError, match="detections"):
        parse_detections(f"{many};{CUP}")
    with pytest.raises(ParseError, match="characters"):
        parse_detections("x" * (MAX_CHARS + 1))


@given(st.integers(0, 1022), st.integers(0, 1022), st.data())
def test_tokens_come_back(y_min: int, x_min: int, data: st.DataObject) -> None:
    y_max, x_max = data.draw(st.integers(y_min + 1, 1023)), data.draw(st.integers(x_min + 1, 1023))
    tokens = f"<loc{y_min:04d}><loc{x_min:04d}><loc{y_max:04d}><loc{x_max:04d}>"
    assert box_to_locs(parse_detections(tokens)[0]) == tokens


@given(*[st.floats(0.0, 1.0)] * 4)
def test_boxes_come_back_within_a_bin(a: float, b: float, c: float, d: float) -> None:
    (y_min, y_max), (x_min, x_max) = sorted((a, b)), sorted((c, d))
    box = Box(y_min, x_min, y_max, x_max, "cup")
    if y_min == y_max or x_min == x_max:
        with pytest.raises(ParseError):
            box_to_locs(box)
        return
    back = parse_detections(f"{box_to_locs(box)} cup")[0]
    for name in ("y_min", "x_min", "y_max", "x_max"):
        assert abs(getattr(back, name) - getattr(box, name)) <= 2 / 1024


@pytest.mark.parametrize("box", [Box(0.2, 0.2, 1.1, 0.4), Box(-0.1, 0.2, 0.3, 0.4), Box(math.nan, 0.1, 0.2, 0.3), Box(0.1, 0.5, 0.2, 0.4)])
def test_impossible_boxes_have_no_tokens(box: Box) -> None:
    with pytest.raises(ParseError):
        box_to_locs(box)


PIECES = st.sampled_from(
    ["<loc0001>", "<loc0500>", "<loc1023>", "<loc1024>", "<loc12>", "<seg001>", "<", ">", ";", " cup", "컵", "\n", "<eos>", "loc"]
)


@settings(max_examples=500)
@given(st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=30).map("".join)))
def test_any_reply_is_boxes_or_a_refusal(text: str) -> None:
    try:
        boxes = parse_detections(text)
    except ParseError:
        return
    for box in boxes:
        assert 0.0 <= box.y_min < box.y_max < 1.0
        assert 0.0 <= box.x_min < box.x_max < 1.0
        assert "<" not in box.label


@pytest.mark.parametrize(
    ("x", "degrees"),
    [(0.5, 0.0), (0.0, 35.0), (1.0, -35.0), (0.25, math.degrees(math.atan(0.5 * math.tan(math.radians(35)))))],
)
def test_bearing_is_a_pinhole_s(x: float, degrees: float) -> None:
    assert math.degrees(bearing_rad(x, math.radians(70))) == pytest.approx(degrees)


@pytest.mark.parametrize("hfov", [0.0, -1.0, math.pi, math.nan, math.inf])
def test_bearing_refuses_impossible_lenses(hfov: float) -> None:
    with pytest.raises(ValueError, match="field of view"):
        bearing_rad(0.5, hfov)


@pytest.mark.parametrize("x", [math.nan, math.inf])
def test_bearing_refuses_impossible_columns(x: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        bearing_rad(x, 1.0)
