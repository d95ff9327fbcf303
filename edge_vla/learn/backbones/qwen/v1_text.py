"""Qwen-VL's language model: Qwen-7B with q, k and v in one projection. Names as in the public checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.qwen.v1_vision import POOL_HEAD, VisionTransformer, attend

Past = list[tuple[Tensor, Tensor]]  # keys and values of each layer, (rows, heads, past, channels)

REQUIRED = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "visual")
FIXED = {"rotary_pct": 1.0, "scale_attn_weights": True, "tie_word_embeddings": False, "attn_dropout_prob": 0.0, "emb_dropout_prob": 0.0}
VISUAL = ("image_size", "patch_size", "width", "layers", "heads", "mlp_ratio", "output_dim", "n_queries")


@dataclass(frozen=True, slots=True)
class TextConfig:
    """What of config.json shapes the language model; defaults are those of its `QWenConfig`."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int  # of both halves of the gated feed-forward together
    layer_norm_epsilon: float = 1e-6
    rotary_emb_base: float = 10000.0
    seq_length: int = 2048  # what it was trained at; beyond, in evaluation, the next two apply
    use_dynamic_ntk: bool = True
    use_logn_attn: bool = True
    no_bias: bool = True
    visual: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, found: Mapping[str, Any], what: str) -> TextConfig:
        """Raises ConfigError for what is missing and for variants no public Qwen-VL has."""
        missing = [key for key in REQUIRED if key not in found]
        missing += [f"visual.{key}" for key in VISUAL[:-1] if key not in found.get("visual", {})]
        if missing:
            raise ConfigError(f"{what}: config.json has no {', '.join(missing)}")
        if found.get("quantization_config"):
            raise ConfigError(f"{what}: its weights are quantised; this backbone reads the float checkpoint (Qwen/Qwen-VL, Qwen-VL-Chat)")
        other = [f"{key} {found[key]!r}, want {value!r}" for key, value in FIXED.items() if found.get(key, value) != value]
        visual = found["visual"]
        if visual["output_dim"] != found["hidden_size"] or visual["output_dim"] % POOL_HEAD:
            other.append(f"visual.output_dim {visual['output_dim']!r}, want hidden_size, a multiple of {POOL_HEAD}")
        if found.get("kv_channels", 0) not in (0, found["hidden_size"] // found["num_attention_heads"]):
            other.append(f"kv_channels {found['kv_channels']!r}, want hidden_size / num_attention_heads")
        if other:
            raise ConfigError(f"{what}: config.json says {'; '.join(other)}")
        return cls(**{key: found[key] for key in cls.__slots__ if key in found})

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads


class RMSNorm(nn.Module):
    """Normalised in float32, scaled in the weights' type."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        exact = x.float()
        return (exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight


@dataclass(frozen=True, slots=True)
class Turn:
    """Rotary angles of the new positions, (rows, 1, n, channels), and what their queries are multiplied with beyond the trained length."""

    cos: Tensor
    sin: Tensor
    stretch: Tensor | None = None

    def rotate(self, x: Tensor) -> Tensor:
        left, right = x.float().chunk(2, -1)
        return (x.float() * self.cos + torch.cat([-right, left], -1) * self.sin).to(x.dtype)


class Attention(nn.Module):
    """Causal self-attention; only the fused projection has a bias."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.c_attn = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.c_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=not config.no_bias)

    def forward(self, x: Tensor, allowed: Tensor, turn: Turn, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.c_attn(x).chunk(3, -1))
        q, k = turn.rotate(q), turn.rotate(k)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        if turn.stretch is not None:
            q = q * turn.stretch.to(q.dtype)
        return self.c_proj(attend(q, k, v, allowed)), (k, v)


class FeedForward(nn.Module):
    """Gated by `w2`, not by `w1`."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        inner, bias = config.intermediate_size // 2, not config.no_bias
        self.w1, self.w2 = (nn.Linear(config.hidden_size, inner, bias=bias) for _ in range(2))
        self.c_proj = nn.Linear(inner, config.hidden_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c_proj(self.w1(x) * functional.silu(self.w2(x)))
        return out


class Block(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = (RMSNorm(config.hidden_size, config.layer_norm_epsilon) for _ in range(2))
        self.attn = Attention(config)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, allowed: Tensor, turn: Turn, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        mixed, present = self.attn(self.ln_1(x), allowed, turn, past)
        x = x + mixed
        return x + self.mlp(self.ln_2(x)), present


class Transformer(nn.Module):
    """The language model; the checkpoint keeps the image encoder inside it, so it is a child here too."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
        self.h = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.ln_f = RMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.visual = VisionTransformer(**{key: config.visual[key] for key in VISUAL if key in config.visual})
        self.recompute = False

    def activation_checkpointing_enable(self) -> None:
        """Recompute the layers of both towers in the backward pass."""
        self.recompute = self.visual.transformer.recompute = True

    def angles(self, positions: Tensor, ntk_alpha: float = 1.0) -> tuple[Tensor, Tensor]:
        """(cos, sin), each (rows, 1, n, channels), of 0-based positions (rows, n)."""
        dim = self.config.head_dim
        base = self.config.rotary_emb_base * ntk_alpha ** (dim / (dim - 2))
        frequency = base ** (-torch.arange(0, dim, 2, dtype=torch.float32, device=positions.device) / dim)
        half = positions[:, None, :, None].float() * frequency
        angle = torch.cat([half, half], -1)
        return angle.cos(), angle.sin()

    def forward(
        self, embeddings: Tensor, allowed: Tensor, positions: Tensor, past: Past | None = None, *,
        ntk_alpha: float = 1.0, stretch: Tensor | None = None,
    ) -> tuple[Tensor, Past]:  # fmt: skip
        """Hidden states after the last norm, and keys and values with the past in front."""
        turn = Turn(*self.angles(positions, ntk_alpha), stretch)
        x, present = embeddings, []
        again = self.recompute and past is None and torch.is_grad_enabled()
        for layer, block in enumerate(self.h):
            before = None if past is None else past[layer]
            if again:
                x, kept = checkpoint(block, x, allowed, turn, before, use_reentrant=False)
            else:
                x, kept = block(x, allowed, turn, before)
            present.append(kept)
        return self.ln_f(x), present


class QwenVLModel(nn.Module):
    """`transformer` and an untied `lm_head`: the whole public checkpoint."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.transformer = Transformer(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)


def ntk_alpha(length: int, trained: int) -> float:
    """How much the rotary base grows for a prompt of `length` tokens, of a model trained at `trained`: 1, 3, 7 ... at each doubling."""
    return max(2 ** math.ceil(math.log2(length / trained) + 1) - 1, 1)


def log_stretch(positions: Tensor, trained: int) -> Tensor:
    """(rows, 1, n, 1): log of the 1-based position to the base of the trained length, 1 up to there."""
    return ((positions + 1).float().log() / math.log(trained)).clamp(min=1)[:, None, :, None]
