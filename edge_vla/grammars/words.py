"""Models without boxes (LLaVA, UForm, OpenFlamingo): is there one, and then on which side. A third of the picture is a coarse bearing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from edge_vla.errors import ParseError
from edge_vla.goals import clean_target, get_presence_prompt
from edge_vla.grammars.grammar import Answer, Ask, Chances, Columns, Found, blank, settle
from edge_vla.grammars.machine import Machine, Say, spell
from edge_vla.grammars.picture import PictureMap
from edge_vla.types import Box

SIDES = {"left": "left", "middle": "middle", "centre": "middle", "center": "middle", "right": "right"}
THIRDS = {"left": Columns(0.0, 1 / 3), "middle": Columns(1 / 3, 2 / 3), "right": Columns(2 / 3, 1.0)}
MAX_WORDS = 64  # of an answer that one word would do for
_CONTROL = ("</s>", "<s>", "<|im_end|>", "<|endoftext|>", "<|endofchunk|>")
_WORD = re.compile(r"[^\W\d_]+")


class Words:
    """Two questions; `yes` and a side are two lines of one answer. Not a Box: a full-height one would stand right before the robot."""

    name: ClassVar[str] = "words"
    says_absent: ClassVar[bool] = True
    says_boxes: ClassVar[bool] = False
    spelled: ClassVar[bool] = True

    def ask(self, thing: str, picture: PictureMap, said: str | None = None) -> Ask | None:
        """Sides that lie in a padded picture's padding are no answers."""
        if said is None:
            return Ask(f"{get_presence_prompt(thing).capitalize()} Answer yes or no.", _one_of("yes", "no"), none=_forms("no"))
        lines = _lines(said)
        if len(lines) > 1 or _there(lines) == "no":
            return None
        where = f"Is the {clean_target(thing)} on the left, in the middle or on the right of the picture? Answer with one word."
        sides = [side for side, columns in THIRDS.items() if _shown(columns, picture)]
        return Ask(where, _one_of(*sides), alike=tuple(map(_forms, sides)))

    def parse(self, text: str, picture: PictureMap, thing: str = "", chances: Chances | None = None) -> Answer:
        lines = _lines(blank(text, _CONTROL))
        if not 1 <= len(lines) <= 2:
            raise ParseError(f"want yes or no in a line and a side in the next, got {len(lines)} lines")
        there = _there(lines)
        if (there == "yes") != (len(lines) == 2):
            raise ParseError(f"want left, middle or right in the line after yes and none after no, got {len(lines)} lines for {there}")
        if there == "no":
            return settle([], text, picture, thing, chances)
        start, line = lines[1]
        side = _choice(line, SIDES)
        spans = tuple((start + word.start(), start + word.end()) for word in _WORD.finditer(line) if word[0].lower() in SIDES)
        return settle([Found(THIRDS[side], "", spans[:1])], text, picture, thing, chances)

    def encode(self, boxes: Sequence[Box], picture: PictureMap) -> str:
        """The side of one box's middle. Raises ParseError for several: these answers are about one thing."""
        if not boxes:
            return "no"
        if len(boxes) > 1:
            raise ParseError(f"want at most 1 box in an answer by sides, got {len(boxes)}")
        box = picture.box_to_input(boxes[0])
        return "yes\n" + min(THIRDS, key=lambda side: abs((THIRDS[side].x_min + THIRDS[side].x_max - box.x_min - box.x_max) / 2))

    def quantum(self, picture: PictureMap) -> tuple[float, float]:
        """A third across; nothing is said of the height."""
        return picture.canvas[0] / picture.scaled[0] / 3, 1.0


def _shown(columns: Columns, picture: PictureMap) -> bool:
    """Whether some of the picture is between these columns of the input."""
    left, right = (picture.to_original(x * picture.canvas[0], 0)[0] / picture.original[0] for x in (columns.x_min, columns.x_max))
    return max(0.0, left) < min(1.0, right)


def _lines(text: str) -> list[tuple[int, str]]:
    """The lines that say something, each with its place in the text."""
    at, found = 0, []
    for line in text.split("\n"):
        if line.strip():
            found.append((at, line))
        at += len(line) + 1
    return found


def _there(lines: list[tuple[int, str]]) -> str:
    """The first line's yes or no. Raises ParseError."""
    return _choice(lines[0][1] if lines else "", {"yes": "yes", "no": "no"})


def _choice(line: str, meanings: dict[str, str]) -> str:
    """The one meaning that a line's words have. Raises ParseError for none or several, so "piano" is no "no"."""
    words = [word[0].lower() for word in _WORD.finditer(line[:4096])]
    if len(words) > MAX_WORDS or len(line) > 4096:
        raise ParseError(f"want at most {MAX_WORDS} words, got {len(words)} in {line[:40]!r}")
    said = {meanings[word] for word in words if word in meanings}
    if len(said) != 1:
        raise ParseError(
            f"want one of {', '.join(dict.fromkeys(meanings.values()))}, got {' and '.join(sorted(said)) or repr(line.strip()[:60])}"
        )
    return said.pop()


def _one_of(*words: str) -> Machine:
    return Machine((Say(tuple((spell(form), 1) for word in words for form in _forms(word))),))


def _forms(word: str) -> tuple[str, ...]:
    """As tokenizers have it: small or capital, with a space before it or none."""
    return word, word.capitalize(), f" {word}", f" {word.capitalize()}"
