"""Where a thing is, asked of every backbone in its own reply format: always legal, and mapped back to the camera's picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edge_vla.errors import ConfigError
from edge_vla.grammars import Columns, Place, grammar
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.types import Box
from tests.learn.backbones.engines import BOXES, NAMES, SIDES, Rig, answers, camera, load, write

Engine = Callable[[str], BaseRoboVLM]
SIZES = ((96, 64), (40, 90), (31, 250))
CERTAIN = 200.0  # added to a logit: its row's probability is 1 but for rounding
BOX = Box(0.25, 0.3, 0.7, 0.85, "cup")


def edges(place: Place) -> list[float]:
    return [getattr(place.where, name) for name in ("x_min", "x_max", "y_min", "y_max") if hasattr(place.where, name)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_random_weights_give_a_legal_answer(engine: Engine, name: str, size: tuple[int, int]) -> None:
    model = engine(name)
    one, said = grammar(model.grammar), set()
    for seed in range(3):
        answer = model.find("the Cup", camera(*size, seed), most=2)
        assert answer.measured
        assert one.says_absent or answer.places
        assert len(answer.places) <= 2
        for place in answer.places:
            assert isinstance(place.where, Box if one.says_boxes else Columns)
            assert all(0 <= edge <= 1 for edge in edges(place))
            assert all(low < high for low, high in zip(edges(place)[::2], edges(place)[1::2], strict=True))
            assert place.label == "cup"
            assert 0 <= place.confidence <= answer.confidence < 0.9
        said.add(answer.confidence)
    assert len(said) > 1, "it does not look at the picture"


@pytest.mark.parametrize("name", BOXES)
@pytest.mark.parametrize("size", SIZES)
def test_a_model_that_sees_a_box_gives_that_box(engine: Engine, name: str, size: tuple[int, int]) -> None:
    model = engine(name)
    one, picture = grammar(model.grammar), model.picture_map(*size)
    text = one.encode([BOX if one.name != "kosmos" else Box(0.25, 0.3, 0.7, 0.85)], picture)
    with Rig(model, answers(model, "cup", size, text), CERTAIN):
        (place,) = model.find("cup", camera(*size)).places
    wide, high = one.quantum(picture)
    assert edges(place)[:2] == pytest.approx([BOX.x_min, BOX.x_max], abs=wide)
    assert edges(place)[2:] == pytest.approx([BOX.y_min, BOX.y_max], abs=high)
    assert (place.label, place.confidence) == ("cup", pytest.approx(1, abs=1e-6))
    assert [place.where] == one.parse(text, picture, "cup").boxes


@pytest.mark.parametrize("name", BOXES)
def test_several_boxes_and_no_more_than_asked_for(engine: Engine, name: str) -> None:
    model, size = engine(name), (96, 64)
    label = "" if name == "kosmos" else "cup"
    boxes = [Box(0.1, 0.1, 0.4, 0.3, label), Box(0.5, 0.5, 0.9, 0.8, label), Box(0.2, 0.6, 0.3, 0.9, label)]
    text = grammar(model.grammar).encode(boxes, model.picture_map(*size))
    if name == "kosmos":  # one phrase, several objects
        text = text.replace("</object><object>", "</delimiter_of_multi_objects/>")
    if name.startswith("qwen_v1"):  # one name, several boxes
        text = text.replace("</box><ref>cup</ref>", "</box>")
    rows = answers(model, "cup", size, text)
    for most in (3, 2):
        with Rig(model, rows, CERTAIN):
            found = model.find("cup", camera(*size), most=most).boxes
        for box, other in zip(found, boxes[:most], strict=True):
            assert (box.x_min, box.y_max) == pytest.approx((other.x_min, other.y_max), abs=0.04)


@pytest.mark.parametrize("name", SIDES)
@pytest.mark.parametrize(("side", "x"), [("left", 0.22), ("Middle", 0.5), (" right", 0.78)])
def test_a_model_without_boxes_gives_the_columns_of_a_side(engine: Engine, name: str, side: str, x: float) -> None:
    """Thirds of what it saw: of all of a padded picture, of the middle of a cut one."""
    model, size = engine(name), (96, 64)
    text = f"Yes\n{side}"
    with Rig(model, answers(model, "cup", size, text), CERTAIN) as rig:
        (place,) = model.find("cup", camera(*size)).places
    assert len(rig.heard) == len(rig.rows)
    assert isinstance(place.where, Columns)
    shown = (16 / 96, 80 / 96) if name.startswith(("flamingo", "llava_mpt")) else (0.0, 1.0)
    third = (shown[1] - shown[0]) / 3
    assert place.where.x_min < x < place.where.x_max
    assert place.where.x_max - place.where.x_min == pytest.approx(third, abs=1 / 28 / 2), "to half a pixel of a crop"
    assert place.confidence == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("kosmos", "qwen_v1", "qwen_v1_chat", "moondream_d")])
def test_a_model_that_sees_nothing_says_so(engine: Engine, name: str) -> None:
    model, size = engine(name), (96, 64)
    text = grammar(model.grammar).encode([], model.picture_map(*size))
    with Rig(model, answers(model, "cup", size, text), CERTAIN):
        answer = model.find("cup", camera(*size))
    assert (answer.places, answer.measured) == ((), True)
    assert answer.confidence == pytest.approx(1, abs=1e-6)


def ramp(width: int, height: int) -> np.ndarray:
    """Red grows to the right, green downwards, blue is half: normalised or not, a colour tells its place."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width * 255, (np.arange(height) + 0.5) / height * 255)
    return np.stack([x, y, np.full_like(x, 128)], -1).round().astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(96, 64), (64, 100), (700, 620)])
