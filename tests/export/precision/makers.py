"""Small graphs written by hand, and what runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Array = NDArray[Any]
Shape = Sequence[int | str | None]
KINDS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "float16": TensorProto.FLOAT16}


def write(
    path: Path, nodes: Sequence[NodeProto], inputs: Mapping[str, Shape], outputs: Sequence[str], weights: Mapping[str, Array], *,
    kinds: Mapping[str, str] | None = None, beside: bool = False, opset: int = 20,
) -> Path:  # fmt: skip
    """A graph of float32 inputs unless `kinds` says otherwise; its weights in a file beside it if `beside`."""
    told = [helper.make_tensor_value_info(name, KINDS[(kinds or {}).get(name, "float32")], shape) for name, shape in inputs.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(list(nodes), "g", told, ends, [numpy_helper.from_array(np.asarray(v), n) for n, v in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    if beside:
        onnx.save(model, str(path), save_as_external_data=True, location=f"{path.name}.data", size_threshold=64)
    else:
        onnx.save(model, str(path))
    return path


def node(kind: str, inputs: str, output: str, **said: Any) -> NodeProto:
    """Named after what it makes. Inputs apart by spaces."""
    return helper.make_node(kind, inputs.split(), output.split(), output.split(maxsplit=1)[0], **said)


def run(path: Path, feed: Mapping[str, Array], *, optimise: bool = True) -> dict[str, Array]:
    """By ONNX Runtime, as a host opens it."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return dict(zip([value.name for value in session.get_outputs()], session.run(None, dict(feed)), strict=True))


def run_truly(path: Path, feed: Mapping[str, Array]) -> dict[str, Array]:
    """By ONNX's own reference, which computes half precision in half precision."""
    model = onnx.load(str(path))
    with np.errstate(all="ignore"):
        return dict(zip([value.name for value in model.graph.output], ReferenceEvaluator(model).run(None, dict(feed)), strict=True))


def fused(path: Path, folder: Path) -> list[str]:
    """The operators that ONNX Runtime makes of a graph."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "fused.onnx")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [made.op_type for made in onnx.load(str(folder / "fused.onnx"), load_external_data=False).graph.node]


def types(path: Path) -> dict[str, str]:
    """The element type of every value, as ONNX infers it. Raises what strict inference raises."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path)), strict_mode=True, check_type=True).graph
    names = {kind: name for name, kind in KINDS.items()}
    found = {value.name: names.get(value.type.tensor_type.elem_type, "") for value in (*graph.value_info, *graph.input, *graph.output)}
    return found | {tensor.name: names.get(tensor.data_type, "") for tensor in graph.initializer}


def nodes(path: Path) -> dict[str, NodeProto]:
    return {made.name: made for made in onnx.load(str(path), load_external_data=False).graph.node}


def weights(path: Path) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer}


def strayed(want: Array, got: Array) -> float:
    """The largest difference over the largest magnitude."""
    return float(np.abs(want - got.astype(np.float32)).max() / np.abs(want).max())


WIDTH, ROWS, HEADS = 32, 40, 2


def decoder(path: Path, seed: int = 0, *, gain: float = 1.0, beside: bool = False) -> Path:
    """One layer as exporters write it: embeddings (T, 32), positions (T,), additive mask (T, T) -> logits (1, 40), hidden (T, 32).

    RMS norm spelt out, rotary angles, attention with a mask, a gated product whose size `gain` scales, a norm, a soft cap on the logits.
    """
    rng = np.random.default_rng(seed)
    size = {"q": WIDTH, "k": WIDTH, "v": WIDTH, "o": WIDTH, "gate": 64, "up": 64}
    kept: dict[str, Array] = {f"w_{name}": rng.normal(size=(WIDTH, n)).astype(np.float32) / 6 for name, n in size.items()}
    kept |= {
        "w_down": (rng.normal(size=(64, WIDTH)) / 8).astype(np.float32), "w_head": (rng.normal(size=(ROWS, WIDTH)) / 4).astype(np.float32),
        "two": np.float32(2), "eps": np.float32(1e-6), "last": np.array([-1]),
        "frequency": (10000.0 ** -np.linspace(0, 1, 32)[None]).astype(np.float32),
        "norm1": rng.uniform(0.5, 1.5, WIDTH).astype(np.float32), "norm2": rng.uniform(0.5, 1.5, WIDTH).astype(np.float32),
        "scale": np.float32(WIDTH**-0.5), "cap": np.float32(30), "gain": np.float32(gain), "one": np.array([1]),
    }  # fmt: skip
    made = [
        node("Cast", "positions", "whole", to=TensorProto.FLOAT), node("Unsqueeze", "whole one", "column"),
        node("Mul", "column frequency", "angle"), node("Cos", "angle", "cos"),
        *_norm("embeddings", "norm1", "n1"),
        *(node("MatMul", f"n1 w_{name}", name) for name in "qkv"),
        node("Mul", "q cos", "turned_q"), node("Mul", "k cos", "turned_k"), node("Transpose", "turned_k", "keys", perm=[1, 0]),
        node("MatMul", "turned_q keys", "scores"), node("Mul", "scores scale", "scaled"), node("Add", "scaled mask", "masked"),
        node("Softmax", "masked", "weights"), node("MatMul", "weights v", "mixed"), node("MatMul", "mixed w_o", "attended"),
        node("Add", "embeddings attended", "residual"), *_norm("residual", "norm2", "n2"),
        node("MatMul", "n2 w_gate", "gate"), node("Sigmoid", "gate", "open"), node("Mul", "gate open", "silu"),
        node("MatMul", "n2 w_up", "up"),
        node("Mul", "silu up", "product"), node("Mul", "product gain", "large"), node("MatMul", "large w_down", "fed"),
        node("Add", "residual fed", "added"), *_norm("added", "norm1", "hidden"),
        node("Gather", "hidden last", "end", axis=0), node("Gemm", "end w_head", "raw", transB=1),
        node("Div", "raw cap", "small"), node("Tanh", "small", "bent"), node("Mul", "bent cap", "logits"),
    ]  # fmt: skip
    inputs = {"embeddings": ["T", WIDTH], "positions": ["T"], "mask": ["T", "T"]}
    return write(path, made, inputs, ["logits", "hidden"], kept, kinds={"positions": "int64"}, beside=beside)


def _norm(data: str, weight: str, put: str) -> list[NodeProto]:
    return [
        node("Pow", f"{data} two", f"{put}_square"), node("ReduceMean", f"{put}_square last", f"{put}_mean"),
        node("Add", f"{put}_mean eps", f"{put}_safe"), node("Sqrt", f"{put}_safe", f"{put}_root"),
        node("Reciprocal", f"{put}_root", f"{put}_inverse"), node("Mul", f"{data} {put}_inverse", f"{put}_unit"),
        node("Mul", f"{put}_unit {weight}", put),
    ]  # fmt: skip


NORMS = [f"{put}_{part}" for put in ("n1", "n2", "hidden") for part in ("square", "mean", "safe", "root", "inverse", "unit")] + [
    "n1",
    "n2",
    "hidden",
]


def feed(length: int = 7, seed: int = 1, low: float = float(np.finfo(np.float32).min), start: int = 0) -> dict[str, Array]:
    """A causal prefill; `low` is what hides."""
    rng = np.random.default_rng(seed)
    mask = np.where(np.tri(length, dtype=bool), np.float32(0), np.float32(low)).astype(np.float32)
    return {
        "embeddings": rng.normal(size=(length, WIDTH)).astype(np.float32),
        "positions": np.arange(start, start + length, dtype=np.int64),
        "mask": mask,
    }
