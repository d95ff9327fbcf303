"""QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from onnx import ModelProto, TensorProto, helper

from export.gate import Rule
from tests.export.gate.cases.graph import OLD, Case, model

FOUR = "0.1, 0.1, 0.1, 0.1"


def through(x: str = "float[2,4] x", scale: str = "float s = {0.1}", zero: str = "int8 z = {0}") -> ModelProto:
    """x through Q and DQ; without `zero` they have no zero points."""
    inits, z = (f"{scale}, {zero}", ", z") if zero else (scale, "")
    return model(f"({x}) => (y) <{inits}>", f"p = QuantizeLinear(x, s{z}) y = DequantizeLinear(p, s{z})")


def weights(scale: str, kind: str = "int8[2,4]") -> ModelProto:
    """Quantised weights through DQ to MatMul, a scale for each of 4 columns."""
    body = "d = DequantizeLinear <axis = 1> (w, s) y = MatMul(x, d)"
    return model(f"(float[1,2] x) => (y) <{kind} w = {{1, 2, 3, 4, 5, 6, 7, 8}}, {scale}>", body)


def blocks(kind: int, sizes: tuple[int, ...], scales: tuple[int, ...], axis: int = 0, *, running: bool = False) -> ModelProto:
    """Weights of 4-bit or other integers in blocks through DQ; with `running` x is quantised so."""
    count, total = 1, 1
    for size, whole in zip(scales, sizes, strict=True):
        count, total = count * size, total * whole
    scale = helper.make_tensor("s", TensorProto.FLOAT, scales, [0.1] * count)
    zero = helper.make_tensor("z", kind, scales, [0] * count)
    w = helper.make_tensor("w", kind, sizes, [1] * total)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    how = {"axis": axis, "block_size": 2}
    if running:
        first = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["p"], **how)]
        nodes = [*first, helper.make_node("DequantizeLinear", ["p", "s", "z"], ["y"], **how)]
    else:
        nodes = [helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], **how), helper.make_node("Add", ["x", "d"], ["y"])]
    graph = helper.make_graph(nodes, "g", [x], [y], [scale, zero] if running else [w, scale, zero])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def columns(*, from_weights: bool) -> ModelProto:
    """Four scales on x, or on weights that are quantised in the graph."""
    inits = f"float[4] s = {{{FOUR}}}, int8[4] z = {{0, 0, 0, 0}}, float[2,4] w = {{1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0}}"
    of = "w" if from_weights else "x"
    body = f"p = QuantizeLinear({of}, s, z) d = DequantizeLinear(p, s, z) y = Add(x, d)"
    return model(f"(float[2,4] x) => (y) <{inits}>", body)


FINE = through()
FINE_BLOCKS = blocks(TensorProto.INT4, (4, 4), (2, 4))
FOUR_SCALES = f"float[4] s = {{{FOUR}}}"
GIVEN = "(float[2] x, {more}) => (y) <float t = {{0.1}}, int8 u = {{0}}>"
AFTER = "(float[2] x) => ({out}) <float s = {{0.1}}, int8 z = {{0}}, int64[1] k = {{0}}>"

QUANTISATION = (
    Case(Rule.QUANTISED, "QuantizeLinear", through(zero="uint8 z = {0}"), FINE, name="uint8"),
    Case(Rule.QUANTISED, "QuantizeLinear", through(zero=""), FINE, name="no zero point"),
    Case(Rule.QUANTISED, "DequantizeLinear", weights(FOUR_SCALES, "int32[2,4]"), weights(FOUR_SCALES), name="int32"),
    Case(
        Rule.QUANTISED, "QuantizeLinear", blocks(TensorProto.INT4, (4, 4), (2, 4), running=True), FINE_BLOCKS, name="int4 while running",
        targets=("10.3", "11"),
    ),
    Case(Rule.SYMMETRIC, "QuantizeLinear", through(zero="int8 z = {3}"), FINE, name="3"),
    Case(
        Rule.SYMMETRIC, "DequantizeLinear",
        model(GIVEN.format(more="int8 z"), "p = QuantizeLinear(x, t, u) y = DequantizeLinear(p, t, z)"), FINE, name="computed",
    ),
    Case(
        Rule.SCALE, "QuantizeLinear",
        model(GIVEN.format(more="float s"), "p = QuantizeLinear(x, s, u) y = DequantizeLinear(p, t, u)"), FINE, name="computed",
    ),
    Case(
        Rule.SCALE, "DequantizeLinear",
        model("(float[1] x) => (y) <int8[1] w = {1}, double s = {0.1}>", "d = DequantizeLinear(w, s) y = Cast <to = 1> (d)"), FINE,
        name="type",
    ),
    Case(Rule.SCALE, "QuantizeLinear", through(scale="float s = {0.0}"), FINE, name="zero"),
    Case(Rule.SCALE, "DequantizeLinear", through(scale="float s = {-0.1}"), FINE, name="negative"),
    Case(Rule.SCALE, "QuantizeLinear", through("float16[2,4] x"), FINE, OLD, "of another type than its input"),
    Case(Rule.GRANULARITY, "QuantizeLinear", columns(from_weights=False), columns(from_weights=True), name="activation"),
    Case(Rule.GRANULARITY, "DequantizeLinear", weights("float[2] s = {0.1, 0.1}"), weights(FOUR_SCALES), name="number"),
    Case(
        Rule.GRANULARITY, "DequantizeLinear", blocks(TensorProto.INT8, (4, 4), (2, 4)), FINE_BLOCKS, OLD, "blocks of int8",
    ),
    Case(
        Rule.GRANULARITY, "DequantizeLinear", blocks(TensorProto.INT4, (2, 4, 4), (2, 2, 4), 1), FINE_BLOCKS, OLD, "blocks in 3 dimensions",
    ),
    Case(Rule.GRANULARITY, "DequantizeLinear", blocks(TensorProto.INT4, (4, 4), (2, 2)), FINE_BLOCKS, name="two blocked axes"),
    Case(
        Rule.GRANULARITY, "DequantizeLinear", blocks(TensorProto.INT4, (4, 2, 4), (2, 2, 4)), FINE_BLOCKS, name="blocked axis",
    ),
    Case(Rule.GRANULARITY, "DequantizeLinear", blocks(TensorProto.INT4, (4, 3), (2, 3)), FINE_BLOCKS, name="odd"),
    Case(Rule.PAIR, "QuantizeLinear", model(AFTER.format(out="p"), "p = QuantizeLinear(x, s, z)"), FINE, name="output"),
    Case(
        Rule.PAIR, "QuantizeLinear",
        model(AFTER.format(out="y"), "p = QuantizeLinear(x, s, z) q = Unsqueeze(p, k) y = DequantizeLinear(q, s, z)"), FINE, name="moved",
    ),
)  # fmt: skip
