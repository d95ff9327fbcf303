"""Finder as plain modules the ONNX exporter can trace: no cache objects, no mask builders, and few nodes.

The image sees itself alone, so its keys and values are the same for every question: `PrefixGraph` makes them once a frame, and
`StepGraph` reads the question behind them. `StepGraph` can read image and question in one pass as well, under a mask.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_vla.learn.finder.model import IMAGE_TOKENS, Finder, fourier
from edge_vla.learn.finder.vision import Block

Turn = tuple[Tensor, Tensor]  # cosines and signed sines (T, 1, head_dim) of the positions


class VisionGraph(nn.Module):
    """image (1, 3, 224, 224) -> tokens (1, 196, hidden), free_distance (1, columns) m."""

    def __init__(self, finder: Finder) -> None:
        super().__init__()
        self.eye, self.blocks = finder.vision, nn.ModuleList(_Look(block) for block in finder.vision.blocks)
        both = (finder.from_feature, finder.from_dense)
        self.into_tokens = linear(torch.cat([part.weight for part in both], 1), sum(part.bias for part in both))
        self.unscale: Tensor | None = None  # (width,) of what the stem gives: even.py

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        eye = self.eye
        x = eye.stem(image)[0].flatten(1).transpose(0, 1)
        x = (x if self.unscale is None else x * self.unscale) + eye.position[0]
        for block in self.blocks:
            x = block(x)
        x = eye.norm(x)
        logits, raw = eye.dense(x).split([eye.classes, 4], -1)
        near, far = (F.softplus(raw) * 0.2).split(2, -1)
        boxes = torch.cat([eye.centre[0] - near, eye.centre[0] + far], -1)
        dense = [torch.sigmoid(logits), torch.clamp(logits / 4, -2, 2), fourier(boxes)]
        return self.into_tokens(torch.cat([x, *dense], -1))[None], eye._free(x[None])


class _Look(nn.Module):
    """A block of the vision tower over (196, width): queries, keys and values are turned towards their heads at once."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        block, (n, d) = self.block, x.shape
        q, k, v = block.qkv(block.norm1(x)).reshape(n, 3 * block.heads, -1).transpose(0, 1).split(block.heads, 0)
        weight = torch.softmax(q @ k.transpose(-1, -2) * (d // block.heads) ** -0.5, -1)
        x = x + block.out((weight @ v).transpose(0, 1).reshape(n, d))
        return x + block.mlp(block.norm2(x))


class PrefixGraph(nn.Module):
    """tokens (1, 196, hidden) -> keys, values (L, 1, 196, D) of the image at positions 0..195."""

    def __init__(self, finder: Finder) -> None:
        super().__init__()
        self.layers = layers_of(finder)
        cos, sin = turn(torch.arange(IMAGE_TOKENS), frequencies(finder))
        self.register_buffer("cos", cos.contiguous(), persistent=False)
        self.register_buffer("sin", sin.contiguous(), persistent=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        x, keys, values = tokens[0], [], []
        for layer in self.layers[:-1]:
            q, k, v = layer.look(x, (self.cos, self.sin))
            x = layer.answer(x, torch.softmax(q.flatten(0, 1) @ k.t() * layer.scale, -1) @ v)
            keys.append(k)
            values.append(v)
        k, v = self.layers[-1].keep(x, (self.cos, self.sin))  # nobody asks what the last layer makes of the image itself
        return torch.stack([*keys, k])[:, None], torch.stack([*values, v])[:, None]


class StepGraph(nn.Module):
    """Gemma's decoder as one step that serves prefill and decode.

    embeddings (1, T, H), positions (1, T), additive mask (1, 1, T, P + T), past keys and values (L, 1, P, D)
    -> logits of the last position (1, vocab), keys and values (L, 1, P + T, D).
    """

    def __init__(self, finder: Finder) -> None:
        super().__init__()
        self.layers, self.norm, self.head = layers_of(finder), Norm(finder.lm.model.norm), finder.lm.lm_head
        self.register_buffer("frequency", frequencies(finder), persistent=False)

    def forward(
        self, embeddings: Tensor, positions: Tensor, mask: Tensor, past_keys: Tensor, past_values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        turned = turn(positions[0], self.frequency)
        x, keys, values = embeddings[0], [], []
        mask = mask[0].transpose(0, 1)  # (T, 1, P + T): the same for all heads
        for i, layer in enumerate(self.layers):
            q, k, v = layer.look(x, turned)
            k, v = torch.cat([past_keys[i, 0], k], 0), torch.cat([past_values[i, 0], v], 0)
            if layer is self.layers[-1]:  # of which only the last position is asked
                q, x, mask = q[-1:], x[-1:], mask[-1:]
            x = layer.answer(x, torch.softmax(q @ k.t() * layer.scale + mask, -1) @ v)
            keys.append(k)
            values.append(v)
        return self.head(self.norm(x)), torch.stack(keys)[:, None], torch.stack(values)[:, None]


class Norm(nn.Module):
    """Gemma's own, in the words ONNX Runtime knows for one kernel."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.eps = norm.eps
        self.register_buffer("scale", 1 + norm.weight.detach(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.scale


class Layer(nn.Module):
    """A layer of the decoder over (T, H), one product for queries, keys and values. Raises ValueError for more than one key head."""

    def __init__(self, layer: nn.Module, heads: int, kv_heads: int, dim: int) -> None:
        super().__init__()
        if kv_heads != 1:
            raise ValueError(f"Finder's graphs are for 1 key and value head, got {kv_heads}")
        self.heads, self.dim, self.scale = heads, dim, dim**-0.5
        attn, mlp = layer.self_attn, layer.mlp
        self.qkv = linear(torch.cat([attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight]))
        self.kv = linear(torch.cat([attn.k_proj.weight, attn.v_proj.weight]))
        self.out, self.gate, self.up, self.down = attn.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj
        self.before, self.between = Norm(layer.input_layernorm), Norm(layer.post_attention_layernorm)

    def look(self, x: Tensor, turned: Turn) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (T, heads, D), keys (T, D), values (T, D)."""
        both, v = self.qkv(self.before(x)).split([(self.heads + 1) * self.dim, self.dim], -1)
        q, k = rotate(both.reshape(-1, self.heads + 1, self.dim), turned).split([self.heads, 1], 1)
        return q, k[:, 0], v

    def keep(self, x: Tensor, turned: Turn) -> tuple[Tensor, Tensor]:
        """Keys and values (T, D) alone."""
        k, v = self.kv(self.before(x)).split(self.dim, -1)
        return rotate(k[:, None], turned)[:, 0], v

    def answer(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.out(mixed.reshape(-1, self.heads * self.dim))
        y = self.between(x)
        return x + self.down(F.gelu(self.gate(y), approximate="tanh") * self.up(y))


def layers_of(finder: Finder) -> nn.ModuleList:
    config = finder.lm.config
    sizes = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    return nn.ModuleList(Layer(layer, *sizes) for layer in finder.lm.model.layers)


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A product with these rows."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return made


def frequencies(finder: Finder) -> Tensor:
    """(D / 2,) radians a position."""
    config = finder.lm.config
    base = config.rope_parameters["rope_theta"] if getattr(config, "rope_parameters", None) else config.rope_theta
    return 1.0 / base ** (torch.arange(0, config.head_dim, 2).float() / config.head_dim)


def turn(positions: Tensor, frequency: Tensor) -> Turn:
    angle = positions.float()[:, None, None] * frequency
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def rotate(x: Tensor, turned: Turn) -> Tensor:
    """(T, heads, D), its halves turned about each other."""
    cos, sin = turned
    low, high = x.split(x.shape[-1] // 2, -1)
    return x * cos + torch.cat([high, low], -1) * sin
