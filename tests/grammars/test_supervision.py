"""Replies of four formats against the public `supervision` library itself, whatever version is installed.

What it reads in replies chosen by hand is recorded in tests/golden/grammars; here are replies nobody chose.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vla.grammars import PictureMap, grammar
from edge_vla.types import Box

sv = pytest.importorskip("supervision")

SIZES = st.tuples(st.integers(16, 2000), st.integers(16, 2000))
INPUT = (448, 644)  # of Qwen2.5-VL: its pixels are the resized picture's
SIDES = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).filter(lambda pair: pair[1] - pair[0] > 0.05)
LABELS = st.sampled_from(["cup", "red ball", "traffic-light", "snow man"])
BOXES = st.lists(st.builds(lambda x, y, label: Box(y[0], x[0], y[1], x[1], label), SIDES, SIDES, LABELS), min_size=1, max_size=4)


def read(name: str, reply: str, size: tuple[int, int]) -> Any:
    if name == "qwen2_5_vl":
        return sv.Detections.from_vlm(sv.VLM.QWEN_2_5_VL, reply, resolution_wh=size, input_wh=INPUT)
    if name == "moondream":
        return sv.Detections.from_vlm(sv.VLM.MOONDREAM, json.loads(reply), resolution_wh=size)
    if name == "paligemma":
        return sv.Detections.from_vlm(sv.VLM.PALIGEMMA, reply, resolution_wh=size)
    kosmos = pytest.importorskip("transformers.models.kosmos2.processing_kosmos2")
    return sv.Detections.from_vlm(sv.VLM.KOSMOS_2, kosmos.clean_text_and_extract_entities_with_bboxes(reply), resolution_wh=size)


@pytest.mark.parametrize("name", ["kosmos", "moondream", "paligemma", "qwen2_5_vl"])
@settings(max_examples=60)
@given(boxes=BOXES, size=SIZES)
def test_boxes_and_labels_are_those_of_supervision(name: str, boxes: list[Box], size: tuple[int, int]) -> None:
    picture = PictureMap.squashed(size, INPUT)
    reply = grammar(name).encode(boxes, picture)
    theirs = read(name, reply, size)
    ours = grammar(name).parse(reply, picture, thing="cup").boxes
    assert len(ours) == len(theirs) > 0
    wide, high = size
    for box, xyxy in zip(ours, theirs.xyxy.tolist(), strict=True):
        assert (box.x_min * wide, box.y_min * high, box.x_max * wide, box.y_max * high) == pytest.approx(xyxy, abs=1e-4 * max(size))
    if name != "moondream":  # which has no labels
        assert [box.label for box in ours] == [str(label) for label in theirs.data["class_name"]]
