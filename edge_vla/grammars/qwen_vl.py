"""Qwen-VL of 2023: `<ref>cup</ref><box>(125,250),(500,750)</box>`, thousandths of the input's sides.

Its paper and its tokenizer's `draw_bbox_on_latest_picture` divide by 1000, its evaluation script by 999; here 1000, which differs by at
most a thousandth. The model says 0..999; 1000, the outer edge, is what fine-tuned ones round to, and is read as such.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from edge_vla.errors import ParseError
from edge_vla.goals import clean_target
from edge_vla.grammars.grammar import Answer, Ask, Chances, Found, Span, check_box, settle
from edge_vla.grammars.machine import NEAR, Machine, Say, Slot, Values, Whole, spell, then
from edge_vla.grammars.picture import PictureMap
from edge_vla.grammars.tags import Piece, TagReader
from edge_vla.types import Box

SCALE = 1000
MAX_INSIDE = 64  # characters between <box> and </box>
_CORNERS = re.compile(r" *\( *([0-9]{1,4}) *, *([0-9]{1,4}) *\) *, *\( *([0-9]{1,4}) *, *([0-9]{1,4}) *\) *")


class QwenVL:
    """A grounded answer always has a box: the format cannot say that a thing is absent."""

    name: ClassVar[str] = "qwen_vl"
    says_absent: ClassVar[bool] = False
    says_boxes: ClassVar[bool] = True
    spelled: ClassVar[bool] = True

    def ask(self, thing: str, picture: PictureMap, said: str | None = None) -> Ask | None:  # noqa: ARG002 - the same whatever the picture
        if said is not None:
            return None
        thing = clean_target(thing)
        near, far = Whole(lambda _: range(SCALE - 1), SCALE // NEAR), Whole(_far, SCALE // NEAR)
        more = Say((((), 10), (spell("<box>", "("), 1)))
        slots: tuple[Slot, ...] = (
            then(0, "<ref>", thing, "</ref>", "<box>", "("), near, then(2, ","), near, then(4, "),("), far, then(6, ","), far,
            Say(((spell(")", "</box>"), 9),)), more,
        )  # fmt: skip
        return Ask(f'Output the bounding box of "{thing}".', Machine(slots))

    def parse(self, text: str, picture: PictureMap, thing: str = "", chances: Chances | None = None) -> Answer:
        return settle(_Reader().read(text), text, picture, thing, chances)

    def encode(self, boxes: Sequence[Box], picture: PictureMap) -> str:
        return "".join(_written(picture.box_to_input(box)) for box in boxes)

    def quantum(self, picture: PictureMap) -> tuple[float, float]:
        """Two steps: the outermost edge is said as 999, and a box is at least one step wide."""
        (wide, high), (width, height) = picture.canvas, picture.scaled
        return 2 / SCALE * wide / width, 2 / SCALE * high / height


class _Reader(TagReader):
    control = ("<|endoftext|>", "<|im_end|>", "<|im_start|>")
    wanted: ClassVar[Mapping[str, str]] = {
        "text": "<ref> or <box>", "words": "</ref>", "box": "<box> behind </ref>", "inside": "(x1,y1),(x2,y2) behind <box>",
        "end": "</box>",
    }  # fmt: skip
    missing = "<box>(x1,y1),(x2,y2)</box>"

    def take(self, piece: Piece) -> None:
        """Raises ParseError."""
        text = piece.text
        if not piece.tag:
            self._words(piece)
        elif self._want == "text" and text in ("<ref>", "<box>"):
            self._want, self._label = ("words", "") if text == "<ref>" else ("inside", self._label)
        elif self._want == "words" and text == "</ref>":
            self._want = "box"
        elif self._want == "box" and text == "<box>":
            self._want = "inside"
        elif self._want == "end" and text == "</box>":
            self._want = "text"
        else:
            raise self._refuse(text)

    def _words(self, piece: Piece) -> None:
        if self._want == "words":
            self._label += piece.text
        elif self._want == "inside":
            self._corners(piece)
        elif self._want == "text":
            self._label = self._label if not piece.text.strip() else ""  # a box belongs to the ref right before it
        elif piece.text.strip():
            raise self._refuse(piece.text)

    def _corners(self, piece: Piece) -> None:
        match = _CORNERS.fullmatch(piece.text) if len(piece.text) <= MAX_INSIDE else None
        if match is None:
            raise ParseError(f"want (x1,y1),(x2,y2) in whole numbers 0..{SCALE}, got {piece.text[:60]!r}")
        x_min, y_min, x_max, y_max = map(int, match.groups())
        spans: tuple[Span, ...] = tuple((piece.start + match.start(k), piece.start + match.end(k)) for k in range(1, 5))
        self.found.append(Found(check_box(Box(y_min, x_min, y_max, x_max), (SCALE, SCALE)), self._label, spans))
        self._want = "end"


def _written(box: Box) -> str:
    (x_min, x_max), (y_min, y_max) = (_steps(low, high) for low, high in ((box.x_min, box.x_max), (box.y_min, box.y_max)))
    return f"{f'<ref>{box.label}</ref>' if box.label else ''}<box>({x_min},{y_min}),({x_max},{y_max})</box>"


def _steps(low: float, high: float) -> tuple[int, int]:
    first, last = (min(SCALE - 1, int(edge * SCALE + 0.5)) for edge in (low, high))
    if first == last:
        first, last = (first - 1, last) if last == SCALE - 1 else (first, last + 1)
    return first, last


def _far(values: Values) -> range:
    """Beyond the near corner's, said two numbers before."""
    return range(values[-2] + 1, SCALE)
