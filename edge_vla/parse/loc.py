"""PaliGemma's loc tokens to boxes and back, and a box to a bearing. Knows nothing about engines, speeds or time.

Bin k means k/1024 of the image, as big_vision's own parser reads it (`int(x) / 1024`), not k/1023. 1024 is a power of
two, so `box_to_locs(parse_detections(text))` gives the same tokens back, bit for bit.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from edge_vla.errors import ParseError
from edge_vla.types import Box

BINS = 1024
MAX_CHARS = 1 << 20  # of a reply; longer is refused unread
MAX_BOXES = 256  # of a reply; a model that loops is refused
SEG_CODES = 128  # PaliGemma's mask codebook
_NOTHING = {"", "none", "nothing"}
_CONTROL = ("<bos>", "<eos>", "<pad>", "</s>")  # what a decoder leaves behind with skip_special_tokens=False
_PIECE = re.compile(r"<[^<>]{0,32}>|[<>]|[^<>]+")  # every character belongs to exactly one piece: linear


class _Tokens(NamedTuple):
    """One detection's reply taken apart: the text before, the bins, the text after."""

    before: str
    bins: list[int]
    after: str


def parse_detections(text: str) -> list[Box]:
    """The boxes of a reply in its own order; [] when it names nothing. One bad token refuses the whole reply (ParseError)."""
    if len(text) > MAX_CHARS:
        raise ParseError(f"want a reply of at most {MAX_CHARS} characters, got {len(text)}")
    for token in _CONTROL:
        text = text.replace(token, " ")
    if text.strip().lower() in _NOTHING:
        return []
    parts = text.split(";")
    if len(parts) > 1 and not parts[-1].strip():
        parts.pop()  # a closing separator
    if len(parts) > MAX_BOXES:
        raise ParseError(f"want at most {MAX_BOXES} detections, got {len(parts)}")
    return [_box(part) for part in parts]


def box_to_locs(box: Box) -> str:
    """The four tokens of a box, rounded to the nearest bins and kept at least one bin wide and high. Raises ParseError."""
    y_min, y_max = _bins("y", box.y_min, box.y_max)
    x_min, x_max = _bins("x", box.x_min, box.x_max)
    return "".join(f"<loc{k:04d}>" for k in (y_min, x_min, y_max, x_max))


def bearing_rad(x_fraction: float, hfov_rad: float) -> float:
    """The bearing of an image column of a pinhole camera, left positive: atan((1/2 - x) * 2 tan(hfov/2))."""
    if not 0.0 < hfov_rad < math.pi:
        raise ValueError(f"want a horizontal field of view in (0, pi) rad, got {hfov_rad}")
    if not math.isfinite(x_fraction):
        raise ValueError(f"want a finite image fraction, got {x_fraction}")
    return math.atan((0.5 - x_fraction) * 2.0 * math.tan(hfov_rad / 2.0))


def _box(part: str) -> Box:
    before, bins, after = _take_apart(part)
    if len(bins) != 4:
        raise ParseError(f"want 4 <locNNNN> (y_min x_min y_max x_max) for each detection, got {len(bins)} in {part.strip()[:60]!r}")
    y_min, x_min, y_max, x_max = bins
    if y_min >= y_max or x_min >= x_max:
        raise ParseError(f"want y_min < y_max and x_min < x_max, got y {y_min}..{y_max}, x {x_min}..{x_max}")
    return Box(y_min / BINS, x_min / BINS, y_max / BINS, x_max / BINS, label=after or _echo(before))


def _take_apart(part: str) -> _Tokens:
    """Loc tokens must stand side by side, seg tokens only behind them."""
    before, after, closed = "", "", False
    bins: list[int] = []
    for piece in _PIECE.findall(part):
        if piece[0] not in "<>":
            if not bins:
                before += piece
            elif piece.strip():
                after += piece
                closed = True
        elif piece.startswith("<seg"):
            _seg(piece)
            if len(bins) != 4:
                raise ParseError(f"want 4 <locNNNN> before {piece!r}, got {len(bins)}")
            closed = True
        else:
            bins.append(_bin(piece))
            if closed:
                raise ParseError(f"want the 4 <locNNNN> side by side, got {piece!r} after {after.strip()[:30] or 'a <seg>'!r}")
    return _Tokens(before.strip(), bins, after.strip())


def _bin(piece: str) -> int:
    digits = piece[4:-1]
    if not (piece.startswith("<loc") and piece.endswith(">") and len(digits) == 4 and digits.isascii() and digits.isdigit()):
        raise ParseError(f"want <locNNNN> with four digits, got {piece!r}")
    if int(digits) >= BINS:
        raise ParseError(f"want <loc0000>..<loc{BINS - 1:04d}>, got {piece!r}")
    return int(digits)


def _seg(piece: str) -> None:
    digits = piece[4:-1]
    if not (len(digits) == 3 and digits.isascii() and digits.isdigit() and int(digits) < SEG_CODES):
        raise ParseError(f"want <seg000>..<seg{SEG_CODES - 1:03d}>, got {piece!r}")


def _echo(before: str) -> str:
    """A label that stands before its tokens, without the prompt that some decoders repeat there."""
    line = before.splitlines()[-1].strip() if before else ""
    return line.removeprefix("detect ").removeprefix("segment ").strip()


def _bins(axis: str, low: float, high: float) -> tuple[int, int]:
    if not 0.0 <= low < high <= 1.0:  # false for nan as well
        raise ParseError(f"want 0 <= {axis}_min < {axis}_max <= 1, got {low}..{high}")
    first, last = (min(BINS - 1, math.floor(value * BINS + 0.5)) for value in (low, high))
    if first == last:
        first, last = (first - 1, last) if last == BINS - 1 else (first, last + 1)
    return first, last
