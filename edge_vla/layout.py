"""Where every token of a vision-language-action sequence goes, in numpy: the model trains on it and the engine's host drives with it.

One frame is `[bos] [hand images] [images] text [state] ACT x latent [last text token]`, images inside their start and end tokens
where the backbone has such; history `pre` strings the window's frames together, `video` puts the images of all frames before one text.
Knows tokens by kind and number only, no embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray

from edge_vla.errors import ConfigError

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Source(IntEnum):
    """Where a position's embedding comes from; `Layout.index` says which row of it."""

    TEXT = 0  # column of the tokenised text
    IMAGE = 1  # token of the main camera: frame * tokens per frame + token
    HAND = 2  # token of the hand camera, counted likewise
    ACT = 3  # latent of the learned action token
    STATE = 4  # the encoded robot state
    IMAGE_START = 5
    IMAGE_END = 6


class History(str, Enum):
    """How the frames of a window meet: in the head, in one interleaved sequence, or as one video before one text."""

    POST = "post"
    PRE = "pre"
    VIDEO = "video"


class ActionSpace(str, Enum):
    """What the head reads: ACT tokens, text and image tokens, or next-token logits."""

    CONTINUOUS = "continuous"
    DOWN_SAMPLE = "down_sample"
    DISCRETE = "discrete"


