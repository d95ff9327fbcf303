"""Greedy text from a backbone about one picture: what a text engine says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from edge_vla.layout import ActionSpace, Recipe, lay_out
from edge_vla.learn.media import apart, beside
from edge_vla.learn.sequence import Parts, assemble
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
    image, _, latents = apart(model, features, None)
    start, end = model.brackets(1)
    recipe = Recipe(
        bos=model.tokenizer.bos_token is not None, eos=False, image_tokens=0 if image is None else image.shape[2],
        action_space=ActionSpace.DISCRETE, image_brackets=model.image_brackets, lead=model.question_lead(),
    )  # fmt: skip
    layout = lay_out(np.ones(ids.shape, bool), recipe)
    picture = None if image is None else image[:, 0]
    embeddings = assemble(layout, Parts(model.word_embedding(ids), picture, image_start=start, image_end=end))
    mask = torch.ones(embeddings.shape[:2], dtype=torch.bool, device=model.device)
    positions = torch.from_numpy(layout.positions(model.position_grid)).to(model.device)
    extra = beside(model, latents, ids, layout)
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
