"""KosMos-2: `<phrase> a cup</phrase><object><patch_index_0044><patch_index_0863></object>`, corners in a grid of 32 x 32 cells.

Places are those of transformers' `patch_index_to_coordinate`: cells' middles, or whole cells where the corners share a row or a column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from edge_vla.errors import ParseError
from edge_vla.goals import clean_target
from edge_vla.grammars.grammar import Answer, Ask, Chances, Found, Span, settle
from edge_vla.grammars.machine import Machine, Mark, Say, Values, spell, then
from edge_vla.grammars.picture import PictureMap
from edge_vla.grammars.tags import Piece, TagReader
from edge_vla.types import Box

SIDE = 32  # cells
CELLS = SIDE * SIDE
MORE = "</delimiter_of_multi_objects/>"


class Kosmos:
    """The question ends in a closed phrase, so the answer begins with its boxes: the format cannot say that a thing is absent."""

    name: ClassVar[str] = "kosmos"
    says_absent: ClassVar[bool] = False
    says_boxes: ClassVar[bool] = True
    spelled: ClassVar[bool] = True

    def ask(self, thing: str, picture: PictureMap, said: str | None = None) -> Ask | None:  # noqa: ARG002 - the same whatever the picture
        if said is not None:
            return None
        near, far = Mark(b"<patch_index_%04d>", _any_cell), Mark(b"<patch_index_%04d>", _not_before)
        more = Say(((spell(MORE), 1), (spell("</object>"), 4)))
        return Ask(f"<phrase> the {clean_target(thing)}</phrase>", Machine((then(0, "<object>"), near, far, more)))

    def parse(self, text: str, picture: PictureMap, thing: str = "", chances: Chances | None = None) -> Answer:
        return settle(_Reader().read(text), text, picture, thing, chances)

    def encode(self, boxes: Sequence[Box], picture: PictureMap) -> str:
        return "".join(_written(picture.box_to_input(box)) for box in boxes)

    def quantum(self, picture: PictureMap) -> tuple[float, float]:
        (wide, high), (width, height) = picture.canvas, picture.scaled
        return wide / width / SIDE, high / height / SIDE


class _Reader(TagReader):
    control = ("<s>", "</s>", "<pad>", "<grounding>")
    wanted: ClassVar[Mapping[str, str]] = {
        "text": "<phrase> or <object>", "words": "</phrase>", "object": "<object> behind </phrase>",
        "near": "<patch_index_NNNN>", "far": "a second <patch_index_NNNN>", "more": f"</object> or {MORE}",
    }  # fmt: skip
    missing = "<object> with a pair of <patch_index_NNNN>"

    def __init__(self) -> None:
        super().__init__()
        self._near: tuple[int, Span] = (0, (0, 0))

    def take(self, piece: Piece) -> None:
        """Raises ParseError."""
        text = piece.text
        if not piece.tag:
            if self._want == "words":
                self._label += text
            elif self._want != "text" and text.strip():
                raise self._refuse(text)
        elif self._want == "text" and text in ("<phrase>", "<object>"):
            self._want, self._label = "words" if text == "<phrase>" else "near", ""
        elif self._want == "words" and text == "</phrase>":
            self._want = "object"
        elif self._want == "object" and text == "<object>":
            self._want = "near"
        elif self._want in ("near", "far") and text.startswith("<patch_index_"):
            self._patch(piece)
        elif self._want == "more" and text in (MORE, "</object>"):
            self._want = "near" if text == MORE else "text"
        else:
            raise self._refuse(text)

    def _patch(self, piece: Piece) -> None:
        digits = piece.text[13:-1]
        if not (len(digits) == 4 and digits.isascii() and digits.isdigit() and int(digits) < CELLS):
            raise ParseError(f"want <patch_index_0000>..<patch_index_{CELLS - 1:04d}>, got {piece.text!r}")
        cell, span = int(digits), (piece.start, piece.end)
        if self._want == "near":
            self._near, self._want = (cell, span), "far"
            return
        near, first = self._near
        if cell % SIDE < near % SIDE or cell // SIDE < near // SIDE:
            raise ParseError(f"want the second corner right of and below the first, got cells {near} and {cell} of rows of {SIDE}")
        self.found.append(Found(_box(near, cell), self._label, (first, span)))
        self._want = "more"


def _box(near: int, far: int) -> Box:
    (y_min, x_min), (y_max, x_max) = divmod(near, SIDE), divmod(far, SIDE)
    if y_min == y_max or x_min == x_max:
        return Box(y_min / SIDE, x_min / SIDE, (y_max + 1) / SIDE, (x_max + 1) / SIDE)
    return Box((y_min + 0.5) / SIDE, (x_min + 0.5) / SIDE, (y_max + 0.5) / SIDE, (x_max + 0.5) / SIDE)


def _written(box: Box) -> str:
    """The cells that its corners are in, as transformers' `coordinate_to_patch_index` has them."""
    y_min, x_min = (min(SIDE - 1, math.floor(edge * SIDE)) for edge in (box.y_min, box.x_min))
    y_max, x_max = (max(math.ceil(edge * SIDE) - 1, low) for edge, low in ((box.y_max, y_min), (box.x_max, x_min)))
    cells = f"<patch_index_{y_min * SIDE + x_min:04d}><patch_index_{y_max * SIDE + x_max:04d}>"
    return f"{f'<phrase> {box.label}</phrase>' if box.label else ''}<object>{cells}</object>"


def _any_cell(values: Values) -> range:  # noqa: ARG001
    return range(CELLS)


def _not_before(values: Values) -> list[int]:
    """The cells right of and below the first corner, itself among them."""
    top, left = divmod(values[-1], SIDE)
    return [row * SIDE + column for row in range(top, SIDE) for column in range(left, SIDE)]
