"""Decoder blocks of MosaicML's language models, `mosaic_gpt` (MPT-1B) and `mpt` (MPT-7B): one arithmetic under two sets of names.

Attention with linear biases from explicit positions, so that a pad is no distance and a graph serves every length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

from edge_vla.errors import ConfigError

MODEL_TYPES = ("mosaic_gpt", "mpt")
MPT_NAMES = {"norm_1": "ln_1", "norm_2": "ln_2", "norm_f": "ln_f", "ffn": "mlp", "up_proj": "mlp_up", "down_proj": "mlp_down"}


@dataclass(frozen=True, slots=True)
class MosaicConfig:
    """What of a config.json the arithmetic depends on."""

    d_model: int
    n_heads: int
    n_layers: int
    mlp_ratio: int = 4
    qk_ln: bool = False  # layer norms over all heads' queries and keys
    clip_qkv: float | None = None
    softmax_scale: float | None = None
    alibi_bias_max: float = 8
    bias: bool = False  # in linear layers and norms
    logit_scale: float = 1

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> MosaicConfig:
        """From either kind of config.json. Raises ConfigError for options that the published models do not use."""
        kind = config.get("model_type")
        attention = {name.removeprefix("attn_"): value for name, value in {**config, **(config.get("attn_config") or {})}.items()}
        try:
            sizes = {name: int(config[name]) for name in ("d_model", "n_heads", "n_layers")}
        except (KeyError, TypeError, ValueError) as err:
            raise ConfigError(f"config.json of a {kind}: no {err}") from err
        wanted = {"prefix_lm": False, "uses_sequence_id": False, "type": "multihead_attention", "pdrop": 0}
        odd = [f"{name} {attention[name]!r}" for name, want in wanted.items() if attention.get(name, want) != want]
        odd += [f"{name} {config[name]!r}" for name in ("resid_pdrop", "emb_pdrop") if config.get(name)]
        if not attention.get("alibi"):
            odd.append("learned positions")
        if sizes["n_heads"] & (sizes["n_heads"] - 1) or sizes["d_model"] % sizes["n_heads"]:
            odd.append(f"n_heads {sizes['n_heads']}, for which its two kinds have different biases or no even width")
        if odd:
            raise ConfigError(f"config.json of a {kind}: no code for {', '.join(odd)}")
        scale = config.get("logit_scale")
        return cls(
            **sizes, mlp_ratio=int(config.get("mlp_ratio", config.get("expansion_ratio", 4))), qk_ln=bool(attention.get("qk_ln")),
            clip_qkv=attention.get("clip_qkv"), softmax_scale=attention.get("softmax_scale"),
            alibi_bias_max=float(attention.get("alibi_bias_max", 8)), bias=not config.get("no_bias", kind == "mpt"),
            logit_scale=sizes["d_model"] ** -0.5 if scale == "inv_sqrt_d_model" else float(1 if scale is None else scale),
        )  # fmt: skip


def alibi(config: MosaicConfig, positions: Tensor, new: int) -> Tensor:
    """(rows, heads, new, all) float32: what distance costs, for the newest of `positions` (rows, all) against all of them."""
    power = torch.arange(1, config.n_heads + 1, device=positions.device) * (config.alibi_bias_max / config.n_heads)
    newest = positions[:, positions.shape[1] - new :]
    distance = (newest[:, None, :, None] - positions[:, None, None, :]).abs().float()
    return -distance * torch.exp2(-power)[:, None, None]


class MosaicAttention(nn.Module):
    """Multi-head self-attention on a fused projection."""

    def __init__(self, config: MosaicConfig, index: int) -> None:
        super().__init__()
        width = config.d_model
        self.index, self.heads, self.clip_qkv = index, config.n_heads, config.clip_qkv
        self.scale = (width // config.n_heads) ** -0.5 if config.softmax_scale is None else config.softmax_scale
        self.Wqkv = nn.Linear(width, 3 * width, bias=config.bias)
        self.out_proj = nn.Linear(width, width, bias=config.bias)
        self.q_ln = nn.LayerNorm(width, bias=config.bias) if config.qk_ln else nn.Identity()
        self.k_ln = nn.LayerNorm(width, bias=config.bias) if config.qk_ln else nn.Identity()

    def forward(self, x: Tensor, allowed: Tensor, cache: Cache | None) -> Tensor:
        """(rows, n, d); `allowed` is additive, (rows, heads, n, past + n) float32."""
        qkv = self.Wqkv(x)
        if self.clip_qkv is not None:
            qkv = qkv.clamp(-self.clip_qkv, self.clip_qkv)
        q, k, v = qkv.chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q_ln(q), self.k_ln(k), v))
        if cache is not None:
            k, v = cache.update(k, v, self.index)
        weights = ((q @ k.transpose(-1, -2)).float() * self.scale + allowed).softmax(-1)
        return self.out_proj((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2))


class MosaicMLP(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self, config: MosaicConfig) -> None:
        super().__init__()
        self.mlp_up = nn.Linear(config.d_model, config.mlp_ratio * config.d_model, bias=config.bias)
        self.mlp_down = nn.Linear(config.mlp_ratio * config.d_model, config.d_model, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp_down(nn.functional.gelu(self.mlp_up(x)))


class MosaicBlock(nn.Module):
    """Norm, attention, norm, MLP."""

    def __init__(self, config: MosaicConfig, index: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.d_model, bias=config.bias)
        self.attn = MosaicAttention(config, index)
        self.ln_2 = nn.LayerNorm(config.d_model, bias=config.bias)
        self.mlp = MosaicMLP(config)

    def forward(self, x: Tensor, allowed: Tensor, cache: Cache | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), allowed, cache)
        return x + self.mlp(self.ln_2(x))


def mosaic_name(name: str) -> str:
    """A weight's name in an `mpt` folder as `mosaic_gpt` has it; those of a `mosaic_gpt` folder stay."""
    return ".".join(MPT_NAMES.get(part, part) for part in name.split("."))
