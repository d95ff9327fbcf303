"""Video files and image folders: their own pace and order, their ends, and the picture that is wrong by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_vla.cameras import make_camera
from edge_vla.cameras.wanted import Wanted
from edge_vla.errors import CameraError
from tests.cameras.pictures import write_film
from tests.cameras.test_contract import picture
from tests.cameras.test_gstreamer import read_to_the_end

READ_S = 20.0
FPS = 20
VALUES = (50, 100, 150)
Record = Callable[..., dict[str, object]]


def film(folder: Path, *pictures: np.ndarray) -> dict[str, object]:
    write_film(folder / "film.avi", pictures, FPS)
    return {"file": str(folder / "film.avi")}


def images(folder: Path, *pictures: np.ndarray) -> dict[str, object]:
    for k, rgb in enumerate(pictures):
        assert cv2.imwrite(str(folder / f"{k:02}.png"), rgb[..., ::-1])
    return {"folder": str(folder)}


RECORDS: dict[str, Record] = {"video": film, "images": images}


def play(kind: str, options: dict[str, object], **more: object) -> Any:
    return make_camera(kind, {**options, **more}, Wanted(320, 240, FPS))


def read_all(camera: Any, most: int = 100) -> list[Any]:
    frames: list[Any] = []
    with suppress(CameraError):
        while len(frames) < most:
            frames.append(camera.read(READ_S))
    assert len(frames) == most or "it has ended" in camera.gone
    return frames


@pytest.mark.parametrize("kind", RECORDS)
def test_no_picture_is_early_and_the_end_is_told(kind: str, tmp_path: Path) -> None:
    with closing(play(kind, RECORDS[kind](tmp_path, *map(picture, VALUES)))) as camera:
        frames = read_all(camera)
    assert [int(frame.rgb[100, 100, 0]) for frame in frames] == list(VALUES)
    for a, b in itertools.pairwise(frames):
        assert b.t_capture_ns - a.t_capture_ns > 0
    assert frames[2].t_capture_ns - frames[0].t_capture_ns > 60_000_000  # two periods, less what decoding the first took


@pytest.mark.parametrize("kind", RECORDS)
def test_a_loop_begins_again_in_its_own_pace(kind: str, tmp_path: Path) -> None:
    with closing(play(kind, RECORDS[kind](tmp_path, picture(50), picture(100)), loop=True)) as camera:
        frames = read_all(camera, 7)
    assert [int(frame.rgb[100, 100, 0]) for frame in frames] == [50, 100, 50, 100, 50, 100, 50]
    assert all(b.seq > a.seq and b.t_capture_ns > a.t_capture_ns for a, b in itertools.pairwise(frames))
    assert frames[6].t_capture_ns - frames[0].t_capture_ns > 250_000_000


@pytest.mark.parametrize("kind", RECORDS)
def test_pictures_whose_time_has_passed_are_left_out(kind: str, tmp_path: Path) -> None:
    with closing(play(kind, RECORDS[kind](tmp_path, *[picture(10 * k) for k in range(12)]))) as camera:
        with camera._changed:  # for as long as somebody sits on it nothing can be shown
            camera._closing.wait(0.3)
        frames = read_all(camera)
    assert len(frames) < 12
    assert camera.dropped == 12 - len(frames)
    assert frames[-1].rgb[100, 100, 0] == 110


@pytest.mark.parametrize("kind", RECORDS)
def test_another_size_is_refused_or_resized(kind: str, tmp_path: Path) -> None:
    options = RECORDS[kind](tmp_path, np.full((480, 640, 3), (10, 20, 30), dtype=np.uint8))
    with pytest.raises(CameraError, match="the profile wants 320x240 and the device gives 640x480"):
        play(kind, options)
    with closing(play(kind, options, fit="resize")) as camera:
        rgb = camera.read(READ_S).rgb
        assert (rgb.shape, (rgb == (10, 20, 30)).all()) == ((240, 320, 3), True)


def test_a_film_is_shown_by_its_own_timestamps_not_the_profiles_rate(tmp_path: Path) -> None:
    write_film(tmp_path / "slow.avi", [picture(50), picture(100)], 4)
    with closing(play("video", {"file": str(tmp_path / "slow.avi")})) as camera:
        first, second = read_all(camera)
    assert second.t_capture_ns - first.t_capture_ns > 200_000_000


@pytest.mark.parametrize(
    ("content", "said"), [(None, "there is no such file, looked for /"), (b"no film", "it is no video that FFmpeg can read")]
)
def test_what_is_no_film_is_named(content: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "film.mp4").write_bytes(content)
    with pytest.raises(CameraError, match=rf"video file film\.mp4: {said}"):
        play("video", {"file": "film.mp4"})


def test_images_come_in_the_order_of_their_names_and_others_are_no_images(tmp_path: Path) -> None:
    for name, value in (("b.png", 100), ("a.PNG", 50), ("c.jpg", 150)):
        cv2.imwrite(str(tmp_path / name), picture(value)[..., ::-1])
    (tmp_path / "0.txt").write_text("notes")
    with closing(play("images", {"folder": str(tmp_path)})) as camera:
        assert [int(frame.rgb[100, 100, 0]) for frame in read_all(camera)] == [50, 100, 150]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("02.png", b"", r"02\.png is no picture that can be read: 0 bytes"), ("02.jpg", b"abc", r"02\.jpg is no picture that can be read")],
)
def test_a_picture_that_cannot_be_read_is_named(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    options = images(tmp_path, picture(50), picture(100))
    (tmp_path / name).write_bytes(content)
    with closing(play("images", options)) as camera, pytest.raises(CameraError, match=said):
        read_to_the_end(camera)


def test_a_picture_of_another_size_is_named(tmp_path: Path) -> None:
    options = images(tmp_path, picture(50), picture(100, 48, 64))
    with (
        closing(play("images", options)) as camera,
        pytest.raises(CameraError, match=r"01\.png: the profile wants 320x240 and the device gives 64x48"),
    ):
        read_to_the_end(camera)


def test_a_folder_without_images_says_what_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="there are: no files"):
        play("images", {"folder": str(tmp_path)})
    (tmp_path / "a.bmp").touch()
    with pytest.raises(CameraError, match=r"no \.png, \.jpg, \.jpeg in it; there are: a\.bmp"):
        play("images", {"folder": str(tmp_path)})
