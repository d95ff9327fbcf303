"""Each reply format by itself: what it says where, every refusal with its reason, and what its question is."""

from __future__ import annotations

import math

import pytest

from edge_vla.errors import ParseError
from edge_vla.grammars import GRAMMARS, Columns, PictureMap, Place, Point, bearing
from edge_vla.parse import bearing_rad
from edge_vla.types import Box

PICTURE = PictureMap.squashed((640, 480), (448, 224))
JSON = '[{"bbox_2d": [%s], "label": "cup"}]'
LOCS, PATCHES = "<loc0256><loc0128><loc0768><loc0512>", "<patch_index_0033><patch_index_0264>"  # cells (1, 1) and (8, 8)
OBJECT = '{"objects": [{"x_min": %s, "y_min": 0.1, "x_max": %s, "y_max": 0.2}]}'

SAID = [
    ("paligemma", f"{LOCS} cup", Box(0.25, 0.125, 0.75, 0.5, "cup")),
    ("paligemma", f"<bos>{LOCS}<seg001> cup<eos>", Box(0.25, 0.125, 0.75, 0.5, "cup")),
    ("paligemma", LOCS, Box(0.25, 0.125, 0.75, 0.5, "thing")),
    ("kosmos", f"<object>{PATCHES}</object>", Box(1.5 / 32, 1.5 / 32, 8.5 / 32, 8.5 / 32, "thing")),
    (
        "kosmos",
        f"<grounding>A<phrase> a cup </phrase> <object> {PATCHES} </object></s>",
        Box(1.5 / 32, 1.5 / 32, 8.5 / 32, 8.5 / 32, "a cup"),
    ),
    ("kosmos", "<object><patch_index_0000><patch_index_1023></object>", Box(0.5 / 32, 0.5 / 32, 31.5 / 32, 31.5 / 32, "thing")),
    ("kosmos", "<object><patch_index_1023><patch_index_1023></object>", Box(31 / 32, 31 / 32, 1, 1, "thing")),
    ("qwen_vl", "<ref> cup</ref><box>(125,250),(500,750)</box><|im_end|>", Box(0.25, 0.125, 0.75, 0.5, "cup")),
    ("qwen_vl", "<box>( 0, 0 ), (1000, 999)</box>", Box(0, 0, 0.999, 1, "thing")),
    ("qwen_vl", "This is <ref>a cup</ref><box>(125,250),(500,750)</box>.", Box(0.25, 0.125, 0.75, 0.5, "a cup")),
    ("qwen_vl", "<ref>a cup</ref> <box>(125,250),(500,750)</box>", Box(0.25, 0.125, 0.75, 0.5, "a cup")),
    ("qwen2_5_vl", JSON % "56, 56, 224, 168" + "<|im_end|>", Box(0.25, 0.125, 0.75, 0.5, "cup")),
    ("qwen2_5_vl", f"Sure:\n```json\n{JSON % '56.0, 56, 2.24e2, 168'}\n```\n", Box(0.25, 0.125, 0.75, 0.5, "cup")),
    ("qwen2_5_vl", '{"bbox_2d": [0, 0, 448, 224]}', Box(0, 0, 1, 1, "thing")),
    ("qwen2_5_vl", '[{"point_2d": [112, 112], "label": "cup"}]', Point(0.25, 0.5)),
    ("moondream", OBJECT % (0.25, 0.5), Box(0.1, 0.25, 0.2, 0.5, "thing")),
    ("moondream", OBJECT % (-0.25, 0.5), Box(0.1, 0, 0.2, 0.5, "thing")),
    ("moondream", '[{"x_min": 0.25, "y_min": 0.1, "x_max": 0.5, "y_max": 0.2}]', Box(0.1, 0.25, 0.2, 0.5, "thing")),
    ("moondream", '{"points": [{"x": 0, "y": 0.75}]}', Point(0, 0.75)),
    ("words", "Yes.\nOn the left side.</s>", Columns(0, 1 / 3)),
    ("words", " yes, there is\n\nin the centre", Columns(1 / 3, 2 / 3)),
    ("words", "YES\nright", Columns(2 / 3, 1)),
]


@pytest.mark.parametrize(("name", "text", "where"), SAID)
def test_what_is_said(name: str, text: str, where: Box | Point | Columns) -> None:
    (place,) = GRAMMARS[name].parse(text, PICTURE, "thing").places
    assert place.where == where
    assert place.label == (where.label if isinstance(where, Box) else "cup" if "cup" in text else "thing")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("paligemma", ""), ("paligemma", "<eos>"), ("paligemma", "none"), ("kosmos", "</s>"), ("qwen_vl", "None."), ("qwen_vl", ""),
        ("qwen2_5_vl", "[]"), ("qwen2_5_vl", "```json\n[]\n```"), ("qwen2_5_vl", "nothing<|im_end|>"), ("moondream", '{"objects": []}'),
        ("moondream", ""), ("moondream", '{"points": []}'), ("words", "No."), ("words", "no, there is none"), ("words", "No</s>"),
    ],
)  # fmt: skip
def test_nothing_is_said(name: str, text: str) -> None:
    assert GRAMMARS[name].parse(text, PICTURE, "cup").places == ()


