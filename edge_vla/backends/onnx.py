"""A bundle's graphs run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from edge_vla.backends.bundle import Bundle, Graph, Tensor
from edge_vla.backends.cache import Cache
from edge_vla.backends.graphs import Array, Feed
from edge_vla.errors import ConfigError, EngineError


def session(path: Path, threads: int) -> ort.InferenceSession:
    """A CPU session whose idle threads sleep: two spinning pools would fight over two cores."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as err:  # onnxruntime raises its own unrelated types, all of them derived from Exception alone
        raise EngineError(f"{path}: {str(err).strip()}") from err


def open_graph(bundle: Bundle, graph: Graph, threads: int) -> ort.InferenceSession:
    """A graph that is what its manifest says. Raises EngineError, ConfigError."""
    opened = session(bundle.path(graph.file), threads)
    for kind, said, found in (("input", graph.inputs, opened.get_inputs()), ("output", graph.outputs, opened.get_outputs())):
        want, got = [str(t) for t in said], [str(_tensor(node)) for node in found]
        if want != got:
            raise ConfigError(f"engine {bundle.folder}: {graph.file} has the {kind}s {', '.join(got)}; its manifest says {', '.join(want)}")
    return opened


def _tensor(node: ort.NodeArg) -> Tensor:
    """What ONNX Runtime says of a graph's input or output, in the manifest's words."""
    dtype = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64", "tensor(uint8)": "uint8"}
    return Tensor.model_construct(name=node.name, dtype=dtype.get(node.type, node.type), shape=list(node.shape))


def run(graph: ort.InferenceSession, feed: Feed) -> dict[str, Array]:
    """A graph's outputs by name. Raises EngineError when it fails or answers with nan or inf."""
    try:
        values: list[Array] = graph.run(None, dict(feed))
    except Exception as err:  # as in `session`
        raise EngineError(f"the graph failed: {str(err).strip()}") from err
    outputs = {told.name: value for told, value in zip(graph.get_outputs(), values, strict=True)}
    for name, value in outputs.items():
        if not np.isfinite(value).all():
            raise EngineError(f"the graph's output {name!r} is not finite")
    return outputs


class OnnxGraphs:
    """One session a graph."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Raises EngineError for a file that is no graph, ConfigError for one that is not what the manifest says."""
        graphs = bundle.manifest.graphs
        self._sessions: dict[str, Any] = {name: open_graph(bundle, graph, threads) for name, graph in graphs.items()}
        self._cache = Cache(bundle)

    @property
    def providers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for graph in self._sessions.values() for name in graph.get_providers()))

    @property
    def past(self) -> int:
        return self._cache.past

    def run(self, name: str, feed: Feed) -> dict[str, Array]:
        return run(self._sessions[name], feed)

    def begin(self) -> None:
        self._cache.clear()

    def step(self, feed: Feed) -> dict[str, Array]:
        return self._cache.keep(run(self._sessions["lm_step"], self._cache.feed(feed)))

    def close(self) -> None:
        """Sessions end with the object."""
