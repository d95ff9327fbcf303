"""How long an answer takes on a device: with plans, captured and not, beside ONNX Runtime on the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_vla.backends.bundle import Bundle, FinderManifest
from edge_vla.backends.tensorrt import TensorrtGraphs
from edge_vla.bench.distribution import describe, in_blocks
from edge_vla.errors import ConfigError
from edge_vla.parts import make_host, open_bundle, reference_of
from edge_vla.types import Engine, Frame

COLUMNS = ("engine", "n", "first", "p50", "p95", "p99", "max")
WARM_UP = 20  # answers that are not timed
Questions = list[tuple[Frame, str]]


def questions(bundle: Bundle) -> Questions:
    """Those of the bundle's reference, or of its prompts about noise. Raises ConfigError for a bundle with neither."""
    m = bundle.manifest
    if m.reference is not None:
        return [(frame, prompt) for frame, prompt, _ in reference_of(str(bundle.folder))]
    if not isinstance(m, FinderManifest):
        raise ConfigError(f"{bundle.folder} holds no questions to ask; export it again")
    rng = np.random.default_rng(0)
    frames = [Frame(rng.integers(0, 255, (480, 640, 3), dtype=np.uint8), k, k) for k in range(3)]
    frames += [Frame(np.full((480, 640, 3), colour, np.uint8), 0, 0) for colour in ((255, 0, 0), (0, 0, 255), (127, 127, 127))]
    prompts = [template.replace("{thing}", thing) for template in (m.prompts.detect, m.prompts.presence) for thing in m.targets[:3]]
    return [(frame, prompt) for frame in frames for prompt in (*prompts, *m.prompts.sentences[:1])]


def engines(source: Bundle, plans: Mapping[str, Path]) -> dict[str, Callable[[], Engine]]:
    """By name, each opened when it is its turn: two at once would share the memory."""

    def planned(folder: Path, *, captured: bool) -> Callable[[], Engine]:
        bundle = Bundle(folder)
        return lambda: make_host(bundle, TensorrtGraphs(bundle, cuda_graphs=captured))

    found: dict[str, Callable[[], Engine]] = {}
    for kind, folder in plans.items():
        for captured in (True, False):
            name = f"TensorRT, {kind} caches, CUDA graphs {'on' if captured else 'off'}"
            found[name] = planned(folder, captured=captured)
    return found | {"ONNX Runtime, CPU": lambda: open_bundle(source)}


def time_engines(opened: Mapping[str, Callable[[], Engine]], asked: Questions, looks: int) -> list[tuple[str, ...]]:
    """Rows of COLUMNS: the first answer by itself, then the others."""
    rows = []
    for name, make in opened.items():
        engine = make()
        try:
            first, *_ = _timed(engine, asked[:1])
            _timed(engine, [asked[k % len(asked)] for k in range(WARM_UP)])
            ms = _timed(engine, [asked[k % len(asked)] for k in range(looks)])
        finally:
            engine.close()
        told = describe(in_blocks(ms))
        figures = (first, told.p50.value, told.p95.value, told.p99_ms, told.max_ms)
        rows.append((name, str(told.n), *(f"{figure:.2f}" for figure in figures)))
    return rows


def _timed(engine: Engine, asked: Sequence[tuple[Frame, str]]) -> list[float]:
    ms = []
    for frame, prompt in asked:
        started = time.perf_counter_ns()
        engine.ask(frame, prompt)
        ms.append((time.perf_counter_ns() - started) * 1e-6)
    return ms
