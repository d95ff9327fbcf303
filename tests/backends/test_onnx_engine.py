"""The ONNX engine on the tiny bundle, whose answers follow from the rules in tests/golden/make_tiny_bundle.py."""

from __future__ import annotations

import ctypes
import io
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_vla.backends.bound import BoundGraph, Place
from edge_vla.backends.finder import FinderEngine
from edge_vla.errors import ConfigError, EngineError
from edge_vla.types import Frame

Paint = Callable[..., Frame]
MakeEngine = Callable[..., FinderEngine]
RED, GREY, WHITE, BLACK = (255, 0, 0), (127, 127, 127), (255, 255, 255), (0, 0, 0)
CUP = "<loc0192><loc0304><loc0416><loc0528> cup"
BALL = "<loc0480><loc0592><loc0704><loc0816> ball"
# 64 bins of 16 of a reply's 1024: bin 12 is said as 192
BOS, NEWLINE, GO, FORWARD, LOC, HIDDEN, IMAGE = 2, 4, 14, 15, 21, 88, 4  # rows and sizes of the tiny bundle


def at(place: Place) -> NDArray[np.float32]:
    """What lies there now."""
    count = math.prod(place.shape)
    return np.frombuffer((ctypes.c_float * count).from_address(place.address), np.float32).reshape(place.shape).copy()


class Wire:
    """Between the engine and a graph: lets everything through and keeps what was fed, with the past, and what was told."""

    def __init__(self, graph: BoundGraph) -> None:
        self._graph = graph
        self.fed: list[dict[str, NDArray[Any]]] = []
        self.told: list[dict[str, NDArray[Any]]] = []

    def run(self, feed: Mapping[str, NDArray[Any]], kept: Mapping[str, Place] | None = None) -> dict[str, NDArray[np.float32]]:
        past = {name: at(place) for name, place in (kept or {}).items() if name.startswith("past_")}
        self.fed.append({name: array.copy() for name, array in feed.items()} | past)
        told = self._graph.run(feed, kept)
        self.told.append({name: array.copy() for name, array in told.items()})
        return told


@pytest.fixture
def wires(engine: FinderEngine, monkeypatch: pytest.MonkeyPatch) -> tuple[Wire, Wire]:
    """(vision, lm_step) of `engine`, tapped."""
    graphs = engine.graphs._graphs
    vision, step = Wire(graphs["vision"]), Wire(graphs["lm_step"])
    monkeypatch.setitem(graphs, "vision", vision)
    monkeypatch.setitem(graphs, "lm_step", step)
    return vision, step


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


# -- answers


@pytest.mark.parametrize(
    ("frame", "prompt", "text"),
    [
        ("red", "detect cup", CUP),
        ("red", "detect ball", ""),
        ("blue", "detect ball", BALL),
        ("blue", "detect cup", ""),
        ("grey", "detect cup", ""),
        ("red", "detect acorn", ""),
        ("red", "is there a cup?", "yes"),
        ("red", "is there cup?", "yes"),
        ("blue", "is there a cup?", "no"),
        ("blue", "is there a ball?", "yes"),
        ("red", "is there an acorn?", "no"),
        ("grey", "drive", "go forward."),
        ("grey", "describe", "a cup."),
    ],
)
def test_it_answers(engine: FinderEngine, request: pytest.FixtureRequest, frame: str, prompt: str, text: str) -> None:
    reply = engine.ask(request.getfixturevalue(frame), prompt)
    assert reply.text == text
    assert 0 <= reply.confidence <= 1
    assert 0 < reply.latency_s < 60


HILL = sum(math.exp(-0.4 * abs(d)) for d in range(-3, 4))  # of a half red frame, relative to the end's e^20
HALF = HILL / (1 + HILL)  # 0.79


def test_its_confidence_is_its_own_probability(engine: FinderEngine, paint: Paint, red: Frame, grey: Frame) -> None:
    half = engine.ask(paint(RED, GREY), "detect cup")  # redness 4: the hill is as high as the end
    assert half.text == CUP
    assert half.confidence == pytest.approx(HALF, abs=1e-4)
    assert engine.ask(red, "detect cup").confidence == pytest.approx(1.0, abs=1e-5)
    assert engine.ask(grey, "detect cup").confidence == pytest.approx(1.0, abs=1e-5)  # sure that it is absent
    thirty = engine.ask(red, "is there a cup?")
    assert thirty.confidence == pytest.approx(1.0, abs=1e-6)
    assert engine.ask(paint((191, 0, 64), (191, 0, 64)), "is there a cup?").confidence == pytest.approx(
        1 / (1 + math.exp(10 - 5 * 8 * 127 / 255)), abs=1e-3
    )


