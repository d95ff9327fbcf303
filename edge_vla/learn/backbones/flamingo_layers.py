"""OpenFlamingo's language side: decoder layers of MosaicML's models or GPT-NeoX, with gated looks at the images before every n-th.

Names are the published checkpoint's. Knows no files and no tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, GPTNeoXConfig
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXLayer, GPTNeoXRotaryEmbedding

from edge_vla.learn.backbones.mosaic import MosaicBlock, MosaicConfig, alibi
from edge_vla.learn.media import Media
from edge_vla.learn.resampler import feed_forward

HEADS, HEAD_DIM = 8, 64  # of every look at the images, whatever the width


@dataclass(frozen=True, slots=True)
class Look:
    """The images, and who may look where."""

    latents: Tensor  # (rows, images * n, width)
    where: Tensor  # (rows, 1, positions, images * n) bool
    anywhere: Tensor  # (rows, 1, positions, 1) bool

    @classmethod
    def at(cls, media: Media) -> Look:
        images, n = media.latents.shape[1:3]
        which = torch.arange(1, images + 1, device=media.seen.device).repeat_interleave(n)
        where = media.seen[:, None, :, None] == which
        return cls(media.latents.flatten(1, 2), where, (media.seen > 0)[:, None, :, None])


class MaskedCrossAttention(nn.Module):
    """Text asks, the last image before it answers; text before any image hears nothing."""

    def __init__(self, dim: int, dim_visual: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, HEADS * HEAD_DIM, bias=False)
        self.to_kv = nn.Linear(dim_visual, 2 * HEADS * HEAD_DIM, bias=False)
        self.to_out = nn.Linear(HEADS * HEAD_DIM, dim, bias=False)

    def forward(self, x: Tensor, look: Look) -> Tensor:
        parts = (self.to_q(self.norm(x)) * HEAD_DIM**-0.5, *self.to_kv(look.latents).chunk(2, -1))
        q, k, v = (part.unflatten(-1, (HEADS, HEAD_DIM)).transpose(1, 2) for part in parts)
        scores = (q @ k.transpose(-1, -2)).float().masked_fill(~look.where, torch.finfo(torch.float32).min)
        weights = scores.softmax(-1).masked_fill(~look.anywhere, 0).to(v.dtype)
        return self.to_out((weights @ v).transpose(1, 2).flatten(2))


class GatedCrossAttentionBlock(nn.Module):
    """A look and a thought about it, each through a gate that is shut when training starts."""

    def __init__(self, dim: int, dim_visual: int) -> None:
        super().__init__()
        self.attn = MaskedCrossAttention(dim, dim_visual)
        self.attn_gate = nn.Parameter(torch.zeros(1))
        self.ff = feed_forward(dim)
        self.ff_gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, look: Look) -> Tensor:
        x = self.attn(x, look) * self.attn_gate.tanh() + x
        return self.ff(x) * self.ff_gate.tanh() + x


class FlamingoLayer(nn.Module):
    """A decoder layer, every n-th of them after a look at the images."""

    def __init__(self, gated: GatedCrossAttentionBlock | None, decoder: nn.Module) -> None:
        super().__init__()
        self.gated_cross_attn_layer = gated
        self.decoder_layer = decoder

    def forward(self, x: Tensor, look: Look, decoder: Mapping[str, Any]) -> Tensor:
        if self.gated_cross_attn_layer is not None:
            x = self.gated_cross_attn_layer(x, look)
        return self.decoder_layer(x, **decoder)


class FlamingoTower(nn.Module):
    """A language model without its head. Subclasses say what their decoder layers want, and which norm is the last."""

    checkpointing = False

    def activation_checkpointing_enable(self) -> None:
        """Recompute each layer in the backward pass, in training."""
        self.checkpointing = True

    def forward(
        self, embeddings: Tensor, allowed: Tensor, positions: Tensor, look: Look, cache: DynamicCache | None
    ) -> tuple[Tensor, Tensor]:
        """Embeddings (rows, n, d), additive mask (rows, 1, n, all), positions (rows, all) to (hidden, what went into the last layer)."""
        decoder = self.wants(embeddings, allowed, positions, cache)
        x = before_last = embeddings
        for layer in self.flamingo_layers():
            before_last = x
            if self.checkpointing and self.training:
                x = checkpoint(layer, x, look, decoder, use_reentrant=False)
            else:
                x = layer(x, look, decoder)
        return self.last_norm()(x), before_last

    def wants(self, embeddings: Tensor, allowed: Tensor, positions: Tensor, cache: DynamicCache | None) -> dict[str, Any]:
        """Arguments of every decoder layer."""
        raise NotImplementedError

    def flamingo_layers(self) -> nn.ModuleList:
        raise NotImplementedError

    def last_norm(self) -> nn.Module:
        raise NotImplementedError


def _layers(decoders: list[nn.Module], dim: int, dim_visual: int, every: int) -> nn.ModuleList:
    gated = [GatedCrossAttentionBlock(dim, dim_visual) if (k + 1) % every == 0 else None for k in range(len(decoders))]
    return nn.ModuleList(FlamingoLayer(g, d) for g, d in zip(gated, decoders, strict=True))


class MosaicTower(FlamingoTower):
    def __init__(self, config: MosaicConfig, rows: int, dim_visual: int, every: int) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(rows, config.d_model)
        self.blocks = _layers([MosaicBlock(config, k) for k in range(config.n_layers)], config.d_model, dim_visual, every)
        self.ln_f = nn.LayerNorm(config.d_model, bias=config.bias)

    def wants(self, embeddings: Tensor, allowed: Tensor, positions: Tensor, cache: DynamicCache | None) -> dict[str, Any]:
        return {"allowed": alibi(self.config, positions, embeddings.shape[1]) + allowed.float(), "cache": cache}

    def flamingo_layers(self) -> nn.ModuleList:
        return self.blocks

    def last_norm(self) -> nn.Module:
        return self.ln_f


class NeoXTower(FlamingoTower):
    def __init__(self, config: GPTNeoXConfig, rows: int, dim_visual: int, every: int) -> None:
        super().__init__()
        config._attn_implementation = "eager"  # where layers that are built by themselves read it
        width = config.hidden_size
        self.embed_in = nn.Embedding(rows, width)
        self.layers = _layers([GPTNeoXLayer(config, k) for k in range(config.num_hidden_layers)], width, dim_visual, every)
        self.final_layer_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.rotary_emb = GPTNeoXRotaryEmbedding(config=config)

    def wants(self, embeddings: Tensor, allowed: Tensor, positions: Tensor, cache: DynamicCache | None) -> dict[str, Any]:
        newest = positions[:, positions.shape[1] - embeddings.shape[1] :]
        return {"attention_mask": allowed, "layer_past": cache, "position_embeddings": self.rotary_emb(embeddings, position_ids=newest)}

    def flamingo_layers(self) -> nn.ModuleList:
        return self.layers

    def last_norm(self) -> nn.Module:
        return self.final_layer_norm


class MosaicLM(nn.Module):
    """Its head is its embedding."""

    def __init__(self, config: MosaicConfig, rows: int, dim_visual: int, every: int) -> None:
        super().__init__()
        self.width, self.logit_scale = config.d_model, config.logit_scale
        self.transformer = MosaicTower(config, rows, dim_visual, every)

    @property
    def tower(self) -> FlamingoTower:
        return self.transformer

    @property
    def word_embedding(self) -> nn.Embedding:
        return self.transformer.wte

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits."""
        return nn.functional.linear(hidden, self.word_embedding.weight) * self.logit_scale


class NeoXLM(nn.Module):
    """Its head is a layer of its own."""

    def __init__(self, config: GPTNeoXConfig, rows: int, dim_visual: int, every: int) -> None:
        super().__init__()
        self.width = config.hidden_size
        self.gpt_neox = NeoXTower(config, rows, dim_visual, every)
        self.embed_out = nn.Linear(self.width, rows, bias=False)

    @property
    def tower(self) -> FlamingoTower:
        return self.gpt_neox

    @property
    def word_embedding(self) -> nn.Embedding:
        return self.gpt_neox.embed_in

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits."""
        return self.embed_out(hidden)
