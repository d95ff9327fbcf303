"""Every backbone as graphs: what ONNX Runtime computes is what torch computes, at lengths that were not traced."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from edge_vla.learn.backbones.base import BaseRoboVLM
from export.torch_graphs.model_graphs import StepGraph, VisionGraph
from tests.learn.backbones.engines import NAMES

Made = Callable[[str], tuple[dict[str, Any], BaseRoboVLM]]
TOLERANCE = 1e-4  # largest absolute difference, fp32; seen: 2e-5
LENGTHS = ((9, 0), (5, 7), (1, 14), (12, 3))  # (new, past); the first is traced
DYNAMIC = torch.export.Dim.DYNAMIC


def picture(model: BaseRoboVLM) -> Tensor:
    rng = np.random.default_rng(3)
    return model.preprocess(rng.integers(0, 256, (48, 64, 3), np.uint8))[None]


def cache_shape(model: BaseRoboVLM, feed: list[Tensor]) -> tuple[int, int, int]:
    """(layers, heads, width)."""
    from edge_vla.learn.caches import tensors_of
    from edge_vla.learn.media import Media

    beside = {"media": Media(*feed[-2:])} if model.mark_id is not None else {}
    out = model.run_text(feed[0], feed[2], feed[1], keep=True, **beside)
    keys, _ = tensors_of(out.cache)
    return keys.shape[0], keys.shape[1], keys.shape[3]


def fed(model: BaseRoboVLM, shape: tuple[int, int, int], new: int, past: int, latents: Tensor | None) -> list[Tensor]:
    """One step's inputs: random embeddings after a random past."""
    g = torch.Generator().manual_seed(100 * new + past)
    rows = torch.arange(new + past)
    seen = rows[None] <= rows[past:, None]
    mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None]
    positions = rows[None, past:]
    if model.position_grid is not None:
        positions = positions.expand(3, 1, -1).clone()
    layers, heads, width = shape
    out = [torch.randn(1, new, model.hidden_size, generator=g), positions, mask]
    out += [torch.randn(layers, heads, past, width, generator=g) for _ in range(2)]
    return out if latents is None else [*out, latents, torch.ones(1, new, dtype=torch.long)]


def traced(module: nn.Module, inputs: list[Tensor], names: list[str], told: list[str], dynamic: dict[str, Any], out: Path) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated", category=FutureWarning)  # torch's own exporter
        _export(module, inputs, names, told, dynamic, out)
    return ort.InferenceSession(str(out))


def _export(module: nn.Module, inputs: list[Tensor], names: list[str], told: list[str], dynamic: dict[str, Any], out: Path) -> None:
    torch.onnx.export(
        module.eval(), tuple(inputs), str(out), input_names=names, output_names=told, opset_version=20, dynamo=True, verbose=False,
        external_data=False, dynamic_shapes=dynamic,
    )  # fmt: skip


def differences(session: Any, module: nn.Module, inputs: list[Tensor]) -> list[float]:
    with torch.no_grad():
        want = module(*inputs)
    want = [want] if isinstance(want, Tensor) else want
    got = session.run(None, {node.name: value.numpy() for node, value in zip(session.get_inputs(), inputs, strict=True)})
    return [float(np.abs(one - two.numpy()).max()) for one, two in zip(got, want, strict=True)]


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_the_models_at_every_length(name: str, speaking: Made, tmp_path: Path) -> None:
    model = speaking(name)[1]
    image = picture(model)
    vision = VisionGraph(model)
    session = traced(vision, [image], ["image"], ["tokens"], {"image": None}, tmp_path / "vision.onnx")
    assert max(differences(session, vision, [image])) < TOLERANCE
    other = image.flip(-1)
    assert max(differences(session, vision, [other])) < TOLERANCE

    with torch.no_grad():
        latents = vision(image)[:, None] if model.mark_id is not None else None
        first = fed(model, (1, 1, 1), 9, 0, latents)
        shape = cache_shape(model, first)
    step = StepGraph(model, both_ways=model.both_ways)
    names = ["embeddings", "positions", "mask", "past_keys", "past_values"]
    dynamic = {
        "embeddings": {1: DYNAMIC}, "positions": {first[1].ndim - 1: DYNAMIC}, "mask": {2: DYNAMIC, 3: DYNAMIC},
        "past_keys": {2: DYNAMIC}, "past_values": {2: DYNAMIC},
    }  # fmt: skip
    if latents is not None:
        names += ["latents", "seen"]
        dynamic |= {"latents": None, "seen": {1: DYNAMIC}}
    session = traced(step, fed(model, shape, 5, 7, latents), names, ["logits", "hidden", "keys", "values"], dynamic, tmp_path / "step.onnx")
    for new, past in LENGTHS:
        assert max(differences(session, step, fed(model, shape, new, past, latents))) < TOLERANCE, (new, past)
