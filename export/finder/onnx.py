"""Finder's graphs as ONNX files: written, and compared with torch."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn

from edge_vla.learn.data.views import SIZE_PX
from edge_vla.learn.finder.model import IMAGE_TOKENS, Finder
from export.finder.modules import PrefixGraph, StepGraph, VisionGraph

OPSET = 20  # the highest that TensorRT 10.3 reads; from there on Gelu is one operator
INPUTS = {"vision": ("image",), "prefix": ("tokens",), "lm_step": ("embeddings", "positions", "mask", "past_keys", "past_values")}
OUTPUTS = {"vision": ("tokens", "free_distance"), "prefix": ("keys", "values"), "lm_step": ("logits", "keys", "values")}
PROMPT_LENGTHS = (4, 9)  # checked at two lengths: an exporter may bake one in
Modules = Mapping[str, nn.Module]


def modules_of(finder: Finder, *, portable: bool = False) -> dict[str, nn.Module]:
    """By the names a manifest gives them. A portable set leaves out what only saves time."""
    made = {"vision": VisionGraph(finder), "prefix": PrefixGraph(finder), "lm_step": StepGraph(finder)}
    return {name: module.eval() for name, module in made.items() if name != "prefix" or not portable}


def trace(modules: Modules, folder: Path) -> None:
    """Write each as NAME.onnx, fp32."""
    dim = torch.export.Dim.DYNAMIC
    dynamic = {"embeddings": {1: dim}, "positions": {1: dim}, "mask": {2: dim, 3: dim}, "past_keys": {2: dim}, "past_values": {2: dim}}
    for name, module in modules.items():
        torch.onnx.export(
            module, _examples(name, module)[-1], str(folder / f"{name}.onnx"), input_names=list(INPUTS[name]),
            output_names=list(OUTPUTS[name]), opset_version=OPSET, dynamo=True, external_data=False, verbose=False,
            dynamic_shapes=dynamic if name == "lm_step" else None,
        )  # fmt: skip


def parity(modules: Modules, folder: Path) -> float:
    """Largest difference between torch and the files, on every graph; of the decoder at two prompt lengths, prefill and decode."""
    worst = 0.0
    with torch.no_grad():
        for name, module in modules.items():
            session = ort.InferenceSession(str(folder / f"{name}.onnx"), providers=["CPUExecutionProvider"])
            for inputs in _examples(name, module):
                got = session.run(None, {key: value.numpy() for key, value in zip(INPUTS[name], inputs, strict=True)})
                found = [np.abs(g - w.numpy()).max() for g, w in zip(got, module(*inputs), strict=True)]
                worst = float(np.max([worst, *found]))  # unlike max(), keeps a nan
    return worst


def _examples(name: str, module: nn.Module) -> list[tuple[Tensor, ...]]:
    """Inputs that differ in what may differ; the last one is traced."""
    if isinstance(module, VisionGraph):
        return [(torch.rand(1, 3, SIZE_PX, SIZE_PX) * 2 - 1,)]
    layers = module.layers
    hidden, width = layers[0].qkv.in_features, layers[0].dim
    if name == "prefix":
        return [(torch.randn(1, IMAGE_TOKENS, hidden),)]
    # both axes longer than one in the last, so that neither is taken for a constant
    lengths = [*((IMAGE_TOKENS + text, 0) for text in PROMPT_LENGTHS), (PROMPT_LENGTHS[0], IMAGE_TOKENS), (1, 11), (5, 7)]
    return [_step(new, past, hidden, (len(layers), 1, past, width)) for new, past in lengths]


def _step(new: int, past: int, hidden: int, cache: tuple[int, ...]) -> tuple[Tensor, ...]:
    positions, mask = torch.arange(past, past + new)[None], torch.zeros(1, 1, new, past + new)
    return torch.randn(1, new, hidden), positions, mask, torch.randn(cache), torch.randn(cache)


def forget_origin(path: Path) -> None:
    """Drop the exporter's stack traces: they name the paths of the machine the graph was made on."""
    model = onnx.load(str(path))
    del model.metadata_props[:]
    for part in (model.graph, *model.functions):
        for item in (*part.node, *part.value_info):
            del item.metadata_props[:]
            item.doc_string = ""
    onnx.save(model, str(path))
