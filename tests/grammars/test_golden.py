"""Boxes as the public `supervision` library reads them (`Detections.from_vlm`): tests/golden/make_grammars.py wrote what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_vla.errors import ParseError
from edge_vla.grammars import PictureMap, grammar

FOLDER = Path(__file__).parents[1] / "golden" / "grammars"
FORMATS = ("kosmos", "moondream", "paligemma", "qwen2_5_vl")
CASES = [
    pytest.param(name, case, id=f"{name}-{k}")
    for name in FORMATS
    for k, case in enumerate(json.loads((FOLDER / f"{name}.json").read_text("utf-8"))["cases"])
]


def boxes(name: str, case: dict[str, Any]) -> tuple[list[tuple[float, ...]], list[str]]:
    """x_min, y_min, x_max, y_max in the picture's pixels, and labels."""
    wide, high = case["picture"]
    picture = PictureMap.squashed((wide, high), tuple(case.get("input", (448, 448))))
    found = grammar(name).parse(case["reply"], picture).boxes
    return [(box.x_min * wide, box.y_min * high, box.x_max * wide, box.y_max * high) for box in found], [box.label for box in found]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_boxes_are_those_of_supervision(name: str, case: dict[str, Any]) -> None:
    differs = case.get("differs", "")
    if differs.startswith("refused"):
        with pytest.raises(ParseError, match="want "):
            boxes(name, case)
        return
    found, labels = boxes(name, case)
    if differs.startswith("read"):
        assert (len(found), case["xyxy"]) == (1, [])
        return
    wide, high = case["picture"]
    wanted = case["xyxy"]
    if differs == "cut":
        wanted = [[max(0, a), max(0, b), min(wide, c), min(high, d)] for a, b, c, d in wanted]
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-9 * max(wide, high))
    assert labels == case["labels"] or (name == "moondream" and case["labels"] == []), "Moondream's JSON has no labels"


def test_every_format_that_supervision_covers_is_compared() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == set(FORMATS)
    for name in FORMATS:
        told = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
        assert told["made_by"].startswith("supervision 0.31.2")
        agreed = [case for case in told["cases"] if not case.get("differs", "").startswith(("refused", "read"))]
        assert sum(map(len, (case["xyxy"] for case in agreed))) > 50
