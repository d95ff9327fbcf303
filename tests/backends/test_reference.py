"""A loaded engine is held against the answers its bundle brings: within the tolerances, and not beyond them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_vla.backends.bundle import Bundle
from edge_vla.backends.finder import FinderEngine
from edge_vla.backends.reference import Agreement, read_reference, verify
from edge_vla.errors import ConfigError, EngineError
from edge_vla.parts import open_bundle
from edge_vla.types import Frame

Make = Callable[..., Path]
Data = dict[str, Any]
ANSWERS = {"detect cup": "<loc0192><loc0304><loc0416><loc0528> cup", "detect ball": "", "is there a cup?": "yes", "drive": "go forward."}


@pytest.fixture
def told(red: Frame) -> Data:
    """A red picture and what the tiny engine says of it, by its rules; every answer is all but certain."""
    png = base64.b64encode(cv2.imencode(".png", red.rgb[..., ::-1])[1].tobytes()).decode()
    answers = [{"picture": 0, "prompt": prompt, "text": text, "confidence": 1.0} for prompt, text in ANSWERS.items()]
    return {"pictures": [{"png": png, "free_distance_m": [4 / 3] * 4}], "answers": answers}


@pytest.fixture
def make_verified(make_bundle: Make) -> Callable[..., Bundle]:
    """make_verified(told, edit): the tiny bundle with that reference, signed."""

    def make(told: Data | bytes, edit: Callable[[Data], object] = lambda _: None) -> Bundle:
        data = told if isinstance(told, bytes) else json.dumps(told).encode()
        return Bundle(make_bundle(lambda m: (m.update(reference="reference.json"), edit(m)), {"reference.json": data}))

    return make


def test_an_engine_that_says_the_same_is_verified(make_verified: Callable[..., Bundle], told: Data) -> None:
    bundle = make_verified(told)
    assert verify(open_bundle(bundle), bundle) == Agreement(4, 0, pytest.approx(0, abs=1e-4), pytest.approx(0, abs=1e-5))


def put(*keys: str | int, value: object) -> Callable[[Data], None]:
    def edit(told: Data) -> None:
        at: Any = told
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = value

    return edit


NEAR = {
    "eight bins": put("answers", 0, "text", value="<loc0200><loc0296><loc0408><loc0536> cup"),
    "a little less sure": put("answers", 3, "confidence", value=0.901),
    "four centimetres": put("pictures", 0, "free_distance_m", value=[4 / 3 + 0.049, 4 / 3 - 0.049, 4 / 3, 4 / 3]),
}
FAR = {
    "nine bins": (put("answers", 0, "text", value="<loc0192><loc0304><loc0416><loc0537> cup"), "'detect cup' about reference picture 0"),
    "another word": (put("answers", 3, "text", value="go back."), "'drive' about .* want 'go back.' .*got 'go forward.'"),
    "another thing": (put("answers", 0, "text", value="<loc0192><loc0304><loc0416><loc0528> ball"), "'detect cup'"),
    "nothing": (put("answers", 0, "text", value=""), "'detect cup' .*want '' .*got '<loc0192>"),
    "a box": (put("answers", 1, "text", value="<loc0192><loc0304><loc0416><loc0528>"), "'detect ball' .*got ''"),
    "less sure": (put("answers", 2, "confidence", value=0.899), r"'is there a cup\?' .*want 'yes' \(0.90; .*got 'yes' \(1.00"),
    "six centimetres": (put("pictures", 0, "free_distance_m", 2, value=4 / 3 + 0.051), "free 1.33 1.33 1.38 1.33 m.* got .* 1.33 1.33 m"),
    "a column less": (put("pictures", 0, "free_distance_m", value=[4 / 3] * 3), "got .*free 1.33 1.33 1.33 1.33 m"),
    "no columns": (put("pictures", 0, "free_distance_m", value=None), "want .*free none m"),
}  # fmt: skip


@pytest.mark.parametrize("edit", NEAR.values(), ids=NEAR.keys())
def test_what_is_within_the_tolerances_agrees(make_verified: Callable[..., Bundle], told: Data, edit: Callable[[Data], None]) -> None:
    edit(told)
    bundle = make_verified(told)
    found = verify(open_bundle(bundle), bundle)
    assert found.answers == 4
    assert max(found.bins / 8, found.confidence / 0.1, found.free_m / 0.05) > 0.97


@pytest.mark.parametrize(("edit", "why"), FAR.values(), ids=FAR.keys())
def test_what_is_beyond_them_is_an_engine_error(
    make_verified: Callable[..., Bundle], told: Data, edit: Callable[[Data], None], why: str
) -> None:
    edit(told)
    bundle = make_verified(told)
    with pytest.raises(EngineError, match=f"{why}.*this machine does not run the bundle as it was exported"):
        verify(open_bundle(bundle), bundle)


def test_a_bundle_may_be_calibrated_after_its_answers_were_written(make_verified: Callable[..., Bundle], told: Data) -> None:
    """Only boxes are calibrated: sigmoid(logit(1 - 1e-6) / 10 - 1.4) is 0.50."""
    bundle = make_verified(told, lambda m: m.update(calibration={"scale": 0.1, "shift": -1.4}))
    engine = open_bundle(bundle)
    assert engine.ask(read_reference(bundle).pictures[0].frame(), "detect cup").confidence == pytest.approx(0.5, abs=0.01)
    assert verify(engine, bundle).confidence < 0.01


def test_a_bundle_without_answers_cannot_be_verified(engine: FinderEngine, tiny: Path) -> None:
    with pytest.raises(ConfigError, match="holds no reference answers to verify it with; export it again"):
        verify(engine, Bundle(tiny))


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (put("answers", 1, "picture", value=1), r"reference\.json: answers\.1\.picture: want 0\.\.0, got 1"),
        (put("answers", 1, "picture", value=-1), r"reference\.json: (?s:.*)answers\.1\.picture(?s:.*)greater than or equal to 0"),
        (put("answers", 1, "confidence", value=1.5), r"(?s)answers\.1\.confidence.*less than or equal to 1"),
        (put("answers", value=[]), "(?s)answers.*at least 1 item"),
        (put("pictures", value=[]), "(?s)pictures.*at least 1 item"),
        (put("pictures", 0, "png", value="AAAA"), "want a reference picture as PNG, got 3 bytes that are none"),
        (put("pictures", 0, "png", value=""), "want a reference picture as PNG, got 0 bytes that are none"),
    ],
)
def test_a_reference_that_is_none_is_refused(
    make_verified: Callable[..., Bundle], told: Data, engine: FinderEngine, edit: Callable[[Data], None], why: str
) -> None:
    edit(told)
    with pytest.raises(ConfigError, match=why):
        verify(engine, make_verified(told))


def test_a_reference_that_is_no_json_is_refused(make_verified: Callable[..., Bundle], engine: FinderEngine) -> None:
    with pytest.raises(ConfigError, match=r"reference\.json: "):
        verify(engine, make_verified(b"\xff"))


def test_a_reference_is_signed_like_everything_else(make_bundle: Make) -> None:
    with pytest.raises(ConfigError, match=r"no sha256 for reference\.json"):
        Bundle(make_bundle(lambda m: m.update(reference="reference.json")))


def test_a_reference_picture_is_the_one_that_was_shown(make_verified: Callable[..., Bundle], told: Data, red: Frame) -> None:
    frame = read_reference(make_verified(told)).pictures[0].frame()
    assert (frame.rgb == red.rgb).all()
    assert frame.rgb.dtype == np.uint8
    assert frame.rgb.flags.c_contiguous
