"""int8 where ONNX Runtime is faster with it on a CPU, of Finder's graphs. The files are for ONNX Runtime alone.

Convolutions are rounded to scales measured on pictures, going in and coming out. Products of the vision tower's blocks and of the image's
keys and values are rounded to scales found anew in each pass. Both take uint8 and int8, for which x86 has an instruction. What reads the
question keeps its activations in float32: a gate's output reaches 440 there, with 1.7 in the mean, and 256 levels do not hold both. Its
weights are int8 in blocks of 32.
The first convolution (3 channels), the dense head and the token projection stay float32: little time, and boxes come straight out of them.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from edge_vla.learn.finder.model import Finder
from export.finder.even import even_prefix, even_vision
from export.finder.onnx import Modules, modules_of
from export.precision.nbits import quantise_weights

Picture = NDArray[np.uint8]  # (224, 224, 3) RGB


def evened(finder: Finder, pictures: Sequence[Picture]) -> Modules:
    """The same functions, with channels of one size as far as that goes: what `quantise` wants traced."""
    made = modules_of(copy.deepcopy(finder)) | {"lm_step": modules_of(finder)["lm_step"]}
    images = [image_of(picture) for picture in pictures]
    with torch.no_grad():
        tokens = [made["vision"](image)[0] for image in images]
    even_vision(made["vision"], images)
    even_prefix(made["prefix"], tokens)
    return made


def quantise(folder: Path, pictures: Sequence[Picture]) -> None:
    """The three graphs in `folder`, in place. Raises ValueError where a product that should be int8 is not."""
    images = [image_of(picture).numpy() for picture in pictures]
    quantise_measured(folder / "vision.onnx", images, operators(folder / "vision.onnx", "Conv")[1:])
    quantise_products(folder / "vision.onnx", in_blocks)
    quantise_products(folder / "prefix.onnx", lambda _: True)
    part = folder / "lm_step.int8"
    quantise_weights(folder / "lm_step.onnx", part, bits=8)
    part.replace(folder / "lm_step.onnx")


def in_blocks(weight: str) -> bool:
    """Of the vision tower."""
    return weight.startswith("blocks.")


def quantise_measured(path: Path, feeds: Sequence[NDArray[np.float32]], nodes: Sequence[str]) -> None:
    """These nodes of a graph with one input, with ranges from the least to the most that `feeds` make of each tensor."""
    part = path.with_suffix(".int8")
    quantize_static(
        path, part, _Fed(onnx.load(str(path)).graph.input[0].name, feeds), quant_format=QuantFormat.QDQ, nodes_to_quantize=list(nodes),
        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    part.replace(path)


def operators(path: Path, kind: str, chosen: Callable[[str], bool] = lambda _: True) -> list[str]:
    """Names of the nodes of that kind whose weights have `chosen` names."""
    graph = onnx.load(str(path)).graph
    weights = {tensor.name for tensor in graph.initializer}
    return [node.name for node in graph.node if node.op_type == kind and node.input[1] in weights and chosen(node.input[1])]


def quantise_products(path: Path, chosen: Callable[[str], bool]) -> None:
    """Those with weights whose names are `chosen`. Raises ValueError where one of them is left."""
    names = operators(path, "Gemm", chosen)
    part = path.with_suffix(".int8")
    quantize_dynamic(
        path, part, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8, per_channel=True,
        nodes_to_quantize=[f"{name}_MatMul" for name in names],  # a Gemm is split into that and its bias
    )  # fmt: skip
    made = sum(node.op_type == "MatMulInteger" for node in onnx.load(str(part)).graph.node)
    if made != len(names):
        raise ValueError(f"{path.name}: want {len(names)} products in int8, onnxruntime made {made}")
    part.replace(path)


class _Fed(CalibrationDataReader):  # type: ignore[misc] # onnxruntime has no types
    def __init__(self, name: str, feeds: Sequence[NDArray[np.float32]]) -> None:
        self._name, self._left = name, iter(feeds)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        feed = next(self._left, None)
        return None if feed is None else {self._name: feed}


def image_of(picture: Picture) -> torch.Tensor:
    """As the manifest's preprocessing makes it."""
    return torch.from_numpy(picture.transpose(2, 0, 1)[None].astype(np.float32)) / 127.5 - 1
