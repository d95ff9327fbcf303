"""How sure an answer about a place is: the model's own probabilities, derived a second time; and one pass gives what steps gave."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_vla.grammars import grammar
from edge_vla.learn.actor import positions_of, read_words
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.types import Box
from tests.learn.backbones.engines import BOXES, NAMES, QWEN_SIZE, SIDES, Rig, answers, at, camera, load
from tests.learn.backbones.tiny_moondream import write_moondream

Engine = Callable[[str], BaseRoboVLM]
Chances = Sequence[np.ndarray]  # of all rows, step by step
SIZE, RGB = (96, 64), camera(96, 64)
BOX = Box(0.25, 0.3, 0.7, 0.85)
FENCE = "```json\n["


def geometric(*chances: float) -> float:
    return math.prod(chances) ** (1 / len(chances))


def said(model: BaseRoboVLM, row: int) -> str:
    known = model.vocabulary._text_of
    return known[row].decode("latin-1") if row in known else ""


def row_of(model: BaseRoboVLM, text: str) -> int:
    """The only row that spells it."""
    (row,) = [row for row, told in model.vocabulary._text_of.items() if told == text.encode()]
    return row


def paligemma(model: BaseRoboVLM, rows: list[int], chances: Chances) -> float:
    """P(any bin) x the mean of four masses within 16 bins, the first one's among the bins alone."""
    locs = [row_of(model, f"<loc{k:04d}>") for k in range(1024)]
    y_min, x_min, y_max, x_max = (locs.index(row) for row in rows[:4])
    bounds = [(y_min, 0, 1022), (x_min, 0, 1022), (y_max, y_min + 1, 1023), (x_max, x_min + 1, 1023)]
    near = [locs[max(low, value - 16) : min(high, value + 16) + 1] for value, low, high in bounds]
    present, masses = float(chances[0][locs[:1023]].sum()), [float(step[bins].sum()) for step, bins in zip(chances, near, strict=False)]
    return present * geometric(masses[0] / present, *masses[1:])


def kosmos(model: BaseRoboVLM, rows: list[int], chances: Chances) -> float:
    """P(<object>) x the mean of two cells, each larger than what counts as near."""
    assert said(model, rows[0]) == "<object>"
    present, near, far = (float(step[row]) for step, row in zip(chances, rows[:3], strict=False))
    return present * geometric(near, far)


def number(model: BaseRoboVLM, rows: list[int], chances: Chances, legal: range, near: int, end: str) -> float:
    """What cannot become a number further off than `near`, letter by letter: every legal number is tried."""
    value = int("".join(said(model, row) for row in rows).split(end)[0])
    told, path, total = "", 1.0, 0.0
    for row, step in zip(rows, chances, strict=True):
        sure = set()
        for letter in f"0123456789{end}":
            left = [n for n in legal if f"{n}{end}".startswith(told + letter)]
            if left and all(abs(n - value) <= near for n in left):
                sure.add(letter)
                total += path * float(step[row_of(model, letter)])
        told, path = told + said(model, row), path * float(step[row])
        if told[-1] in sure:
            return total
    raise AssertionError("the number has no end")


