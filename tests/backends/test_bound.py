"""Passes through bound memory are the session's own passes, whatever shapes came before; keys and values change sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from edge_vla.backends import bound, turns
from edge_vla.backends.bound import BoundGraph
from edge_vla.backends.bundle import Bundle
from edge_vla.backends.cache import Cache
from edge_vla.backends.graphs import Feed
from edge_vla.backends.onnx import OnnxGraphs
from edge_vla.backends.providers import session
from edge_vla.backends.turns import Turns
from edge_vla.errors import EngineError

HIDDEN = 88  # of the tiny bundle; its keys are the positions, its values the embeddings


@pytest.fixture(scope="module")
def plain(tiny: Path) -> ort.InferenceSession:
    return ort.InferenceSession(str(tiny / "lm_step.onnx"), providers=["CPUExecutionProvider"])


def step(new: int, past: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng([seed, new, past])
    return {
        "embeddings": rng.standard_normal((1, new, HIDDEN), np.float32), "positions": np.arange(past, past + new)[None],
        "mask": rng.standard_normal((1, 1, new, past + new), np.float32),
    }  # fmt: skip


def cached(past: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng([seed, past])
    return {name: rng.standard_normal((1, 1, past, HIDDEN), np.float32) for name in ("past_keys", "past_values")}


def test_a_pass_is_the_sessions_own_whatever_came_before(tiny: Path, plain: ort.InferenceSession) -> None:
    graph = BoundGraph(session(tiny / "lm_step.onnx", 1))
    for seed, (new, past) in enumerate([(3, 0), (1, 3), (9, 0), (1, 9), (3, 0), (1, 3), (2, 40), (1, 3)]):
        feed = step(new, past, seed) | cached(past, seed)
        got = graph.run(feed)
        want = dict(zip(("logits", "keys", "values"), plain.run(None, feed), strict=True))
        assert got.keys() == want.keys()
        assert all((got[name] == want[name]).all() for name in want)
        assert np.ptp(want["logits"]) > 0


def test_memory_is_taken_once(tiny: Path) -> None:
    graph = BoundGraph(session(tiny / "vision.onnx", 1))
    images = [np.full((1, 3, 16, 32), light, np.float32) for light in (0.0, 1.0)]
    one, two = (graph.run({"image": image}) for image in images)
    assert one["tokens"] is two["tokens"], "the next pass writes over the last one's"
    assert (two["tokens"] == graph.run({"image": images[1]})["tokens"]).all()
    assert len(graph._passes) == 1


def test_longer_inputs_take_the_place_of_shorter_ones(tiny: Path) -> None:
    graph = BoundGraph(session(tiny / "lm_step.onnx", 1))
    for new in (2, 3, 9, 4, 9):
        graph.run(step(new, 0) | cached(0))
    assert {array.base.size for _, inputs in graph._passes.values() for name, array in inputs.items() if name == "positions"} == {9}


def test_more_shapes_than_are_kept_are_bound_anew(tiny: Path, plain: ort.InferenceSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound, "PASSES", 2)
    graph = BoundGraph(session(tiny / "lm_step.onnx", 1))
    for past in (5, 4, 3, 2, 5, 4):
        feed = step(1, past) | cached(past)
        assert (graph.run(feed)["logits"] == plain.run(["logits"], feed)[0]).all()
        assert len(graph._passes) <= 2


def test_what_is_fed_is_copied_and_never_written(tiny: Path) -> None:
    graph = BoundGraph(session(tiny / "vision.onnx", 1))
    image = np.random.default_rng(0).random((1, 3, 16, 32))  # float64, as a careless host has it
    before = image.copy()
    told = graph.run({"image": image})["tokens"].copy()
    assert (image == before).all()
    image[:] = 0
    assert (graph.run({"image": before.astype(np.float32)})["tokens"] == told).all()


def test_a_feed_that_is_none_is_refused(tiny: Path) -> None:
    graph = BoundGraph(session(tiny / "vision.onnx", 1))
    with pytest.raises(EngineError, match="the graph wants image, got picture"):
        graph.run({"picture": np.zeros((1, 3, 16, 32), np.float32)})
    with pytest.raises(EngineError, match=r"the graph failed: .*Cannot cast"):
        graph.run({"image": np.zeros((1, 3, 16, 32), np.complex64)})
    with pytest.raises(EngineError, match="output 'tokens' is not finite"):
        graph.run({"image": np.full((1, 3, 16, 32), np.nan, np.float32)})
    assert np.isfinite(graph.run({"image": np.zeros((1, 3, 16, 32), np.float32)})["tokens"]).all()


# -- keys and values


class Plain:
    """The same steps with arrays handed from one to the next."""

    def __init__(self, bundle: Bundle, plain: ort.InferenceSession) -> None:
        self._cache, self._plain = Cache(bundle), plain

    def begin(self, behind: Feed | None = None) -> None:
        self._cache.clear(behind)

    def step(self, feed: Feed) -> NDArray[np.float32]:
        told = dict(zip(("logits", "keys", "values"), self._plain.run(None, self._cache.feed(feed)), strict=True))
        return self._cache.keep(told)["logits"]


def test_steps_remember_what_arrays_handed_on_would(tiny: Path, plain: ort.InferenceSession) -> None:
    graphs, want = OnnxGraphs(Bundle(tiny)), Plain(Bundle(tiny), plain)
    for seed, first in enumerate((4, 2, 4)):
        graphs.begin()
        want.begin()
        for new in (first, 1, 1, 3, 1):
            feed = step(new, graphs.past, seed)
            told = graphs.step(feed)
            assert list(told) == ["logits"], "keys and values stay inside"
            assert (told["logits"] == want.step(feed)).all()
        assert graphs.past == first + 6


def test_steps_go_on_behind_what_another_graph_made(tiny: Path, plain: ort.InferenceSession) -> None:
    graphs, want = OnnxGraphs(Bundle(tiny)), Plain(Bundle(tiny), plain)
    for seed in range(2):
        behind = {name.removeprefix("past_"): array for name, array in cached(7, seed).items()}
        for each in (graphs, want):
            each.begin(behind)
        assert graphs.past == 7
        told = []
        for new in (2, 1, 1):
            feed = step(new, graphs.past, seed)
            told.append(graphs.step(feed)["logits"].copy())
            assert (told[-1] == want.step(feed)).all()
    graphs.begin({name: -array for name, array in behind.items()})
    assert (graphs.step(step(2, 7, 1))["logits"] != told[0]).any(), "what is behind does something"


def test_there_is_room_for_more_than_at_first(tiny: Path, plain: ort.InferenceSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "POSITIONS", 4)
    graphs, want = OnnxGraphs(Bundle(tiny)), Plain(Bundle(tiny), plain)
    graphs.begin()
    want.begin()
    for new in (3, 1, 1, 6, 1, 30, 1):
        feed = step(new, graphs.past)
        assert (graphs.step(feed)["logits"] == want.step(feed)).all()


def test_no_step_writes_where_it_reads_and_no_answer_takes_new_memory(tiny: Path) -> None:
    cache = Turns(Bundle(tiny))
    seen = []
    for _ in range(3):
        cache.clear()
        for new in (5, 1, 1):
            cache.asked(step(new, cache.past))
            places = cache.places()
            addresses = [place.address for place in places.values() if 0 not in place.shape]
            assert len(set(addresses)) == len(addresses)
            seen.append(addresses)
            cache.turn()
    assert seen[:3] == seen[3:6] == seen[6:]