def test_the_pixels_a_model_sees_come_from_where_its_map_says(engine: Engine, name: str, size: tuple[int, int]) -> None:
    model = engine(name)
    seen, picture = model.question_picture(ramp(*size)), model.picture_map(*size)
    if name == "moondream_d":  # the whole picture first, then its tiles
        seen = seen[:, : model.image_size, : model.image_size]
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.image_mean, model.image_std))
    shown = ((seen * std + mean) * 255).numpy()
    rows, columns = shown.shape[1:]
    y, x = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    real_x, real_y = picture.to_original(x * picture.canvas[0], y * picture.canvas[1])
    step = max(a / b for a, b in zip(size, picture.scaled, strict=True)) * max(1.0, picture.canvas[0] / columns)
    inside = np.all([(3 * step < at) & (at < side - 3 * step) for at, side in ((real_x, size[0]), (real_y, size[1]))], 0)
    assert inside.mean() > 0.25
    for colours, at, side in ((shown[0], real_x, size[0]), (shown[1], real_y, size[1])):
        assert np.abs(colours / 255 * side - at)[inside].max() <= 0.5 + side / 255


def test_what_cannot_be_asked_is_refused(engine: Engine) -> None:
    model = engine("kosmos")
    for thing in ("", "<loc0001>", "x" * 65):
        with pytest.raises(ConfigError, match="target"):
            model.find(thing, camera(8, 8))
    with pytest.raises(ConfigError, match="most 0: want at least 1 place"):
        model.find("cup", camera(8, 8), most=0)
    for picture in (camera(8, 8)[..., 0], camera(8, 8)[0, 0]):
        with pytest.raises(ConfigError, match=r"want \(H, W, 3\) uint8 RGB"):
            model.find("cup", picture)


def test_a_pil_image_is_a_picture_too(engine: Engine) -> None:
    model, rgb = engine("kosmos"), camera(40, 30)
    assert model.find("cup", Image.fromarray(rgb)) == model.find("cup", rgb)


def test_a_tokenizer_without_the_formats_rows_is_refused(paligemma: Path, llava: Path, configs: Callable[..., dict[str, Any]]) -> None:
    model = load({"robovlm_name": "RoboPaligemma", **configs(paligemma)})
    with pytest.raises(ConfigError, match=r"paligemma\d: its tokenizer cannot answer in the format 'paligemma': .* row for '<loc\d{4}>'"):
        model.find("cup", camera(8, 8))
    model = load({"robovlm_name": "RoboLLaVA", **configs(llava)})
    with pytest.raises(ConfigError, match=r"its tokenizer cannot answer in the format 'words': vocabulary: no row begins with any of"):
        model.find("cup", camera(8, 8))


def test_a_row_beyond_the_embedding_is_not_said(tmp_path: Path) -> None:
    """Some tokenizers have more tokens than their language model has rows."""
    model = load(write("qwen25", tmp_path, {}))
    rows = len(model.word_embedding.weight)
    model.tokenizer.add_tokens([f"<spare{k}>" for k in range(rows)])
    assert max(model.vocabulary.marks.values()) == rows - 1
    assert model.find("cup", camera(8, 8), most=1).places


@pytest.mark.parametrize("name", ["paligemma", "moondream_d", "uform"])
def test_a_model_in_training_answers_the_same_and_goes_on_training(engine: Engine, name: str) -> None:
    model = engine(name)
    rested = model.find("cup", camera(40, 30), most=2)
    model.train()
    try:
        assert model.find("cup", camera(40, 30), most=2) == rested
        assert all(module.training for module in model.modules())
    finally:
        model.eval()


def test_other_weights_find_something_else(engine: Engine, write_kosmos: Callable[..., Path], tmp_path: Path) -> None:
    other = load(write("kosmos", tmp_path, {"kosmos": write_kosmos}, seed=9))
    assert other.find("cup", camera(40, 30)) != engine("kosmos").find("cup", camera(40, 30))
