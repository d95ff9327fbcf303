"""An ONNX file being written: weights one after another, a piece at a time; then the graph, then both under their names at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from edge_vla.errors import ConfigError
from export.files.onnx_file import Array, OnnxFile, pieces, require_finite

INSIDE_BYTES = 2**26  # a graph with more weights has them beside it: a runtime maps those, and copies what is inside
SMALL_BYTES = 2**10  # up to here a tensor stays in the graph: shapes and scalars, which parsers want to see
PAGE, LINE = 4096, 64  # where a weight beside the graph begins: a large one on a page


class Slot:
    """The place of one tensor, filled from its start."""

    def __init__(self, header: TensorProto, file: BinaryIO, end: int) -> None:
        """A small tensor has memory of its own; a large one begins behind `end` in `file`."""
        self.header = header
        self.dtype = np.dtype(helper.tensor_dtype_to_np_dtype(header.data_type))
        self.nbytes = prod(header.dims) * self.dtype.itemsize
        self.filled = 0
        self.small = self.nbytes <= SMALL_BYTES
        step = PAGE if self.nbytes > PAGE * LINE else LINE
        self._file: BinaryIO = BytesIO() if self.small else file
        self._place = 0 if self.small else -(-end // step) * step
        self.end = end if self.small else self._place + self.nbytes

    def put(self, values: Array) -> None:
        """The next numbers in the order of the axes."""
        if values.dtype != self.dtype:
            raise TypeError(f"{self.header.name} is {self.dtype}, got {values.dtype}")
        self._file.seek(self._place + self.filled)
        self._file.write(np.ascontiguousarray(values).data)
        self.filled += values.nbytes

    def settle(self, location: str) -> TensorProto:
        """The tensor for the graph: with its values, or in the file `location` beside it, where one is named and it is not small."""
        if self.filled != self.nbytes:
            raise ValueError(f"{self.header.name}: {self.filled} of {self.nbytes} bytes were written")
        if self.small or not location:
            self._file.seek(self._place)
            self.header.raw_data = self._file.read(self.nbytes)
            return self.header
        self.header.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", self._place), ("length", self.nbytes)):
            self.header.external_data.add(key=key, value=str(value))
        return self.header


class Store:
    """What will be an ONNX file. `storing` makes one."""

    def __init__(self, out: Path, graph_part: Path, data_part: Path, *, beside: bool) -> None:
        self.out, self._graph_part, self._data_part, self._beside = out, graph_part, data_part, beside
        self._file = data_part.open("w+b")
        self._slots: list[Slot] = []
        self._end = 0

    @property
    def nbytes(self) -> int:
        """Of the weights so far."""
        return sum(slot.nbytes for slot in self._slots)

    def add(self, name: str, kind: int, shape: tuple[int, ...]) -> Slot:
        """A place for a tensor of an ONNX element type."""
        slot = Slot(TensorProto(name=name, dims=shape, data_type=kind), self._file, self._end)
        self._end = slot.end
        self._slots.append(slot)
        return slot

    def put(self, name: str, values: Array) -> None:
        """A tensor at once."""
        self.add(name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape).put(values)

    def copy(self, file: OnnxFile, name: str, kind: int | None = None, put: str = "") -> None:
        """A weight of another file, as it is stored or as float16 or float32. Raises ConfigError for one that is not finite then."""
        values = file.values(name)
        stored = helper.np_dtype_to_tensor_dtype(values.dtype)
        slot = self.add(put or name, kind or stored, values.shape)
        for piece in pieces(values):
            require_finite(name, piece, lone=values.size == 1)
            with np.errstate(over="ignore"):
                narrow = piece.astype(slot.dtype, copy=False)
            if slot.dtype != piece.dtype and not np.isfinite(narrow).all():
                most = np.finfo(slot.dtype).max
                raise ConfigError(f"weight {name} reaches {float(np.abs(piece).max()):.6g}, {slot.dtype} ends at {most:.6g}")
            slot.put(narrow)

    def finish(self, model: ModelProto) -> None:
        """Write the graph, with the weights as its initialisers, and give both files their names."""
        beside = self.out.with_name(f"{self.out.name}.data")
        outside = bool(self._end) and (self._beside or self.nbytes > INSIDE_BYTES)
        model.graph.initializer.extend(slot.settle(beside.name if outside else "") for slot in self._slots)
        self._graph_part.write_bytes(model.SerializeToString(deterministic=True))
        self._file.flush()
        for part in (self._graph_part, self._data_part):
            _settle(part)
        self._file.close()
        self.out.unlink(missing_ok=True)  # an old graph beside new weights would be a whole model, and a wrong one
        if outside:
            self._data_part.replace(beside)
        else:
            beside.unlink(missing_ok=True)
        self._graph_part.replace(self.out)

    def close(self) -> None:
        self._file.close()


@contextmanager
def storing(out: Path, *, beside: bool = False) -> Iterator[Store]:
    """A store for `out`, its weights in `out`.data where they are many, or `beside` says so.

    Until `finish` nothing at `out` changes, and without it nothing is left. Raises ConfigError for a full disk.
    """
    parts = [path.with_name(f".{path.name}.{os.getpid()}.part") for path in (out, out.with_name(f"{out.name}.data"))]
    store: Store | None = None
    try:
        store = Store(out, *parts, beside=beside)
        yield store
    except OSError as err:
        raise ConfigError(f"{out}: not written, {err.strerror or err}") from err
    finally:
        if store is not None:
            store.close()
        for part in parts:
            part.unlink(missing_ok=True)


def rest(file: OnnxFile, nodes: list[NodeProto], store: Store, *domains: str) -> None:
    """Finish `store` with `file`'s graph made of other nodes, and copy the weights that they read from it; `domains` are theirs.

    Transposes that nobody reads any more go.
    """
    model = ModelProto()
    model.CopyFrom(file.model)
    graph = model.graph
    del graph.node[:], graph.value_info[:]
    outputs = {value.name for value in graph.output}
    used = outputs | {name for node in nodes for name in node.input}
    nodes = [node for node in nodes if node.op_type != "Transpose" or node.output[0] in used]
    used = outputs | {name for node in nodes for name in node.input}
    casts = file.widenings(used)
    used |= {name for node in casts for name in node.input}
    for name in file.tensors:
        if name in used:
            store.copy(file, name)
    graph.node.extend([*casts, *nodes])
    known = {entry.domain for entry in model.opset_import}
    model.opset_import.extend(helper.make_opsetid(domain, 1) for domain in domains if domain not in known)
    store.finish(model)


def _settle(path: Path) -> None:
    """On the disk before it gets its name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