def test_the_bundles_calibration_is_applied(make_engine_of: MakeEngine, paint: Paint) -> None:
    engine = make_engine_of(lambda m: m.update(calibration={"scale": 2.0, "shift": -1.0}))
    odds = (HALF / (1 - HALF)) ** 2 * math.exp(-1)
    assert engine.ask(paint(RED, GREY), "detect cup").confidence == pytest.approx(odds / (1 + odds), abs=1e-4)


def test_a_sentence_is_cut_at_the_bundles_limit(make_engine_of: MakeEngine, grey: Frame) -> None:
    assert make_engine_of(lambda m: m["language"].update(max_new_tokens=2)).ask(grey, "drive").text == "go forward"


def test_a_sentence_is_made_of_the_bundles_words(make_engine_of: MakeEngine, grey: Frame) -> None:
    """Without "forward" the sentence goes on with the best of what is left."""
    engine = make_engine_of(lambda m: m["tokens"]["words"].remove(FORWARD))
    assert engine.ask(grey, "drive").text.split()[0] == "go"
    assert "forward" not in engine.ask(grey, "drive").text


def test_free_distances_pass_through_left_to_right(engine: FinderEngine, paint: Paint, red: Frame) -> None:
    free = engine.ask(paint(WHITE, BLACK), "drive").free_distance_m
    assert free == pytest.approx((4.0, 4.0, 0.0, 0.0), abs=1e-5)
    assert all(type(value) is float for value in free)
    assert engine.ask(red, "detect cup").free_distance_m == pytest.approx((4 / 3,) * 4, abs=1e-5)


def test_one_question_leaves_nothing_for_the_next(engine: FinderEngine, red: Frame, blue: Frame) -> None:
    before = [engine.ask(frame, prompt) for frame, prompt in ((red, "detect cup"), (blue, "detect ball"))]
    after = [engine.ask(frame, prompt) for frame, prompt in ((blue, "detect ball"), (red, "detect cup"))]
    assert [(r.text, r.confidence) for r in before] == [(r.text, r.confidence) for r in reversed(after)]


# -- the conversation


def rows(*ids: int) -> NDArray[np.float32]:
    """Their embeddings in the tiny bundle: one-hot."""
    return np.eye(HIDDEN, dtype=np.float32)[list(ids)]


def test_the_prefix_is_papligemmas(engine: FinderEngine, red: Frame, wires: tuple[Wire, Wire]) -> None:
    """The picture sees itself and no text; the prompt sees everything, itself both ways."""
    engine.ask(red, "detect cup")
    vision, step = wires
    fed, text = step.fed[0], 4  # <bos> detect cup \n
    mask = fed["mask"][0, 0]
    assert mask.shape == (IMAGE + text, IMAGE + text)
    assert (mask[:IMAGE, :IMAGE] == 0).all()
    assert (mask[:IMAGE, IMAGE:] == -1e9).all()
    assert (mask[IMAGE:] == 0).all()
    assert fed["positions"].tolist() == [list(range(IMAGE + text))]
    assert (fed["embeddings"][0, :IMAGE] == vision.told[0]["tokens"][0]).all()
    assert (fed["embeddings"][0, IMAGE:] == rows(BOS, 5, 18, NEWLINE)).all()
    assert fed["past_keys"].shape == fed["past_values"].shape == (1, 1, 0, HIDDEN)


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [
        ("drive", [BOS, 12, NEWLINE]),
        ("is there a cup?", [BOS, 6, 7, 8, 18, 10, NEWLINE]),
        ("is there an acorn?", [BOS, 6, 7, 9, 20, 10, NEWLINE]),
    ],
)
def test_the_prompt_starts_with_bos_and_ends_with_a_newline(
    engine: FinderEngine, red: Frame, wires: tuple[Wire, Wire], prompt: str, ids: list[int]
) -> None:
    engine.ask(red, prompt)
    assert (wires[1].fed[0]["embeddings"][0, IMAGE:] == rows(*ids)).all()


def test_the_caches_grow_by_what_was_said(engine: FinderEngine, red: Frame, wires: tuple[Wire, Wire]) -> None:
    engine.ask(red, "detect cup")
    vision, step = wires
    assert len(step.fed) == 4  # the prefill says y_min, three corners are fed back
    said = [BOS, 5, 18, NEWLINE, LOC + 12, LOC + 19, LOC + 26]
    for k, fed in enumerate(step.fed[1:]):
        past = IMAGE + 4 + k
        assert fed["positions"].tolist() == [[past]]
        assert fed["mask"].shape == (1, 1, 1, past + 1)
        assert (fed["mask"] == 0).all()
        assert (fed["embeddings"][0] == rows(said[4 + k])).all()
        assert (fed["past_keys"][0, 0] == np.arange(past)[:, None]).all()  # the tiny graph keeps positions as keys
        assert (fed["past_values"][0, 0, :IMAGE] == vision.told[0]["tokens"][0]).all()
        assert (fed["past_values"][0, 0, IMAGE:] == rows(*said[: 4 + k])).all()


