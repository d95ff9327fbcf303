"""Finder itself: vision tokens and words through Gemma's decoder under a prefix-LM mask."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GemmaConfig, GemmaForCausalLM

from edge_vla.learn.finder.vision import GRID, Vision

IMAGE_TOKENS = GRID * GRID
WAVES = 8  # octaves of the Fourier features that carry a patch's box into its token


def lm_config(vocab: int, hidden: int = 256, layers: int = 4) -> GemmaConfig:
    """A small Gemma: one key/value head as in PaliGemma's 2B."""
    return GemmaConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=layers,
        num_attention_heads=hidden // 64, num_key_value_heads=1, head_dim=64, max_position_embeddings=512,
        pad_token_id=0, eos_token_id=1, bos_token_id=2, tie_word_embeddings=True,
    )  # fmt: skip


def fourier(x: Tensor) -> Tensor:
    """(..., n) coordinates 0..1 to (..., n * 2 * WAVES) sines and cosines, from half a period over the image to 1/128."""
    octave = (2.0 ** torch.arange(WAVES, device=x.device)) * math.pi
    phase = (x[..., None] * octave).flatten(-2)
    return torch.cat([torch.sin(phase), torch.cos(phase)], -1)


class Finder(nn.Module):
    """Image and prompt to loc tokens, words and free distances.

    The vision tower's own dense class probabilities and boxes are written into each image token (Fourier features),
    so the decoder reads coordinates instead of having to invent them: that is what lets 7 M parameters learn in hours.
    """

    def __init__(self, vocab: int, loc_start: int, classes: int, columns: int) -> None:
        super().__init__()
        self.vision = Vision(classes, columns)
        self.lm = GemmaForCausalLM(lm_config(vocab))
        self.lm.set_attn_implementation("eager")  # torch's fused CPU attention is slower, mostly in its backward pass
        hidden = self.lm.config.hidden_size
        self.from_feature = nn.Linear(192, hidden)
        self.from_dense = nn.Linear(2 * classes + 4 * 2 * WAVES, hidden)
        self.loc_start = loc_start
        self._smooth_locs(hidden)

    def _smooth_locs(self, hidden: int) -> None:
        """Loc rows start as the same waves that carry the boxes: near bins are similar, and copying a box is nearly linear."""
        waves = fourier(((torch.arange(1024) + 0.5) / 1024)[:, None])
        rows = waves @ torch.randn(waves.shape[1], hidden)
        weight = self.lm.model.embed_tokens.weight
        with torch.no_grad():
            weight[self.loc_start : self.loc_start + 1024] = 0.02 * rows / rows.std()

    def image_tokens(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, 3, 224, 224) in -1..1 to tokens (B, 196, hidden), class logits, boxes and free distances (m)."""
        feature, logits, boxes, free = self.vision(image)
        dense = torch.cat([torch.sigmoid(logits), torch.clamp(logits / 4, -2, 2), fourier(boxes)], -1)
        return self.from_feature(feature) + self.from_dense(dense.to(feature.dtype)), logits, boxes, free

    def embed(self, ids: Tensor) -> Tensor:
        """Token rows (B, T, hidden), scaled by sqrt(hidden) as Gemma scales its own; image tokens are not."""
        return F.embedding(ids, self.lm.model.embed_tokens.weight) * self.lm.config.hidden_size**0.5

    def decode(self, embeddings: Tensor, mask: Tensor, positions: Tensor, first: int = 0) -> Tensor:
        """Logits (B, N - first, vocab) from position `first` on, under an additive mask (B, 1, N, N)."""
        out = self.lm.model(inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, use_cache=False)
        logits: Tensor = self.lm.lm_head(out.last_hidden_state[:, first:])
        return logits
