"""What every reply format gives: a question, what may be said to it, and what was said. Knows no engine, no speed and no time."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from edge_vla.errors import ParseError
from edge_vla.grammars.machine import Machine
from edge_vla.grammars.picture import PictureMap
from edge_vla.parse.loc import MAX_BOXES, MAX_CHARS, bearing_rad
from edge_vla.parse.steer import LOC_CONFIDENCE
from edge_vla.types import Box

Span = tuple[int, int]  # of characters in a reply, from and up to
_NOTHING = {"", "none", "nothing"}


@dataclass(frozen=True, slots=True)
class Point:
    """A place without an extent, in fractions of the picture. Not a foot on the floor: it gives a bearing and no range."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Columns:
    """A thing is somewhere between two columns, in fractions of the picture's width. It gives a coarse bearing and no range."""

    x_min: float
    x_max: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where a thing is said to be, and how sure that is."""

    where: Box | Point | Columns
    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reply says. `measured`: confidences are token probabilities; otherwise they are of the parse, not of the model."""

    places: tuple[Place, ...]
    confidence: float  # the surest place's; of no places that there are none
    measured: bool

    @property
    def boxes(self) -> list[Box]:
        """What a Sighting can be made of: points and columns touch no floor."""
        return [place.where for place in self.places if isinstance(place.where, Box)]


@dataclass(frozen=True, slots=True)
class Chances:
    """The probability of each token of a reply, in order, of a coordinate's the mass near it if the decoder knows that.

    `present` is P(anything is named). Without it that is the first token's probability, which is never more. `absent` is P(the answer
    is that there is none), without it likewise; the two add up to less than 1 where the model had rather said something else.
    """

    tokens: tuple[tuple[str, float], ...]
    present: float | None = None
    absent: float | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A question as a backbone's own template takes it, and the machine of what may be said to it."""

    text: str
    machine: Machine
    none: tuple[str, ...] = ()  # whole answers that say there is no such thing
    alike: tuple[tuple[str, ...], ...] = ()  # whole answers that mean the same, by what they mean


@dataclass(frozen=True, slots=True)
class Found:
    """A place in fractions of the input, and the characters that its numbers stand in."""

    where: Box | Point | Columns
    label: str
    spans: tuple[Span, ...] = ()


class Grammar(Protocol):
    """One reply format. Refusals are ParseError; an impossible thing to ask for is ConfigError."""

    name: ClassVar[str]
    says_absent: ClassVar[bool]  # whether its answers have a form for "there is none"
    says_boxes: ClassVar[bool]
    spelled: ClassVar[bool]  # whether rows spell all of an answer; otherwise its numbers stand beside them

    def ask(self, thing: str, picture: PictureMap, said: str | None = None) -> Ask | None:
        """What to ask to find `thing`, after `said`, the answers so far by lines (None before the first); None when no more is to ask."""
        ...

    def parse(self, text: str, picture: PictureMap, thing: str = "", chances: Chances | None = None) -> Answer:
        """What an answer (of several questions: by lines) says about the picture; `thing` labels what the answer does not name."""
        ...

    def encode(self, boxes: Sequence[Box], picture: PictureMap) -> str:
        """An answer that says these boxes, to the nearest that the format can."""
        ...

    def quantum(self, picture: PictureMap) -> tuple[float, float]:
        """How far an edge may move by `encode` and `parse`, in fractions of the picture's width and height."""
        ...


def blank(text: str, marks: Sequence[str]) -> str:
    """A reply with what a decoder leaves of control tokens turned to spaces, every other character at its place. Raises ParseError."""
    if len(text) > MAX_CHARS:
        raise ParseError(f"want a reply of at most {MAX_CHARS} characters, got {len(text)}")
    for mark in marks:
        text = text.replace(mark, " " * len(mark))
    return text


def says_nothing(text: str) -> bool:
    """Whether a reply is empty or a word for that."""
    return len(text.strip()) <= 8 and text.strip().lower().rstrip(".") in _NOTHING