REFUSED = [
    ("paligemma", f"{LOCS} cup ; <loc0001>", "got 1"),
    ("paligemma", "<loc1024><loc0000><loc0001><loc0001>", "<loc0000>..<loc1023>, got '<loc1024>'"),
    ("paligemma", "<loc0512><loc0128><loc0256><loc0512>", "y 512..256"),
    ("kosmos", "a cup", "got words only"),
    ("kosmos", "<phrase> a cup", "want </phrase>, got 'the end'"),
    ("kosmos", "<phrase> a cup</phrase>", "want <object> behind </phrase>, got 'the end'"),
    ("kosmos", "<phrase> a cup</phrase> is <object>", "want <object> behind </phrase>, got 'is'"),
    ("kosmos", "<object></object>", "want <patch_index_NNNN>, got '</object>'"),
    ("kosmos", "<object><patch_index_0001></object>", "want a second <patch_index_NNNN>, got '</object>'"),
    ("kosmos", f"<object>{PATCHES}", "want </object> or </delimiter_of_multi_objects/>, got 'the end'"),
    ("kosmos", f"<object>{PATCHES}<patch_index_0001>", "want </object>"),
    ("kosmos", f"<object>{PATCHES}</delimiter_of_multi_objects/></object>", "want <patch_index_NNNN>, got '</object>'"),
    ("kosmos", "<object><patch_index_0001><patch_index_1024></object>", "..<patch_index_1023>, got '<patch_index_1024>'"),
    ("kosmos", "<object><patch_index_1><patch_index_44></object>", "got '<patch_index_1>'"),
    ("kosmos", "<object><patch_index_-001><patch_index_0044></object>", "got '<patch_index_-001>'"),
    ("kosmos", "<object><patch_index_\u0660\u0660\u0660\u0661><patch_index_0044></object>", "..<patch_index_1023>"),
    ("kosmos", "<object><patch_index_0264><patch_index_0033></object>", "cells 264 and 33"),
    ("kosmos", "<object><patch_index_0005><patch_index_0036></object>", "right of and below the first"),
    ("kosmos", f"<object>{PATCHES}</object></object>", "want <phrase> or <object>, got '</object>'"),
    ("kosmos", f"<object>{PATCHES}</object><loc0001>", "got '<loc0001>'"),
    ("kosmos", f"<object>{PATCHES}</object><image>", "got '<image>'"),
    ("qwen_vl", "there is no cup", "got words only"),
    ("qwen_vl", "<ref>cup", "want </ref>, got 'the end'"),
    ("qwen_vl", "<ref>cup</ref>", "want <box> behind </ref>"),
    ("qwen_vl", "<ref>cup</ref> at <box>", "want <box> behind </ref>, got 'at'"),
    ("qwen_vl", "<box>(125,250),(500,750)", "want </box>, got 'the end'"),
    ("qwen_vl", "<box></box>", "want (x1,y1),(x2,y2) behind <box>"),
    ("qwen_vl", "<box>(125,250),(500)</box>", "in whole numbers 0..1000, got '(125,250),(500)'"),
    ("qwen_vl", "<box>(125,250),(500,1001)</box>", "y_max <= 1000, got 250..1001"),
    ("qwen_vl", "<box>(-1,250),(500,750)</box>", "got '(-1,250),(500,750)'"),
    ("qwen_vl", "<box>(0.1,0.2),(0.3,0.4)</box>", "whole numbers"),
    ("qwen_vl", "<box>(nan,250),(500,750)</box>", "got '(nan,250)"),
    ("qwen_vl", "<box>(\u0663,250),(500,750)</box>", "whole numbers"),
    ("qwen_vl", "<box>(500,250),(125,750)</box>", "x_min < x_max <= 1000, got 500..125"),
    ("qwen_vl", "<box>(125,250),(125,750)</box>", "got 125..125"),
    ("qwen_vl", "<box>(125,250),(500,750)" + " " * 60 + "</box>", "whole numbers"),
    ("qwen_vl", "<ref>a</ref><quad>(1,2),(3,4),(5,6),(7,8)</quad>", "got '<quad>'"),
    ("qwen_vl", "</ref>", "want <ref> or <box>, got '</ref>'"),
    ("qwen2_5_vl", JSON % "56, 56, 224", "want 4 numbers in bbox_2d, got '[56, 56, 224]'"),
    ("qwen2_5_vl", JSON % "56, 56, 224, 168, 1", "want 4 numbers"),
    ("qwen2_5_vl", JSON % "224, 56, 56, 168", "x_min < x_max <= 448 pixels of the resized picture, got 224..56"),
    ("qwen2_5_vl", JSON % "56, 56, 449, 168", "got 56..449"),
    ("qwen2_5_vl", JSON % "56, 56, 224, 225", "y_max <= 224 pixels of the resized picture, got 56..225"),
    ("qwen2_5_vl", JSON % "-0.5, 56, 224, 168", "got -0.5..224"),
    ("qwen2_5_vl", JSON % "NaN, 56, 224, 168", "got NaN"),
    ("qwen2_5_vl", JSON % "56, 56, Infinity, 168", "got Infinity"),
    ("qwen2_5_vl", JSON % "56, 56, 1e999, 168", "finite number for bbox_2d, got 'inf'"),
    ("qwen2_5_vl", JSON % 'true, 56, 224, "168"', "got 'True'"),
    ("qwen2_5_vl", JSON % ("56, 56, 224, 1" + "0" * 40), "at most 32 characters"),
    ("qwen2_5_vl", (JSON % "56, 56, 224, 168")[:-1], "want whole JSON"),
    ("qwen2_5_vl", (JSON % "56, 56, 224, 168")[:-6], "want whole JSON"),
    ("qwen2_5_vl", "```json\n[" + '{"bbox_2d": [1, 2, 3, 4]},', "want whole JSON"),
    ("qwen2_5_vl", "[{'bbox_2d': [1, 2, 3, 4]}]", "want plain JSON"),
    ("qwen2_5_vl", "[1, 2, 3, 4]", 'want an object with "bbox_2d" or "point_2d", got \'1\''),
    ("qwen2_5_vl", '[{"bbox_2d": [1, 2, 3, 4], "point_2d": [1, 2]}]', 'want an object with "bbox_2d" or "point_2d"'),
    ("qwen2_5_vl", '[{"bbox_2d": [1, 2, 3, 4], "bbox_2d": [5, 6, 7, 8]}]', "got 'bbox_2d' twice"),
    ("qwen2_5_vl", '[{"bbox_2d": [1, 2, 3, 4], "label": 7}]', "want a text for label, got '7'"),
    ("qwen2_5_vl", '[{"point_2d": [449, 2]}]', "want a point in 0..448, 0..224"),
    ("qwen2_5_vl", '"cup"', "want a list"),
    ("qwen2_5_vl", "```json\n[]\n```\n```json\n[]\n```", "want one fenced block"),
    ("qwen2_5_vl", "There is no cup.", "want plain JSON"),
    ("qwen2_5_vl", "[" * 100_000, "levels deep"),
    ("moondream", OBJECT % (0.5, 0.25), "x_min < x_max, at most 1 apart, their middle in 0..1, got 0.5..0.25"),
    ("moondream", OBJECT % (-0.5, 0.4), "their middle in 0..1, got -0.5..0.4"),
    ("moondream", OBJECT % (-0.1, 1.1), "at most 1 apart"),
    ("moondream", OBJECT % ("NaN", 0.4), "got NaN"),
    ("moondream", OBJECT % (0.1, '"0.4"'), "finite number for x_max, got '0.4'"),
    ("moondream", '{"objects": [{"x_min": 0.1}]}', "want an object with x_min, y_min, x_max, y_max"),
    ("moondream", '{"points": [{"x": 0.1, "y": 1.5}]}', "x and y in 0..1, got 0.1, 1.5"),
    ("moondream", '{"objects": [], "points": []}', "either objects or points"),
    ("moondream", '{"answer": "yes"}', "either objects or points, got the keys 'answer'"),
    ("moondream", '{"objects": {"x": 1}}', "want a list of objects"),
    ("moondream", '{"objects": [3]}', "got '3'"),
    ("moondream", "<coord><coord><size>", "want plain JSON"),
    ("words", "", "got 0 lines"),
    ("words", "a piano", "want one of yes, no, got 'a piano'"),
    ("words", "eyes\nleft", "want one of yes, no"),
    ("words", "yes and no", "got no and yes"),
    ("words", "yes", "want left, middle or right in the line after yes"),
    ("words", "no\nleft", "none after no"),
    ("words", "yes\nleft or right", "got left and right"),
    ("words", "yes\nup", "want one of left, middle, right, got 'up'"),
    ("words", "yes\nleft\nright", "got 3 lines"),
    ("words", "yes " * 65 + "\nleft", "at most 64 words"),
]


