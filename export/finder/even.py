"""Channels made of one size before int8: a factor moves from one product's weights into the next one's, and the function stays the same.

A tensor has one int8 scale for all its channels, so its largest channel makes the rounding coarse for all others. Between two products
each channel can be divided by a number that the second one's weights are multiplied with: exactly so through a ReLU, a norm's own weight,
a gate's other factor. (Nagel 2019, "Data-Free Quantization Through Weight Equalization"; Xiao 2022, "SmoothQuant".)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_vla.learn.finder.vision import Residual
from export.finder.modules import PrefixGraph, VisionGraph

SHARE = 0.8  # of the activations' unevenness that goes into the weights; with all of it these would become uneven
FAINT = 0.02  # of the largest: a channel below it, or a dead one, is left as faint as it is; its biases would overflow
Product = nn.Linear | nn.Conv2d


@dataclass(frozen=True, slots=True)
class Joint:
    """Channels that `makers` (rows of weights, or biases and norms) make and `readers` read; dividing one side multiplies the other."""

    makers: tuple[Tensor, ...]
    readers: tuple[Product, ...]

    def even(self, peaks: dict[Product, Tensor]) -> Tensor:
        """Returns the factor of each channel, 1 in their geometric mean."""
        seen = torch.stack([peaks[reader] for reader in self.readers]).amax(0)
        weighs = torch.stack([reader.weight.abs().transpose(0, 1).flatten(1).amax(1) for reader in self.readers]).amax(0)
        factor = seen.clamp_min(FAINT * seen.max()) ** SHARE / weighs.clamp_min(FAINT * weighs.max()) ** (1 - SHARE)
        factor /= factor.log().mean().exp()
        for maker in self.makers:
            maker.div_(factor.reshape(-1, *(1,) * (maker.ndim - 1)))
        for reader in self.readers:
            reader.weight.mul_(factor.reshape(1, -1, *(1,) * (reader.weight.ndim - 2)))
        return factor


@torch.no_grad()
def even_vision(graph: VisionGraph, images: Sequence[Tensor]) -> None:
    """Stem and blocks, in place. `images` (1, 3, 224, 224) tell how large each channel becomes."""
    joints = [*_stem(list(graph.eye.stem)), *_blocks(graph)]
    peaks = channel_peaks(graph, images, joints)
    factors = [joint.even(peaks) for joint in joints]
    last = next(factor for joint, factor in zip(joints, factors, strict=True) if joint.readers[-1] is graph.eye.stem[-1].first[0])
    graph.unscale = last  # no product reads the stem's end


@torch.no_grad()
def even_prefix(graph: PrefixGraph, tokens: Sequence[Tensor]) -> None:
    """The layers, in place; keys and values stay as they are, for `StepGraph` reads them."""
    joints = []
    for layer in graph.layers[:-1]:
        joints.append(Joint((layer.before.scale,), (layer.qkv,)))
        joints.append(Joint((layer.between.scale,), (layer.gate, layer.up)))
        joints.append(Joint((layer.up.weight,), (layer.down,)))
    joints.append(Joint((graph.layers[-1].before.scale,), (graph.layers[-1].kv,)))
    peaks = channel_peaks(graph, tokens, joints)
    for joint in joints:
        joint.even(peaks)


def channel_peaks(graph: nn.Module, feeds: Sequence[Tensor], joints: Sequence[Joint]) -> dict[Product, Tensor]:
    """The largest absolute value of each channel that each reader was fed."""
    found: dict[Product, Tensor] = {}

    def look(product: nn.Module, fed: tuple[Tensor, ...]) -> None:
        channels = fed[0][0].flatten(1) if isinstance(product, nn.Conv2d) else fed[0].flatten(0, -2).transpose(0, 1)
        peak = channels.abs().amax(1)
        found[product] = torch.maximum(found[product], peak) if product in found else peak

    hooks = [reader.register_forward_pre_hook(look) for joint in joints for reader in joint.readers]
    try:
        for feed in feeds:
            graph(feed)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _stem(stem: list[nn.Module]) -> Iterator[Joint]:
    """What one convolution begins, the residuals behind it go on with: these channels have the same factors."""
    first: nn.Conv2d | None = None
    inside: list[Residual] = []
    for module in [*stem, None]:
        if isinstance(module, Residual):
            inside.append(module)
            continue
        following = None if module is None else module[0]
        for residual in inside:
            yield Joint(_rows(residual.first[0]), (residual.second[0],))
        if first is not None:
            ends = tuple(tensor for conv in (first, *(r.second[0] for r in inside)) for tensor in _rows(conv))
            readers = [*([] if following is None else [following]), *(r.first[0] for r in inside)]
            yield Joint(ends, tuple(readers))
        first, inside = following, []


def _rows(product: Product) -> tuple[Tensor, ...]:
    return (product.weight, product.bias)


def _blocks(graph: VisionGraph) -> Iterator[Joint]:
    for look in graph.blocks:
        for norm, reader in ((look.block.norm1, look.block.qkv), (look.block.norm2, look.block.mlp[0])):
            yield Joint((norm.weight, norm.bias), (reader,))
