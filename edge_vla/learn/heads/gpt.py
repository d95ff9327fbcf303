"""The transformer head: a small GPT-2 over the window. Its own body, because the reference's keys are older than `transformers`' today."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_vla.learn.heads.base import WindowedHead, at_least_one

LAYERS = 8
HEADS = 8
DROPOUT = 0.1
MASKED = -1e4  # score of a frame that has not happened yet


class Conv1D(nn.Module):
    """A linear layer whose weight is stored (in, out), as GPT-2's are."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.T, self.bias)


class Attention(nn.Module):
    """Causal self-attention. `bias` and `masked_bias` are the reference's mask, which its checkpoints hold; only the latter is read.

    What hides the future is counted, not looked up: a table of bytes is nothing that TensorRT takes.
    """

    bias: Tensor
    masked_bias: Tensor

    def __init__(self, width: int, positions: int) -> None:
        super().__init__()
        side = max(width, positions)  # the reference cuts its mask by the width, so a longer window than that has none
        self.register_buffer("bias", torch.ones(side, side, dtype=torch.uint8).tril()[None, None])
        self.register_buffer("masked_bias", torch.tensor(MASKED))
        self.c_attn = Conv1D(width, 3 * width)
        self.c_proj = Conv1D(width, width)
        self.attn_dropout = nn.Dropout(DROPOUT)
        self.resid_dropout = nn.Dropout(DROPOUT)
        self.register_load_state_dict_pre_hook(self._supply_buffers)

    @staticmethod
    def _supply_buffers(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
        """The mask says nothing a checkpoint could teach, so one without it is complete."""
        for name, value in module.named_buffers(recurse=False):
            state.setdefault(prefix + name, value)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.c_attn(x).chunk(3, -1))
        score = q @ k.transpose(-1, -2) / math.sqrt(v.shape[-1])
        frame = torch.arange(length, device=x.device)
        score = torch.where(frame <= frame[:, None], score, self.masked_bias.to(score.dtype))
        mixed = self.attn_dropout(score.softmax(-1)) @ v
        return self.resid_dropout(self.c_proj(mixed.transpose(1, 2).flatten(-2)))


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = Conv1D(width, 4 * width)
        self.c_proj = Conv1D(4 * width, width)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")))


class Block(nn.Module):
    def __init__(self, width: int, positions: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, positions)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """(b, up to `positions`, width) embeddings to hidden states; positions count from the oldest frame."""

    def __init__(self, width: int, positions: int) -> None:
        super().__init__()
        if width % HEADS:
            raise ValueError(f"latent * hidden_size: want a multiple of {HEADS} attention heads, got {width}")
        self.wpe = nn.Embedding(positions, width)
        nn.init.normal_(self.wpe.weight, std=0.02)
        self.drop = nn.Dropout(DROPOUT)
        self.h = nn.ModuleList(Block(width, positions) for _ in range(LAYERS))
        self.ln_f = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > self.wpe.num_embeddings:
            raise ValueError(f"want at most {self.wpe.num_embeddings} frames, the window, got {x.shape[1]}")
        x = self.drop(x + self.wpe.weight[: x.shape[1]])
        for block in self.h:
            x = block(x)
        return self.ln_f(x)


class GPTDecoder(WindowedHead):
    """`fc` fits each latent to the hidden size where the two differ; the reference fits all at once and fails with more than one."""

    def __init__(  # noqa: PLR0913 - the reference's constructor
        self,
        in_features: int,
        action_dim: int,
        down_sample: str,
        latent: int,
        fwd_pred_next_n: int,
        window_size: int,
        hidden_size: int = 1024,
        *,
        gripper_probability: bool = False,
        **layout: Any,
    ) -> None:
        super().__init__(hidden_size, action_dim, down_sample=down_sample, latent=latent, **layout)
        at_least_one(window_size=window_size)
        self.fwd_pred_next_n = fwd_pred_next_n
        self._init_memory(window_size)
        self._init_sampler(in_features)
        self.gpt = GPT2(hidden_size * latent, window_size)
        self.fc = nn.Linear(in_features, hidden_size) if in_features != hidden_size else nn.Identity()
        self._init_outputs(gripper_probability=gripper_probability)

    def body(self, features: Tensor, h_0: tuple[Tensor, Tensor] | None = None) -> Tensor:
        if h_0 is not None:
            raise ValueError("GPTDecoder has no recurrent state to start from")
        return self.gpt(self.fc(features.unflatten(-1, (self.latent, -1))).flatten(-2))
