"""An engine asked every question of a calibration set, its graphs watched: where each tensor's values lie, phase by phase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from calib.graph import WatchedGraphs
from calib.histogram import Histogram, Span
from calib.picture_set import PictureSet
from edge_vla.backends.bundle import Bundle
from edge_vla.backends.cache import PAST
from edge_vla.errors import ConfigError
from edge_vla.parts import make_host
from edge_vla.types import Engine

PRECISION = "fp32"
Key = tuple[str, str, str]  # graph, phase, tensor


@dataclass(frozen=True, slots=True)
class Activations:
    """What a set made of an engine. `operators` says which operator first touches a tensor."""

    histograms: dict[Key, Histogram]
    operators: dict[tuple[str, str], str]  # of graph and tensor
    runs: dict[str, dict[str, int]]  # of graph, phase
    answers: int  # different ones the engine gave


def watch(bundle: Bundle, pictures: PictureSet, threads: int = 1, say: Callable[[str], None] = lambda _: None) -> Activations:
    """Two passes over the set: the first for the spans, the second counts between them.

    Raises ConfigError for a bundle that is not fp32, a question it does not answer, or a set that never makes it decode a second word.
    """
    if bundle.manifest.precision != PRECISION:
        raise ConfigError(
            f"engine {bundle.folder} is {bundle.manifest.precision}: want {PRECISION}, for quantised graphs have ranges already"
        )
    watched = WatchedGraphs(bundle, threads)
    engine, graphs = make_host(bundle, watched), watched.graphs
    spans: dict[Key, Span] = {}
    histograms: dict[Key, Histogram] = {}

    def widen(graph: str, phase: str, tensor: str, values: NDArray[np.float32]) -> None:
        spans.setdefault((graph, phase, tensor), Span()).widen(values)

    def count(graph: str, phase: str, tensor: str, values: NDArray[np.float32]) -> None:
        key = graph, phase, tensor
        if key not in histograms:
            histograms[key] = Histogram(spans[key])
        histograms[key].add(values)

    answers = 0
    for what, step in (("spans", widen), ("histograms", count)):
        for name, graph in graphs.items():
            graph.runs.clear()
            graph.keep = partial(step, name)
        answers = _ask(engine, pictures, partial(_told, say, what, pictures.listed.questions))
    runs = {name: dict(graph.runs) for name, graph in graphs.items()}
    _require_decoding({name: runs[name] for name in runs if PAST.keys() & {t.name for t in bundle.manifest.graphs[name].inputs}}, pictures)
    if idle := [name for name, phases in runs.items() if not phases]:
        raise ConfigError(f"graph {idle[0]} was never run by the questions of {pictures.folder}")
    return Activations(
        histograms, {(name, tensor): graph.operators[tensor] for name, graph in graphs.items() for tensor in graph.tensors}, runs, answers
    )


def _told(say: Callable[[str], None], what: str, questions: int, done: int) -> None:
    say(f"{what}: {done} of {questions} questions")


def _ask(engine: Engine, pictures: PictureSet, asked: Callable[[int], None]) -> int:
    """Every question about every picture; how many different answers came."""
    answers: set[str] = set()
    done = 0
    for k, item in enumerate(pictures.listed.pictures):
        frame = pictures.frame(item, k)
        for prompt in item.prompts:
            answers.add(engine.ask(frame, prompt).text)
            done += 1
            asked(done)
    return len(answers)


def _require_decoding(runs: dict[str, dict[str, int]], pictures: PictureSet) -> None:
    """A language model's steps after the first see other values than its prefill. A policy that reads hidden states takes none."""
    for name, phases in runs.items():
        if "prefill" in phases and "decode" not in phases:
            raise ConfigError(
                f"no question of {pictures.folder} made {name} decode a word after its first: collect with --prompt and a question "
                "that is answered in a sentence"
            )