@pytest.mark.parametrize(("name", "text", "reason"), REFUSED)
def test_refusals_say_why(name: str, text: str, reason: str) -> None:
    with pytest.raises(ParseError) as caught:
        GRAMMARS[name].parse(text, PICTURE, "cup")
    assert reason in str(caught.value)


def test_several_boxes_of_one_phrase() -> None:
    text = f"<phrase> cups</phrase><object>{PATCHES}</delimiter_of_multi_objects/><patch_index_0000><patch_index_0033></object> here"
    assert [(box.label, box.x_min) for box in GRAMMARS["kosmos"].parse(text, PICTURE).boxes] == [("cups", 1.5 / 32), ("cups", 0.5 / 32)]
    text = "<ref>dogs</ref><box>(1,2),(3,4)</box><box>(5,6),(7,8)</box> and <box>(9,9),(10,10)</box>"
    assert [box.label for box in GRAMMARS["qwen_vl"].parse(text, PICTURE).boxes] == ["dogs", "dogs", ""]


def test_more_places_than_anybody_needs_are_refused() -> None:
    for name, one, between in (("kosmos", f"<object>{PATCHES}</object>", ""), ("qwen_vl", "<box>(1,2),(3,4)</box>", ""),
                               ("moondream", '{"x": 0, "y": 0}', ",")):  # fmt: skip
        text = between.join([one] * 257)
        with pytest.raises(ParseError, match="at most 256"):
            GRAMMARS[name].parse(f"[{text}]" if between else text, PICTURE)


