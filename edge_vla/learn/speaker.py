"""Greedy text from a backbone about one picture: what a text engine says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from edge_vla.learn.actor import positions_of, read_words
from edge_vla.learn.trainable import resting

if TYPE_CHECKING:
    from edge_vla.learn.backbones.base import BaseRoboVLM


def speak(model: BaseRoboVLM, question: str, rgb: NDArray[np.uint8], max_new_tokens: int) -> str:
    """The answer without special tokens but those a grounding format is made of."""
    with resting(model):
        return model.decode(answer_ids(model, question, rgb, max_new_tokens))


@torch.no_grad()
def answer_ids(model: BaseRoboVLM, question: str, rgb: NDArray[np.uint8], max_new_tokens: int) -> list[int]:
    """Token ids of the greedy answer, up to and without the end token."""
    ids = torch.tensor([model.question_ids(question)], device=model.device)
    dtype = next(model.backbone.parameters()).dtype
    features = model.encode_images(model.question_picture(rgb)[None].to(model.device, dtype))
    bos = model.tokenizer.bos_token is not None
    words = torch.ones_like(ids, dtype=torch.bool)
    embeddings, layout, extra = read_words(model, ids, words, (features, None), bos=bos, lead=model.question_lead())
    mask = torch.ones(embeddings.shape[:2], dtype=torch.bool, device=model.device)
    positions = positions_of(model, layout)
    out = model.run_text(embeddings, mask, positions, keep=True, both_ways=model.both_ways, **extra)
    last = positions.amax()
    said: list[int] = []
    while len(said) < max_new_tokens:
        token = int(model.logits(out.hidden[:, -1:])[0, -1].argmax())
        if token in model.end_ids():
            break
        said.append(token)
        embedded = model.word_embedding(torch.tensor([[token]], device=model.device))
        mask = torch.cat([mask, mask.new_ones(1, 1)], 1)
        out = model.run_text(embedded, mask, (last + len(said)).expand(1, 1), out.cache, keep=True)
    return said
