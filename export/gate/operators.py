"""Rules on which operators there are and on which types they work."""

from __future__ import annotations

from export.files.operators import STANDARD
from export.gate.finding import Basis, Rule
from export.gate.place import Findings, Place

# What ONNX Runtime's own recipes leave in a graph, and what takes its place.
DYNAMIC = {"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv"}
OURS = "export it as fp32, fp16 or w8a8"

# Where an operator's type is not its first input's: inputs by number, outputs below zero (-1 is the first).
TYPED_BY: dict[str, tuple[int, ...]] = {
    "Where": (1, 2), "OneHot": (2,), "Cast": (0, -1), "CastLike": (0, -1), "Constant": (-1,), "ConstantOfShape": (-1,),
    "EyeLike": (-1,), "RandomNormal": (-1,), "RandomNormalLike": (-1,), "RandomUniform": (-1,), "RandomUniformLike": (-1,),
    "Pow": (0,), "BlackmanWindow": (-1,), "HammingWindow": (-1,), "HannWindow": (-1,),
}  # fmt: skip
WITH_BODY = {"If", "Loop", "Scan"}  # every output has to be of a type from the table


def operator_findings(place: Place) -> Findings:
    """Domain, name and, where those are right, types."""
    node, table = place.node, place.table
    if node.domain not in STANDARD:
        allowed = f"ONNX's own operators: {OURS}, without ONNX Runtime's fusions and weight formats"
        yield place.finding(Rule.DOMAIN, f"{node.domain}.{place.op}", allowed, Basis.TABLE)
    elif place.op in DYNAMIC:
        allowed = f"explicit QuantizeLinear and DequantizeLinear: {OURS}"
        yield place.finding(Rule.OPERATOR, f"{place.op}, which ONNX Runtime's int8 is made of", allowed, Basis.TABLE)
    elif place.op not in table.operators:
        yield place.finding(Rule.OPERATOR, place.op, f"an operator that TensorRT {table.target} parses", Basis.TABLE)
    else:
        yield from _types(place)


def parsed(place: Place) -> bool:
    """Whether the parser has code for it at all."""
    return place.node.domain in STANDARD and place.op in place.table.operators


def _typed_by(place: Place) -> list[str]:
    """Names of the tensors whose type the table speaks of."""
    if place.op in WITH_BODY:
        return [name for name in place.node.output if name]
    names = [place.input(at) if at >= 0 else place.output(-at - 1) for at in TYPED_BY.get(place.op, (0,))]
    return [name for name in names if name]


def _types(place: Place) -> Findings:
    listed = place.table.operators[place.op]
    taken = place.table.narrower.get(place.op, listed)
    for name in dict.fromkeys(_typed_by(place)):
        dtype = place.graph.dtype(name)
        if dtype is not None and dtype not in taken:
            basis = Basis.PARSER if dtype in listed else Basis.TABLE
            yield place.finding(Rule.DTYPE, f"{name} is {dtype}", ", ".join(sorted(taken)), basis)
    known = all(place.graph.dtype(name) is not None for name in place.node.input if name)
    untyped = [name for name in place.node.output if name and place.graph.dtype(name) is None]
    if known and untyped:  # where an input has none, its own maker is told of
        yield place.finding(Rule.UNTYPED, f"{untyped[0]} has no type that can be inferred", "a type", Basis.ASSUMED)
