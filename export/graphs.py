"""Finder as two plain modules the ONNX exporter can trace: no cache objects, no mask builders."""

import torch
from torch import Tensor, nn

from edge_vla.learn.finder.model import Finder


class VisionGraph(nn.Module):
    """image (1, 3, 224, 224) -> tokens (1, 196, hidden), free_distance (1, columns) m."""

    def __init__(self, finder: Finder) -> None:
        super().__init__()
        self.finder = finder

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        tokens, _, _, free = self.finder.image_tokens(image)
        return tokens, free


class StepGraph(nn.Module):
    """Gemma's decoder as one step that serves prefill and decode.

    embeddings (1, T, H), positions (1, T), additive mask (1, 1, T, P + T), past keys and values (L, KV, P, D)
    -> logits of the last position (1, vocab), keys and values (L, KV, P + T, D).
    """

    def __init__(self, finder: Finder) -> None:
        super().__init__()
        self.model, self.head = finder.lm.model, finder.lm.lm_head
        config = finder.lm.config
        self.heads, self.kv_heads, self.dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        base = config.rope_parameters["rope_theta"] if getattr(config, "rope_parameters", None) else config.rope_theta
        self.register_buffer("frequency", 1.0 / base ** (torch.arange(0, self.dim, 2).float() / self.dim), persistent=False)

    def forward(
        self, embeddings: Tensor, positions: Tensor, mask: Tensor, past_keys: Tensor, past_values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        angle = positions[0].float()[:, None] * self.frequency[None]
        angle = torch.cat([angle, angle], -1)
        cos, sin = angle.cos(), angle.sin()
        x, keys, values = embeddings[0], [], []
        for i, layer in enumerate(self.model.layers):
            out, k, v = self._attend(layer.self_attn, layer.input_layernorm(x), (cos, sin), mask[0], past_keys[i], past_values[i])
            x = x + out
            x = x + layer.mlp(layer.post_attention_layernorm(x))
            keys.append(k)
            values.append(v)
        last = self.model.norm(x[-1:])
        return self.head(last), torch.stack(keys), torch.stack(values)

    def _attend(
        self, attn: nn.Module, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor, past_k: Tensor, past_v: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        q = attn.q_proj(x).view(-1, self.heads, self.dim).transpose(0, 1)
        k = attn.k_proj(x).view(-1, self.kv_heads, self.dim).transpose(0, 1)
        v = attn.v_proj(x).view(-1, self.kv_heads, self.dim).transpose(0, 1)
        q, k = _rotate(q, *turn), _rotate(k, *turn)
        k, v = torch.cat([past_k, k], 1), torch.cat([past_v, v], 1)
        weight = torch.softmax(q @ k.transpose(-1, -2) * self.dim**-0.5 + mask, -1)
        mixed = (weight @ v).transpose(0, 1).reshape(-1, self.heads * self.dim)
        return attn.o_proj(mixed), k, v


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin
