"""What half precision does to each value of a graph: where float32 runs out of its range, and how far a rounded run strays from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from edge_vla.errors import ConfigError, EngineError
from export.files.onnx_file import Array, OnnxFile
from export.precision.half_graph import HALF_MAX

MASKED = -1e8  # from here down a number only says "not this one"; masks are -1e9 or the lowest float32
SUPPRESSED = -1e4  # a masked number that is still below this is one that an exponential makes 0
Feed = Mapping[str, NDArray[np.generic]]


@dataclass(slots=True)
class Span:
    """What a value was over all feeds."""

    low: float = np.inf
    high: float = -np.inf

    def widen(self, values: Array) -> None:
        if values.size:
            self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    @property
    def masked(self) -> bool:
        return self.low <= MASKED and self.high <= HALF_MAX

    def fits(self, room: float) -> bool:
        """Within float16 with `room` to spare; a mask is what ends at its lowest number."""
        return self.masked or max(abs(self.low), abs(self.high)) * room <= HALF_MAX


def floats(file: OnnxFile) -> list[str]:
    """Every float32 value that a node makes."""
    return [name for node in file.nodes for name in node.output if name and file.types[name] == TensorProto.FLOAT]


def require_feeds(file: OnnxFile, feeds: Sequence[Feed]) -> None:
    """Raises ConfigError for none, and for one that lacks an input or has one too many."""
    want = sorted(value.name for value in file.model.graph.input)
    if not feeds:
        raise ConfigError(f"{file.path}: no feeds to measure it with")
    for feed in feeds:
        if sorted(feed) != want:
            raise ConfigError(f"{file.path}: a feed of {', '.join(sorted(feed))}; its inputs are {', '.join(want)}")


class Run:
    """A model opened on this machine's CPU, node by node as it is."""

    def __init__(self, file: OnnxFile, model: ModelProto, threads: int, *, optimise: bool = False) -> None:
        """Raises EngineError for what ONNX Runtime refuses."""
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if not optimise:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(file.path.parent.resolve()))
        try:
            self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as err:  # onnxruntime raises its own unrelated types, all of them derived from Exception alone
            raise EngineError(f"{file.path}: {str(err).strip()}") from err
        self.names = [value.name for value in self._session.get_outputs()]
        self._path = file.path

    def __call__(self, feed: Feed) -> dict[str, Array]:
        try:
            return dict(zip(self.names, self._session.run(None, dict(feed)), strict=True))
        except Exception as err:  # as above
            raise EngineError(f"{self._path}: {str(err).strip()}") from err


class Reference:
    """The float32 graph, all its float values told."""

    def __init__(self, file: OnnxFile, feeds: Sequence[Feed], threads: int) -> None:
        """Runs every feed once. Raises ConfigError for feeds that do not fit, EngineError for a graph that fails or makes nan."""
        require_feeds(file, feeds)
        self.file, self.feeds, self.threads = file, feeds, threads
        self.values = floats(file)
        self._run = Run(file, file.runnable(file.nodes, self.values), threads)
        self.spans = {name: Span() for name in self.values}
        self.spans |= {value.name: Span() for value in file.model.graph.input}
        for feed in feeds:
            for name, values in (*feed.items(), *self._run(feed).items()):
                if np.isnan(values).any():
                    raise EngineError(f"{file.path}: {name!r} is nan in float32 already")
                self.spans[name].widen(np.asarray(values))

    def errors(self, model: ModelProto) -> dict[str, float]:
        """Of each value the largest difference over the largest magnitude of its feed; inf where the other run has no number.

        `model` gives the same values. A masked number has no error as long as it still masks.
        """
        other = Run(self.file, model, self.threads)
        found = dict.fromkeys(self.values, 0.0)
        for feed in self.feeds:
            want, got = self._run(feed), other(feed)
            for name in self.values:
                found[name] = max(found[name], relative(want[name], np.asarray(got[name], np.float32)))
        return found


def relative(want: Array, got: Array) -> float:
    """The largest difference over the largest magnitude of what is wanted, masks aside; the difference itself where that is 0."""
    if not want.size:
        return 0.0
    masked = want <= MASKED
    if (got[masked] > SUPPRESSED).any():
        return np.inf
    with np.errstate(invalid="ignore"):
        difference = np.abs(got - want, where=~masked, out=np.zeros_like(want))
    if np.isnan(difference).any():
        return np.inf
    peak = float(np.abs(want, where=~masked, out=np.zeros_like(want)).max())
    return float(difference.max()) / peak if peak else float(difference.max())


def gains(file: OnnxFile, errors: Mapping[str, float]) -> Iterator[tuple[float, str]]:
    """Of each node how much more its result strays than what goes into it."""
    for node in file.nodes:
        made = [errors[name] for name in node.output if name in errors]
        if made:
            before = max((errors.get(name, 0.0) for name in node.input), default=0.0)
            yield (max(made) - before if before < np.inf else 0.0), node.name


def worst(errors: Mapping[str, float], names: Iterable[str]) -> float:
    return max((errors[name] for name in names if name in errors), default=0.0)