# -- refusals


LISTED = "was not trained on {!r}; it answers 'detect {{thing}}', 'is there {{thing}}?', 'drive', 'describe'"


@pytest.mark.parametrize("prompt", ["", "dance", "Detect cup", "detect", "is there a cup", "drive ", "describe the room", " detect cup"])
def test_a_question_it_was_not_trained_on_is_refused_with_those_it_was(
    engine: FinderEngine, red: Frame, wires: tuple[Wire, Wire], prompt: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        engine.ask(red, prompt)
    assert str(refusal.value) == "engine 'tiny' " + LISTED.format(prompt)
    assert wires[0].fed == wires[1].fed == []


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("detect zebra", "does not know 'zebra'. It knows: cup, ball, acorn"),
        ("detect bal", "does not know 'bal'; did you mean 'ball'? It knows: cup, ball, acorn"),
        ("detect cup ", "does not know 'cup '; did you mean 'cup'? It knows: cup, ball, acorn"),
        ("is there a zebra?", "does not know 'zebra'. It knows: cup, ball, acorn"),
        ("is there an acorns?", "does not know 'acorns'; did you mean 'acorn'? It knows: cup, ball, acorn"),
    ],
)
def test_a_thing_it_was_not_trained_on_is_refused_with_those_it_was(
    engine: FinderEngine, red: Frame, wires: tuple[Wire, Wire], prompt: str, message: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        engine.ask(red, prompt)
    assert str(refusal.value) == "engine 'tiny' " + message
    assert wires[0].fed == wires[1].fed == []


def test_what_it_can_find_is_the_bundles_list(engine: FinderEngine) -> None:
    assert engine.targets == ("cup", "ball", "acorn")


def spoiled(row: int) -> dict[str, bytes]:
    """The bundle's embeddings with one row that is no number."""
    table = np.eye(LOC + 64, HIDDEN, dtype=np.float16)
    table[row] = np.nan
    return {"embeddings.npy": npy(table)}


@pytest.mark.parametrize(("row", "when"), [(18, "in the prefill"), (LOC + 12, "after the first corner"), (LOC + 26, "after the third")])
def test_an_output_that_is_no_number_is_an_error_at_every_step(make_engine_of: MakeEngine, red: Frame, row: int, when: str) -> None:
    with pytest.raises(EngineError, match="output 'logits' is not finite"):
        make_engine_of(files=spoiled(row)).ask(red, "detect cup")


def test_a_spoiled_row_nobody_says_is_no_error(make_engine_of: MakeEngine, red: Frame) -> None:
    assert make_engine_of(files=spoiled(LOC + 63)).ask(red, "detect cup").text == CUP


def test_a_word_that_is_no_number_is_an_error(make_engine_of: MakeEngine, grey: Frame) -> None:
    with pytest.raises(EngineError, match="output 'logits' is not finite"):
        make_engine_of(files=spoiled(GO)).ask(grey, "drive")


def test_a_free_distance_that_is_no_number_is_an_error(make_engine_of: MakeEngine, tiny: Path, red: Frame) -> None:
    graph, two = (tiny / "vision.onnx").read_bytes(), struct.pack("<f", 2.0)  # the constant only the free distances use
    assert graph.count(two) == 1
    engine = make_engine_of(files={"vision.onnx": graph.replace(two, struct.pack("<f", math.nan))})
    with pytest.raises(EngineError, match="output 'free_distance' is not finite"):
        engine.ask(red, "drive")


def test_a_graph_that_fails_is_an_engine_error(engine: FinderEngine) -> None:
    with pytest.raises(EngineError, match=r"(?s)the graph failed: .*Got: 32 Expected: 16"):
        engine.graphs.run("vision", {"image": np.zeros((1, 3, 32, 32), np.float32)})


# -- before the first tick


def test_warming_up_runs_both_graphs_with_a_first_token_and_a_later_one(engine: FinderEngine, wires: tuple[Wire, Wire]) -> None:
    engine.warm_up()
    vision, step = wires
    assert len(vision.fed) == 2
    assert {"prefill" if fed["past_keys"].shape[2] == 0 else "decode" for fed in step.fed} == {"prefill", "decode"}


def test_warming_up_finds_a_broken_engine(make_engine_of: MakeEngine) -> None:
    with pytest.raises(EngineError, match="not finite"):
        make_engine_of(files=spoiled(NEWLINE)).warm_up()
