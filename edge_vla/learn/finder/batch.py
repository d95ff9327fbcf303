"""Labelled views to one packed training batch: four queries per image under a block mask, and dense targets per patch."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from edge_vla.learn.finder.language import (
    EOS,
    LOC_BINS,
    PAD,
    Query,
    certainly_absent,
    detect_query,
    largest,
    other_query,
)
from edge_vla.learn.finder.vision import GRID

DETECT_LEN, OTHER_LEN = 10, 27  # longest block of its kind, asserted when packed
BLOCKS = (DETECT_LEN, DETECT_LEN, DETECT_LEN, OTHER_LEN)
TEXT_LEN = sum(BLOCKS)


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
    patch_class: Tensor  # (B, P, C) 0, 1, or -1 for "not judged"
    patch_box: Tensor  # (B, P, 4), nan where the patch belongs to nothing
    free_m: Tensor  # (B, columns)


class Packer:
    """Views to batches; draws queries, flips and colours from its own generator."""

    def __init__(self, tokenizer: Tokenizer, classes: int, seed: int) -> None:
        self.tokenizer, self.classes = tokenizer, classes
        self.loc_start = tokenizer.token_to_id("<loc0000>")
        self.rng = np.random.default_rng(seed)

    def encode_query(self, query: Query) -> tuple[list[int], list[int]]:
        """Prompt ids (with <bos> and newline) and answer ids (locs, words, <eos>)."""
        prompt = self.tokenizer.encode("<bos> " + query.prompt + "\n").ids
        locs = [] if query.box is None else [self.loc_start + min(LOC_BINS - 1, int(v * LOC_BINS)) for v in query.box]
        words = self.tokenizer.encode(query.answer).ids if query.answer else []
        return prompt, [*locs, *words, EOS]

    def queries(self, boxes: NDArray[np.float32], free_m: NDArray[np.float32]) -> list[Query]:
        """Up to two present things, the rest surely absent ones, and one question in words."""
        best, absent = largest(boxes), certainly_absent(boxes)
        present = self.rng.permutation(list(best))[:2].tolist()
        missing = self.rng.permutation(absent)[: 3 - len(present)].tolist()
        picks = (present + missing)[:3]
        while len(picks) < 3:
            picks.append(int(self.rng.choice(list(best))))
        return [*(detect_query(int(i), best) for i in picks), other_query(self.rng, boxes, free_m)]

    def __call__(self, views: list[tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]], *, flips: bool) -> Batch:
        b = len(views)
        images = np.empty((b, 3, 224, 224), np.uint8)
        ids, target = np.full((b, TEXT_LEN), PAD), np.full((b, TEXT_LEN), -100)
        loc, present = np.full((b, TEXT_LEN), np.nan, np.float32), np.full((b, TEXT_LEN), np.nan, np.float32)
        opened, position = np.zeros((b, TEXT_LEN, TEXT_LEN), bool), np.zeros((b, TEXT_LEN), np.int64)
        patch_class, patch_box = np.zeros((b, GRID**2, self.classes), np.float32), np.full((b, GRID**2, 4), np.nan, np.float32)
        free = np.empty((b, len(views[0][2])), np.float32)
        for k, (jpeg, boxes, free_m) in enumerate(views):
            image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1]
            if flips and self.rng.random() < 0.5:
                image, boxes, free_m = flip(image, boxes, free_m)
            images[k], free[k] = image.transpose(2, 0, 1), free_m
            start = 0
            for length, query in zip(BLOCKS, self.queries(boxes, free_m), strict=True):
                block = slice(start, start + length)
                fill(query, self.encode_query(query), ids[k, block], target[k, block], loc[k, block], present[k, block], opened[k, block, block])
                position[k, block] = GRID**2 + np.arange(length)
                start += length
            patch_class[k], patch_box[k] = patch_targets(boxes, self.classes)
        arrays = (images, ids, target, loc, present, opened, position, patch_class, patch_box, free)
        return Batch(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays))


def flip(image: NDArray[np.uint8], boxes: NDArray[np.float32], free_m: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Mirror left and right."""
    mirrored = boxes.copy()
    mirrored[:, 2], mirrored[:, 4] = 1 - boxes[:, 4], 1 - boxes[:, 2]
    return image[:, ::-1], mirrored, free_m[::-1]


def fill(
    query: Query, encoded: tuple[list[int], list[int]], ids: NDArray[np.int64], target: NDArray[np.int64],
    loc: NDArray[np.float32], present: NDArray[np.float32], opened: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Write one query into its block: the prompt sees itself both ways, the answer only what came before."""
    prompt, answer = encoded
    p, n = len(prompt), len(prompt) + len(answer)
    if n - 1 > len(ids):
        raise ValueError(f"query {query.prompt!r} -> {query.answer!r} takes {n - 1} tokens, the block has {len(ids)}")
    whole = [*prompt, *answer]
    ids[: n - 1] = whole[: n - 1]
    target[p - 1 : n - 1] = answer
    opened[: n - 1, :p] = True
    opened[: n - 1, : n - 1] |= np.tril(np.ones((n - 1, n - 1), bool))
    np.fill_diagonal(opened, True)  # pads see themselves, so that no softmax row is empty
    if query.detects:
        present[p - 1] = float(query.box is not None)
        target[p - 1] = -100 if query.box is None else target[p - 1]  # absence is learned by the presence loss alone
    if query.box is not None:
        loc[p - 1 : p + 3] = query.box
        target[p - 1 : p + 3] = -100


def patch_targets(boxes: NDArray[np.float32], classes: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Which classes each patch belongs to (small things win) and the box it should say."""
    label, target = np.zeros((GRID, GRID, classes), np.float32), np.full((GRID, GRID, 4), np.nan, np.float32)
    centre = (np.arange(GRID) + 0.5) / GRID
    for row in boxes[np.argsort(-((boxes[:, 3] - boxes[:, 1]) * (boxes[:, 4] - boxes[:, 2])))]:
        index, (y0, x0, y1, x1) = int(row[0]), row[1:5]
        cy, cx, hy, hx = (y0 + y1) / 2, (x0 + x1) / 2, (y1 - y0) / 2, (x1 - x0) / 2
        inside_y, inside_x = np.abs(centre - cy) <= hy * 0.6, np.abs(centre - cx) <= hx * 0.6
        inside_y[min(GRID - 1, int(cy * GRID))] = inside_x[min(GRID - 1, int(cx * GRID))] = True
        area = np.ix_(inside_y, inside_x)
        if row[5] < 14:
            label[area] = np.where(label[area] > 0, label[area], -1)
            continue
        label[area] = 0
        label[(*area, index)] = 1
        target[area] = (y0, x0, y1, x1)
    return label.reshape(-1, classes), target.reshape(-1, 4)
