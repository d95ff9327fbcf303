"""Which nodes of a graph compute in float32 whatever the rest does, by what they are. Knows no numbers: `rounding` measures.

norm: layer and RMS norms, whole or spelt out · softmax: with all that makes its argument out of a product's, masks among it ·
logits: the last product and what follows · angle: sine and cosine with what makes their argument · number: what turns whole
numbers into floats, and comparisons · quantised: what an int8 engine fuses · float32: operators that half precision is not made for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from onnx import NodeProto

from export.files.onnx_file import OnnxFile

NORMS = {
    "BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization",
    "MeanVarianceNormalization", "RMSNormalization",
}  # fmt: skip
SOFTMAX = {"LogSoftmax", "Softmax"}
ANGLES = {"Cos", "Sin"}
PRODUCTS = {"Gemm", "MatMul"}
QUANTISERS = {"DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"}
FLOAT32 = {
    "CumSum", "EyeLike", "GRU", "GridSample", "LSTM", "NonMaxSuppression", "RNN", "RandomNormal", "RandomUniform", "Resize", "Upsample",
}  # fmt: skip
NUMBERS = {
    "Cast", "CastLike", "ConstantOfShape", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Range",
}  # fmt: skip
MEANS = {"ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare"}
LOGITS = "logits"  # the output whose last product is one
# What rearranges, masks, scales or bends a few numbers. Everything else is a layer of its own.
LIGHT = {
    "Abs", "Add", "Clip", "Concat", "Div", "Expand", "Gather", "Identity", "Max", "Min", "Mul", "Neg", "Pow", "Reshape", "Slice", "Split",
    "Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
BEFORE_ROOT = {"Add", "Clip", "Max", "Mul", "Pow", "ReduceMean", "Sub"}  # of a variance, on its way to the square root
AFTER_ROOT = {"Div", "Mul", "Reciprocal"}


@dataclass(frozen=True, slots=True)
class Links:
    """Who makes a value and who reads it."""

    maker: dict[str, NodeProto]
    readers: dict[str, list[NodeProto]]

    @classmethod
    def of(cls, nodes: Iterable[NodeProto]) -> Links:
        maker: dict[str, NodeProto] = {}
        readers: dict[str, list[NodeProto]] = {}
        for node in nodes:
            maker |= dict.fromkeys(node.output, node)
            for name in dict.fromkeys(node.input):
                readers.setdefault(name, []).append(node)
        return cls(maker, readers)

    def upstream(self, values: Iterable[str], through: Callable[[NodeProto], bool]) -> dict[str, NodeProto]:
        """The nodes that make `values`, and theirs, as far back as `through` holds."""
        found: dict[str, NodeProto] = {}
        waiting = list(values)
        while waiting:
            node = self.maker.get(waiting.pop())
            if node is not None and node.name not in found and through(node):
                found[node.name] = node
                waiting.extend(node.input)
        return found


def islands(file: OnnxFile) -> dict[str, str]:
    """The reason of each node that is one, by its name."""
    nodes, links = file.nodes, Links.of(file.nodes)
    found: dict[str, str] = {}

    def add(reason: str, names: Iterable[str]) -> None:
        for name in names:
            found.setdefault(name, reason)

    for node in nodes:
        if node.op_type in FLOAT32 or _crashes(file, links, node):
            add("float32", [node.name])
        elif node.op_type in QUANTISERS or any(maker.op_type in QUANTISERS for maker in _makers(links, node)):
            add("quantised", [node.name])
        elif node.op_type in NORMS:
            add("norm", [node.name])
        elif node.op_type in MEANS:
            add("norm", _norm(file, links, node))
        elif node.op_type in SOFTMAX:
            add("softmax", [node.name, *links.upstream(node.input, _light)])
        elif node.op_type in ANGLES:
            add("angle", [node.name, *links.upstream(node.input, lambda up: _light(up) or _outer(file, up))])
        elif node.op_type in NUMBERS:
            add("number", [node.name])
    add("logits", _logits(file, links))
    return found


def logits(file: OnnxFile) -> set[str]:
    """The products whose results an answer is chosen from, with what follows them, by node."""
    return set(_logits(file, Links.of(file.nodes)))


def _makers(links: Links, node: NodeProto) -> list[NodeProto]:
    return [links.maker[name] for name in node.input if name in links.maker]


def _light(node: NodeProto) -> bool:
    return node.op_type in LIGHT


def _crashes(file: OnnxFile, links: Links, node: NodeProto) -> bool:
    """A batch axis moved inwards right before a product by a weight: ONNX Runtime's x86 layouts crash on it in half precision.

    https://github.com/microsoft/onnxruntime/issues/28392; in 1.32 still.
    """
    if node.op_type != "Transpose" or not node.attribute:
        return False
    order = list(node.attribute[0].ints)
    inwards = len(order) > 2 and order == [*range(1, len(order) - 1), 0, len(order) - 1]
    return inwards and any(
        reader.op_type == "MatMul" and file.is_weight(reader.input[1]) for reader in links.readers.get(node.output[0], ())
    )


def _outer(file: OnnxFile, node: NodeProto) -> bool:
    """Frequencies times positions, as rotary embeddings write it."""
    weights = [name for name in node.input if file.is_weight(name)]
    return node.op_type == "MatMul" and any(1 in file.shape(name)[-2:] for name in weights)


def _logits(file: OnnxFile, links: Links) -> list[str]:
    """From the output of that name, or what is chosen from, back to its product."""
    chosen = [node.input[0] for node in file.nodes if node.op_type in {"ArgMax", "TopK"}]
    ends = [value.name for value in file.model.graph.output if value.name == LOGITS]
    light = links.upstream([*ends, *chosen], _light)
    made = {name for node in light.values() for name in node.input} | {*ends, *chosen}
    products = [links.maker[name].name for name in made if name in links.maker and links.maker[name].op_type in PRODUCTS]
    return [*light, *sorted(products)]


def _norm(file: OnnxFile, links: Links, mean: NodeProto) -> list[str]:
    """A mean that a root is taken of, from what is averaged to the last constant the result is scaled or shifted by; else nothing."""
    before = _walk(links, [mean], lambda node, _: node.op_type in BEFORE_ROOT)
    roots = [node for each in (mean, *before) for name in each.output for node in links.readers.get(name, ()) if _root(file, node)]
    if mean.op_type == "ReduceL2":
        roots = [mean]
    if not roots:
        return []
    reach = _walk(links, roots, lambda node, last: _scales(file, node, last))
    towards = links.upstream([name for root in roots for name in root.input], lambda node: node.op_type in BEFORE_ROOT | MEANS)
    first = links.upstream(mean.input[:1], lambda node: node.op_type in {"Abs", "Mul", "Pow", "Sub"} and _alone(links, node))
    kept = {node.name for node in before} & set(towards)
    return [mean.name, *sorted(kept), *first, *(node.name for node in (*roots, *reach))]


def _alone(links: Links, node: NodeProto) -> bool:
    """Squares and differences belong to the norm when nothing but norms reads them; a Sub is read by its Div as well."""
    return all(reader.op_type in BEFORE_ROOT | AFTER_ROOT | MEANS for name in node.output for reader in links.readers.get(name, ()))


def _root(file: OnnxFile, node: NodeProto) -> bool:
    if node.op_type == "Pow" and file.is_weight(node.input[1]):
        power = file.values(node.input[1])
        return power.size == 1 and abs(float(power.reshape(-1)[0])) == 0.5
    return node.op_type == "Sqrt"


def _scales(file: OnnxFile, node: NodeProto, last: NodeProto) -> bool:
    """After the root: its inverse, the product with what is normalised, then constants alone."""
    constant = any(file.is_weight(name) for name in node.input)
    if _root(file, last) or last.op_type in {"Reciprocal", "ReduceL2"}:
        return node.op_type in AFTER_ROOT or (constant and node.op_type in {"Add", "Clip", "Max"})
    return constant and node.op_type in {"Add", "Div", "Mul"}


def _walk(links: Links, starts: list[NodeProto], onward: Callable[[NodeProto, NodeProto], bool]) -> list[NodeProto]:
    """Nodes downstream of `starts`, as long as onward(node, the one before) holds."""
    found: dict[str, NodeProto] = {}
    waiting = list(starts)
    while waiting:
        last = waiting.pop()
        for name in last.output:
            for node in links.readers.get(name, ()):
                if node.name not in found and onward(node, last):
                    found[node.name] = node
                    waiting.append(node)
    return list(found.values())
