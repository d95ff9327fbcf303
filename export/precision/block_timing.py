"""Which blocks are worth being int8: each timed as float32 and as int8, in turn, on this machine. A figure of here, not of a board."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import helper

from edge_vla.errors import ConfigError
from export.files.onnx_file import Array, OnnxFile
from export.files.products import require_known
from export.precision.blocks import Block, cut, find, inputs
from export.precision.qdq import Ends, quantise_qdq
from export.precision.rounding import Feed, Run, require_feeds

WORTH = 0.95  # of the time float32 takes; what is saved has to be more than what timing cannot tell
WARM, RUNS = 3, 25


@dataclass(frozen=True, slots=True)
class Timing:
    """One block's products. Medians over runs; `ratio` is that of the pairs of runs, int8 over float32."""

    names: tuple[str, ...]
    fp32_ms: float
    int8_ms: float
    ratio: float

    @property
    def wins(self) -> bool:
        return self.ratio < WORTH


def measure(source: Path, feeds: Sequence[Feed], ranges: Mapping[str, Ends], threads: int = 1, runs: int = RUNS) -> list[Timing]:
    """Every block of `source` fed what the graph feeds it; blocks that are alike are timed once. A run is all feeds one after another.

    Raises ConfigError for feeds that do not fit and for ranges that lack a tensor.
    """
    file = OnnxFile(source)
    require_feeds(file, feeds)
    blocks = find(file)
    captured = _captured(file, blocks, feeds, threads)
    timed: dict[str, Timing] = {}
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        plain, quantised = Path(scratch) / "fp32.onnx", Path(scratch) / "int8.onnx"
        for block in blocks:
            mine = [{name: values[name] for name in inputs(file, block.nodes)} for values in captured]
            alike = _signature(file, block, mine)
            if alike not in timed:
                cut(file, block.nodes, plain)
                quantise_qdq(plain, quantised, ranges)
                timed[alike] = _timed((plain, quantised), mine, threads, runs)
            same = timed[alike]
            found.append(Timing(block.names, same.fp32_ms, same.int8_ms, same.ratio))
    return found


def winners(timings: Sequence[Timing]) -> list[str]:
    """Nodes of the blocks that int8 makes faster."""
    return [name for timing in timings if timing.wins for name in timing.names]


def ratios(timings: Sequence[Timing]) -> dict[str, float]:
    """By node."""
    return {name: timing.ratio for timing in timings for name in timing.names}


def save(path: Path, timings: Sequence[Timing]) -> None:
    """What `load` reads, and what was measured; to be edited for another device."""
    told = [
        {
            "nodes": list(timing.names), "fp32_ms": round(timing.fp32_ms, 4), "int8_ms": round(timing.int8_ms, 4),
            "ratio": round(timing.ratio, 3),
        }
        for timing in timings
    ]  # fmt: skip
    path.write_text(json.dumps({"onnxruntime": ort.__version__, "quantise": winners(timings), "timings": told}, indent=1) + "\n")


def load(path: Path, source: Path) -> list[str]:
    """Names under "quantise" in a file. Raises ConfigError for what is no such file, and for a product that `source` has not."""
    try:
        names = json.loads(path.read_text())["quantise"]
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise ConfigError(f'{path}: want JSON with a list of node names under "quantise" ({err!r})') from err
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f'{path}: "quantise" is {names!r}; want a list of node names')
    require_known(OnnxFile(source), set(names))
    return names


def _captured(file: OnnxFile, blocks: Sequence[Block], feeds: Sequence[Feed], threads: int) -> list[dict[str, Array]]:
    """What the blocks read, for each feed."""
    wanted = list(dict.fromkeys(name for block in blocks for name in inputs(file, block.nodes)))
    run = Run(file, file.runnable(file.nodes, [name for name in wanted if name not in feeds[0]]), threads)
    return [{name: np.asarray(value) for name, value in {**feed, **run(feed)}.items() if name in wanted} for feed in feeds]


def _signature(file: OnnxFile, block: Block, feeds: Sequence[Mapping[str, Array]]) -> str:
    """The same for blocks that take as long."""
    nodes = [
        (
            node.op_type, [file.shape(name) if file.is_weight(name) else None for name in node.input],
            sorted((said.name, str(helper.get_attribute_value(said))) for said in node.attribute),
        )
        for node in file.nodes
        if node.name in block.nodes
    ]  # fmt: skip
    return repr((nodes, [[values.shape for values in feed.values()] for feed in feeds]))


def _timed(parts: tuple[Path, Path], feeds: Sequence[Mapping[str, Array]], threads: int, runs: int) -> Timing:
    sessions = [session(path, threads) for path in parts]
    taken: tuple[list[float], list[float]] = ([], [])
    for k in range(WARM + runs):
        for each, times in zip(sessions, taken, strict=True):
            start = time.perf_counter()
            for feed in feeds:
                each.run(None, dict(feed))
            if k >= WARM:
                times.append((time.perf_counter() - start) * 1e3)
    ratio = statistics.median(int8 / fp32 for fp32, int8 in zip(*taken, strict=True))
    return Timing((), statistics.median(taken[0]), statistics.median(taken[1]), ratio)


def session(path: Path, threads: int) -> ort.InferenceSession:
    """On the CPU. Its threads sleep while they wait: two sessions in turn would fight over the cores otherwise."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
