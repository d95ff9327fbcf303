"""Qwen2.5-VL: fenced JSON, `[{"bbox_2d": [x1, y1, x2, y2], "label": "cup"}]`, in pixels of the resized input; `[]` is none."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar

from edge_vla.errors import ParseError
from edge_vla.goals import clean_target
from edge_vla.grammars.grammar import Answer, Ask, Chances, Found, Point, Span, blank, check_box, says_nothing, settle
from edge_vla.grammars.machine import NEAR, Machine, Say, Slot, Values, Whole, spell, then
from edge_vla.grammars.notation import number, read_json, text_of
from edge_vla.grammars.picture import PictureMap
from edge_vla.types import Box

FENCE = "```"
NONE = f"{FENCE}json\n[]\n{FENCE}"
_CONTROL = ("<|im_end|>", "<|endoftext|>")
_PLACE = re.compile(r'"(?:bbox_2d|point_2d)"\s*:\s*\[([^\[\]]*)\]')
_NUMBER = re.compile(r"-?[0-9][0-9.eE+-]*")


class Qwen25VL:
    """`[]` for nothing is of this project's decoding; the model's own documents show no answer about an absent thing."""

    name: ClassVar[str] = "qwen2_5_vl"
    says_absent: ClassVar[bool] = True
    says_boxes: ClassVar[bool] = True
    spelled: ClassVar[bool] = True

    def ask(self, thing: str, picture: PictureMap, said: str | None = None) -> Ask | None:
        if said is not None:
            return None
        thing = clean_target(thing)
        text = f"Outline the position of each {thing} and output all the coordinates in JSON format."
        return Ask(text, _machine(thing, picture.canvas), none=(NONE,))

    def parse(self, text: str, picture: PictureMap, thing: str = "", chances: Chances | None = None) -> Answer:
        said = blank(text, _CONTROL)
        items = [] if says_nothing(said) else _items(read_json(_unfenced(said)))
        spans = _spans(said) if chances is not None else []
        if chances is not None and len(spans) != len(items):
            raise ParseError(f"want the characters of {len(items)} places to look up their probabilities, got {len(spans)}")
        found = [_found(item, picture.canvas, spans[k] if spans else ()) for k, item in enumerate(items)]
        return settle(found, text, picture, thing, chances)

    def encode(self, boxes: Sequence[Box], picture: PictureMap) -> str:
        wide, high = picture.canvas
        lines = []
        for box in map(picture.box_to_input, boxes):
            (x_min, x_max), (y_min, y_max) = _pixels(box.x_min, box.x_max, wide), _pixels(box.y_min, box.y_max, high)
            label = json.dumps(box.label, ensure_ascii=False)
            lines.append(f'\t{{"bbox_2d": [{x_min}, {y_min}, {x_max}, {y_max}], "label": {label}}}')
        body = ",\n".join(lines)
        return f"{FENCE}json\n[\n{body}\n]\n{FENCE}" if lines else NONE

    def quantum(self, picture: PictureMap) -> tuple[float, float]:
        """A pixel of the input."""
        return 1 / picture.scaled[0], 1 / picture.scaled[1]


def _machine(thing: str, canvas: tuple[int, int]) -> Machine:
    """The model's own layout, character by character."""
    wide, high = canvas
    head, body, label = f"{FENCE}json\n[", '\n\t{"bbox_2d": [', json.dumps(thing, ensure_ascii=False)
    slots: tuple[Slot, ...] = (
        then(0, head),
        Say(((spell(body), 2), (spell(f"]\n{FENCE}"), 11))),
        Whole(lambda _: range(wide), wide // NEAR), then(3, ", "), Whole(lambda _: range(high), high // NEAR), then(5, ", "),
        Whole(_beyond(wide), wide // NEAR), then(7, ", "), Whole(_beyond(high), high // NEAR),
        then(9, f'], "label": {label}}}'),
        Say(((spell("," + body), 2), (spell(f"\n]\n{FENCE}"), 11))),
    )  # fmt: skip
    return Machine(slots)


class _beyond:  # noqa: N801 - a function with a size
    """The far edge: beyond the near one, said two numbers before, up to the input's."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, values: Values) -> range:
        return range(values[-2] + 1, self.most + 1)


def _unfenced(text: str) -> str:
    """What stands in the only fence, or all of a reply without one."""
    parts = text.split(FENCE, 3)
    if len(parts) == 1:
        return text
    if len(parts) > 3:
        raise ParseError("want one fenced block, got more")
    inside = parts[1].lstrip()
    return inside[4:] if inside[:4].lower() == "json" else inside


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise ParseError(f'want a list of {{"bbox_2d": [x1, y1, x2, y2], "label": ...}}, got {str(value)[:60]!r}')
    return value


def _found(item: Any, canvas: tuple[int, int], spans: tuple[Span, ...]) -> Found:
    if not isinstance(item, dict) or ("bbox_2d" in item) == ("point_2d" in item):
        raise ParseError(f'want an object with "bbox_2d" or "point_2d", got {str(item)[:60]!r}')
    key = "bbox_2d" if "bbox_2d" in item else "point_2d"
    label, numbers = text_of(item.get("label", ""), "label"), item[key]
    count = 4 if key == "bbox_2d" else 2
    if not isinstance(numbers, list) or len(numbers) != count:
        raise ParseError(f"want {count} numbers in {key}, got {str(numbers)[:60]!r}")
    values = [number(value, key) for value in numbers]
    wide, high = canvas
    if count == 4:
        x_min, y_min, x_max, y_max = values
        return Found(check_box(Box(y_min, x_min, y_max, x_max), (wide, high), " pixels of the resized picture"), label, spans)
    if not (0 <= values[0] <= wide and 0 <= values[1] <= high):
        raise ParseError(f"want a point in 0..{wide}, 0..{high} pixels of the resized picture, got {values}")
    return Found(Point(values[0] / wide, values[1] / high), label, spans)


def _spans(text: str) -> list[tuple[Span, ...]]:
    """The characters of each place's numbers."""
    return [
        tuple((match.start(1) + one.start(), match.start(1) + one.end()) for one in _NUMBER.finditer(match[1]))
        for match in _PLACE.finditer(text)
    ]


def _pixels(low: float, high: float, side: int) -> tuple[int, int]:
    first, last = int(low * side + 0.5), int(high * side + 0.5)
    if first == last:
        first, last = (first - 1, last) if last == side else (first, last + 1)
    return first, last
