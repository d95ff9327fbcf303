"""Moondream of 2025: JSON in fractions of the picture, `{"objects": [{"x_min": ...}]}` of `detect`, `{"points": [{"x": ...}]}` of `point`.

In the model an answer is `<coord><coord><size>` over and over: places and sizes are vectors beside those rows, and no text (its
`torch/moondream.py`; rows `coord_id` and `size_id` of its configuration). What it returns, and its servers send, is the JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar

from edge_vla.errors import ParseError
from edge_vla.goals import clean_target
from edge_vla.grammars.grammar import Answer, Ask, Chances, Found, Point, Span, blank, settle
from edge_vla.grammars.machine import Machine, Say, spell
from edge_vla.grammars.notation import number, read_json
from edge_vla.grammars.picture import PictureMap
from edge_vla.types import Box

MOST_OBJECTS = 50  # its own default
SLACK = 1e-6  # middle plus and minus half a size, in the model's float32
EDGES = ("x_min", "y_min", "x_max", "y_max")
_CONTROL = ("<|endoftext|>",)
_OBJECT = re.compile(r"\{[^{}\[\]]*\}")
_VALUE = re.compile(r'"(?:x_min|y_min|x_max|y_max|x|y)"\s*:\s*(-?[0-9][0-9.eE+-]*)')


class Moondream:
    """A box is a middle in the picture and a size of at most all of it. What of it leaves the picture is not looked at."""

    name: ClassVar[str] = "moondream"
    says_absent: ClassVar[bool] = True
    says_boxes: ClassVar[bool] = True
    spelled: ClassVar[bool] = False

    def ask(self, thing: str, picture: PictureMap, said: str | None = None) -> Ask | None:  # noqa: ARG002 - the same whatever the picture
        """The thing's name: the rest of the prompt is the model's template for `detect`."""
        if said is not None:
            return None
        more = Say((((), 1), (spell("<coord>", "<coord>", "<size>"), 0)))
        return Ask(clean_target(thing), Machine((more,), MOST_OBJECTS + 1), none=("",))

    def parse(self, text: str, picture: PictureMap, thing: str = "", chances: Chances | None = None) -> Answer:
        said = blank(text, _CONTROL)
        items = _items(read_json(said)) if said.strip() else []
        spans = _spans(said) if chances is not None else []
        if chances is not None and len(spans) != len(items):
            raise ParseError(f"want the characters of {len(items)} places to look up their probabilities, got {len(spans)}")
        found = [Found(_where(item), "", spans[k] if spans else ()) for k, item in enumerate(items)]
        return settle(found, text, picture, thing, chances)

    def encode(self, boxes: Sequence[Box], picture: PictureMap) -> str:
        """Labels are not said: all that is asked for is one thing."""
        return json.dumps({"objects": [{edge: getattr(box, edge) for edge in EDGES} for box in map(picture.box_to_input, boxes)]})

    def quantum(self, picture: PictureMap) -> tuple[float, float]:
        """What the JSON loses; the model's own steps are 1/1024 of a side for a middle, and 2**(10/1023) of itself for a size."""
        (wide, high), (width, height) = picture.canvas, picture.scaled
        return SLACK * wide / width, SLACK * high / height


def _items(value: Any) -> list[Any]:
    """The list under `objects` or `points`, or a list by itself."""
    if isinstance(value, dict):
        keys = [key for key in ("objects", "points") if key in value]
        if len(keys) != 1:
            raise ParseError(f"want either objects or points, got the keys {', '.join(value)[:60]!r}")
        value = value[keys[0]]
    if not isinstance(value, list):
        raise ParseError(f"want a list of objects or points, got {str(value)[:60]!r}")
    return value


def _where(item: Any) -> Box | Point:
    if not isinstance(item, dict) or not (set(EDGES) <= set(item) or {"x", "y"} <= set(item)):
        raise ParseError(f"want an object with {', '.join(EDGES)}, or a point with x, y, got {str(item)[:60]!r}")
    if "x" in item:
        x, y = number(item["x"], "x"), number(item["y"], "y")
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise ParseError(f"want a point with x and y in 0..1, got {x:.6g}, {y:.6g}")
        return Point(x, y)
    x_min, y_min, x_max, y_max = (number(item[edge], edge) for edge in EDGES)
    for axis, low, high in (("x", x_min, x_max), ("y", y_min, y_max)):
        middle, size = (low + high) / 2, high - low
        if not (-SLACK <= middle <= 1 + SLACK and 0 < size <= 1 + SLACK):
            raise ParseError(f"want {axis}_min < {axis}_max, at most 1 apart, their middle in 0..1, got {low:.6g}..{high:.6g}")
    return Box(y_min, x_min, y_max, x_max)


def _spans(text: str) -> list[tuple[Span, ...]]:
    """The characters of each place's numbers."""
    return [
        tuple((match.start() + one.start(1), match.start() + one.end(1)) for one in _VALUE.finditer(match[0]))
        for match in _OBJECT.finditer(text)
    ]