def test_a_side_of_the_input_is_a_side_of_what_it_shows() -> None:
    cut = PictureMap.middle((640, 480), 240)  # of 640 columns it shows 80..560
    places = [GRAMMARS["words"].parse(f"yes\n{side}", cut, "cup").places[0].where for side in ("left", "middle", "right")]
    assert [(round(640 * where.x_min), round(640 * where.x_max)) for where in places if isinstance(where, Columns)] == [
        (80, 240), (240, 400), (400, 560),
    ]  # fmt: skip
    tall = PictureMap.padded((240, 480), 480)  # padding left of 120 and right of 360
    left = GRAMMARS["words"].parse("yes\nleft", tall, "cup").places[0].where
    assert isinstance(left, Columns)
    assert (left.x_min, left.x_max) == pytest.approx((0, 1 / 6)), "nothing of the picture is further left"


def test_a_point_in_the_padding_is_refused() -> None:
    with pytest.raises(ParseError, match=r"want a point in the picture \(0\.\.1\), got x 0\.5, y -0\.1667"):
        GRAMMARS["moondream"].parse('{"points": [{"x": 0.5, "y": 0}]}', PictureMap.padded((640, 480), 448))


def test_bearings() -> None:
    hfov = 1.0
    assert bearing(Point(0.5, 0.9), hfov) == (0, 0)
    middle, half = bearing(Columns(0, 1 / 3), hfov)
    assert middle > 0, "left is positive"
    assert middle + half == pytest.approx(bearing_rad(0, hfov))
    assert middle - half == pytest.approx(bearing_rad(1 / 3, hfov))
    assert bearing(Box(0, 0.25, 1, 0.75), hfov) == pytest.approx((0, math.atan(0.5 * math.tan(0.5))))


def test_only_boxes_are_boxes() -> None:
    """A strip or a point has no foot on the floor: made a Box, the pilot would take it for a thing right in front."""
    assert GRAMMARS["words"].parse("yes\nleft", PICTURE, "cup").boxes == []
    answer = GRAMMARS["moondream"].parse('{"points": [{"x": 0.5, "y": 0.5}]}', PICTURE, "cup")
    assert (answer.boxes, answer.places) == ([], (Place(Point(0.5, 0.5), "cup", 0.8),))


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("paligemma", "detect cup"), ("kosmos", "<phrase> the cup</phrase>"), ("moondream", "cup"),
        ("qwen_vl", 'Output the bounding box of "cup".'),
        ("qwen2_5_vl", "Outline the position of each cup and output all the coordinates in JSON format."),
        ("words", "Is there a cup? Answer yes or no."),
    ],
)  # fmt: skip
def test_questions(name: str, question: str) -> None:
    ask = GRAMMARS[name].ask("a Cup", PICTURE)
    assert ask is not None
    assert ask.text == question


def test_the_second_question_follows_a_yes_only() -> None:
    words = GRAMMARS["words"]
    second = words.ask("cup", PICTURE, "Yes.")
    assert second is not None
    assert second.text == "Is the cup on the left, in the middle or on the right of the picture? Answer with one word."
    assert words.ask("cup", PICTURE, "no") is None
    assert words.ask("cup", PICTURE, "yes\nleft") is None
    with pytest.raises(ParseError, match="want one of yes, no"):
        words.ask("cup", PICTURE, "")
