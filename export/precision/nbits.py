"""Weights alone to 4 or 8 bits in blocks, for ONNX Runtime: `MatMulNBits`, activations stay float32. TensorRT has no such operator.

    report = quantise_weights(Path("lm_step.onnx"), Path("w4/lm_step.onnx"), bits=4)

Logits keep 8 bits: what is lost there is lost of the answer itself. The numbers are those of onnxruntime's own quantiser; weights go
through it a few outputs at a time, from file to file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper
from onnxruntime.capi import _pybind_state as kernels  # the public module around them turns on everybody's logging when it is imported

from edge_vla.errors import ConfigError
from export.files.onnx_file import PIECE, Names, OnnxFile, require_finite
from export.files.products import Product, products
from export.files.weight_store import Store, rest, storing
from export.precision.islands import logits
from export.precision.layer_report import Layer, Report

DOMAIN = "com.microsoft"
KERNELS = {4: kernels.quantize_matmul_4bits, 8: kernels.quantize_matmul_8bits}
BLOCKS = (16, 32, 64, 128, 256)
LOGITS = 8  # bits at least of the matrix that an answer is chosen from
# Products in int8. Without it 8 bits decode 50 times slower than float32, and 4 bits twice slower than with it.
ACCURACY_LEVEL = 4
Blocks = tuple[np.ndarray, np.ndarray]


def quantise_weights(source: Path, out: Path, bits: int, block: int = 32, *, logits_bits: int = LOGITS) -> Report:
    """Write `source` with the weights of its matrix products in `bits`, a float32 scale for each `block` of inputs, to `out`.

    Logits take `logits_bits` where that is more: 4, 8, or 32 for as they are. A matrix that would not become smaller stays. Raises
    ConfigError for other numbers than 4 and 8 bits and blocks of 16 to 256, a graph without such products, weights that are not finite, a
    full disk.
    """
    if bits not in KERNELS:
        raise ConfigError(f"{bits} bits: want one of {', '.join(map(str, KERNELS))}")
    if logits_bits not in (*KERNELS, 32):
        raise ConfigError(f"{logits_bits} bits for logits: want one of {', '.join(map(str, KERNELS))}, 32")
    if block not in BLOCKS:
        raise ConfigError(f"blocks of {block}: want one of {', '.join(map(str, BLOCKS))}")
    file = OnnxFile(source)
    found, left = products(file)
    left |= {name: "convolution" for name, product in found.items() if product.node.op_type == "Conv"}
    wanted = dict.fromkeys(found, bits) | dict.fromkeys(logits(file) & set(found), max(bits, logits_bits))
    left |= {name: "logits" for name in found if wanted[name] not in KERNELS}
    narrower = [name for name in found if name not in left]
    left |= {name: "not smaller" for name in narrower if not _shrinks(file, found[name], wanted[name], block)}
    chosen = {name: product for name, product in found.items() if name not in left}
    if not chosen:
        raise ConfigError(f"{source}: no matrix product whose weight {bits} bits would make smaller")
    with storing(out, beside=file.beside) as store:
        errors = _write(file, chosen, store, wanted, block)
        nbytes = store.nbytes
    layers = tuple(_layer(node, bits, wanted, left, errors) for node in file.nodes if node.name in wanted or node.name in left)
    return Report(source.name, f"w{bits}", layers, {"weight_bytes": float(nbytes), "block": float(block)})


def _layer(node: NodeProto, bits: int, wanted: dict[str, int], left: dict[str, str], errors: dict[str, float]) -> Layer:
    if node.name in left:
        return Layer(node.name, node.op_type, "fp32", left[node.name])
    got = wanted[node.name]
    return Layer(node.name, node.op_type, f"w{got}", "" if got == bits else "logits", {"weight_error": errors[node.name]})


def packed_bytes(outputs: int, inputs: int, bits: int, block: int) -> int:
    """Of a matrix in blocks with their scales. A last block that is not full is stored as if it were."""
    return outputs * -(-inputs // block) * (block * bits // 8 + 4)


def _shrinks(file: OnnxFile, product: Product, bits: int, block: int) -> bool:
    outputs, inputs = product.shape(file)
    return packed_bytes(outputs, inputs, bits, block) < file.values(product.weight).nbytes


def _write(file: OnnxFile, chosen: dict[str, Product], store: Store, wanted: dict[str, int], block: int) -> dict[str, float]:
    """The relative error of each chosen node's weight."""
    nodes: list[NodeProto] = []
    names = Names(file)
    errors: dict[str, float] = {}
    stored: dict[tuple[str, int, int], tuple[list[str], float]] = {}
    for node in file.nodes:
        if node.name not in chosen:
            nodes.append(node)
            continue
        product, bits = chosen[node.name], wanted[node.name]
        key = (product.weight, product.axis, bits)
        if key not in stored:
            put = [names.fresh(f"{product.weight}.{part}") for part in (f"w{bits}", "scale")]
            stored[key] = put, _store_blocks(file, product, store, put, bits, block)
        weight, errors[node.name] = stored[key]
        outputs, inputs = product.shape(file)
        output = names.fresh(f"{product.output}.product") if product.bias else product.output
        nodes.append(
            helper.make_node(
                "MatMulNBits", [product.data, *weight], [output], node.name, domain=DOMAIN, K=inputs, N=outputs, bits=bits,
                block_size=block, accuracy_level=ACCURACY_LEVEL,
            )
        )  # fmt: skip
        if product.bias:
            nodes.append(helper.make_node("Add", [output, product.bias], [product.output], names.fresh(f"{node.name}.bias")))
    rest(file, nodes, store, DOMAIN)
    return errors


