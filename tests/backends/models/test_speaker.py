"""The speaker's host against the model itself: what every backbone finds and says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_vla.backends.speaker import SpeakerEngine
from edge_vla.errors import ConfigError, EngineError
from edge_vla.goals import get_presence_prompt
from edge_vla.grammars import Answer, grammar
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.parse.loc import parse_detections
from edge_vla.parts import make_host
from edge_vla.types import Box, Frame
from tests.backends.models.torch_graphs import Rows, TorchGraphs, speaker_bundle
from tests.learn.backbones.engines import BOXES, FIRST_LOC, NAMES, SIDES, Rig, answers, camera

Engine = Callable[[str], BaseRoboVLM]
SIZE = (96, 64)
PROMPTS = ("drive", "describe", "what is the main object?", get_presence_prompt("cup"), "  go to the 컵 ")
CERTAIN = 200.0


def frame(seed: int, size: tuple[int, int] = SIZE) -> Frame:
    return Frame(camera(*size, seed), seed, seed)


def host(model: BaseRoboVLM, folder: Path, rows: Rows = None, **changes: Any) -> SpeakerEngine:
    bundle = speaker_bundle(model, folder, SIZE, rows, **changes)
    return SpeakerEngine(bundle, TorchGraphs(model, bundle))


def same(got: Answer, want: Answer) -> None:
    assert [place.label for place in got.places] == [place.label for place in want.places]
    assert (got.measured, got.confidence) == (want.measured, pytest.approx(want.confidence, rel=1e-4, abs=1e-12))
    for one, other in zip(got.places, want.places, strict=True):
        assert one.confidence == pytest.approx(other.confidence, rel=1e-4, abs=1e-12)
        names = [name for name in ("x_min", "x_max", "y_min", "y_max", "x", "y") if hasattr(other.where, name)]
        assert [getattr(one.where, n) for n in names] == pytest.approx([getattr(other.where, n) for n in names], abs=1e-5)


SEVERAL = ("paligemma", "kosmos", "qwen_v1", "moondream_d")


@pytest.mark.parametrize(("name", "places"), [*((name, 1) for name in NAMES), *((name, 3) for name in SEVERAL)])
def test_it_finds_what_the_model_finds(engine: Engine, tmp_path: Path, name: str, places: int) -> None:
    model = engine(name)
    speaker, said = host(model, tmp_path, places=places), set()
    for seed, size in enumerate((SIZE,) * 3 if name == "moondream_d" else (SIZE, (40, 90), (31, 250))):  # D's graph is for one layout
        got = speaker.find(frame(seed, size), "red cup")
        same(got, model.find("red cup", camera(*size, seed), most=places))
        said.add(got.confidence)
    assert len(said) == 3, "it does not look at the picture"


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_the_model_says(engine: Engine, tmp_path: Path, name: str) -> None:
    model = engine(name)
    speaker, said = host(model, tmp_path), set()
    for seed, prompt in enumerate(PROMPTS):
        reply = speaker.ask(frame(seed), prompt)
        with Rig(model, [], 0) as rig:
            assert reply.text == model.generate(prompt.strip(), camera(*SIZE, seed), max_new_tokens=12)
        assert reply.confidence == pytest.approx(np.prod([step.max() for step in rig.chances()]) ** (1 / len(rig.heard)), rel=1e-4)
        said.add(reply.confidence)
    assert len(said) == len(PROMPTS), "it says always the same"


@pytest.mark.parametrize("name", BOXES)
def test_a_box_is_told_in_the_pilots_words(engine: Engine, tmp_path: Path, name: str) -> None:
    model, wanted = engine(name), [Box(0.1, 0.1, 0.4, 0.3, "cup"), Box(0.5, 0.5, 0.9, 0.8, "cup")]
    speaker = host(model, tmp_path, places=2)
    one, picture = grammar(model.grammar), model.picture_map(*SIZE)
    label = "" if name == "kosmos" else "cup"
    text = one.encode([Box(b.y_min, b.x_min, b.y_max, b.x_max, label) for b in wanted], picture)
    text = text.replace("</object><object>", "</delimiter_of_multi_objects/>").replace("</box><ref>cup</ref>", "</box>")
    with Rig(model, answers(model, "cup", SIZE, text), CERTAIN):
        reply = speaker.ask(frame(0), "detect cup")
    found = parse_detections(reply.text)
    wide, high = one.quantum(picture)
    assert len(found) == 2
    for box, want in zip(sorted(found, key=lambda b: b.x_min), wanted, strict=True):
        assert box.label == "cup"
        assert [box.x_min, box.x_max] == pytest.approx([want.x_min, want.x_max], abs=wide + 1 / 1024)
        assert [box.y_min, box.y_max] == pytest.approx([want.y_min, want.y_max], abs=high + 1 / 1024)
    assert reply.confidence == pytest.approx(1, abs=1e-6)


def test_the_surest_box_comes_first(engine: Engine, tmp_path: Path) -> None:
    model = engine("moondream_d")
    speaker = host(model, tmp_path, places=3)
    for seed in range(4):
        answer = speaker.find(frame(seed), "cup")
        boxes = parse_detections(speaker.ask(frame(seed), "detect cup").text)
        assert len(boxes) == len(answer.places)
        surest = sorted(answer.places, key=lambda place: -place.confidence)
        assert [b.x_min for b in boxes] == pytest.approx([p.where.x_min for p in surest], abs=1 / 1024)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["paligemma", "qwen25"])
def test_nothing_is_an_empty_reply(engine: Engine, tmp_path: Path, name: str) -> None:
    model = engine(name)
    speaker, one = host(model, tmp_path), grammar(model.grammar)
    with Rig(model, answers(model, "cup", SIZE, one.encode([], model.picture_map(*SIZE))), CERTAIN):
        reply = speaker.ask(frame(0), "detect cup")
    assert (reply.text, reply.confidence) == ("", pytest.approx(1, abs=1e-6))


@pytest.mark.parametrize("name", SIDES)
def test_a_format_of_sides_is_not_asked_for_boxes(engine: Engine, tmp_path: Path, name: str) -> None:
    speaker = host(engine(name), tmp_path)
    assert not speaker.says_boxes
    with pytest.raises(ConfigError, match="answers in the format 'words', which has no boxes: it cannot 'detect cup'"):
        speaker.ask(frame(0), "detect cup")


def test_what_can_be_said_in_one_way_only_is_not_asked(engine: Engine, tmp_path: Path) -> None:
    """Of PaliGemma's answer four passes: the first corner's, and one after each corner but the last. Not the label's."""
    model = engine("paligemma")
    speaker, one = host(model, tmp_path), grammar(model.grammar)
    text = one.encode([Box(0.25, 0.3, 0.7, 0.85, "cup")], model.picture_map(*SIZE))
    with Rig(model, answers(model, "cup", SIZE, text), CERTAIN) as rig:
        assert speaker.ask(frame(0), "detect cup").text.endswith(" cup")
    assert len(rig.heard) == 4 < len(rig.rows)
    assert [stage for stage, _ in speaker.laps.taken] == ["preprocess", "vision", "prefill", *["decode"] * 3, "reply"]


