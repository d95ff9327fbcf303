"""PaliGemma 1 and 2: `detect cup` gives `<loc0256><loc0128><loc0768><loc0512> cup`, several joined by ` ; `, none an empty reply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from edge_vla.goals import clean_target
from edge_vla.grammars.grammar import Answer, Ask, Chances, Found, settle
from edge_vla.grammars.machine import NEAR, Machine, Mark, Say, Values, spell
from edge_vla.grammars.picture import PictureMap
from edge_vla.parse.loc import BINS, box_to_locs, parse_detections
from edge_vla.types import Box

_LOC = re.compile(r"<loc[0-9]{4}>")


class PaliGemma:
    """Bins of 1/1024 of the input, y before x. `parse.loc` reads them; masks (`<segNNN>`) are checked and left."""

    name: ClassVar[str] = "paligemma"
    says_absent: ClassVar[bool] = True
    says_boxes: ClassVar[bool] = True
    spelled: ClassVar[bool] = True

    def ask(self, thing: str, picture: PictureMap, said: str | None = None) -> Ask | None:  # noqa: ARG002 - the same whatever the picture
        if said is not None:
            return None
        thing = clean_target(thing)
        first, second = (Mark(b"<loc%04d>", _near, ends, BINS // NEAR) for ends in (True, False))
        far = Mark(b"<loc%04d>", _far, near=BINS // NEAR)
        label = Say(((spell(f" {thing}"), 5),))
        more = Say((((), 6), (spell(" ; "), 0)))
        return Ask(f"detect {thing}", Machine((first, second, far, far, label, more)), none=("",))

    def parse(self, text: str, picture: PictureMap, thing: str = "", chances: Chances | None = None) -> Answer:
        boxes = parse_detections(text)
        spans = [match.span() for match in _LOC.finditer(text)]
        found = [Found(box, box.label, tuple(spans[4 * k : 4 * k + 4])) for k, box in enumerate(boxes)]
        return settle(found, text, picture, thing, chances)

    def encode(self, boxes: Sequence[Box], picture: PictureMap) -> str:
        return " ; ".join(f"{box_to_locs(picture.box_to_input(box))} {box.label}".strip() for box in boxes)

    def quantum(self, picture: PictureMap) -> tuple[float, float]:
        """Two bins: the outermost edge is in the last bin, and a box is at least one bin wide."""
        (wide, high), (width, height) = picture.canvas, picture.scaled
        return 2 / BINS * wide / width, 2 / BINS * high / height


def _near(values: Values) -> range:  # noqa: ARG001 - any, but the last, so that there is room for the far corner
    return range(BINS - 1)


def _far(values: Values) -> range:
    """Beyond the near corner's, said two numbers before."""
    return range(values[-2] + 1, BINS)
