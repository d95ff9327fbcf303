"""A graph in blocks that are quantised together or not at all, and a block cut out as a graph of its own. Times nothing.

A block is all matrix products that read one tensor (queries, keys and values; gate and up), or convolutions with what lies between
them: one convolution alone would be charged for the roundings and reorderings that its neighbours share with it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from onnx import helper

from export.files.onnx_file import OnnxFile
from export.files.products import Product, products
from export.files.weight_store import rest, storing
from export.precision.islands import Links

BETWEEN = {
    "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Elu", "Gelu", "GlobalAveragePool", "HardSigmoid", "HardSwish",
    "LeakyRelu", "MaxPool", "Mul", "PRelu", "Pad", "Relu", "Sigmoid", "Sub", "Tanh",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """`products` are what is quantised, `nodes` are these and what comes with them, in the order of the graph."""

    products: tuple[Product, ...]
    nodes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(product.name for product in self.products)


def find(file: OnnxFile) -> list[Block]:
    """In the order of the graph."""
    found, _ = products(file)
    links = Links.of(file.nodes)
    groups: dict[str, list[Product]] = {}
    region = _region(file, links)
    for product in found.values():
        groups.setdefault(region.get(product.name, product.data), []).append(product)
    blocks = []
    for key, group in groups.items():
        names = {product.name for product in group} | {name for name, of in region.items() if of == key}
        if key not in region.values():
            names |= {name for product in group for name in _beside(file, links, product)}
        blocks.append(Block(tuple(group), tuple(node.name for node in file.nodes if node.name in names)))
    return blocks


def inputs(file: OnnxFile, nodes: Collection[str]) -> list[str]:
    """What these nodes read that they do not make themselves and that is no weight."""
    chosen = [node for node in file.nodes if node.name in nodes]
    made = {name for node in chosen for name in node.output}
    return list(dict.fromkeys(name for node in chosen for name in node.input if name and name not in made and not file.is_weight(name)))


def outputs(file: OnnxFile, nodes: Collection[str]) -> list[str]:
    """What others read of what these nodes make, and what leaves the graph."""
    read = {name for node in file.nodes if node.name not in nodes for name in node.input}
    read |= {value.name for value in file.model.graph.output}
    return [name for node in file.nodes if node.name in nodes for name in node.output if name in read]


def cut(file: OnnxFile, nodes: Collection[str], out: Path) -> None:
    """Write these nodes, with their weights, as a graph of its own."""
    alone = OnnxFile(file.path)
    graph = alone.model.graph
    del graph.input[:], graph.output[:]
    graph.input.extend(helper.make_tensor_value_info(name, file.types[name], None) for name in inputs(file, nodes))
    graph.output.extend(helper.make_tensor_value_info(name, file.types[name], None) for name in outputs(file, nodes))
    with storing(out) as store:
        rest(alone, [node for node in alone.nodes if node.name in nodes], store)


def _beside(file: OnnxFile, links: Links, product: Product) -> list[str]:
    """A weight's Transpose, and the Add of a constant right behind a product, which as float32 is one with it."""
    names = [links.maker[product.node.input[1]].name] if product.turned else []
    readers = links.readers.get(product.output, [])
    if len(readers) == 1 and readers[0].op_type == "Add" and any(file.is_weight(name) for name in readers[0].input):
        names.append(readers[0].name)
    return names


def _region(file: OnnxFile, links: Links) -> dict[str, str]:
    """Of each node in or between convolutions the name of the first convolution it hangs together with."""
    convolutions = [node for node in file.nodes if node.op_type == "Conv"]
    ahead: set[str] = set()
    waiting = [name for node in convolutions for name in node.output]
    while waiting:
        for node in links.readers.get(waiting.pop(), ()):
            if node.op_type in BETWEEN and node.name not in ahead:
                ahead.add(node.name)
                waiting.extend(node.output)
    behind = links.upstream([name for node in convolutions for name in node.input], lambda node: node.op_type in BETWEEN)
    inside = {node.name for node in convolutions} | (ahead & set(behind))
    region: dict[str, str] = {}
    for node in file.nodes:  # makers come before readers, so what hangs together is known when it meets
        if node.name not in inside:
            continue
        met = {region[links.maker[name].name] for name in node.input if name in links.maker and links.maker[name].name in region}
        region[node.name] = first = min(met, key=list(region).index) if met else node.name
        region |= {name: first for name, of in region.items() if of in met}
    return region