# -- a head cut down to what an answer takes


def loc_rows(model: BaseRoboVLM) -> list[list[int]]:
    ends = sorted(model.end_ids())
    return [[ends[0], ends[0] + 1], [FIRST_LOC, FIRST_LOC + 1024]]


def test_a_head_of_locs_finds_the_same(engine: Engine, tmp_path: Path) -> None:
    model = engine("paligemma")
    speaker, whole = host(model, tmp_path, loc_rows(model)), tmp_path / "whole"
    whole.mkdir()
    other = host(model, whole)
    for seed in range(4):
        got, want = speaker.find(frame(seed), "cup"), other.find(frame(seed), "cup")
        if got.places and want.places:
            assert got.places[0].where == want.places[0].where
            assert got.confidence > want.confidence, "among fewer rows each is likelier"
    with pytest.raises(ConfigError, match=r"has 1025 of 1500 rows in its head: it cannot answer 'describe' in words"):
        speaker.ask(frame(0), "describe")


def test_a_head_without_rows_that_the_format_takes(engine: Engine, tmp_path: Path) -> None:
    model = engine("paligemma")
    speaker = host(model, tmp_path, [[FIRST_LOC, FIRST_LOC + 1024]])
    with pytest.raises(
        ConfigError, match=r"its head was left without rows that the format 'paligemma' takes: '<eos>'; export it with these"
    ):
        speaker.ask(frame(0), "detect cup")


