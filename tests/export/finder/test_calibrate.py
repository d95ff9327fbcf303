"""Calibration: fitted to the raw confidence of the bundle itself, written into its manifest, and to nothing else."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

import export.finder.calibrate
from edge_vla.backends.bundle import Bundle, Calibration
from edge_vla.backends.finder import FinderEngine
from edge_vla.learn.data.shards import write_shard
from edge_vla.learn.data.views import View
from edge_vla.learn.finder.score import calibrate, score
from edge_vla.parts import open_bundle
from edge_vla.sim.objects import CLASSES
from edge_vla.types import Frame
from export.finder.calibrate import FIGURES, calibrate_bundle


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three noisy pictures with a thing each."""
    folder, rng = tmp_path_factory.mktemp("validation"), np.random.default_rng(0)
    spots = [(0.1, 0.1, 0.5, 0.5), (0.4, 0.2, 0.9, 0.7), (0.0, 0.0, 1.0, 1.0)]
    boxes = [np.array([[c, *spot, 500]], np.float32) for c, spot in enumerate(spots)]
    free = np.full(16, 2.0, np.float32)
    write_shard(folder / "0.npz", [View(rng.integers(0, 255, (224, 224, 3), dtype=np.uint8), box, free) for box in boxes])
    return folder


@pytest.fixture
def bundle(fp32: Path, tmp_path: Path) -> Path:
    """A copy that may be written into."""
    return Path(shutil.copytree(fp32, tmp_path / "bundle"))


def test_the_manifest_gets_its_calibration_and_figures_and_stays_what_it_was(bundle: Path, views: Path, engine: FinderEngine) -> None:
    before, raw = Bundle(bundle).manifest, score(engine, views, 3)
    figures = calibrate_bundle(bundle, views, 3)
    after = Bundle(bundle).manifest
    scale, shift = calibrate(raw.confidence, raw.right)
    assert after.calibration == (Calibration(scale=scale, shift=shift) if scale > 0 else Calibration())
    assert {name: after.made[f"validation_{name}"] for name in FIGURES} == {name: figures[name] for name in FIGURES}
    assert after.made["validation_questions"] == 9
    assert set(before.made.items()) <= set(after.made.items())
    assert after.model_copy(update={"calibration": before.calibration, "made": before.made}) == before
    assert {path.name for path in bundle.iterdir()} == {"manifest.json", *after.sha256}


def test_calibrating_again_starts_from_the_raw_confidence(bundle: Path, views: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(export.finder.calibrate, "calibrate", lambda confidence, right: given.append(confidence) or (2.0, -1.0))
    calibrate_bundle(bundle, views, 3)
    assert Bundle(bundle).manifest.calibration == Calibration(scale=2.0, shift=-1.0)
    calibrate_bundle(bundle, views, 3)
    assert given[0] == given[1]


def test_the_engine_uses_what_was_written(bundle: Path, views: Path, engine: FinderEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.finder.calibrate, "calibrate", lambda *_: (2.0, -1.0))
    calibrate_bundle(bundle, views, 3)
    frame = Frame(np.full((224, 224, 3), 90, np.uint8), 0, 0)
    raw, calibrated = (e.ask(frame, f"detect {CLASSES[0]}").confidence for e in (engine, open_bundle(Bundle(bundle))))
    odds = (raw / (1 - raw)) ** 2 * math.exp(-1)
    assert calibrated == pytest.approx(odds / (1 + odds), rel=1e-4)


@pytest.mark.parametrize("scale", [0.0, -0.5, math.nan, math.inf])
def test_a_fit_upside_down_is_not_written(bundle: Path, views: Path, monkeypatch: pytest.MonkeyPatch, scale: float) -> None:
    monkeypatch.setattr(export.finder.calibrate, "calibrate", lambda *_: (scale, 0.3))
    calibrate_bundle(bundle, views, 3)
    assert Bundle(bundle).manifest.calibration == Calibration(scale=1.0, shift=0.0)


@pytest.mark.parametrize("where", ["", "nowhere"])
def test_without_views_it_says_so_and_leaves_the_bundle_alone(bundle: Path, tmp_path: Path, where: str) -> None:
    before = (bundle / "manifest.json").read_bytes()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match=r"holds no labelled views to calibrate on: render some \(make train-default\), or pass --limit 0"):
        calibrate_bundle(bundle, tmp_path / "empty" / where, 3)
    assert (bundle / "manifest.json").read_bytes() == before
