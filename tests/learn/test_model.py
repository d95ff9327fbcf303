"""Finder: what makes training match inference, and what its loc rows and image tokens carry."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from edge_vla.learn.finder.batch import BLOCKS, Batch, Packer, Sample
from edge_vla.learn.finder.losses import Weights
from edge_vla.learn.finder.model import IMAGE_TOKENS, WAVES, Finder, fourier
from edge_vla.learn.finder.train import attention_mask, total_loss
from edge_vla.sim.objects import CLASSES

STARTS = np.cumsum([0, *BLOCKS[:-1]]).tolist()
MakeBatch = Callable[[int], Batch]


@pytest.fixture(scope="module")
def make_batch(tokenizer: Tokenizer, make_sample: Callable[..., Sample], make_boxes: Callable[..., NDArray[np.float32]]) -> MakeBatch:
    """One view with a cup and a door; the seed draws its questions."""
    boxes = make_boxes(("cup", 0.3, 0.3, 0.7, 0.6, 900), ("door", 0.1, 0.7, 0.9, 0.95, 4000))
    return lambda seed: Packer(tokenizer, len(CLASSES), seed)([make_sample(boxes)], flips=False)


def scaled(batch: Batch) -> Tensor:
    return batch.image.float() / 127.5 - 1


@torch.no_grad()
def packed_logits(finder: Finder, batch: Batch, open_: Tensor | None = None) -> Tensor:
    """(T, vocab) of all eight questions at once, as in training but in fp32."""
    tokens, *_ = finder.image_tokens(scaled(batch))
    positions = torch.cat([torch.arange(IMAGE_TOKENS)[None], batch.position], 1)
    mask = attention_mask(batch.open if open_ is None else open_)
    return finder.decode(torch.cat([tokens, finder.embed(batch.ids)], 1), mask, positions, first=IMAGE_TOKENS)[0]


@torch.no_grad()
def logits_alone(finder: Finder, image: Tensor, ids: Tensor, prompt: int) -> Tensor:
    """(n, vocab) of one question asked by itself: the picture, a two-way prompt, then one row after the other."""
    tokens, *_ = finder.image_tokens(image)
    n = IMAGE_TOKENS + len(ids)
    mask = torch.full((n, n), -1e9).triu(1)
    mask[: IMAGE_TOKENS + prompt, : IMAGE_TOKENS + prompt] = 0
    mask[:IMAGE_TOKENS, IMAGE_TOKENS:] = -1e9
    return finder.decode(torch.cat([tokens, finder.embed(ids[None])], 1), mask[None, None], torch.arange(n)[None], first=IMAGE_TOKENS)[0]


def test_packed_questions_are_answered_as_each_would_be_alone(finder: Finder, make_batch: MakeBatch) -> None:
    """Eight questions share one picture in training; the robot asks one. Both must be the same function."""
    batch = make_batch(0)
    packed, worst, compared = packed_logits(finder, batch), 0.0, 0
    for start, length in zip(STARTS, BLOCKS, strict=True):
        ids = batch.ids[0, start : start + length]
        prompt = int((ids == 4).nonzero()[0]) + 1  # up to the newline
        answered = int((ids != 0).sum())
        alone = logits_alone(finder, scaled(batch), ids[:answered], prompt)
        worst = max(worst, (packed[start : start + answered] - alone).abs().max().item())
        compared += answered
    assert worst < 1e-4
    assert compared > 8 * 4
    assert packed.std() > 0.01, "logits that are all alike would agree about anything"


def test_a_leak_between_blocks_would_show(finder: Finder, make_batch: MakeBatch) -> None:
    batch = make_batch(0)
    leaky = batch.open.clone()
    leaky[0, STARTS[1] + 3, 2] = True  # the second question peeks at the first one's thing
    there = packed_logits(finder, batch, leaky) - packed_logits(finder, batch)
    assert there[STARTS[1] + 3].abs().max() > 1e-3
    assert there[: STARTS[1]].abs().max() < 1e-5


def test_the_picture_is_read_the_same_whatever_is_asked(finder: Finder, make_batch: MakeBatch) -> None:
    one, other = make_batch(0), make_batch(7)
    assert (one.ids != other.ids).any()
    hidden = []
    for batch in (one, other):
        with torch.no_grad():
            tokens, *_ = finder.image_tokens(scaled(one))
            positions = torch.cat([torch.arange(IMAGE_TOKENS)[None], batch.position], 1)
            inputs = torch.cat([tokens, finder.embed(batch.ids)], 1)
            hidden.append(finder.decode(inputs, attention_mask(batch.open), positions)[0])
    assert (hidden[0][:IMAGE_TOKENS] - hidden[1][:IMAGE_TOKENS]).abs().max() < 1e-5
    assert (hidden[0][IMAGE_TOKENS:] - hidden[1][IMAGE_TOKENS:]).abs().max() > 1e-2


def test_the_answer_depends_on_the_picture(finder: Finder, make_batch: MakeBatch) -> None:
    batch = make_batch(0)
    alone = [logits_alone(finder, image, batch.ids[0, :4], 4)[-1] for image in (scaled(batch), -scaled(batch))]
    assert (alone[0] - alone[1]).abs().max() > 1e-3


def test_each_picture_of_a_batch_is_its_own(finder: Finder, make_batch: MakeBatch) -> None:
    image = torch.cat([scaled(make_batch(0)), torch.zeros(1, 3, 224, 224)])
    with torch.no_grad():
        both = finder.image_tokens(image)
        for i in range(2):
            for together, alone in zip(both, finder.image_tokens(image[i : i + 1]), strict=True):
                assert (together[i] - alone[0]).abs().max() < 1e-4


def test_attention_is_papligemmas_prefix() -> None:
    text = torch.eye(3, dtype=torch.bool)[None].clone()
    text[0, 2, 0] = True
    mask = attention_mask(text)
    assert mask.shape == (1, 1, 199, 199)
    assert set(mask.unique().tolist()) == {-1e9, 0.0}
    assert (mask[0, 0, :, :196] == 0).all(), "patches are seen by all"
    assert (mask[0, 0, :196, 196:] < 0).all(), "and see no text"
    assert (mask[0, 0, 196:, 196:] == 0).tolist() == [[True, False, False], [False, True, False], [True, False, True]]


def test_its_size_is_what_the_design_says(finder: Finder) -> None:
    count = sum(p.numel() for p in finder.parameters())
    assert 6.5e6 < count < 7.5e6
    assert finder.lm.lm_head.weight is finder.lm.model.embed_tokens.weight, "tied, so counted and exported once"


def test_what_it_says_has_the_right_range(finder: Finder, make_batch: MakeBatch) -> None:
    with torch.no_grad():
        tokens, logits, boxes, free = finder.image_tokens(scaled(make_batch(0)))
    assert tokens.shape == (1, 196, 256)
    assert logits.shape == (1, 196, len(CLASSES))
    assert ((free > 0) & (free < 4.0)).all()
    assert free.shape == (1, 16)
    assert (boxes[..., 2:] > boxes[..., :2]).all(), "a patch's box lies around the patch"
    centre = (torch.arange(14) + 0.5) / 14
    grid = torch.stack(torch.meshgrid(centre, centre, indexing="ij"), -1).reshape(196, 2)
    assert ((boxes[0, :, :2] < grid) & (grid < boxes[0, :, 2:])).all()
    assert logits.sigmoid().mean() < 0.05, "fresh, it believes in nothing much"


def test_embedding_is_gemmas_own(finder: Finder) -> None:
    """The host gathers rows that are already scaled; were they scaled twice, the engine would not be the model."""
    ids = torch.tensor([[2, 5, 44, 4, 56, 1079]])
    assert torch.equal(finder.embed(ids), finder.lm.model.embed_tokens(ids))
    assert torch.equal(finder.embed(ids)[0], finder.lm.model.embed_tokens.weight[ids[0]] * 16), "the root of 256"


def test_fourier_features_by_hand() -> None:
    got = fourier(torch.tensor([[0.25, 1.0]]))[0]
    assert got.shape == (2 * 2 * WAVES,)
    phases = [value * math.pi * 2**k for value in (0.25, 1.0) for k in range(WAVES)]
    want = [math.sin(p) for p in phases] + [math.cos(p) for p in phases]
    assert got.tolist() == pytest.approx(want, abs=1e-4)


def test_near_bins_start_alike_and_far_ones_do_not(finder: Finder) -> None:
    rows = torch.nn.functional.normalize(finder.lm.model.embed_tokens.weight[56:1080].detach(), dim=-1)
    alike = {d: (rows[:-d] * rows[d:]).sum(-1).mean().item() for d in (1, 2, 16, 300)}
    assert alike[1] > 0.95
    assert alike[1] > alike[2] > alike[16] > alike[300]
    assert alike[300] < 0.6


def test_every_part_of_the_model_learns(finder: Finder, make_batch: MakeBatch) -> None:
    batch = make_batch(0)
    total, parts = total_loss(finder, batch, scaled(batch), 8.0, Weights())
    assert set(parts) == {"loc", "coordinate", "present", "words", "dense_class", "dense_box", "free"}
    assert total.item() == pytest.approx(sum(getattr(Weights(), name) * value for name, value in parts.items()), rel=1e-4)
    gradients = dict(zip((n for n, _ in finder.named_parameters()), torch.autograd.grad(total, list(finder.parameters())), strict=True))
    assert all(torch.isfinite(g).all() for g in gradients.values())
    assert [name for name, g in gradients.items() if g.abs().max() == 0] == []
