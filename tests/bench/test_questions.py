"""What an engine is asked: the same questions have the same keys, whatever they come from."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_vla.bench.questions import MOST, Question, choose
from edge_vla.errors import ConfigError
from edge_vla.parts import make_engine
from edge_vla.types import Engine, Frame
from tests.bench.handmade import ANSWERS, BLUE, RED, picture


@pytest.fixture
def engine(bundle: Path) -> Engine:
    return make_engine(str(bundle), threads=1, domain="sim")


def test_a_bundle_brings_its_own(bundle: Path, engine: Engine) -> None:
    found = choose(None, str(bundle), engine, ())
    assert [(question.prompt, question.want.text) for question in found.asked] == list(ANSWERS)
    assert found.source == f"reference of {bundle}"
    assert (found.asked[0].frame.rgb == RED).all()
    assert found.capture_age_ms == ()


def test_another_bundles_questions_are_asked_without_its_answers(bundle: Path, other_bundle: Path, engine: Engine) -> None:
    own, lent = choose(None, str(bundle), engine, ()), choose(other_bundle, str(bundle), engine, ())
    assert [question.key for question in lent.asked] == [question.key for question in own.asked]
    assert all(question.want is None for question in lent.asked)


def test_some_of_them(bundle: Path, engine: Engine) -> None:
    assert [question.prompt for question in choose(None, str(bundle), engine, ("drive",)).asked] == ["drive"]
    with pytest.raises(ConfigError, match=r"--prompt 'describe': .* brings answers to 'detect cup', 'detect ball'"):
        choose(None, str(bundle), engine, ("describe",))


def test_keys_are_of_pixels_and_prompt() -> None:
    red = Frame(np.full((4, 6, 3), RED, np.uint8), 0, 0)
    key = Question(red, "drive").key
    assert key == Question(Frame(red.rgb.copy(), 99, 7), "drive").key
    others = [Question(red, "describe"), Question(Frame(np.full((4, 6, 3), BLUE, np.uint8), 0, 0), "drive")]
    others.append(Question(Frame(red.rgb.reshape(6, 4, 3), 0, 0), "drive"))
    assert len({key, *(other.key for other in others)}) == 4


def test_a_folder_of_images(bundle: Path, engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "b.png").write_bytes(picture(BLUE))
    (folder / "a.PNG").write_bytes(picture(RED))
    (folder / "notes.txt").write_text("no image")
    found = choose(folder, str(bundle), engine, ())
    assert [(tuple(question.frame.rgb[0, 0]), question.prompt) for question in found.asked] == [(RED, "detect cup"), (BLUE, "detect cup")]
    assert [question.prompt for question in choose(folder, str(bundle), engine, ("drive", "describe")).asked] == ["drive", "describe"] * 2


def test_many_images_are_thinned_out_evenly(bundle: Path, engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(160):
        cv2.imwrite(str(folder / f"{k:03d}.png"), np.full((2, 2, 3), k, np.uint8))
    found = [int(question.frame.rgb[0, 0, 0]) for question in choose(folder, str(bundle), engine, ()).asked]
    assert (len(found), found[0], found[-1]) == (MOST, 0, 157)
    assert {after - before for before, after in pairwise(found)} == {2, 3}


def test_a_recorded_run(recorded_run: Path, bundle: Path, engine: Engine) -> None:
    found = choose(recorded_run, str(bundle), engine, ())
    assert [question.prompt for question in found.asked] == ["detect cup"] * 3
    assert found.asked[0].frame.rgb.shape == (48, 64, 3)
    assert found.capture_age_ms == pytest.approx((31.0, 32.0, 33.0))
    assert [question.prompt for question in choose(recorded_run, str(bundle), engine, ("drive",)).asked] == ["drive"] * 3


def broken(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: folder.rmdir(), "want a bundle with reference answers, a recorded run or a folder of images"),
        (lambda folder: None, r"holds no manifest\.json, no run\.json and no image"),
        (broken, r"a\.png: no image that can be read"),
    ],
)
def test_what_has_no_questions_is_refused(bundle: Path, engine: Engine, tmp_path: Path, make: Callable[[Path], object], why: str) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    make(folder)
    with pytest.raises(ConfigError, match=why):
        choose(folder, str(bundle), engine, ())


def test_a_bundle_without_reference_answers_says_what_to_do(checkout: Path, engine: Engine) -> None:
    with pytest.raises(ConfigError, match="holds no reference answers"):
        choose(None, str(checkout / "tests/golden/tiny_bundle"), engine, ())
