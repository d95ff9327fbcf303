"""Each backbone names its reply format, and a picture map says where the pixels it prepares came from."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from edge_vla.grammars import GRAMMARS, Decoding, PictureMap, Spelling, Vocabulary
from edge_vla.learn.backbones import BACKBONES, backbone_class
from edge_vla.learn.backbones.moondream import RoboMoonDream
from edge_vla.learn.backbones.qwen.tokenizer import END, END_TURN, load_qwen_tokenizer
from edge_vla.learn.backbones.qwen.v1 import QwenVL
from edge_vla.learn.backbones.qwen.v2_5 import Qwen25VL
from edge_vla.pictures import middle, pad_square, resized
from tests.learn.backbones.tiny_moondream import write_moondream
from tests.learn.backbones.tiny_qwen import write_qwen_v1

SIDE = 64


def test_every_backbone_names_a_format_that_there_is() -> None:
    kinds = {name: backbone_class(name) for name in BACKBONES if name != "RoboQwen"} | {"QwenVL": QwenVL, "Qwen25VL": Qwen25VL}
    said = {name: kind.grammar for name, kind in kinds.items() if name != "RoboMoonDream"}
    assert said == {
        "RoboFlamingo": "words", "RoboKosMos": "kosmos", "RoboLLaVA": "words", "RoboPaligemma": "paligemma", "RoboUform": "words",
        "QwenVL": "qwen_vl", "Qwen25VL": "qwen2_5_vl",
    }  # fmt: skip
    assert {*said.values(), "moondream"} == set(GRAMMARS)


@pytest.mark.parametrize(("layout", "name"), [("C", "words"), ("D", "moondream")])
def test_moondreams_format_is_its_layouts(tmp_path: Path, layout: str, name: str) -> None:
    write_moondream(tmp_path, layout)
    assert RoboMoonDream({"vlm": {"pretrained_model_name_or_path": str(tmp_path)}}).grammar == name


def ramp(width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8: red grows to the right and green downwards, one step a pixel or less."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width * 255, (np.arange(height) + 0.5) / height * 255)
    return np.stack([x, y, np.zeros_like(x)], -1).round().astype(np.uint8)


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96), (255, 129), (100, 251), (64, 64)])
@pytest.mark.parametrize("kind", ["squashed", "padded", "middle", "rounded"])
def test_pixels_come_from_where_the_map_says(kind: str, width: int, height: int) -> None:
    """Each pixel's colour tells its place in the picture: to half a pixel, and the colours' own half steps."""
    rgb, original = ramp(width, height), (width, height)
    if kind in ("squashed", "padded"):
        laid = pad_square(rgb, (0.0, 0.0, 1.0)) if kind == "padded" else rgb
        seen = resized(laid, (SIDE, SIDE)).astype(float)
        picture = PictureMap.padded(original, SIDE) if kind == "padded" else PictureMap.squashed(original, (SIDE, SIDE))
    else:
        seen = middle(rgb, SIDE, rounded=kind == "rounded").astype(float)
        picture = PictureMap.middle(original, SIDE, rounded=kind == "rounded")
    compared = 0
    for row, column in np.ndindex(SIDE, SIDE):
        x, y = picture.to_original(column + 0.5, row + 0.5)
        reach = 2.5 * max(1.0, width / picture.scaled[0])  # what a resampled pixel looks at
        if not (reach < x < width - reach and reach < y < height - reach):
            continue
        compared += 1
        assert abs(seen[row, column, 0] / 255 * width - x) <= 0.5 + width / 255
        assert abs(seen[row, column, 1] / 255 * height - y) <= 0.5 + height / 255
    assert compared > SIDE * SIDE / 4


def test_a_wrong_map_would_show() -> None:
    """A picture padded on one side only, or a crop that begins elsewhere, is more than half a pixel off."""
    padded, middle_ = PictureMap.padded((96, 64), SIDE), PictureMap.middle((96, 64), SIDE)
    assert abs(padded.to_original(0, 0)[1]) > 10
    assert abs(middle_.to_original(0, 0)[0]) > 10


@pytest.mark.parametrize("seed", range(5))
def test_a_real_tokenizers_rows_spell_what_the_grammar_allows(tmp_path: Path, seed: int) -> None:
    """Qwen-VL's tokenizer decodes the rows of a random legal answer to its very text, and that parses."""
    write_qwen_v1(tmp_path)
    tokenizer, rng, one = load_qwen_tokenizer(tmp_path), random.Random(seed), GRAMMARS["qwen_vl"]
    words = Vocabulary(tokenizer.get_vocab(), tokenizer.convert_tokens_to_ids([END, END_TURN]), Spelling.BYTES)
    picture = PictureMap.squashed((640, 480), (448, 448))
    ask = one.ask("red 컵", picture)
    assert ask is not None
    decoding, rows = Decoding.begin(words, ask.machine), []
    while not decoding.ended:
        rows.append(rng.choice(decoding.allowed()))
        decoding = decoding.take(rows[-1])
    assert tokenizer.decode(rows[:-1]) == decoding.text
    assert {box.label for box in one.parse(tokenizer.decode(rows), picture).boxes} == {"red 컵"}
