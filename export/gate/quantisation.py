"""Rules on QuantizeLinear and DequantizeLinear: symmetric, static, said in full. TensorRT takes its int8 and int4 from nothing else."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from export.gate.finding import Basis, Rule
from export.gate.place import Findings, Place
from export.gate.typed_graph import Shape, word

PAIR = {"QuantizeLinear", "DequantizeLinear"}
SCALES = {"FP32", "FP16", "BF16"}
QUANTISED = {"INT8", "INT4", "FP8"}


def quantisation_findings(place: Place) -> Findings:
    if place.op not in PAIR or place.node.domain not in ("", "ai.onnx"):
        return
    yield from _type(place)
    yield from _zero_point(place)
    yield from _scale(place)
    yield from _granularity(place)
    if place.op == "QuantizeLinear":
        yield from _pair(place)


def _type(place: Place) -> Findings:
    """ONNX's default is uint8; the parser takes it as int8 without asking, so the graph has to say int8."""
    taken = QUANTISED | ({"FP4"} if place.target == "11" else set())
    if place.op == "DequantizeLinear":
        dtype = place.dtype(0)
    else:
        said = place.attributes.get("output_dtype", TensorProto.UNDEFINED)
        dtype = place.dtype(2) if place.input(2) else word(said) if said else "UINT8"
    if dtype is not None and dtype not in taken:
        told = "no zero point, which means UINT8," if place.op == "QuantizeLinear" and not place.input(2) else dtype
        yield place.finding(Rule.QUANTISED, f"{told} for {place.input(0)}", "a zero point of INT8", Basis.PARSER)
    weights = place.constant(0)
    if dtype in ("INT4", "FP4") and not weights:
        yield place.finding(Rule.QUANTISED, f"{place.input(0)} becomes {dtype} while running", f"{dtype} for weights only", Basis.GUIDE)


def _zero_point(place: Place) -> Findings:
    if not place.input(2):
        return
    values = place.graph.values(place.input(2))
    if values is None:
        yield place.finding(Rule.SYMMETRIC, f"zero point {place.input(2)} is computed", "an initialiser of zeros", Basis.HEADER)
    elif np.any(values.astype(np.float32)):
        yield place.finding(Rule.SYMMETRIC, f"zero point {values.reshape(-1)[:4].astype(int).tolist()}", "0", Basis.PARSER)


def _scale(place: Place) -> Findings:
    name, dtype = place.input(1), place.dtype(1)
    values = place.graph.values(name)
    if values is None:
        yield place.finding(Rule.SCALE, f"scale {name} is computed", "an initialiser", Basis.HEADER)
    elif not np.all(values.astype(np.float32) > 0):
        yield place.finding(Rule.SCALE, f"scale {name} has {float(values.astype(np.float32).min())}", "more than 0", Basis.PARSER)
    if dtype not in SCALES:
        yield place.finding(Rule.SCALE, f"scale {name} is {dtype}", "FP32, FP16 or BF16", Basis.PARSER)
    elif place.op == "QuantizeLinear" and (given := place.dtype(0)) not in (None, dtype) and (place.target == "10.3" or dtype != "FP32"):
        yield place.finding(Rule.SCALE, f"scale {name} is {dtype} and {place.input(0)} is {given}", "one type for both", Basis.HEADER)


def _granularity(place: Place) -> Findings:
    scale, data = place.shape(1), place.shape(0)
    if scale is None or data is None or None in scale:
        return
    count = int(np.prod([size or 0 for size in scale]))
    if count == 1:
        return
    if not place.constant(0):
        maker = place.graph.maker(place.input(0))
        rooted = maker is not None and maker.op_type == "QuantizeLinear" and place.graph.constant(maker.input[0])
        if not rooted:
            found = f"{count} scales for {place.input(0)}, which is no weight"
            yield place.finding(Rule.GRANULARITY, found, "one scale for an activation", Basis.HEADER)
    if len(scale) == 1:
        axis = place.attributes.get("axis", 1)
        if not -len(data) <= axis < len(data) or data[axis] != count:
            yield place.finding(Rule.GRANULARITY, f"{count} scales for {list(data)} on axis {axis}", "one a channel", Basis.PARSER)
    else:
        yield from _blocks(place, data, scale)


def _blocks(place: Place, data: Shape, scale: Shape) -> Findings:
    quantised = place.dtype(0) if place.op == "DequantizeLinear" else place.dtype(2)
    if place.target == "10.3" and (quantised != "INT4" or len(data) != 2):
        found = f"blocks of {quantised} in {len(data)} dimensions"
        yield place.finding(Rule.GRANULARITY, found, "blocks only of INT4 weights in 2 dimensions", Basis.HEADER)
    whole = len(scale) == len(data) and all(a and b and a % b == 0 for a, b in zip(data, scale, strict=False))
    blocked = [at for at, (a, b) in enumerate(zip(data, scale, strict=False)) if a != b]
    if not whole or len(blocked) != 1:
        yield place.finding(Rule.GRANULARITY, f"scales of {list(scale)} for {list(data)}", "whole blocks along one axis", Basis.PARSER)
    elif blocked[0] < len(data) - 2:
        yield place.finding(Rule.GRANULARITY, f"blocks along axis {blocked[0]} of {len(data)}", "one of the last two axes", Basis.HEADER)
    if quantised == "INT4" and data[-1] is not None and data[-1] % 2:
        yield place.finding(Rule.GRANULARITY, f"INT4 of {list(data)}", "an even last dimension", Basis.PARSER)


def _pair(place: Place) -> Findings:
    name = place.output(0)
    others = sorted({node.op_type for node in place.graph.takers(name)} - {"DequantizeLinear"})
    if name in place.graph.outputs:
        others.append("an output of the graph")
    if others:
        yield place.finding(Rule.PAIR, f"{name} goes to {', '.join(others)}", "DequantizeLinear alone", Basis.ASSUMED)
