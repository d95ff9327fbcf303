"""A bundle held against the model it was made of: every graph on its probes, the whole engine on its questions. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_vla.backends.answers import KEPT, compare
from edge_vla.backends.backbone_manifest import BackboneManifest
from edge_vla.backends.bundle import Bundle
from edge_vla.backends.manifest import Verified
from edge_vla.errors import ConfigError
from edge_vla.parts import make_graphs, make_host
from export.bundle.probes import CASES, FIRST, LATER, OTHER, Arrays, Probe, load_probes

STEP, CACHE = "lm_step", {"past_keys", "past_values"}


@dataclass(frozen=True, slots=True)
class Bound:
    """What a precision may cost a tensor, and how many answers have to be the same all the same."""

    tensor: float
    relative: bool  # root mean square over the tensor's own, else the largest difference
    share: float


BOUNDS = {
    "fp32": Bound(1e-4, relative=False, share=1.0),
    "fp16": Bound(1e-2, relative=True, share=0.9),
    "w8": Bound(5e-2, relative=True, share=0.9),
    "w8a8": Bound(1e-1, relative=True, share=0.9),
    "int8": Bound(1e-1, relative=True, share=0.9),
    "w4": Bound(3e-1, relative=True, share=0.5),
}


def verify(bundle: Bundle, *, peer: str = "", threads: int = 1, say: Callable[[str], None] = lambda _: None) -> Verified:
    """What lies between the bundle and its model. `say` is told every answer that is another one. Raises ConfigError, EngineError."""
    m = bundle.manifest
    if not isinstance(m, BackboneManifest) or m.probes is None:
        raise ConfigError(f"engine {bundle.folder} holds no probes to verify it with; export it with `python -m export onnx`")
    bound, probes = BOUNDS[m.precision], load_probes(bundle.path(m.probes))
    worst = _graphs(bundle, probes, bound, threads)
    graphs = make_graphs(bundle, threads)
    try:
        asked, agreeing = compare(make_host(bundle, graphs), bundle, KEPT[m.precision], say)
        runtime = ", ".join(graphs.providers)
    finally:
        graphs.close()
    off = max(worst.values(), default=float("inf"))
    return Verified(
        peer=peer or (m.verified.peer if m.verified else "the model"), runtime=runtime, graphs=worst, allowed=bound.tensor,
        relative=bound.relative, answers=asked, agreeing=agreeing, share=bound.share,
        passed=bool(off <= bound.tensor) and agreeing >= bound.share * asked,
    )  # fmt: skip


def _graphs(bundle: Bundle, probes: list[Probe], bound: Bound, threads: int) -> dict[str, float]:
    """{graph.tensor: worst difference}. Raises ConfigError for a graph that says the same whatever it is fed, or lacks a probe."""
    there = {(probe.graph, probe.case) for probe in probes}
    if missing := [f"{name} {case}" for name in bundle.manifest.graphs for case in CASES if (name, case) not in there]:
        raise ConfigError(f"engine {bundle.folder}: no probes of {', '.join(missing)}; export it again")
    run = _Onnx(bundle, threads) if bundle.manifest.backend == "onnx" else _Anything(bundle, threads)
    worst: dict[str, float] = {}
    first: dict[str, Arrays] = {}
    for probe in sorted(probes, key=lambda p: (p.graph, CASES.index(p.case))):
        got = run(probe)
        for name, want in probe.outputs.items():
            if name not in got:  # keys and values that a runtime keeps to itself
                continue
            key = f"{probe.graph}.{name}"
            worst[key] = max(worst.get(key, 0.0), _off(got[name], want, relative=bound.relative and name != "choice"))
        if probe.case == FIRST:
            first[probe.graph] = {name: value.copy() for name, value in got.items()}
        if probe.case == OTHER and all(np.array_equal(value, first[probe.graph][name]) for name, value in got.items()):
            raise ConfigError(f"engine {bundle.folder}: graph {probe.graph} says the same of two seeds; it does not look at its inputs")
    run.close()
    return {key: float(f"{value:.3g}") for key, value in worst.items()}


def _off(got: Any, want: Any, *, relative: bool) -> float:
    if got.shape != want.shape:
        raise ConfigError(f"a tensor of shape {got.shape} where the model gave {want.shape}")
    if not got.size:
        return 0.0
    difference = np.asarray(got, np.float64) - want
    if not relative:
        return float(np.abs(difference).max())
    return float(np.sqrt(np.mean(difference**2)) / max(float(np.sqrt(np.mean(np.square(want, dtype=np.float64)))), 1e-6))


class _Onnx:
    """Graphs as files, keys and values among their outputs."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        import onnxruntime as ort  # only here: a device that runs plans may not have it

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        files = {name: str(bundle.path(graph.file)) for name, graph in bundle.manifest.graphs.items()}
        self._sessions = {name: ort.InferenceSession(file, options, providers=["CPUExecutionProvider"]) for name, file in files.items()}

    def __call__(self, probe: Probe) -> Arrays:
        session = self._sessions[probe.graph]
        return dict(zip((node.name for node in session.get_outputs()), session.run(None, probe.inputs), strict=True))

    def close(self) -> None:
        self._sessions.clear()


class _Anything:
    """Any runtime: what lm_step has kept of the first probe is there for the later one, and stays inside."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self._graphs = make_graphs(bundle, threads)

    def __call__(self, probe: Probe) -> Arrays:
        if probe.graph != STEP or not CACHE & set(probe.inputs):
            return {name: value.copy() for name, value in self._graphs.run(probe.graph, probe.inputs).items()}
        if probe.case != LATER:
            self._graphs.begin()
        fed = {name: value for name, value in probe.inputs.items() if name not in {*CACHE, "slots"}}
        if "slots" in probe.inputs:  # of a graph with caches of a fixed length, whose empty slots are the runtime's to hide
            mask, new = probe.inputs["mask"], len(probe.inputs["slots"])
            fed["mask"] = np.concatenate([mask[..., : self._graphs.past], mask[..., -new:]], -1)
        return {name: value.copy() for name, value in self._graphs.step(fed).items()}

    def close(self) -> None:
        self._graphs.close()
