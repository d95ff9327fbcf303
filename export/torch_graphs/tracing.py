"""A torch module to an ONNX file without its weights in memory a second time.

While torch's exporter looks, every large tensor is a stand-in that takes no memory; while the graph is simplified it is an input, so that
nothing can be folded out of it. Then `export.files.streaming` writes the real values, as they are stored, into the file.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnxscript.optimizer
import torch
from onnx import ModelProto
from rich.console import Console
from torch import Tensor, nn

from edge_vla.errors import ConfigError
from export.files.streaming import Weight, save

OPSET = 20
INSIDE = "module."  # before a tensor's name while `_Positional` is around its module
HALF = ".half"  # behind the name of a weight that is stored as float16
LARGE = 2**16  # numbers; from here on a tensor is streamed. Smaller ones are real while tracing and may be folded
LOGS = ("torch.onnx", "onnx_ir", "onnxscript")
Dynamic = Mapping[str, Mapping[int, str]]  # of an input, which axes have no fixed length, and what the file calls that length


@dataclass(frozen=True, slots=True)
class Source:
    """A large tensor of a module, and its name there."""

    name: str
    stored: Tensor


class _Positional(nn.Module):
    """So that every module's inputs are told apart by their order, whatever its forward calls them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Any:
        return self.module(*inputs)


def trace(  # noqa: PLR0913 - what a graph is: its module, its tensors, its file
    module: nn.Module, inputs: Sequence[Tensor], out: Path, *, inputs_named: Sequence[str], outputs_named: Sequence[str],
    dynamic: Dynamic | None = None, weights: Mapping[str, Tensor] | None = None, half: bool = False, beside: bool = False,
) -> None:  # fmt: skip
    """Write `module`, as it is in evaluation mode, to `out`; its large weights in `out`.data where they are many or `beside` says so.

    Weights are taken as the module holds them, in any floating type, or from `weights` by the module's names for them; then the module
    may be on the meta device. The graph computes in float32. `half` stores large weights as float16 with a Cast behind each. Raises
    ConfigError for weights that are missing, not finite or beyond float16, for a large constant that is no weight, for a full disk.
    """
    if busy := [name or type(module).__name__ for name, part in module.named_modules() if part.training]:
        raise ConfigError(f"{out.name}: {busy[0]} is in training mode; want eval() before a trace")
    if len(inputs) != len(inputs_named):
        raise ConfigError(f"{out.name}: {len(inputs)} inputs and {len(inputs_named)} names for them")
    if unknown := set(dynamic or {}) - set(inputs_named):
        raise ConfigError(f"{out.name}: dynamic axes of {', '.join(sorted(unknown))}, want some of {', '.join(inputs_named)}")
    shapes = tuple(dict((dynamic or {}).get(name, {})) for name in inputs_named)
    with Console(stderr=True).status(f"tracing {out.name}"), _quiet(), stand_ins(module, weights or {}) as sources:
        program = _export(module, tuple(inputs), shapes, (list(inputs_named), list(outputs_named)))
        large = _unweighted(program.model, sources)
        onnxscript.optimizer.optimize(program.model, input_size_limit=LARGE, output_size_limit=LARGE)
        _refuse_large_constants(program.model, out.name)
        streamed = _settled(program.model, large, half=half)
    proto = ir.to_proto(program.model)
    forget_origin(proto)
    save(proto, streamed, out, beside=beside)


