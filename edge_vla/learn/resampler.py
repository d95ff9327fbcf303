"""The Perceiver resampler of OpenFlamingo and RoboVLMs: any number of image features to a fixed number of latents."""

import torch
from torch import Tensor, nn


def feed_forward(dim: int, mult: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim * mult, bias=False), nn.GELU(), nn.Linear(dim * mult, dim, bias=False))


class PerceiverAttention(nn.Module):
    """Latents ask; features and latents answer."""

    def __init__(self, *, dim: int, dim_head: int = 64, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.scale = dim_head**-0.5
        self.norm_media = nn.LayerNorm(dim)
        self.norm_latents = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, dim_head * heads, bias=False)
        self.to_kv = nn.Linear(dim, 2 * dim_head * heads, bias=False)
        self.to_out = nn.Linear(dim_head * heads, dim, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """(b, T, m, dim) features and (b, T, n, dim) latents to (b, T, n, dim)."""
        latents = self.norm_latents(latents)
        k, v = self.to_kv(torch.cat([self.norm_media(x), latents], -2)).chunk(2, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for part in (self.to_q(latents) * self.scale, k, v))
        mixed = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        return self.to_out(mixed.transpose(-2, -3).flatten(-2))


class PerceiverResampler(nn.Module):
    """(b, T, F, v, dim), v features of F frames of T media, to (b, T, num_latents, dim)."""

    def __init__(  # noqa: PLR0913 - the reference's constructor
        self,
        *,
        dim: int,
        depth: int = 6,
        dim_head: int = 64,
        heads: int = 8,
        num_latents: int = 64,
        max_num_media: int | None = None,
        max_num_frames: int | None = None,
        ff_mult: int = 4,
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(num_latents, dim))
        self.frame_embs = None if max_num_frames is None else nn.Parameter(torch.randn(max_num_frames, dim))
        self.media_time_embs = None if max_num_media is None else nn.Parameter(torch.randn(max_num_media, 1, dim))
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(dim=dim, dim_head=dim_head, heads=heads), feed_forward(dim, ff_mult)]) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 5 or x.shape[-1] != self.latents.shape[1]:
            raise ValueError(f"want (batch, media, frames, features, {self.latents.shape[1]}), got shape {tuple(x.shape)}")
        media, frames = x.shape[1:3]
        if self.frame_embs is not None:
            x = x + _first(self.frame_embs, frames, "frames")[:, None]
        x = x.flatten(2, 3)
        if self.media_time_embs is not None:
            x = x + _first(self.media_time_embs, media, "media")
        latents = self.latents.expand(*x.shape[:2], -1, -1)
        for layer in self.layers:
            attend, think = layer.children()
            latents = attend(x, latents) + latents
            latents = think(latents) + latents
        return self.norm(latents)


def _first(embeddings: Tensor, count: int, what: str) -> Tensor:
    if count > len(embeddings):
        raise ValueError(f"want at most {len(embeddings)} {what}, got {count}")
    return embeddings[:count]
