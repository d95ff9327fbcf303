"""What Finder is taught with: dense patches, softened locs, presence, words and free distance."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from edge_vla.learn.finder.batch import Batch
from edge_vla.learn.finder.language import EOS, LOC_BINS


@dataclass(frozen=True, slots=True)
class Weights:
    """Relative weight of each part of the loss."""

    dense_class: float = 1.0
    dense_box: float = 2.0
    loc: float = 0.5
    coordinate: float = 4.0
    present: float = 1.0
    words: float = 0.3
    free: float = 1.0


class Patches(Protocol):
    """What each patch should say."""

    @property
    def patch_class(self) -> Tensor:
        """(B, P, C)"""

    @property
    def patch_box(self) -> Tensor:
        """(B, P, 4)"""


def dense_losses(logits: Tensor, boxes: Tensor, batch: Patches) -> tuple[Tensor, Tensor]:
    """Focal BCE over judged patches, and L1 + (1 - GIoU) of the patches that belong to something."""
    judged = batch.patch_class >= 0
    label = batch.patch_class.clamp(min=0)
    p = torch.sigmoid(logits)
    focus = torch.where(label > 0, 1 - p, p) ** 2 * torch.where(label > 0, 0.75, 0.25)
    bce = F.binary_cross_entropy_with_logits(logits, label, reduction="none")
    owned = ~torch.isnan(batch.patch_box[..., 0])
    count = owned.sum().clamp(min=1)
    cls = 4 * (bce * focus * judged).sum() / count
    if not owned.any():
        return cls, boxes.sum() * 0
    got, want = boxes[owned], batch.patch_box[owned]
    return cls, 5 * (got - want).abs().mean() + (1 - giou(got, want)).mean()


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of (N, 4) y0 x0 y1 x1 boxes (Rezatofighi 2019)."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    inter = (high - low).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).clamp(min=0).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inter
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    return inter / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)


def language_losses(logits: Tensor, batch: Batch, loc_start: int, width_bins: float) -> dict[str, Tensor]:
    """Softened loc cross-entropy, L1 of the expected coordinate, presence and words. `logits` (B, T, vocab) float."""
    at_loc = ~torch.isnan(batch.loc)
    rows, want = logits[at_loc][:, loc_start : loc_start + LOC_BINS], batch.loc[at_loc][:, None]
    bins = (torch.arange(LOC_BINS, device=logits.device) + 0.5)[None] / LOC_BINS
    soft = torch.softmax(-((bins - want) ** 2) * (LOC_BINS / width_bins) ** 2 / 2, -1)
    chance = torch.log_softmax(rows, -1)
    loc = -(soft * chance).sum(-1).mean() if len(rows) else logits.sum() * 0
    coordinate = ((chance.exp() * bins).sum(-1) - want[:, 0]).abs().mean() if len(rows) else logits.sum() * 0
    at_first = ~torch.isnan(batch.present)
    first = logits[at_first]
    odds = torch.logsumexp(first[:, loc_start : loc_start + LOC_BINS], -1) - first[:, EOS]
    present = F.binary_cross_entropy_with_logits(odds, batch.present[at_first])
    words = F.cross_entropy(logits.flatten(0, 1), batch.target.flatten(), ignore_index=-100)
    return {"loc": loc, "coordinate": coordinate, "present": present, "words": words}


def free_loss(free_m: Tensor, want_m: Tensor) -> Tensor:
    """L1 of log distance, so that near obstacles count."""
    return (torch.log(free_m + 0.1) - torch.log(want_m + 0.1)).abs().mean()
