"""A bundle's graphs run by ONNX Runtime."""

from __future__ import annotations

import onnxruntime as ort

from edge_vla.backends.bound import DTYPES, HOST, BoundGraph
from edge_vla.backends.bundle import Bundle, Graph, Tensor
from edge_vla.backends.graphs import Array, Feed
from edge_vla.backends.providers import CPU, session
from edge_vla.backends.turns import Turns
from edge_vla.errors import ConfigError

DEVICES = {"cpu": HOST, "cuda": "cuda", "tensorrt": "cuda"}  # where a provider's memory is


def open_graph(bundle: Bundle, graph: Graph, threads: int, provider: str = CPU) -> BoundGraph:
    """A graph that is what its manifest says. Raises EngineError, ConfigError."""
    opened = session(bundle.path(graph.file), threads, provider)
    for kind, said, found in (("input", graph.inputs, opened.get_inputs()), ("output", graph.outputs, opened.get_outputs())):
        want, got = [str(t) for t in said], [str(_tensor(node)) for node in found]
        if want != got:
            raise ConfigError(f"engine {bundle.folder}: {graph.file} has the {kind}s {', '.join(got)}; its manifest says {', '.join(want)}")
    return BoundGraph(opened)


def _tensor(node: ort.NodeArg) -> Tensor:
    """What ONNX Runtime says of a graph's input or output, in the manifest's words."""
    return Tensor.model_construct(name=node.name, dtype=DTYPES.get(node.type, node.type), shape=list(node.shape))


class OnnxGraphs:
    """One session a graph, all on one provider."""

    def __init__(self, bundle: Bundle, threads: int = 1, provider: str = CPU) -> None:
        """Raises EngineError for a file that is no graph, ConfigError for one that is not what the manifest says or a provider that
        is not here or does not run all of it.
        """
        listed = bundle.manifest.graphs
        self._graphs: dict[str, BoundGraph] = {name: open_graph(bundle, graph, threads, provider) for name, graph in listed.items()}
        self._cache = Turns(bundle, DEVICES[provider])

    @property
    def providers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for graph in self._graphs.values() for name in graph.session.get_providers()))

    @property
    def past(self) -> int:
        return self._cache.past

    def run(self, name: str, feed: Feed) -> dict[str, Array]:
        return self._graphs[name].run(feed)

    def begin(self, behind: Feed | None = None) -> None:
        self._cache.clear(behind)

    def step(self, feed: Feed) -> dict[str, Array]:
        asked = self._cache.asked(feed)
        outputs = self._graphs["lm_step"].run(asked, self._cache.places())
        self._cache.turn()
        return outputs

    def close(self) -> None:
        """Sessions end with the object."""