def numbers(model: BaseRoboVLM, rows: list[int], chances: Chances, side: int, last: int, ends: str) -> list[float]:
    """The masses of x1, y1, x2, y2, each followed by its letter of `ends`; the near corners are below `last`, the far ones up to it."""
    letters, masses, values, index = [said(model, row) for row in rows], list[float](), list[int](), 0
    for k, end in enumerate(ends):
        while not (letters[index].isdigit() and not letters[index - 1].isalnum()):
            index += 1
        legal = range(last) if k < 2 else range(values[k - 2] + 1, last + 1)
        masses.append(number(model, rows[index:], chances[index:], legal, side // 64, end))
        values.append(int("".join(letters[index : index + 4]).split(end)[0]))
        index += len(str(values[-1]))
    return masses


def qwen_v1(model: BaseRoboVLM, rows: list[int], chances: Chances) -> float:
    return float(chances[0][row_of(model, "<ref>")]) * geometric(*numbers(model, rows, chances, 1000, 999, ",),)"))


def qwen25(model: BaseRoboVLM, rows: list[int], chances: Chances) -> float:
    """P(the model opens a list and a place in it by itself)."""
    opened = len(FENCE) + 1
    assert "".join(said(model, row) for row in rows[:opened]) == FENCE + "\n"
    present = math.prod(float(step[row]) for step, row in zip(chances[:opened], rows, strict=False))
    skip = len(FENCE) + len('\n\t{"bbox_2d": [')
    return present * geometric(*numbers(model, rows[skip:], chances[skip:], QWEN_SIZE, QWEN_SIZE, ",,,]"))


def sense(model: BaseRoboVLM, rows: list[int], chances: Chances, words: Sequence[str], wanted: str) -> float:
    """P(the model says `wanted` and no other of the words), in any spelling: each row is tried."""
    forms = [(word, f"{space}{form}") for word in words for space, form in product(("", " "), (word, word.capitalize()))]
    told, path, total = "", 1.0, 0.0
    for row, step in zip(rows, chances, strict=False):
        for other, text in model.vocabulary._text_of.items():
            if {word for word, form in forms if form.encode().startswith(told.encode() + text)} == {wanted}:
                total += path * float(step[other])
        told, path = told + said(model, row), path * float(step[row])
        if len({word for word, form in forms if form.startswith(told)}) == 1:
            return total
    raise AssertionError("the answer has no end")


def boxed(model: BaseRoboVLM) -> str:
    """BOX as the model's format says it; KosMos-2's names what it is asked for in the question."""
    label = "" if model.grammar == "kosmos" else "cup"
    return grammar(model.grammar).encode([Box(BOX.y_min, BOX.x_min, BOX.y_max, BOX.x_max, label)], model.picture_map(*SIZE))


DERIVED = {"paligemma": paligemma, "paligemma2": paligemma, "kosmos": kosmos, "qwen_v1": qwen_v1, "qwen_v1_chat": qwen_v1, "qwen25": qwen25}


@pytest.mark.parametrize("name", BOXES)
@pytest.mark.parametrize("margin", [0.5, 3.0])
def test_a_box_is_as_sure_as_its_probabilities(engine: Engine, name: str, margin: float) -> None:
    model = engine(name)
    (rows,) = answers(model, "cup", SIZE, boxed(model))
    with Rig(model, [rows], margin) as rig:
        answer = model.find("cup", RGB)
    assert len(rig.heard) == len(rows), "it was led astray"
    assert answer.confidence == pytest.approx(DERIVED[name](model, rows, rig.chances()), rel=1e-6)
    assert 0 < answer.confidence < 0.9


@pytest.mark.parametrize("name", SIDES)
@pytest.mark.parametrize("text", ["Yes\n left", "yes\nMiddle"])
def test_a_side_is_as_sure_as_its_probabilities(engine: Engine, name: str, text: str) -> None:
    model = engine(name)
    first, second = answers(model, "cup", SIZE, text)
    with Rig(model, [first, second], 4.0) as rig:
        answer = model.find("cup", RGB)
    assert len(rig.heard) == len(rig.rows), "it was led astray"
    chances, side = rig.chances(), text.split()[1].lower()
    present = sense(model, first, chances, ("yes", "no"), "yes")
    assert answer.confidence == pytest.approx(present * sense(model, second, chances[len(first) :], ("left", "middle", "right"), side))
    assert 1e-3 < answer.confidence < 0.99


@pytest.mark.parametrize("name", [*SIDES, "paligemma", "qwen25"])
def test_nothing_is_as_sure_as_its_probability(engine: Engine, name: str) -> None:
    model = engine(name)
    (rows,) = answers(model, "cup", SIZE, grammar(model.grammar).encode([], model.picture_map(*SIZE)))
    with Rig(model, [rows], 9.0) as rig:  # more than a thousand bins together
        answer = model.find("cup", RGB)
    assert answer.places == ()
    chances = rig.chances()
    if name in SIDES:
        want = sense(model, rows, chances, ("yes", "no"), "no")
    else:  # up to the row that says it is none; what follows has to
        told = 1 if name == "paligemma" else len(FENCE) + 1
        want = math.prod(float(step[row]) for step, row in zip(chances[:told], rows, strict=False))
    assert answer.confidence == pytest.approx(want)
    assert 0.1 < answer.confidence < 1 - 1e-9


def whole(model: BaseRoboVLM, question: str, rows: list[int]) -> Tensor:
    """Logits where each of the rows was said, of one pass over picture, question and answer."""
    ids, lead = model.question_ids(question), model.question_lead()
    features = model.encode_images(model.question_picture(RGB)[None])
    if model.name == "paligemma":  # transformers' own, whose token types let picture and question see each other
        mark, count = model.backbone.config.image_token_id, features.shape[2]
        words = torch.tensor([[mark] * count + ids + rows[:-1]])
        kinds = (torch.arange(words.shape[1])[None] >= count + len(ids)).long()
        seen = {"pixel_values": model.question_picture(RGB)[None], "attention_mask": torch.ones_like(words)}
        logits: Tensor = model.backbone(input_ids=words, token_type_ids=kinds, **seen).logits
        return logits[0, -len(rows) :]
    words = torch.tensor([ids + rows[:-1]])
    bos = model.tokenizer.bos_token is not None
    embeddings, layout, extra = read_words(model, words, torch.ones_like(words).bool(), (features, None), bos=bos, lead=lead)
    mask = torch.ones(embeddings.shape[:2], dtype=torch.bool)
    return model.logits(model.run_text(embeddings, mask, positions_of(model, layout), **extra).hidden)[0, -len(rows) :]


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in NAMES if name != "moondream_d"])
def test_one_pass_gives_what_the_steps_gave(engine: Engine, name: str) -> None:
    model = engine(name)
    rows, *second = answers(model, "cup", SIZE, "Yes\nleft" if name in SIDES else boxed(model))
    with Rig(model, [rows, *second], 200.0) as rig:
        model.find("cup", RGB)
    asked = grammar(model.grammar).ask("cup", model.picture_map(*SIZE))
    assert asked is not None
    torch.testing.assert_close(torch.stack(rig.plain[: len(rows)]), whole(model, asked.text, rows), atol=2e-4, rtol=1e-4)


