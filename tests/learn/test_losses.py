"""The losses by hand: zero where nothing is left to learn, and as large as the formula says where something is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from edge_vla.learn.finder.batch import Batch, Packer, Sample
from edge_vla.learn.finder.language import EOS, LOC_BINS
from edge_vla.learn.finder.losses import dense_losses, free_loss, giou, language_losses
from edge_vla.sim.objects import CLASSES

MakeBoxes = Callable[..., NDArray[np.float32]]
LOC, VOCAB, WIDTH = 56, 1080, 8.0


@pytest.fixture
def batch(tokenizer: Tokenizer, make_sample: Callable[..., Sample], make_boxes: MakeBoxes) -> Batch:
    """Two views: two things, one of them not judged; and one thing."""
    two = make_boxes(("cup", 0.3, 0.3, 0.7, 0.6, 900), ("ball", 0.8, 0.8, 0.85, 0.85, 9))
    one = make_boxes(("door", 0.25, 0.55, 0.75, 0.75, 4000))
    return Packer(tokenizer, len(CLASSES), seed=0)([make_sample(two), make_sample(one)], flips=False)


@pytest.fixture
def empty(tokenizer: Tokenizer, make_sample: Callable[..., Sample], make_boxes: MakeBoxes) -> Batch:
    """Nothing is there, so every detection is absent."""
    return Packer(tokenizer, len(CLASSES), seed=0)([make_sample(make_boxes())] * 2, flips=False)


def hill(want: float, width: float = WIDTH) -> Tensor:
    """Log probability of each bin: a Gaussian of `width` bins around `want`."""
    bins = (torch.arange(LOC_BINS) + 0.5) / LOC_BINS
    return torch.log_softmax(-(((bins - want) * LOC_BINS / width) ** 2) / 2, -1)


def perfect(batch: Batch, lean: float = 0.0) -> Tensor:
    """The logits of a model that knows every answer; `lean` moves every corner by that share of the picture."""
    logits = torch.full((*batch.ids.shape, VOCAB), -30.0)
    for b, t in torch.nonzero(~torch.isnan(batch.loc)).tolist():
        logits[b, t, LOC:] = hill(float(batch.loc[b, t]) + lean)
    for b, t in torch.nonzero(batch.present == 0).tolist():
        logits[b, t, EOS] = 30.0
    for b, t in torch.nonzero(batch.target >= 0).tolist():
        logits[b, t, batch.target[b, t]] = 30.0
    return logits


# -- giou


@pytest.mark.parametrize(
    ("a", "b", "want"),
    [
        ((0.1, 0.2, 0.6, 0.9), (0.1, 0.2, 0.6, 0.9), 1.0),
        ((0, 0, 1, 1), (0, 0, 1, 0.5), 0.5),  # the hull is the larger box
        ((0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1), -0.5),  # they touch at a corner: 0 - (1 - 0.5)
        ((0, 0, 0.5, 0.5), (0, 0.25, 0.5, 0.75), 1 / 3),  # overlap 1/8 of a union of 3/8, which is the hull
        ((0, 0, 0.2, 0.2), (0.8, 0.8, 1, 1), -0.92),
        ((0.5, 0.5, 0.4, 0.4), (0, 0, 1, 1), 0.0),  # inside out: no area
    ],
)
def test_giou(a: tuple[float, ...], b: tuple[float, ...], want: float) -> None:
    assert giou(torch.tensor([a], dtype=torch.float32), torch.tensor([b], dtype=torch.float32)).tolist() == pytest.approx([want], abs=1e-6)


def test_giou_goes_box_by_box() -> None:
    a = torch.tensor([[0, 0, 1, 1], [0, 0, 0.5, 0.5]])
    b = torch.tensor([[0, 0, 1, 0.5], [0.5, 0.5, 1, 1]])
    assert giou(a, b).tolist() == pytest.approx([0.5, -0.5])


# -- words and corners


def test_a_model_that_knows_has_nothing_left_but_the_softness_of_the_corners(batch: Batch) -> None:
    losses = language_losses(perfect(batch), batch, LOC, WIDTH)
    assert losses["present"].item() < 1e-6
    assert losses["words"].item() < 1e-6
    assert losses["coordinate"].item() < 1e-4
    assert losses["loc"].item() == pytest.approx(math.log(WIDTH * math.sqrt(2 * math.pi * math.e)), abs=1e-3)  # a Gaussian's entropy


@pytest.mark.parametrize("lean", [0.05, -0.05])
def test_a_corner_that_is_off_costs_its_distance(batch: Batch, lean: float) -> None:
    losses = language_losses(perfect(batch, lean), batch, LOC, WIDTH)
    assert losses["coordinate"].item() == pytest.approx(0.05, abs=1e-4)
    entropy = math.log(WIDTH * math.sqrt(2 * math.pi * math.e))
    assert losses["loc"].item() - entropy == pytest.approx((0.05 * 1024 / WIDTH) ** 2 / 2, rel=1e-3)  # two Gaussians' divergence


def test_a_wide_target_is_softer(batch: Batch) -> None:
    logits = perfect(batch)
    for b, t in torch.nonzero(~torch.isnan(batch.loc)).tolist():
        logits[b, t, LOC:] = hill(float(batch.loc[b, t]), 48)
    want = math.log(48 * math.sqrt(2 * math.pi * math.e))
    assert language_losses(logits, batch, LOC, 48.0)["loc"].item() == pytest.approx(want, abs=1e-2)


def test_presence_is_the_whole_loc_mass_against_the_end(batch: Batch) -> None:
    logits = perfect(batch)
    first = ~torch.isnan(batch.present)
    logits[first] = -30.0
    logits[first, LOC : LOC + 2] = 0.0  # two bins share the mass: odds of 2 against 1
    logits[first, EOS] = 0.0
    share = batch.present[first].mean().item()
    want = share * math.log(3 / 2) + (1 - share) * math.log(3)
    assert language_losses(logits, batch, LOC, WIDTH)["present"].item() == pytest.approx(want, rel=1e-4)
    assert 0 < share < 1


def test_words_are_judged_only_where_words_are_due(batch: Batch) -> None:
    rng = torch.Generator().manual_seed(0)
    logits = perfect(batch)
    elsewhere = (batch.target == -100) & torch.isnan(batch.loc) & torch.isnan(batch.present)
    noisy = torch.where(elsewhere[..., None], torch.randn(logits.shape, generator=rng) * 9, logits)
    before, after = (language_losses(x, batch, LOC, WIDTH) for x in (logits, noisy))
    assert {k: v.item() for k, v in before.items()} == {k: v.item() for k, v in after.items()}
    flat = torch.where((batch.target >= 0)[..., None], torch.zeros(()), logits)
    assert language_losses(flat, batch, LOC, WIDTH)["words"].item() == pytest.approx(math.log(VOCAB), rel=1e-5)


# -- patches


def dense(batch: Batch) -> tuple[Tensor, Tensor]:
    """What a tower that knows would say."""
    logits = torch.where(batch.patch_class > 0, 12.0, -12.0)
    return logits, torch.nan_to_num(batch.patch_box, nan=0.5)


def test_a_tower_that_knows_has_nothing_left(batch: Batch) -> None:
    cls, box = dense_losses(*dense(batch), batch)
    assert cls.item() < 1e-6
    assert box.item() < 1e-5


def test_the_class_loss_is_focal_and_counted_per_owned_patch(batch: Batch) -> None:
    """At logit 0 a right patch costs ln 2 x 1/4 x 3/4, a wrong one ln 2 x 1/4 x 1/4; four times that, per owned patch."""
    zeros = torch.zeros_like(batch.patch_class)
    judged, hits = int((batch.patch_class >= 0).sum()), int((batch.patch_class == 1).sum())
    want = 4 * math.log(2) / 4 * (0.75 * hits + 0.25 * (judged - hits)) / hits
    assert dense_losses(zeros, dense(batch)[1], batch)[0].item() == pytest.approx(want, rel=1e-5)
    assert 0 < judged < batch.patch_class.numel()


def test_patches_that_are_not_judged_cost_nothing(batch: Batch) -> None:
    logits, boxes = dense(batch)
    wrong = torch.where(batch.patch_class < 0, 12.0, logits)
    assert dense_losses(wrong, boxes, batch)[0].item() == dense_losses(logits, boxes, batch)[0].item()
    assert (wrong != logits).any()


def test_the_box_loss_is_l1_and_giou_of_the_owned_patches(batch: Batch) -> None:
    logits, boxes = dense(batch)
    owned = ~torch.isnan(batch.patch_box[..., :1])
    moved = torch.where(owned, boxes + torch.tensor([0.0, 0.1, 0.0, 0.1]), torch.rand(boxes.shape))  # 0.1 to the right
    got, want = moved[owned[..., 0]], batch.patch_box[owned[..., 0]]
    width = want[:, 3] - want[:, 1]
    overlap = (width - 0.1) / (width + 0.1)  # the hull is the union
    assert dense_losses(logits, moved, batch)[1].item() == pytest.approx(5 * 0.05 + (1 - overlap).mean().item(), rel=1e-4)
    assert len(got) == len(want) > 0


@pytest.mark.parametrize(
    ("told", "true", "want"), [(2.0, 2.0, 0.0), (0.9, 1.9, math.log(2)), (1.9, 0.9, math.log(2)), (0.0, 0.9, math.log(10))]
)
def test_free_distance_is_judged_by_its_ratio(told: float, true: float, want: float) -> None:
    assert free_loss(torch.full((2, 16), told), torch.full((2, 16), true)).item() == pytest.approx(want, abs=1e-6)


# -- nothing there, and gradients


def test_a_batch_of_nothing_has_finite_losses_and_gradients(empty: Batch) -> None:
    logits = torch.randn(*empty.ids.shape, VOCAB, generator=torch.Generator().manual_seed(0)).requires_grad_()
    cls_logits = torch.zeros_like(empty.patch_class).requires_grad_()
    boxes = torch.rand(empty.patch_box.shape).requires_grad_()
    assert torch.isnan(empty.loc).all()
    parts = language_losses(logits, empty, LOC, WIDTH)
    parts["dense_class"], parts["dense_box"] = dense_losses(cls_logits, boxes, empty)
    assert all(torch.isfinite(value) for value in parts.values()), parts
    assert parts["loc"].item() == parts["coordinate"].item() == parts["dense_box"].item() == 0
    assert parts["present"].item() > 0
    torch.stack(list(parts.values())).sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in (logits, cls_logits, boxes))
    assert logits.grad.abs().sum() > 0
    assert cls_logits.grad.abs().sum() > 0


@pytest.mark.parametrize("part", ["loc", "coordinate", "present", "words"])
def test_each_part_pulls_where_it_should_and_nowhere_else(batch: Batch, part: str) -> None:
    logits = torch.randn(*batch.ids.shape, VOCAB, generator=torch.Generator().manual_seed(0)).requires_grad_()
    language_losses(logits, batch, LOC, WIDTH)[part].backward()
    pulled = logits.grad.abs().sum(-1) > 0
    where = {"loc": ~torch.isnan(batch.loc), "present": ~torch.isnan(batch.present), "words": batch.target >= 0}
    assert (pulled == where[part if part != "coordinate" else "loc"]).all()
    assert torch.isfinite(logits.grad).all()


def test_the_loss_depends_on_the_label(batch: Batch) -> None:
    """The same logits under other labels cost more: the figures above are no accident of the logits."""
    logits = perfect(batch)
    other = replace(batch, present=1 - batch.present, loc=(batch.loc + 0.3) % 1)
    losses = language_losses(logits, other, LOC, WIDTH)
    assert losses["present"].item() > 5
    assert losses["coordinate"].item() > 0.2