def check_box(box: Box, scale: tuple[float, float], what: str = "") -> Box:
    """A box in units, `scale` of them to the input's sides, to fractions. Raises ParseError naming value and range."""
    for axis, low, high, most in (("x", box.x_min, box.x_max, scale[0]), ("y", box.y_min, box.y_max, scale[1])):
        if not 0 <= low < high <= most:  # false for nan as well
            raise ParseError(f"want 0 <= {axis}_min < {axis}_max <= {most:g}{what}, got {low:.9g}..{high:.9g}")
    wide, high = scale
    return Box(box.y_min / high, box.x_min / wide, box.y_max / high, box.x_max / wide, box.label)


def settle(found: Sequence[Found], text: str, picture: PictureMap, thing: str, chances: Chances | None) -> Answer:
    """Places of the input to an answer about the picture."""
    if len(found) > MAX_BOXES:
        raise ParseError(f"want at most {MAX_BOXES} places, got {len(found)}")
    sure = None if chances is None else _Sure(chances, text)
    places = []
    for one in found:
        label = one.label.strip() or thing
        confidence = LOC_CONFIDENCE if sure is None else sure.of(one.spans)
        places.append(Place(_in_picture(one.where, label, picture), label, confidence))
    nothing = LOC_CONFIDENCE if sure is None else sure.absent
    return Answer(tuple(places), max((place.confidence for place in places), default=nothing), sure is not None)


def bearing(where: Box | Point | Columns, hfov_rad: float) -> tuple[float, float]:
    """(middle, half width) of a place seen by a pinhole camera, rad, left positive."""
    x_min, x_max = (where.x, where.x) if isinstance(where, Point) else (where.x_min, where.x_max)
    left, right = bearing_rad(x_min, hfov_rad), bearing_rad(x_max, hfov_rad)
    return (left + right) / 2, (left - right) / 2


def _in_picture(where: Box | Point | Columns, label: str, picture: PictureMap) -> Box | Point | Columns:
    if isinstance(where, Box):
        return picture.box_to_original(Box(where.y_min, where.x_min, where.y_max, where.x_max, label))
    if isinstance(where, Columns):
        strip = picture.box_to_original(Box(0.0, where.x_min, 1.0, where.x_max))
        return Columns(strip.x_min, strip.x_max)
    x, y = picture.to_original(where.x * picture.canvas[0], where.y * picture.canvas[1])
    x, y = x / picture.original[0], y / picture.original[1]
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise ParseError(f"want a point in the picture (0..1), got x {x:.4g}, y {y:.4g}")
    return Point(x, y)


class _Sure:
    """Token probabilities by their characters."""

    def __init__(self, chances: Chances, text: str) -> None:
        """Raises ParseError for probabilities that are none, or of another reply."""
        self.tokens, self.starts, at = chances.tokens, [0], 0
        for token, chance in self.tokens:
            if not 0.0 <= chance <= 1.0:  # false for nan as well
                raise ParseError(f"want a probability in 0..1, got {chance} for {token[:30]!r}")
            at += len(token)
            self.starts.append(at)
        if "".join(token for token, _ in self.tokens) != text:
            raise ParseError(f"want the probabilities of this reply's {len(text)} characters, got those of {at} others")
        first = chances.tokens[0][1] if chances.tokens else 1.0
        self.present = first if chances.present is None else chances.present
        self.absent = first if chances.absent is None else chances.absent
        for chance, what in ((self.present, "anything"), (self.absent, "nothing")):
            if not 0.0 <= chance <= 1.0:
                raise ParseError(f"want a probability in 0..1, got {chance} for {what} being there")

    def of(self, spans: Sequence[Span]) -> float:
        """P(present) x the geometric mean over the numbers of the probability of the tokens that spell each (DESIGN §4)."""
        if not spans:
            raise ParseError("want the characters of a place's numbers to look up their probabilities, got none")
        return self.present * math.prod(self._of(span) for span in spans) ** (1 / len(spans))

    def _of(self, span: Span) -> float:
        first = max(0, bisect_right(self.starts, span[0]) - 1)
        chance = 1.0
        for index in range(first, len(self.tokens)):
            if self.starts[index] >= span[1]:
                break
            chance *= self.tokens[index][1]
        return chance
