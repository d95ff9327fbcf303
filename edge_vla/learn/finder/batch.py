"""Labelled views to one packed training batch: eight queries per image under a block mask, and dense targets per patch."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from edge_vla.learn.finder.language import EOS, LOC_BINS, PAD, Query, certainly_absent, detect_query, largest, other_query, token_id
from edge_vla.learn.finder.patches import patch_targets
from edge_vla.learn.finder.vision import GRID

Sample = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]  # JPEG bytes, boxes, free distances

DETECT_LEN, OTHER_LEN = 10, 27  # longest block of its kind; a longer query is an error when packed
DETECTIONS = 7  # questions per image cost little beside the image itself
MOST_PRESENT = 4
JITTER_BINS = 6  # corners are fed back with noise, so that one corner's error does not derail the next
BLOCKS = (DETECT_LEN,) * DETECTIONS + (OTHER_LEN,)
TEXT_LEN = sum(BLOCKS)
SIDE_PX = 224


@dataclass(slots=True)
class Batch:
    """One step's tensors. B images, T packed text tokens, P = 196 patches."""

    image: Tensor  # (B, 3, 224, 224) uint8
    ids: Tensor  # (B, T)
    target: Tensor  # (B, T) next-token ids, -100 where nothing is learned or a loc is expected
    loc: Tensor  # (B, T) expected coordinate 0..1, nan elsewhere
    present: Tensor  # (B, T) 1 or 0 at the first answer position of a detection, nan elsewhere
    open: Tensor  # (B, T, T) True where text may attend to text
    position: Tensor  # (B, T)
    patch_class: Tensor  # (B, P, C)
    patch_box: Tensor  # (B, P, 4)
    free_m: Tensor  # (B, columns)


@dataclass(slots=True)
class Text:
    """The packed queries of one image, being filled."""

    ids: NDArray[np.int64]
    target: NDArray[np.int64]
    loc: NDArray[np.float32]
    present: NDArray[np.float32]
    open: NDArray[np.bool_]
    position: NDArray[np.int64]

    @staticmethod
    def empty() -> "Text":
        nan = np.full(TEXT_LEN, np.nan, np.float32)
        position = np.concatenate([GRID**2 + np.arange(length) for length in BLOCKS])
        return Text(np.full(TEXT_LEN, PAD), np.full(TEXT_LEN, -100), nan, nan.copy(), np.eye(TEXT_LEN, dtype=bool), position)

    def fill(self, start: int, length: int, query: Query, prompt: list[int], answer: list[int]) -> None:
        """Write one query into its block: the prompt sees itself both ways, the answer only what came before."""
        p, n = len(prompt), len(prompt) + len(answer) - 1  # the last answer token is only ever predicted
        if n > length:
            raise ValueError(f"query {query.prompt!r} -> {query.answer!r} takes {n} tokens, the block has {length}")
        block, first = slice(start, start + n), start + p - 1
        self.ids[block] = [*prompt, *answer][:n]
        self.target[first : start + n] = answer
        self.open[block, start : start + p] = True
        self.open[block, block] |= np.tril(np.ones((n, n), bool))
        if query.detects:
            self.present[first] = float(query.box is not None)
            self.target[first] = -100  # presence is learned by its own loss
        if query.box is not None:
            self.loc[first : first + 4] = query.box
            self.target[first : first + 4] = -100


class Packer:
    """Views to batches; draws queries and flips from its own generator."""

    def __init__(self, tokenizer: Tokenizer, classes: int, seed: int) -> None:
        self.tokenizer, self.classes = tokenizer, classes
        self.loc_start = token_id(tokenizer, "<loc0000>")
        self.rng = np.random.default_rng(seed)

    def encode_query(self, query: Query) -> tuple[list[int], list[int]]:
        """Prompt ids (with <bos> and newline) and answer ids (locs, words, <eos>)."""
        prompt = self.tokenizer.encode("<bos> " + query.prompt + "\n").ids
        locs = [] if query.box is None else [self.loc_start + min(LOC_BINS - 1, int(v * LOC_BINS)) for v in query.box]
        words = self.tokenizer.encode(query.answer).ids if query.answer else []
        return prompt, [*locs, *words, EOS]

    def queries(self, boxes: NDArray[np.float32], free_m: NDArray[np.float32]) -> list[Query]:
        """Present things first, then surely absent ones, and one question in words."""
        best, absent = largest(boxes), certainly_absent(boxes)
        present = self.rng.permutation(list(best))[:MOST_PRESENT].tolist()
        missing = self.rng.permutation(absent)[: DETECTIONS - len(present)].tolist()
        picks = present + missing
        while len(picks) < DETECTIONS:
            picks.append(int(self.rng.choice(list(best) or absent)))
        return [*(detect_query(int(i), best) for i in picks), other_query(self.rng, boxes, free_m)]

    def pack_text(self, boxes: NDArray[np.float32], free_m: NDArray[np.float32]) -> Text:
        """Every query of one image, its fed-back corners jittered; the corners to be predicted stay exact."""
        text, start = Text.empty(), 0
        for length, query in zip(BLOCKS, self.queries(boxes, free_m), strict=True):
            text.fill(start, length, query, *self.encode_query(query))
            start += length
        locs = text.ids >= self.loc_start
        moved = text.ids[locs] + self.rng.integers(-JITTER_BINS, JITTER_BINS + 1, int(locs.sum()))
        text.ids[locs] = np.clip(moved, self.loc_start, self.loc_start + LOC_BINS - 1)
        return text

    def __call__(self, views: list[Sample], *, flips: bool) -> Batch:
        images, texts, patches, frees = [], [], [], []
        for jpeg, true_boxes, true_free_m in views:
            view = (decode(jpeg), true_boxes, true_free_m)
            image, boxes, free_m = flip(*view) if flips and self.rng.random() < 0.5 else view
            images.append(image.transpose(2, 0, 1))
            texts.append(self.pack_text(boxes, free_m))
            patches.append(patch_targets(boxes, self.classes))
            frees.append(free_m)
        text = [np.stack([getattr(t, name) for t in texts]) for name in ("ids", "target", "loc", "present", "open", "position")]
        arrays = (np.stack(images), *text, np.stack([p[0] for p in patches]), np.stack([p[1] for p in patches]), np.stack(frees))
        return Batch(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays))


def decode(jpeg: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(224, 224, 3) RGB. Raises ValueError for bytes that are no picture of that size."""
    image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    if image is None or image.shape != (SIDE_PX, SIDE_PX, 3):
        raise ValueError(f"want a JPEG of {SIDE_PX} x {SIDE_PX}, got {None if image is None else image.shape}")
    return np.asarray(image[..., ::-1], dtype=np.uint8)


def flip(
    image: NDArray[np.uint8], boxes: NDArray[np.float32], free_m: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Mirror left and right."""
    mirrored = boxes.copy()
    mirrored[:, 2], mirrored[:, 4] = 1 - boxes[:, 4], 1 - boxes[:, 2]
    return image[:, ::-1], mirrored, free_m[::-1]