def _store_blocks(file: OnnxFile, product: Product, store: Store, put: list[str], bits: int, block: int) -> float:
    """Fill two new tensors, levels and scales; their relative error, root of the sums of squares."""
    outputs, inputs = product.shape(file)
    count = -(-inputs // block)
    packed = store.add(put[0], TensorProto.UINT8, (outputs, count, block * bits // 8))
    scales = store.add(put[1], TensorProto.FLOAT, (outputs, count))
    lost = total = 0.0
    for piece in _outputs(file, product):
        levels, steps = in_blocks(piece, bits, block)
        packed.put(levels)
        scales.put(steps)
        lost += float(np.square(values_of(levels, steps, bits, inputs) - piece, dtype=np.float64).sum())
        total += float(np.square(piece, dtype=np.float64).sum())
    return math.sqrt(lost / total) if total else 0.0


def _outputs(file: OnnxFile, product: Product) -> Iterator[np.ndarray]:
    """(outputs, inputs) float32, some outputs at a time. Raises ConfigError for what is not finite."""
    values = file.values(product.weight)
    outputs, inputs = product.shape(file)
    step = max(1, PIECE // inputs)
    for start in range(0, outputs, step):
        piece = values[start : start + step] if product.axis == 0 else values[:, start : start + step].T
        require_finite(product.weight, piece)
        yield np.asarray(piece, np.float32)


def in_blocks(values: np.ndarray, bits: int, block: int) -> Blocks:
    """(outputs, inputs) float32 -> levels (outputs, blocks, block * bits / 8) uint8 and scales (outputs, blocks).

    At 4 bits two levels are in a byte, the first in its lower half.
    """
    outputs, inputs = values.shape
    count = -(-inputs // block)
    across = np.zeros((count * block, outputs), np.float32)
    across[:inputs] = values.T
    levels, scales = np.zeros((outputs, count, block * bits // 8), np.uint8), np.zeros((outputs, count), np.float32)
    unused = np.zeros((outputs, count), np.uint8)  # zero points
    KERNELS[bits](levels, across, scales, unused, block, outputs, inputs, True)  # noqa: FBT003 - symmetric; it takes no names
    return levels, scales


def values_of(levels: np.ndarray, scales: np.ndarray, bits: int, inputs: int) -> np.ndarray:
    """The other way: (outputs, inputs) float32."""
    if bits == 4:
        levels = np.stack([levels & 15, levels >> 4], -1).reshape(*levels.shape[:2], -1)
    whole = (levels.astype(np.float32) - 2 ** (bits - 1)) * scales[..., None]
    return np.asarray(whole.reshape(len(levels), -1)[:, :inputs])