def _export(module: nn.Module, inputs: tuple[Tensor, ...], shapes: tuple[dict[int, str], ...], names: tuple[list[str], list[str]]) -> Any:
    """torch's own export, unoptimised."""
    positional = _Positional(module)
    positional.training = False
    with torch.no_grad():
        return torch.onnx.export(
            positional, inputs, None, input_names=names[0], output_names=names[1], opset_version=OPSET, dynamo=True, verbose=False,
            optimize=False, dynamic_shapes={"inputs": shapes},
        )  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters tell of every step. What torch warns of is its own code, and torchvision, which is not wanted."""
    logs = {log: log.level for log in map(logging.getLogger, LOGS)}
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", message=r"The tensor attributes .*\._flat_weights", category=UserWarning)  # an LSTM's own
            # Several inputs share one length.
            warnings.filterwarnings("ignore", message="(?s).*axis name.*will not be used", category=UserWarning)
            yield
    finally:
        for log, level in logs.items():
            log.setLevel(level)


@contextmanager
def stand_ins(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[dict[int, Source]]:
    """The module in float32 with one number in place of each large tensor; by its address which tensor it stands for.

    `weights` go before the module's own. One tensor under several names stays one. Afterwards the module is as it was.
    """
    names: dict[int, list[str]] = {}
    for tables in (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)):
        for name, tensor in tables:
            names.setdefault(id(tensor), []).append(name)
    own = [
        (part, key, tensor)
        for part in module.modules()
        for table in (part._parameters, part._buffers)
        for key, tensor in table.items()
        if tensor is not None
    ]
    made: dict[int, Tensor] = {}
    found: dict[int, Source] = {}
    try:
        for part, key, tensor in own:
            if id(tensor) not in made:
                source = _source(names[id(tensor)], tensor, weights)
                made[id(tensor)] = put = _stand_in(source.stored)
                if put.numel() > LARGE:
                    found[put.data_ptr()] = source
            setattr(part, key, made[id(tensor)] if key in part._buffers else nn.Parameter(made[id(tensor)], requires_grad=False))
        yield found
    finally:
        for part, key, tensor in own:
            setattr(part, key, tensor)


def _source(names: list[str], tensor: Tensor, weights: Mapping[str, Tensor]) -> Source:
    """What a tensor of the module is filled from. Raises ConfigError."""
    name = next((name for name in names if name in weights), None)
    if name is None:
        if tensor.is_meta:
            raise ConfigError(f"{names[0]}: the module holds its shape alone, and no weights are given for it")
        return Source(names[0], tensor.detach())
    given = weights[name].detach()
    if given.shape != tensor.shape:
        raise ConfigError(f"{name} {tuple(given.shape)}: want {tuple(tensor.shape)}")
    return Source(name, given)


def _stand_in(stored: Tensor) -> Tensor:
    dtype = torch.float32 if stored.is_floating_point() else stored.dtype
    if stored.numel() > LARGE:
        return torch.zeros((), dtype=dtype).expand(stored.shape)
    return stored.to(dtype)


def _unweighted(model: ir.Model, sources: Mapping[int, Source]) -> dict[str, Source]:
    """Large tensors from initialisers to inputs, each once: no pass can then compute with what only stands in for them."""
    graph, kept, found = model.graph, {}, {}
    for value in list(graph.initializers.values()):
        value.name = name = str(value.name).removeprefix(INSIDE)
        raw = value.const_value.raw if value.const_value is not None and value.const_value.size > LARGE else None
        source = sources.get(raw.data_ptr()) if isinstance(raw, Tensor) else None
        if source is None:
            continue
        del graph.initializers[name]
        if id(source.stored) in kept:
            value.replace_all_uses_with(kept[id(source.stored)])
            continue
        value.const_value = None
        graph.inputs.append(value)
        kept[id(source.stored)], found[name] = value, source
    return found


def _refuse_large_constants(model: ir.Model, name: str) -> None:
    for value in model.graph.initializers.values():
        if value.const_value is not None and value.const_value.size > LARGE:
            shape = tuple(value.const_value.shape)
            raise ConfigError(f"{name}: {value.name} {shape} is no weight of the module; a table that large has to be one of its buffers")


def _settled(model: ir.Model, large: Mapping[str, Source], *, half: bool) -> list[Weight]:
    """Inputs that are weights out of the graph's inputs, unused ones dropped; those of which only the transpose is used, transposed."""
    graph, weights = model.graph, []
    for value in [value for value in graph.inputs if value.name in large]:
        source = large[value.name]
        graph.inputs.remove(value)
        users = [node for node, _ in value.uses()]
        if not users:
            continue
        values, put = source.stored, value
        orders = {_order(node, values.ndim) for node in users}
        if len(orders) == 1 and (order := orders.pop()) is not None:
            values = values.permute(order)
            put = ir.Value(name=f"{value.name}.transposed", type=value.type, shape=ir.Shape(values.shape))
            for node in users:
                node.outputs[0].replace_all_uses_with(put)
                graph.remove(node, safe=True)
        narrow = half and values.is_floating_point()
        if narrow:
            _widen(graph, put)
        weights.append(Weight(f"{put.name}{HALF}" if narrow else str(put.name), source.name, values, half=narrow))
    return weights


def _widen(graph: ir.Graph, value: ir.Value) -> None:
    """A Cast from a float16 weight to `value`: the graph computes in float32 until a pass says otherwise."""
    narrow = ir.Value(name=f"{value.name}{HALF}", type=ir.TensorType(ir.DataType.FLOAT16), shape=value.shape)
    cast = ir.node("Cast", [narrow], {"to": ir.DataType.FLOAT.value}, name=f"{value.name}.widen")
    wide = cast.outputs[0]
    value.replace_all_uses_with(wide)
    wide.name, wide.type, wide.shape = value.name, value.type, value.shape
    graph.insert_before(graph[0], cast)


def _order(node: ir.Node, axes: int) -> tuple[int, ...] | None:
    """How a node permutes the axes of what goes in; None for any other node, and where the result leaves the graph."""
    if node.op_type != "Transpose" or node.outputs[0].is_graph_output():
        return None
    perm = node.attributes.get("perm")
    return tuple(reversed(range(axes))) if perm is None else tuple(perm.as_ints())


def forget_origin(model: ModelProto) -> None:
    """Drop what the exporter notes of where the code was: stack traces name the paths of the machine the graph was made on."""
    del model.metadata_props[:]
    graph = model.graph
    for item in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("doc_string")
        del item.metadata_props[:]
