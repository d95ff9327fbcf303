"""float32 to w8a8: QuantizeLinear and DequantizeLinear around products, from measured ranges. What TensorRT and ONNX Runtime both fuse.

    ends = load_ranges(SET).of("lm_step", source, tensors(source), "entropy")
    report = quantise_qdq(source, out, ends)

Everything is symmetric, zero point 0: weights per output, activations per tensor. Products of two activations stay float32.
Own code, because onnxruntime's quantiser loads all weights at once, and writes biases as int32, which TensorRT refuses, or so that
onnxruntime itself no longer fuses them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper

from edge_vla.errors import ConfigError, did_you_mean
from export.files.onnx_file import Names, OnnxFile
from export.files.products import Product, products, require_known
from export.files.weight_store import Store, rest, storing
from export.precision.layer_report import Layer, Report

LEVELS = 127  # of int8 on either side of 0; -128 is not used, so that ranges are symmetric
NOTHING = 1e-30  # a row of weights below this is one of zeros: a level of it would not be a whole float32 any more
Ends = tuple[float, float]


def tensors(source: Path) -> list[str]:
    """The activations whose ranges `quantise_qdq` wants, all blocks taken."""
    found, _ = products(OnnxFile(source))
    names = [product.data for product in found.values()]
    names += [product.output for product in found.values() if product.node.op_type == "Conv"]
    return list(dict.fromkeys(names))


def quantise_qdq(
    source: Path, out: Path, ranges: Mapping[str, Ends], blocks: Collection[str] | None = None, ratios: Mapping[str, float] | None = None
) -> Report:
    """Write `source` with int8 products to `out`: those of the nodes in `blocks`, or all. `ratios` only go into the report.

    Raises ConfigError for a tensor without range, a range that is none, a node there is not, weights that are not finite, a full disk.
    """
    file = OnnxFile(source)
    found, left = products(file)
    if blocks is not None:
        require_known(file, set(blocks))
        left |= {name: "not chosen" for name in found if name not in set(blocks)}
    elif not found:
        raise ConfigError(f"{source}: no product by a weight that could be int8")
    chosen = {name: product for name, product in found.items() if name not in left}
    scales = {name: scale(name, ranges) for product in chosen.values() for name in _measured(product)}
    left |= {name: "input is always 0" for name, product in chosen.items() if not all(scales[each] for each in _measured(product))}
    work = _Quantising(file, {name: product for name, product in chosen.items() if name not in left}, scales)
    with storing(out, beside=file.beside) as store:
        work.write(store)
        nbytes = store.nbytes
    layers = []
    for node in file.nodes:
        if node.name in found or node.name in left:
            figures = {"ratio": ratios[node.name]} if ratios and node.name in ratios else {}
            if node.name in work.errors:
                figures |= {"weight_error": work.errors[node.name], "scale": scales[node.input[0]]}
            layers.append(Layer(node.name, node.op_type, "fp32" if node.name in left else "w8a8", left.get(node.name, ""), figures))
    return Report(source.name, "w8a8", tuple(layers), {"weight_bytes": float(nbytes)})


def scale(name: str, ranges: Mapping[str, Ends]) -> float:
    """Of one level of int8 over a range, in float32; 0.0 where a tensor is always 0."""
    if name not in ranges:
        raise ConfigError(f"tensor {name!r} has no range{did_you_mean(name, ranges)}; calibrate this graph")
    low, high = ranges[name]
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ConfigError(f"tensor {name!r}: range ({low}, {high}); want two finite numbers, the lower one first")
    return float(np.float32(max(abs(low), abs(high)) / LEVELS))


def _measured(product: Product) -> list[str]:
    """A convolution is fused whole, and then what comes out is int8 as well."""
    return [product.data, product.output] if product.node.op_type == "Conv" else [product.data]


class _Quantising:
    """One graph being rewritten."""

    def __init__(self, file: OnnxFile, chosen: Mapping[str, Product], scales: Mapping[str, float]) -> None:
        self.file, self.chosen, self.scales = file, chosen, scales
        self.nodes: list[NodeProto] = []
        self._names = Names(file)
        self.errors: dict[str, float] = {}  # of each chosen node's weight, relative
        self._convolved: dict[str, str] = {}  # what a fused convolution gives -> what its readers read
        self._weights: dict[tuple[str, int, bool], tuple[str, float]] = {}

    def write(self, store: Store) -> None:
        for node in self.file.nodes:
            made = NodeProto()
            made.CopyFrom(node)
            for k, name in enumerate(node.input):
                made.input[k] = self._convolved.get(name, name)
            if node.name in self.chosen:
                self._product(store, self.chosen[node.name], made)
            else:
                self.nodes.append(made)
        rest(self.file, self.nodes, store)

    def _product(self, store: Store, product: Product, made: NodeProto) -> None:
        made.input[0] = self._round(store, product.data, made.input[0], f"{product.name}.input")
        made.input[1], self.errors[product.name] = self._weight(store, product)
        self.nodes.append(made)
        if made.op_type == "Conv":
            self._convolved[product.output] = self._round(store, product.output, product.output, f"{product.name}.output")
        elif made.op_type == "MatMul" and self.file.axes(product.data) == 2:
            made.op_type = "Gemm"  # a MatMul and the Add behind it become one float32 Gemm before ONNX Runtime looks for int8
        elif product.bias:
            del made.input[2]  # neither does it fuse a Gemm whose bias is float32, and TensorRT takes no other
            made.output[0] = self._names.fresh(f"{product.output}.product")
            self.nodes.append(
                helper.make_node("Add", [made.output[0], product.bias], [product.output], self._names.fresh(f"{product.name}.bias"))
            )

    def _round(self, store: Store, tensor: str, read: str, put: str) -> str:
        """Q and DQ for one reader: with one Q for several, ONNX Runtime runs them a hundred times slower."""
        put = self._names.fresh(put)
        step, zero, levels = (self._names.fresh(f"{put}.{part}") for part in ("scale", "zero", "int8"))
        store.put(step, np.array(self.scales[tensor], np.float32))
        store.put(zero, np.array(0, np.int8))
        self.nodes.append(helper.make_node("QuantizeLinear", [read, step, zero], [levels], self._names.fresh(f"{put}.quantise")))
        self.nodes.append(helper.make_node("DequantizeLinear", [levels, step, zero], [put], self._names.fresh(f"{put}.dequantise")))
        return put

    def _weight(self, store: Store, product: Product) -> tuple[str, float]:
        """The name of an int8 weight behind its DQ, and its relative error. One that several read is stored once."""
        key = (product.weight, product.axis, product.turned)
        if key not in self._weights:
            put = self._names.fresh(f"{product.weight}.dequantised")
            levels, step, zero = named = [self._names.fresh(f"{product.weight}.{part}") for part in ("int8", "scale", "zero")]
            steps = scales_of(self.file, product)
            axis = 1 - product.axis if product.turned else product.axis
            error = _store_int8(store, self.file, product, steps, levels)
            store.put(step, steps)
            store.put(zero, np.zeros(len(steps), np.int8))
            self.nodes.append(helper.make_node("DequantizeLinear", named, [put], self._names.fresh(f"{put}.by"), axis=axis))
            self._weights[key] = put, error
        return self._weights[key]


def scales_of(file: OnnxFile, product: Product) -> np.ndarray:
    """(outputs,) float32: of one level of int8 over each output's weights; 1 where they are nothing."""
    peaks = []
    for piece in product.rows(file):
        across = tuple(range(1, piece.ndim)) if product.axis == 0 else 0
        peaks.append(np.abs(piece).max(axis=across))
    peak = np.concatenate(peaks) if product.axis == 0 else np.max(peaks, axis=0)
    return np.where(peak > NOTHING, peak / np.float32(LEVELS), np.float32(1)).astype(np.float32)


def _store_int8(store: Store, file: OnnxFile, product: Product, steps: np.ndarray, put: str) -> float:
    """Fills a new int8 tensor; its relative error, root of the sums of squares."""
    shape = file.shape(product.weight)
    turned: list[np.ndarray] = []
    slot = store.add(put, TensorProto.INT8, tuple(reversed(shape)) if product.turned else shape)
    lost = total = 0.0
    start = 0
    for piece in product.rows(file):
        stop = start + len(piece)
        each = steps[start:stop].reshape(-1, *(1,) * (piece.ndim - 1)) if product.axis == 0 else steps
        levels = np.clip(np.rint(piece / each), -LEVELS, LEVELS)
        lost += float(np.square(levels * each - piece, dtype=np.float64).sum())
        total += float(np.square(piece, dtype=np.float64).sum())
        start = stop
        if product.turned:
            turned.append(levels.astype(np.int8))
        else:
            slot.put(levels.astype(np.int8))
    if product.turned:
        slot.put(np.ascontiguousarray(np.concatenate(turned).T))
    return math.sqrt(lost / total) if total else 0.0
