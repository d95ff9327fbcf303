"""`python -m edge_vla.cameras.check`: rate, age, what was dropped and refused, a picture to look at, an exit code to act on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_vla.cameras.check import Found, judge, main, percentile
from edge_vla.config import CameraProfile
from edge_vla.types import Frame
from tests.cameras.test_contract import picture
from tests.cameras.test_replayed import images

FRAME = Frame(picture(90), 1, 1)
PROFILE = CameraProfile(kind="v4l2", fps=30)


@pytest.fixture
def profile(tmp_path: Path, checkout: Path) -> Path:
    """A robot that sees a folder of two pictures, again and again."""
    (tmp_path / "pictures").mkdir()
    images(tmp_path / "pictures", picture(50), picture(100))
    text = (checkout / "launch/waveshare_ugv.toml").read_text("utf-8")
    camera = f'kind = "images"\noptions = {{folder = "{tmp_path / "pictures"}", loop = true}}'
    text = text.replace('kind = "v4l2"', camera).replace("width = 640", "width = 320").replace("height = 480", "height = 240")
    path = tmp_path / "robot.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_good_camera_is_measured_and_shown(profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "frame.png"
    assert main(["--profile", str(profile), "--seconds", "0.5", "--save", str(saved), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["simulated"], told["kind"], told["verdicts"]) == (True, False, "images", {"good": told["frames"]})
    assert 10 < told["fps"] < 33
    assert 0 < told["age_p50_ms"] <= told["age_p99_ms"] < 200
    rgb = cv2.imread(str(saved))[..., ::-1]
    assert any(np.array_equal(rgb, picture(value)) for value in (50, 100))


def test_lines_for_people(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", str(profile), "--seconds", "0.3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:5]] == ["picture", "rate", "frame", "dropped", "refused"]
    assert lines[0] == "ok    picture    320x240"


def test_a_camera_that_does_not_open_could_not_be_tried(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile.write_text(
        profile.read_text().replace('kind = "images"', 'kind = "v4l2"').replace("folder", "device").replace(", loop = true", "")
    )
    assert main(["--profile", str(profile)]) == 2
    assert "it is no device; video devices here:" in capsys.readouterr().err


def test_a_black_picture_fails(profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images(tmp_path / "pictures", *[np.zeros((240, 320, 3), dtype=np.uint8)] * 2)
    assert main(["--profile", str(profile), "--seconds", "0.3"]) == 1
    assert "black, of" in capsys.readouterr().out


def test_a_picture_that_cannot_be_written_is_told(profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", str(profile), "--seconds", "0.1", "--save", str(tmp_path / "no" / "frame.png")]) == 2
    assert "frame.png: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "3601"])
def test_another_time_is_refused(profile: Path, seconds: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--profile", str(profile), "--seconds", seconds])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("change", "what", "level"),
    [
        ({}, "rate", "ok"),
        ({"ages_ms": (10.0,) * 27}, "rate", "ok"),
        ({"ages_ms": (10.0,) * 26}, "rate", "warn"),
        ({"ages_ms": (10.0,) * 5, "verdicts": {"good": 5}}, "rate", "warn"),
        ({"ages_ms": (10.0,) * 4, "verdicts": {"good": 4}}, "rate", "fail"),
        ({"ages_ms": (200.0,) * 30}, "frame age", "ok"),
        ({"ages_ms": (10.0,) * 29 + (200.1,)}, "frame age", "warn"),
        ({"dropped": 1}, "dropped", "warn"),
        ({"verdicts": {"good": 29, "old": 1}}, "refused", "warn"),
        ({"verdicts": {"good": 15, "old": 15}}, "refused", "fail"),
        ({"notice": "stamped on arrival"}, "note", "warn"),
        ({"warning": "the same picture"}, "note", "warn"),
    ],
)
def test_what_is_good_and_what_is_not(change: dict[str, Any], what: str, level: str) -> None:
    known: dict[str, Any] = {"seconds": 1.0, "ages_ms": (10.0,) * 30, "dropped": 0, "verdicts": {"good": 30}, "warning": "", "notice": ""}
    lines = judge(Found(**{**known, **change}, newest=FRAME), PROFILE)
    assert [line.level for line in lines if line.what == what] == [level]


@pytest.mark.parametrize(("share", "want"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.001, 1.0)])
def test_percentiles_are_values_that_were_measured(share: float, want: float) -> None:
    assert percentile(tuple(float(k) for k in range(100, 0, -1)), share) == want