# -- Moondream's places, which are no rows


class Bins:
    """While it lasts the decoders prefer a bin, and like its neighbours; what they gave is kept."""

    def __init__(self, model: BaseRoboVLM, at: dict[str, list[int]], margin: float) -> None:
        region = model.backbone.region_model
        self.heard: list[Tensor] = []
        self.at, self.margin = {name: list(bins) for name, bins in at.items()}, margin
        self.hooks = [getattr(region, f"{name}_decoder").register_forward_hook(self.lift(name)) for name in at]

    def lift(self, name: str) -> Callable[..., Tensor]:
        def hook(_module: object, _given: object, out: Tensor) -> Tensor:
            bins = self.at[name][: 1 if name == "coord" else 2]
            self.at[name] = self.at[name][len(bins) :]
            out = out.clone()
            for part, bin_ in zip(out.flatten().chunk(len(bins)), bins, strict=True):
                part[max(bin_ - 2, 0) : bin_ + 3] = part.max()
                part[bin_] += self.margin
            self.heard += [torch.softmax(part.double(), 0) for part in out.flatten().chunk(len(bins))]
            return out

        return hook

    def __enter__(self) -> Bins:
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()


@pytest.mark.parametrize("margin", [0.5, 200.0])
@pytest.mark.parametrize("size", [(96, 64), (40, 300)])
def test_moondreams_box_and_how_sure_it_is(engine: Engine, size: tuple[int, int], margin: float) -> None:
    """Bins of 1/64: a middle is near its neighbours, a size of 2 ** (10 k / 63 - 10) those within 1/64."""
    model, end = engine("moondream_d"), 0
    x, y, wide, high = 40, 24, 50, 56
    with Bins(model, {"coord": [x, y], "size": [wide, high]}, margin) as bins, Rig(model, [[300, end]], 3.0) as rig:
        (place,) = model.find("cup", camera(*size)).places
    sizes = 2.0 ** (np.arange(64) / 63 * 10 - 10)
    where = place.where
    assert isinstance(where, Box)
    middle, extent = (x / 64, y / 64), (sizes[wide], sizes[high])
    want = [max(0, middle[0] - extent[0] / 2), min(1, middle[0] + extent[0] / 2)]
    want += [max(0, middle[1] - extent[1] / 2), min(1, middle[1] + extent[1] / 2)]
    assert [where.x_min, where.x_max, where.y_min, where.y_max] == pytest.approx(want, abs=1e-6)
    near = [[b - 1, b, b + 1] for b in (x, y)] + [np.flatnonzero(np.abs(sizes - sizes[b]) <= 1 / 64) for b in (wide, high)]
    masses = [float(step[bins_].sum()) for step, bins_ in zip(bins.heard, near, strict=True)]
    present = 1 - float(rig.chances()[0][end])
    assert place.confidence == pytest.approx(present * geometric(*masses), rel=1e-6)
    assert (place.confidence < 0.9) == (margin < 1)


def test_moondreams_nothing_is_as_sure_as_its_end(engine: Engine) -> None:
    model = engine("moondream_d")
    with Rig(model, [[0]], 3.0) as rig:
        answer = model.find("cup", RGB)
    assert answer.places == ()
    assert answer.confidence == pytest.approx(float(rig.chances()[0][0]))


def test_moondreams_boxes_are_those_of_its_own_detect(engine: Engine) -> None:
    model = engine("moondream_d")
    own = model.detect("cup", RGB)[:3]  # type: ignore[operator]
    found = model.find("cup", RGB, most=3).boxes
    cut = [[max(0.0, box["x_min"]), max(0.0, box["y_min"]), min(1.0, box["x_max"]), min(1.0, box["y_max"])] for box in own]
    assert [[box.x_min, box.y_min, box.x_max, box.y_max] for box in found] == pytest.approx(np.array(cut))
    assert len(own) == 3


def test_a_size_of_nothing_is_never_found(tmp_path: Path) -> None:
    """Releases of the first months have sizes in even steps from 0 on."""
    write_moondream(tmp_path, "D")
    model = load(at("RoboMoonDream", tmp_path, vlm={"revision": "2025-01-09"}))
    with Bins(model, {"coord": [9, 9], "size": [0, 0]}, 50.0), Rig(model, [[300, 0]], 50.0):
        (box,) = model.detect("cup", RGB)  # type: ignore[operator]
    assert box["x_min"] == box["x_max"]
    with Bins(model, {"coord": [9, 9], "size": [0, 0]}, 50.0), Rig(model, [[300, 0]], 50.0):
        (found,) = model.find("cup", RGB).boxes
    assert found.x_max - found.x_min >= 1 / 64 - 1e-9