class TokenSource(str, Enum):
    """Which positions `down_sample` hands to the head."""

    ALL = "all"
    TEXT = "text"
    VISION = "vision"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a sequence is made of. Raises ConfigError for what fits no sequence."""

    bos: bool  # the tokenizer has a bos token, so that images come second, unless `lead` says otherwise
    eos: bool  # it has an eos token, so that ACT comes before the last text token
    image_tokens: int  # of one frame of the main camera
    hand_tokens: int = 0  # of one frame of the hand camera; 0 without one
    latent: int = 1
    window: int = 1
    history: History = History.POST
    action_space: ActionSpace = ActionSpace.CONTINUOUS
    image_brackets: bool = False  # start and end tokens around each image
    state: bool = False
    fill_zero: bool = False  # ACT and state are masked out, as some reference configurations want it
    reference_padding: bool = False  # ACT at one place for the whole batch, behind the pads of shorter texts
    lead: int | None = None  # text tokens before the images, of a chat template; None is the bos alone

    def __post_init__(self) -> None:
        for name, low in (("image_tokens", 0), ("hand_tokens", 0), ("latent", 1), ("window", 1)):
            value = getattr(self, name)
            if value < low:
                raise ConfigError(f"{name} {value}: want at least {low}")
        if self.lead is not None and self.lead < 0:
            raise ConfigError(f"lead {self.lead}: want at least 0")

    @property
    def acts(self) -> bool:
        """Whether there are ACT tokens at all."""
        return self.action_space is ActionSpace.CONTINUOUS

    @property
    def video(self) -> bool:
        return self.history is History.VIDEO


@dataclass(frozen=True, slots=True)
class Layout:
    """A batch of sequences of one length. All arrays are (rows, positions) but the two of positions."""

    source: NDArray[np.int8]  # of Source
    index: Ints
    frame: Ints  # of the window, in history `pre`; else 0
    mask: Bools  # what may be attended to
    act: Ints  # (rows, frames, latent) positions of the ACT tokens; latent 0 without any

    def positions(self, grid: tuple[int, int] | None = None) -> Ints:
        """0-based position ids that do not count what is masked out.

        With a `grid`, the rows and columns of one image's tokens, (3, rows, positions) as M-RoPE has them: time, height and width.
        An image's tokens share one time, and what follows it begins behind its longer side.
        """
        if grid is None:
            in_a_row: Ints = np.maximum(np.cumsum(self.mask, axis=1) - 1, 0)
            return in_a_row
        size, width = grid[0] * grid[1], grid[1]
        image, token = np.isin(self.source, (Source.IMAGE, Source.HAND)), self.index % size
        steps = np.where(image, np.where(token == size - 1, max(grid), 0), 1) * self.mask
        start = np.maximum(np.cumsum(steps, axis=1) - np.where(self.mask, steps, 1), 0)
        down, right = np.where(image, token // width, 0), np.where(image, token % width, 0)
        return np.stack([start, start + down, start + right])

    def pick(self, tokens: TokenSource, recipe: Recipe) -> Ints:
        """(rows, frames, n) positions that `down_sample` reads, in order. Raises ConfigError when there are none.

        `text` leaves out the bos and the last token where the tokenizer has them. A masked position is replaced by the last real one
        before it, which a max over tokens does not notice; with `reference_padding` pads are read like words, as the reference does.
        """
        wanted = self._wanted(tokens, recipe)
        frames = int(self.frame.max()) + 1
        rows = [np.stack([np.flatnonzero(w & (f == k)) for k in range(frames)]) for w, f in zip(wanted, self.frame, strict=True)]
        picked = np.stack(rows).astype(np.int64)
        if not picked.shape[-1]:
            raise ConfigError(f"token_source {tokens.value!r}: the sequences have no such tokens")
        if recipe.reference_padding:
            return picked
        real = np.take_along_axis(self.mask, picked.reshape(len(picked), -1), 1).reshape(picked.shape)
        last_real: Ints = np.maximum.accumulate(np.where(real, picked, picked[..., :1]), axis=-1)
        return last_real

    def _wanted(self, tokens: TokenSource, recipe: Recipe) -> Bools:
        if tokens is TokenSource.ALL:
            return np.ones_like(self.mask)
        if tokens is TokenSource.VISION:
            return np.isin(self.source, (Source.IMAGE, Source.HAND, Source.IMAGE_START, Source.IMAGE_END))
        text = self.source == Source.TEXT
        ending = text if recipe.reference_padding else text & self.mask
        last = self.index == np.where(ending, self.index, 0).max(1, keepdims=True)
        words: Bools = text & (self.index >= int(recipe.bos)) & ~(last & recipe.eos)
        return words


def lay_out(text_mask: Bools, recipe: Recipe) -> Layout:
    """The sequences for right-padded texts, `text_mask` (rows, columns): True where there is a token.

    `post` and `video` give one sequence a row, `pre` one of `window` frames with the text repeated in each. Raises ConfigError.
    """
    if text_mask.ndim != 2 or not text_mask.shape[1]:
        raise ConfigError(f"text mask of shape {text_mask.shape}: want (rows, at least one column)")
    if (~text_mask[:, :-1] & text_mask[:, 1:]).any():
        raise ConfigError("text mask: a token after a pad; texts are padded on the right")
    rows = [_frame(mask, recipe) for mask in text_mask]
    source, index = np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])
    mask = np.stack([row[2] for row in rows])
    frames = recipe.window if recipe.history is History.PRE else 1
    length = source.shape[1]
    frame = np.repeat(np.arange(frames), length)[None].repeat(len(rows), 0)
    source, mask = np.tile(source, (1, frames)), np.tile(mask, (1, frames))
    index = np.tile(index, (1, frames)) + _frame_offset(source, frame, recipe)
    act = np.stack([np.flatnonzero(s == Source.ACT) for s in source]).reshape(len(rows), frames, -1)
    return Layout(source.astype(np.int8), index, frame, mask, act.astype(np.int64))


def _frame_offset(source: Ints, frame: Ints, recipe: Recipe) -> Ints:
    """What to add to image and hand indices in later frames of a `pre` sequence; each frame has a state of its own."""
    per_frame = np.zeros(len(Source), np.int64)
    per_frame[Source.IMAGE], per_frame[Source.HAND], per_frame[Source.STATE] = recipe.image_tokens, recipe.hand_tokens, 1
    return per_frame[source] * frame


def _frame(text_mask: Bools, recipe: Recipe) -> tuple[Ints, Ints, Bools]:
    """(source, index, mask) of one frame's sequence."""
    columns, tokens = len(text_mask), int(text_mask.sum())
    text = [(Source.TEXT, k, bool(text_mask[k])) for k in range(columns)]
    end = columns if recipe.reference_padding else tokens
    tail = max(end - 1, 0) if recipe.eos else end
    added: list[tuple[Source, int, bool]] = []
    if recipe.acts:
        added = [(Source.STATE, 0, not recipe.fill_zero)] * recipe.state
        added += [(Source.ACT, k, not recipe.fill_zero) for k in range(recipe.latent)]
    head = min(int(recipe.bos) if recipe.lead is None else recipe.lead, columns)
    tail = max(tail, head)  # a bos or a lead alone stays in front
    images = _images(Source.HAND, recipe.hand_tokens, recipe) + _images(Source.IMAGE, recipe.image_tokens, recipe)
    sequence = text[:head] + images + text[head:tail] + added + text[tail:]
    source, index, mask = zip(*sequence, strict=True)
    return np.array(source, np.int64), np.array(index, np.int64), np.array(mask, np.bool_)


def _images(source: Source, tokens: int, recipe: Recipe) -> list[tuple[Source, int, bool]]:
    """The tokens of one camera, of one frame or, in a video, of all of them; nothing without that camera."""
    if not tokens:
        return []
    found: list[tuple[Source, int, bool]] = []
    for frame in range(recipe.window if recipe.video else 1):
        one = [(source, frame * tokens + k, True) for k in range(tokens)]
        found += [(Source.IMAGE_START, 0, True), *one, (Source.IMAGE_END, 0, True)] if recipe.image_brackets else one
    return found