# -- what is refused


def test_pictures_that_would_be_laid_out_otherwise(engine: Engine, tmp_path: Path) -> None:
    for name, size in (("moondream_d", (640, 480)), ("moondream_c", (900, 500))):
        (tmp_path / name).mkdir()
        speaker = host(engine(name), tmp_path / name)
        with pytest.raises(ConfigError, match=rf"picture of {size[0]} x {size[1]} px: this input is laid out for a camera of 96 x 64 px"):
            speaker.ask(frame(0, size), "describe")


def test_matrices_of_another_region(engine: Engine, tmp_path: Path) -> None:
    model = engine("moondream_d")
    bundle = speaker_bundle(model, tmp_path)
    file = tmp_path / "region.npz"
    with np.load(file) as told:
        matrices = dict(told)
    np.save(array := tmp_path / "array.npy", np.zeros(3))
    spoilt: list[tuple[Callable[[], object], str, type[Exception]]] = [
        (lambda: file.write_bytes(b"no"), r"region.npz: want an .npz", EngineError),
        (lambda: file.write_bytes(array.read_bytes()), r"region.npz: want an .npz", EngineError),
        (lambda: np.savez(file, **{k: v for k, v in matrices.items() if k != "size_features"}), "size_features missing", ConfigError),
        (
            lambda: np.savez(file, **matrices | {"coord_encoder.bias": np.zeros(31)}),
            r"coord_encoder.bias: want \(32,\), got \(31,\)",
            ConfigError,
        ),
        (lambda: np.savez(file, **matrices | {"more": np.zeros(1)}), "more unknown", ConfigError),
    ]
    for spoil, message, kind in spoilt:
        spoil()
        with pytest.raises(kind, match=message):
            SpeakerEngine(bundle, TorchGraphs(model, bundle))


def test_a_tokenizer_without_the_formats_rows(paligemma: Path, configs: Any, tmp_path: Path) -> None:
    from tests.learn.backbones.engines import load

    model = load({"robovlm_name": "RoboPaligemma", **configs(paligemma)})
    with pytest.raises(ConfigError, match=r"engine 'tiny': its tokenizer cannot answer in the format 'paligemma': .*<loc\d{4}>"):
        host(model, tmp_path).ask(frame(0), "detect cup")


def test_a_bundle_that_speaks_makes_such_an_engine(engine: Engine, tmp_path: Path) -> None:
    bundle = speaker_bundle(engine("uform"), tmp_path)
    assert type(make_host(bundle, TorchGraphs(engine("uform"), bundle))) is SpeakerEngine


def test_warm_up_asks_what_it_can(engine: Engine, tmp_path: Path) -> None:
    for name in ("kosmos", "uform", "moondream_d"):
        (tmp_path / name).mkdir()
        speaker = host(engine(name), tmp_path / name)
        speaker.warm_up()
        assert speaker.laps.taken
        speaker.close()
        assert speaker.graphs.closed
        assert (speaker.targets, speaker.providers) == (None, ("torch",))
