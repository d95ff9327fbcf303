"""An export brings answers that its own engine gives and another one does not, and the time it takes to give them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import export.finder.reference
from edge_vla.backends.bundle import Bundle
from edge_vla.backends.reference import Agreement, read_reference, verify
from edge_vla.errors import EngineError
from edge_vla.sim.objects import CLASSES
from edge_vla.types import Engine, Frame, Reply
from export.finder.reference import add_reference


@pytest.fixture
def bundle(fp32: Path, tmp_path: Path) -> Path:
    """A copy that may be written into."""
    return Path(shutil.copytree(fp32, tmp_path / "bundle"))


@pytest.fixture
def tiny(checkout: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, which may be written into."""
    return Path(shutil.copytree(checkout / "tests" / "golden" / "tiny_bundle", tmp_path / "tiny"))


def test_an_export_brings_answers_and_gives_them_again(fp32: Path, engine: Engine) -> None:
    opened = Bundle(fp32)
    reference = read_reference(opened)
    assert len(reference.pictures) == 2
    assert {answer.picture for answer in reference.answers} == {0, 1}
    assert any("<loc" in answer.text for answer in reference.answers)
    assert verify(engine, opened) == Agreement(len(reference.answers), 0, pytest.approx(0, abs=1e-5), pytest.approx(0, abs=1e-4))
    assert (fp32 / "reference.json").stat().st_size < 150_000


def test_its_pictures_are_the_golden_rooms_bit_for_bit(fp32: Path, frames: list[Frame]) -> None:
    for picture, frame in zip(read_reference(Bundle(fp32)).pictures, frames[:2], strict=True):
        assert (picture.frame().rgb == frame.rgb).all()
        assert len(picture.free_distance_m or []) == 16


def test_an_engine_that_sees_something_else_is_found_out(fp32: Path, engine: Engine) -> None:
    class Askew:
        """The same engine behind a camera that is upside down."""

        targets = engine.targets

        def ask(self, frame: Frame, prompt: str) -> Reply:
            return engine.ask(Frame(np.ascontiguousarray(frame.rgb[::-1]), 0, 0), prompt)

        def close(self) -> None: ...

    with pytest.raises(EngineError, match="about reference picture 0"):
        verify(Askew(), Bundle(fp32))


def test_the_manifest_says_how_long_an_answer_takes_and_where(fp32: Path) -> None:
    made = Bundle(fp32).manifest.made
    assert 0 < made["latency_p50_ms"] <= made["latency_p99_ms"] < 60_000
    assert (made["latency_questions"], made["latency_threads"]) == (2 * 3 * len(CLASSES), 1)
    assert made["latency_cpus"] >= 1
    assert made["latency_machine"]


def test_a_calibrated_bundle_keeps_its_calibration_and_raw_answers(bundle: Path) -> None:
    raw = (bundle / "reference.json").read_bytes()
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["calibration"] = {"scale": 3.0, "shift": 1.0}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    add_reference(bundle)
    assert (bundle / "reference.json").read_bytes() == raw
    assert Bundle(bundle).manifest.calibration.model_dump() == {"scale": 3.0, "shift": 1.0}


@pytest.mark.parametrize(("blue", "kept"), [(0, True), (134, False)])
def test_answers_that_hang_by_a_thread_are_left_out(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blue: int, kept: bool
) -> None:
    """The tiny engine boxes what is red and not blue. At 134 it does so by a hair, and three levels more of light end it."""
    cv2.imwrite(str(tmp_path / "room.jpg"), np.full((32, 64, 3), (blue, 0, 255), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 100])
    monkeypatch.setattr(export.finder.reference, "FRAMES", tmp_path)
    add_reference(tiny)
    answers = {answer.prompt: answer.text for answer in read_reference(Bundle(tiny)).answers}
    assert (answers.get("detect cup") == "<loc0192><loc0304><loc0416><loc0528> cup") is kept
    assert answers["drive"] == "go forward."


def test_without_pictures_it_says_so(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.finder.reference, "FRAMES", tmp_path / "nowhere")
    with pytest.raises(SystemExit, match="nowhere holds no picture to ask about: export from a complete checkout"):
        add_reference(tiny)
    assert Bundle(tiny).manifest.reference is None


def test_an_engine_without_a_firm_answer_gets_no_reference(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer can be nearer to itself than that."""
    monkeypatch.setattr(export.finder.reference, "BINS", -1)
    add_reference(tiny)
    assert Bundle(tiny).manifest.reference is None
    assert not (tiny / "reference.json").exists()
