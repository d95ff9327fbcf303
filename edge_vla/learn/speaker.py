"""A backbone asked about one picture: its own prompt read, and the greedy text that it answers with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_vla.learn.actor import positions_of, read_words
from edge_vla.learn.trainable import resting
from edge_vla.learn.walk import Walk

if TYPE_CHECKING:
    from edge_vla.learn.backbones.base import BaseRoboVLM


def speak(model: BaseRoboVLM, question: str, rgb: NDArray[np.uint8], max_new_tokens: int) -> str:
    """The answer without special tokens but those a grounding format is made of."""
    with resting(model):
        return model.decode(answer_ids(model, question, rgb, max_new_tokens))


def answer_ids(model: BaseRoboVLM, question: str, rgb: NDArray[np.uint8], max_new_tokens: int) -> list[int]:
    """Token ids of the greedy answer, up to and without the end token."""
    walk = ask(model, model.question_ids(question), model.question_lead(), see(model, rgb))
    said: list[int] = []
    while len(said) < max_new_tokens:
        token = walk.logits.argmax(-1)
        if int(token) in model.end_ids():
            break
        said.append(int(token))
        walk.say(token)
    return said


@torch.no_grad()
def see(model: BaseRoboVLM, rgb: NDArray[np.uint8]) -> Tensor:
    """Features (1, 1, tokens, d) of an (H, W, 3) picture, prepared as those of questions are."""
    dtype = next(model.backbone.parameters()).dtype
    return model.encode_images(model.question_picture(rgb)[None].to(model.device, dtype))


@torch.no_grad()
def ask(model: BaseRoboVLM, ids: Sequence[int], lead: int, features: Tensor) -> Walk:
    """A question's ids read, its picture behind the first `lead` of them."""
    words = torch.tensor([list(ids)], device=model.device)
    bos, all_ = model.tokenizer.bos_token is not None, torch.ones_like(words, dtype=torch.bool)
    embeddings, layout, extra = read_words(model, words, all_, (features, None), bos=bos, lead=lead)
    mask = torch.ones(embeddings.shape[:2], dtype=torch.bool, device=model.device)
    return Walk(model, embeddings, mask, positions_of(model, layout), both_ways=model.both_ways, **extra)
