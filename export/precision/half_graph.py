"""A float32 graph rewritten in half precision, node by node as it is told; and its twin, that rounds the same numbers in float32.

The twin is there to be measured: ONNX Runtime on a CPU computes half precision in float32 and leaves out roundings between its nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.files.onnx_file import Names, OnnxFile
from export.files.weight_store import Store

HALF_MAX = 65504.0
SHAPES = {"Shape", "Size"}  # they read either type


class Keep(Enum):
    """What a node computes in."""

    HALF = "fp16"
    WIDE = "fp32"  # its matrices are stored as float16 all the same
    EXACT = "fp32 with float32 weights"


@dataclass(frozen=True, slots=True)
class HalfPlan:
    """What is to be what. `masked` are values that hold the likes of -1e9: they end at -65504 instead of -inf."""

    keep: Mapping[str, Keep]  # of each node that touches float32
    masked: Collection[str] = field(default_factory=frozenset)
    narrow: Collection[str] = field(default_factory=frozenset)  # inputs and outputs of the graph that become float16


class _Writer:
    """The nodes of one graph being rewritten."""

    def __init__(self, file: OnnxFile, plan: HalfPlan, *, twin: bool) -> None:
        self.file, self.plan, self.twin = file, plan, twin
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.wants: dict[str, set[Keep]] = {}  # of each weight, how it is read
        self._names = Names(file)
        self._outputs = {value.name for value in file.model.graph.output}
        self._halves: dict[str, str] = {}  # value -> what is read for it in half precision
        self._fulls: dict[str, str] = {}  # value -> what is read for it in float32; by its own name where it is not here
        self._stored: dict[str, str] = {}  # weight that is stored as float16 -> its name there

    def write(self) -> None:
        for node in self.file.nodes:
            keep = self.plan.keep.get(node.name)
            for name in node.input:
                if keep is not None and self._float(name) and self.file.is_weight(name):
                    self.wants.setdefault(name, set()).add(keep)
        for value in self.file.model.graph.input:
            if value.name in self.plan.narrow:
                self._begin_narrow(value.name)
        for node in self.file.nodes:
            self._node(node)

    def half_name(self, name: str) -> str:
        """Of a weight that is stored as float16: its own where nobody reads it as float32."""
        if name not in self._stored:
            self._stored[name] = name if self.wants[name] == {Keep.HALF} else self._names.fresh(f"{name}.half")
        return self._stored[name]

    def stored_half(self, name: str) -> bool:
        """A weight is stored once: as float16 if it is already, or nobody wants it exactly and it is no vector that an island reads."""
        wants = self.wants[name]
        return name in self.file.halves or (Keep.EXACT not in wants and (Keep.WIDE not in wants or len(self.file.shape(name)) > 1))

    def _begin_narrow(self, name: str) -> None:
        self._halves[name] = name
        if self.twin:
            self._halves[name] = self._fulls[name] = self._rounded(name)

    def _node(self, node: NodeProto) -> None:
        keep = self.plan.keep.get(node.name)
        made = NodeProto()
        made.CopyFrom(node)
        if keep is None or node.op_type in SHAPES:
            read = [self._halves.get(name, name) for name in node.input]
        elif keep is Keep.HALF:
            read = [self._half(name) if self._float(name) else name for name in node.input]
        else:
            read = [self._full(name) if self._float(name) else name for name in node.input]
        del made.input[:]
        made.input.extend(read)
        self.nodes.append(made)
        for k, name in enumerate(node.output):
            if name and self._float(name):
                made.output[k] = self._made_half(name) if keep is Keep.HALF else self._made_full(name)

    def _made_half(self, name: str) -> str:
        """What a half node is to call its result; Casts follow where the graph's own output is float32."""
        if self.twin:
            return self._round_behind(name)
        inside = self._names.fresh(f"{name}.half") if name in self._outputs - set(self.plan.narrow) else name
        self._halves[name] = inside
        if inside != name:
            self._cast(inside, name, TensorProto.FLOAT)
            self._fulls[name] = name
        return inside

    def _made_full(self, name: str) -> str:
        """What a float32 node is to call its result; a Cast follows where the graph's own output is float16."""
        if name not in self.plan.narrow:
            return name
        full = self._round_behind(name) if self.twin else self._names.fresh(f"{name}.full")
        if not self.twin:
            self._cast(full, name, TensorProto.FLOAT16)
        self._halves[name], self._fulls[name] = name, full
        return full

    def _round_behind(self, name: str) -> str:
        """A name for a result in full; what it is rounded to has the value's own."""
        exact = self._names.fresh(f"{name}.exact")
        self._round(exact, name)
        self._halves[name] = name
        return exact

    def _half(self, name: str) -> str:
        if name not in self._halves:
            if self.file.is_weight(name) and not self.twin and self.stored_half(name):
                return self.half_name(name)
            start = self._above(name) if name in self.plan.masked else name
            if self.twin:
                self._halves[name] = self._rounded(start)
            else:
                self._halves[name] = self._names.fresh(f"{start}.half")
                self._cast(start, self._halves[name], TensorProto.FLOAT16)
        return self._halves[name]

    def _full(self, name: str) -> str:
        if self.file.is_weight(name):
            return self._half(name) if self.twin and self.stored_half(name) else name
        if name not in self._fulls and name in self._halves and not self.twin and self._is_half(name):
            self._fulls[name] = self._names.fresh(f"{name}.wide")
            self._cast(self._halves[name], self._fulls[name], TensorProto.FLOAT)
        return self._fulls.get(name, name)

    def _is_half(self, name: str) -> bool:
        """Made as float16 under its own name."""
        return self._halves[name] == name

    def _above(self, name: str) -> str:
        low, above = self._names.fresh(f"{name}.low"), self._names.fresh(f"{name}.unmasked")
        self.constants.append(numpy_helper.from_array(np.array(-HALF_MAX, np.float32), low))
        self.nodes.append(helper.make_node("Clip", [name, low], [above], self._names.fresh(f"{above}.clip")))
        return above

    def _rounded(self, name: str) -> str:
        put = self._names.fresh(f"{name}.rounded")
        self._round(name, put)
        return put

    def _round(self, name: str, put: str) -> None:
        narrow = self._names.fresh(f"{put}.narrow")
        self._cast(name, narrow, TensorProto.FLOAT16)
        self._cast(narrow, put, TensorProto.FLOAT)

    def _cast(self, name: str, put: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Cast", [name], [put], self._names.fresh(f"{put}.cast"), to=kind))

    def _float(self, name: str) -> bool:
        return bool(name) and self.file.types[name] == TensorProto.FLOAT


def twin(file: OnnxFile, plan: HalfPlan, outputs: list[str]) -> ModelProto:
    """float32 all through, each number rounded where the half graph keeps it as float16; gives `outputs`, by their names in the file."""
    writer = _Writer(file, plan, twin=True)
    writer.write()
    model = file.runnable(writer.nodes, outputs)
    model.graph.initializer.extend(writer.constants)
    return model


def write_half(file: OnnxFile, plan: HalfPlan, store: Store) -> None:
    """The half graph into `store`, each weight once. Raises ConfigError for a weight that float16 cannot hold and nobody wants exactly."""
    writer = _Writer(file, plan, twin=False)
    writer.write()
    front: list[NodeProto] = []
    used = {name for node in writer.nodes for name in node.input} | {value.name for value in file.model.graph.output}
    for name in [*file.tensors, *file.halves]:
        if name in writer.wants:
            front.extend(_store(file, writer, store, name))
        elif name in used:
            store.copy(file, name)
    model = ModelProto()
    model.CopyFrom(file.model)
    graph = model.graph
    del graph.node[:], graph.value_info[:]
    graph.node.extend([*front, *writer.nodes])
    graph.initializer.extend(writer.constants)
    for value in (*graph.input, *graph.output):
        if value.name in plan.narrow:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    store.finish(model)


def _store(file: OnnxFile, writer: _Writer, store: Store, name: str) -> list[NodeProto]:
    """One float weight; the Cast behind it where it is stored as float16 and read as float32."""
    if not writer.stored_half(name):
        store.copy(file, name)
        return []
    put = writer.half_name(name)
    if name in writer.plan.masked:
        store.put(put, np.maximum(file.values(name), -HALF_MAX).astype(np.float16))
    else:
        store.copy(file, name, TensorProto.FLOAT16, put)
    return [] if put == name else [helper.make_node("Cast", [put], [name], f"{put}.widen", to=TensorProto.FLOAT)]
