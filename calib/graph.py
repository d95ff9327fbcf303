"""An ONNX graph that also tells what flows into and out of its products: the tensors that an int8 engine would quantise.

ONNX Runtime's own calibrators do the same surgery, but write beside the graph they read, and pass over values that are not finite.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, helper

from edge_vla.backends.bundle import Bundle
from edge_vla.backends.cache import Cache
from edge_vla.backends.graphs import Feed
from edge_vla.errors import ConfigError, EngineError

PRODUCTS = ("Conv", "Gemm", "MatMul")  # what int8 is faster at
Array = NDArray[Any]
Keep = Callable[[str, str, Array], None]  # phase, tensor, values


def fingerprint(path: Path) -> str:
    """sha256 of a graph with the weights it keeps in other files: of the file itself where it keeps none. Raises ConfigError."""
    try:
        digest = hashlib.sha256(path.read_bytes())
        for name in _external(_load(path)):
            digest.update((path.parent / name).read_bytes())
    except OSError as err:
        raise ConfigError(f"{err.filename}: {err.strerror}") from err
    return digest.hexdigest()


def products(model: ModelProto) -> dict[str, str]:
    """Tensors in and out of Conv, Gemm and MatMul that are no weights, with the first such operator that touches each."""
    weights = {tensor.name for tensor in model.graph.initializer}
    weights |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    found: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type in PRODUCTS:
            for name in (*node.input, *node.output):
                if name and name not in weights:
                    found.setdefault(name, node.op_type)
    return found


class Watched:
    """Stands in for a graph's session. Every run goes by; `keep` is given all tensors of `products`.

    A feed of several embeddings is phase "prefill", of one "decode"; a graph without embeddings has the one phase "whole".
    """

    def __init__(self, path: Path, threads: int, keep: Keep) -> None:
        """Raises EngineError for a file that is no graph."""
        model = _load(path)
        self.path, self.keep = path, keep
        self.operators = products(model)
        self.runs: dict[str, int] = {}
        self._own = len(model.graph.output)
        said = {value.name for value in (*model.graph.output, *model.graph.input)}
        model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in self.operators if name not in said)
        self._session = _session(model, path, threads)
        floats = {value.name for value in (*self._session.get_inputs(), *self._session.get_outputs()) if value.type == "tensor(float)"}
        self._told = [value.name for value in self._session.get_outputs()]
        self._fed = [value.name for value in self._session.get_inputs()]
        self.tensors = [name for name in self.operators if name in floats]

    def get_inputs(self) -> list[Any]:
        return list(self._session.get_inputs())

    def get_outputs(self) -> list[Any]:
        """The graph's own."""
        return list(self._session.get_outputs())[: self._own]

    def run(self, names: None, feed: dict[str, Array]) -> list[Array]:
        """The graph's own outputs. Raises EngineError for a value that is not finite: no range could hold it."""
        outputs: list[Array] = self._session.run(names, feed)
        phase = _phase(feed)
        self.runs[phase] = self.runs.get(phase, 0) + 1
        values = feed | dict(zip(self._told, outputs, strict=True))
        for name in self.tensors:
            if not np.isfinite(values[name]).all():
                raise EngineError(f"{self.path.name}: tensor {name!r} is not finite in a {phase} run: no range could hold it")
            self.keep(phase, name, values[name])
        return outputs[: self._own]


class WatchedGraphs:
    """A bundle's graphs, each watched, so that every one is fed exactly what the runtime feeds it."""

    providers = ("CPUExecutionProvider",)

    def __init__(self, bundle: Bundle, threads: int) -> None:
        listed = bundle.manifest.graphs
        self.graphs = {name: Watched(bundle.path(graph.file), threads, lambda *_: None) for name, graph in listed.items()}
        self._cache = Cache(bundle)

    @property
    def past(self) -> int:
        return self._cache.past

    def run(self, name: str, feed: Feed) -> dict[str, Array]:
        graph = self.graphs[name]
        return dict(zip((value.name for value in graph.get_outputs()), graph.run(None, dict(feed)), strict=True))

    def begin(self, behind: Feed | None = None) -> None:
        self._cache.clear(behind)

    def step(self, feed: Feed) -> dict[str, Array]:
        return self._cache.keep(self.run("lm_step", self._cache.feed(feed)))

    def close(self) -> None:
        """Sessions end with the object."""


def _phase(feed: dict[str, Array]) -> str:
    embeddings = feed.get("embeddings")
    if embeddings is None:
        return "whole"
    return "decode" if embeddings.shape[1] == 1 else "prefill"


def _load(path: Path) -> ModelProto:
    """Without the weights that are kept elsewhere."""
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as err:  # protobuf's own type, which differs from version to version
        raise EngineError(f"{path}: {str(err).strip()}") from err


def _external(model: ModelProto) -> list[str]:
    """The files beside a graph that hold its weights."""
    found = {entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"}
    return sorted(found)


def _session(model: ModelProto, path: Path, threads: int) -> ort.InferenceSession:
    """Runs the graph node by node, as it was exported."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # a graph from memory has no place of its own to look for weights that are kept elsewhere
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent.resolve()))
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as err:  # onnxruntime raises its own unrelated types, all of them derived from Exception alone
        raise EngineError(f"{path}: {str(err).strip()}") from err
