"""A bundle's fp32 graphs in another precision, in place: which pass does what, and its report beside each graph."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from calib.ranges import METHODS, Method, load_ranges
from edge_vla.errors import ConfigError
from export.bundle.probes import Probe
from export.bundle.verifying import BOUNDS
from export.files.onnx_file import OnnxFile
from export.files.products import products
from export.precision import block_timing
from export.precision.half import halve
from export.precision.layer_report import Report
from export.precision.nbits import LOGITS, quantise_weights
from export.precision.qdq import quantise_qdq
from export.precision.rounding import Feed

PRECISIONS = ("fp32", "fp16", "w8a8", "w8", "w4")
BITS = {"w8": 8, "w4": 4}
ALL, MEASURED = "all", "measured"
STRICTER = 0.5  # of what a tensor may be off by in fp16: probes are not all that a graph is fed


@dataclass(frozen=True, slots=True)
class Narrowing:
    """`ranges` are a calibration set's. `blocks`: all products in int8, those that were faster here, or those that a file lists.

    `logits_bits`, of weights alone: 4, 8, or 32 for as they are.
    """

    precision: str
    ranges: Path | None = None
    method: Method = "entropy"
    blocks: str = MEASURED
    logits_bits: int = LOGITS

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision {self.precision!r}: want one of {', '.join(PRECISIONS)}")
        if self.method not in METHODS:
            raise ConfigError(f"method {self.method!r}: want one of {', '.join(METHODS)}")
        if (self.precision == "w8a8") is (self.ranges is None):
            raise ConfigError(f"--calib: want a set exactly for w8a8, got {self.ranges} for {self.precision}")


def narrow(folder: Path, wanted: Narrowing, probes: list[Probe]) -> dict[str, Report]:
    """Every graph of a bundle that is being built; NAME.precision.json says what became of each layer. Raises ConfigError."""
    reports: dict[str, Report] = {}
    room = folder / "narrower"
    room.mkdir()
    for path in sorted(folder.glob("*.onnx")):
        feeds = [probe.inputs for probe in probes if probe.graph == path.stem]
        report = _narrowed(path, room / path.name, wanted, feeds)
        if report is None:
            continue
        for stale in (path, path.with_name(f"{path.name}.data")):
            stale.unlink(missing_ok=True)
        for made in sorted(room.iterdir()):
            made.rename(folder / made.name)
        report.save(folder / f"{path.stem}.precision.json")
        reports[path.stem] = report
    shutil.rmtree(room)
    return reports


def _narrowed(path: Path, out: Path, wanted: Narrowing, feeds: list[Feed]) -> Report | None:
    """None for a graph that has nothing to narrow."""
    if wanted.precision == "fp16":
        return halve(path, out, feeds, BOUNDS["fp16"].tensor * STRICTER)
    if wanted.precision in BITS:
        bits = BITS[wanted.precision]
        return quantise_weights(path, out, bits, logits_bits=wanted.logits_bits) if products(OnnxFile(path))[0] else None
    assert wanted.ranges is not None  # noqa: S101 - for mypy: checked when it was made
    ranges = load_ranges(wanted.ranges)
    known = ranges.file.graphs.get(path.stem)
    if known is None:
        raise ConfigError(f"{wanted.ranges} has no ranges of graph {path.stem!r}; it has {', '.join(ranges.file.graphs)}")
    ends = ranges.of(path.stem, path, known.tensors, wanted.method)
    if wanted.blocks == ALL:
        return quantise_qdq(path, out, ends)
    if wanted.blocks != MEASURED:
        return quantise_qdq(path, out, ends, block_timing.load(_listed(Path(wanted.blocks), path.stem), path))
    timings = block_timing.measure(path, feeds, ends)
    block_timing.save(out.with_name(f"{path.stem}.blocks.json"), timings)
    return quantise_qdq(path, out, ends, block_timing.winners(timings), block_timing.ratios(timings))


def _listed(folder: Path, graph: str) -> Path:
    """A folder with GRAPH.blocks.json in it, such as a bundle that was measured on the device."""
    file = folder / f"{graph}.blocks.json"
    if not file.is_file():
        raise ConfigError(f"--blocks {folder}: no {file.name} in it; want all, measured, or a bundle that was measured")
    return file


def told(reports: dict[str, Report]) -> str:
    """How many layers of each graph became what."""
    return json.dumps({name: report.counts for name, report in reports.items()})
