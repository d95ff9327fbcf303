"""Ranges of an engine's activations in a TOML file: written after a calibration, read by whoever quantises.

    ranges = load_ranges(Path("data/calib"))
    ends = ranges.of("lm_step", Path("engines/x/lm_step.onnx"), ["linear_3"], "entropy")

A language model's tensors have the range that holds both what its prefill and what its decoding wants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import onnxruntime as ort
from pydantic import BaseModel, ConfigDict, Field, model_validator

from calib.activations import Activations
from calib.graph import fingerprint
from calib.header import header
from calib.histogram import Ends, Histogram
from calib.picture_set import PictureSet
from edge_vla.backends.bundle import Bundle
from edge_vla.calibration import Calibration, checked, read_tables
from edge_vla.errors import ConfigError, did_you_mean

FILE = "ranges.toml"
KIND = "int8_ranges"
Method = Literal["min_max", "percentile", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TensorRanges(_Strict):
    """(low, high) of one tensor by each method."""

    min_max: list[float] = Field(min_length=2, max_length=2)
    percentile: list[float] = Field(min_length=2, max_length=2)
    entropy: list[float] = Field(min_length=2, max_length=2)

    @model_validator(mode="after")
    def _ordered(self) -> TensorRanges:
        for method in METHODS:
            low, high = getattr(self, method)
            if not self.min_max[0] <= low <= high <= self.min_max[1]:
                raise ValueError(f"{method} = [{low}, {high}]: want low <= high within min_max = {self.min_max}")
        return self


class GraphRanges(_Strict):
    """One graph: which file it was, how often it ran in each phase, its tensors."""

    file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    runs: dict[str, int]
    tensors: dict[str, TensorRanges] = Field(min_length=1)


class RangesFile(Calibration):
    """`ranges.toml`."""

    kind: Literal["int8_ranges"]
    bundle: str
    set_sha256: str
    pictures: int
    questions: int
    answers: int  # different ones
    percent: float = Field(gt=50, lt=100)
    graphs: dict[str, GraphRanges] = Field(min_length=1)


class Ranges:
    """A file of ranges, read and found consistent."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError for what is no such file, a number that is none, or ends in the wrong order."""
        self.path = path
        self.file = checked(path, read_tables(path, KIND), RangesFile)

    def of(self, graph: str, onnx: Path, tensors: Iterable[str], method: Method) -> dict[str, Ends]:
        """(low, high) of each of the tensors. Raises ConfigError for a graph they were not measured on, or a tensor they lack."""
        if method not in METHODS:
            raise ConfigError(f"method {method!r}: want one of {', '.join(METHODS)}")
        if graph not in self.file.graphs:
            raise ConfigError(f"{self.path} has no ranges of graph {graph!r}; it has {', '.join(self.file.graphs)}")
        known = self.file.graphs[graph]
        if (got := fingerprint(onnx)) != known.sha256:
            raise ConfigError(
                f"{self.path} was measured on another {graph} (sha256 {known.sha256[:12]}..., this one {got[:12]}...): calibrate this one"
            )
        found = {}
        for name in tensors:
            if name not in known.tensors:
                raise ConfigError(f"{self.path}: graph {graph} has no range for tensor {name!r}{did_you_mean(name, known.tensors)}")
            low, high = getattr(known.tensors[name], method)
            found[name] = (low, high)
        return found


def load_ranges(path: Path) -> Ranges:
    """The ranges in a file, or in a calibration set's folder. Raises ConfigError."""
    return Ranges(path / FILE if path.is_dir() else path)


def describe(found: Activations, bundle: Bundle, pictures: PictureSet, percent: float) -> dict[str, Any]:
    """`ranges.toml`, ready to be written."""
    listed = pictures.listed
    facts = {
        "bundle": bundle.manifest.name, "set_sha256": pictures.sha256, "pictures": listed.count, "questions": listed.questions,
        "answers": found.answers, "percent": percent,
    }  # fmt: skip
    graphs: dict[str, Any] = {
        name: {
            "file": graph.file, "sha256": fingerprint(bundle.path(graph.file)), "runs": found.runs[name], "tensors": {},
        }
        for name, graph in bundle.manifest.graphs.items()
    }  # fmt: skip
    for (graph, tensor), phases in by_tensor(found).items():
        graphs[graph]["tensors"][tensor] = {method: list(ends) for method, ends in joined(phases.values(), percent).items()}
    return header(KIND, onnxruntime=ort.__version__) | facts | {"graphs": graphs}


def by_tensor(found: Activations) -> dict[tuple[str, str], dict[str, Histogram]]:
    """The histograms of each graph's tensor, by phase."""
    tensors: dict[tuple[str, str], dict[str, Histogram]] = {}
    for (graph, phase, tensor), histogram in found.histograms.items():
        tensors.setdefault((graph, tensor), {})[phase] = histogram
    return tensors


def joined(phases: Iterable[Histogram], percent: float) -> Mapping[Method, Ends]:
    """Each method's range, wide enough for every phase: decoding is one value in two hundred of prefill, and it says the words."""
    ends: dict[Method, list[Ends]] = {method: [] for method in METHODS}
    for histogram in phases:
        ends["min_max"].append(histogram.min_max)
        ends["percentile"].append(histogram.percentile(percent))
        ends["entropy"].append(histogram.entropy())
    return {method: (min(low for low, _ in each), max(high for _, high in each)) for method, each in ends.items()}
