"""A camera that is known, chessboards seen through it, and what is found of it: from pictures, live, and not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.camera import main
from calib.chessboard import Board, View, coverage, is_new, look
from calib.intrinsics import Bounds, fit
from edge_vla.calibration import CameraCalibration, hfov_deg, read_calibration
from edge_vla.config import load_profile
from edge_vla.errors import ConfigError
from tests.calib.boards import BOARD, KnownCamera, poses

VIEWS = 16
Pictures = dict[str, np.ndarray]


@pytest.fixture
def folder(pictures: Pictures, tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for name, rgb in pictures.items():
        cv2.imwrite(str(tmp_path / "pictures" / name), rgb[..., ::-1])
    return tmp_path / "pictures"


def words(folder: Path, out: Path, *more: str) -> list[str]:
    return ["--images", str(folder), "--board", "8x5", "--square-mm", "25", "--out", str(out), *more]


# -- the camera is found again


def test_the_known_camera_is_found_again(camera: KnownCamera, folder: Path, tmp_path: Path, capsys) -> None:
    """Focal lengths within 0.5 %, the centre within 3 px, the field of view within 0.2 degrees."""
    main(words(folder, tmp_path / "camera.toml"))
    found = read_calibration(tmp_path / "camera.toml", CameraCalibration)
    assert (found.width, found.height, found.views) == (640, 480, VIEWS)
    assert (found.fx, found.fy) == pytest.approx((camera.fx, camera.fy), rel=5e-3)
    assert (found.cx, found.cy) == pytest.approx((camera.cx, camera.cy), abs=3.0)
    assert found.hfov_deg == pytest.approx(hfov_deg(camera.fx, camera.width), abs=0.2)
    assert found.distortion[0] == pytest.approx(camera.distortion[0], abs=0.02)
    assert 0.0 < found.rms_px < 0.25
    assert "17 pictures: the board is in 16, 0 of them show what another one shows" in capsys.readouterr().out


def test_rays_land_where_the_known_camera_puts_them(camera: KnownCamera, views: list[View]) -> None:
    """The whole model at once: coefficients may trade against each other, pixels may not."""
    found = fit(views, BOARD)
    told = replace(camera, fx=found.fx, fy=found.fy, cx=found.cx, cy=found.cy, distortion=found.distortion)

    def pixels(known: KnownCamera) -> np.ndarray:
        rays = np.stack(np.meshgrid(np.linspace(-0.55, 0.55, 9), np.linspace(-0.4, 0.4, 7)), -1)
        return known.distorted(rays) * (known.fx, known.fy) + (known.cx, known.cy)

    assert np.abs(pixels(told) - pixels(camera)).max() < 3.5
    assert np.abs(pixels(camera) - pixels(replace(camera, distortion=(0.0,) * 5))).max() > 15  # what no distortion would cost


def test_a_profile_takes_the_field_of_view_from_the_file(folder: Path, camera: KnownCamera, tmp_path: Path) -> None:
    main(words(folder, tmp_path / "camera.toml"))
    (tmp_path / "robot.toml").write_text('[camera]\ncalibration = "camera.toml"\n')
    profile = load_profile(tmp_path / "robot.toml")
    assert (profile.camera.width, profile.camera.height) == (640, 480)
    assert profile.camera.hfov_deg == pytest.approx(63.2, abs=0.2)


# -- or refused


def test_too_few_views_are_refused(views: list[View]) -> None:
    with pytest.raises(ConfigError, match=r"the board was found in 9 different pictures, want at least 10"):
        fit(views[:9], BOARD)
    assert fit(views[:10], BOARD, Bounds(coverage=0.5)).views == 10


def test_boards_in_the_middle_alone_are_refused(views: list[View]) -> None:
    middle = [replace(view, points=view.points * 0.3 + (220, 170)) for view in views]
    with pytest.raises(ConfigError, match=r"covers \d+% of the picture, want at least 70%: show it in the corners too"):
        fit(middle, BOARD)


def test_a_wrong_number_of_squares_shows_in_the_error(views: list[View]) -> None:
    """Squares that are no squares: the same corners, told to lie on a board stretched by a quarter."""

    class Stretched(Board):
        @property
        def corners(self) -> np.ndarray:
            return super().corners * np.array([1.25, 1.0, 1.0], np.float32)

    with pytest.raises(ConfigError, match=r"reprojection error \d+\.\d\d px, want at most 0\.50: .* The worst is \d\d\.png"):
        fit(views, Stretched(8, 5, 0.025))


def test_the_bound_on_the_error_goes_with_the_width(views: list[View]) -> None:
    rms = fit(views, BOARD).rms_px
    assert fit(views, BOARD, Bounds(rms_px=rms * 1.01)).rms_px == pytest.approx(rms, rel=1e-3)  # sums in threads differ in the last bits
    with pytest.raises(ConfigError, match="reprojection error"):
        fit(views, BOARD, Bounds(rms_px=rms * 0.99))
    twice = [replace(view, size=(1280, 960), points=view.points * 2) for view in views]
    assert fit(twice, BOARD, Bounds(rms_px=rms * 1.01)).rms_px == pytest.approx(2 * rms, rel=0.02)


@pytest.mark.parametrize(("tilt_rad", "enough"), [(0.0, False), (0.02, False), (0.1, False), (0.5, True)])
def test_boards_that_all_face_the_camera_leave_the_focal_length_open(camera: KnownCamera, tilt_rad: float, *, enough: bool) -> None:
    """Corners a tenth of a pixel uncertain: untilted, a nearer board before a shorter lens would look the same."""
    rng = np.random.default_rng(0)
    flat = []
    for x in (-0.06, -0.03, 0.0, 0.03, 0.06):
        for y in (-0.06, 0.0, 0.06):
            turn = cv2.Rodrigues(rng.uniform(-tilt_rad, tilt_rad, 3) * (1, 1, 0))[0]
            placed = (BOARD.corners - (0.0875, 0.05, 0)) @ turn.T + (x, y, 0.3)
            points = camera.distorted(placed[:, :2] / placed[:, 2:]) * (camera.fx, camera.fy) + (camera.cx, camera.cy)
            flat.append(View(f"{x} {y}", (640, 480), (points + rng.normal(0, 0.1, points.shape)).astype(np.float32)))
    if enough:
        assert fit(flat, BOARD, Bounds(coverage=0.4)).fx == pytest.approx(camera.fx, rel=5e-3)
        return
    with pytest.raises(ConfigError, match=r"fx = \d+ px is uncertain by .*, want at most 0\.5% and 2\.0%: tilt the board"):
        fit(flat, BOARD, Bounds(coverage=0.4))


def test_pictures_of_two_sizes_are_refused(views: list[View]) -> None:
    with pytest.raises(ConfigError, match=r"pictures of different sizes: 640x480 \(15\.png\), 320x240 \(small\.png\)"):
        fit([*views, replace(views[0], name="small.png", size=(320, 240))], BOARD)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--board", "8", r"--board 8: want inner corners like 9x6"), ("--board", "8x2", r"each from 3 to 30"),
        ("--square-mm", "0", r"--square-mm 0\.0: want 1 to 500"), ("--square-mm", "nan", r"--square-mm nan"),
        ("--views", "3", r"--views 3: want 4 to 1000"), ("--coverage", "1.1", r"--coverage 1\.1: want 0\.1 to 1"),
        ("--max-rms-px", "nan", r"--max-rms-px nan: want 0\.01 to 5"),
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(tmp_path: Path, option: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        main([*words(tmp_path, tmp_path / "camera.toml"), option, value])


def test_what_is_refused_writes_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"found in 16 different pictures, want at least 17"):
        main(words(folder, tmp_path / "camera.toml", "--views", "17"))
    (folder / "99.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"99\.png is no picture"):
        main(words(folder, tmp_path / "camera.toml"))
    assert not (tmp_path / "camera.toml").exists()


# -- views


def test_a_picture_without_the_whole_board_is_no_view(pictures: Pictures) -> None:
    assert look(pictures["cut.png"], BOARD, "cut") is None
    assert look(pictures["00.png"], Board(7, 5, 0.025), "another board") is None


def test_corners_lie_where_the_camera_puts_them(camera: KnownCamera, pictures: Pictures) -> None:
    """Within half a pixel, in the first picture, whose pose is known."""
    pose = poses(VIEWS)[0]
    turn = cv2.Rodrigues(np.array([pose[3], 0.0, 0.0]))[0] @ cv2.Rodrigues(np.array([0.0, pose[4], 0.0]))[0]
    turn = turn @ cv2.Rodrigues(np.array([0.0, 0.0, pose[5]]))[0]
    middle = (np.array([BOARD.columns - 1, BOARD.rows - 1, 0]) / 2) * 0.025
    placed = (BOARD.corners - middle) @ turn.T + pose[:3]
    want = camera.distorted(placed[:, :2] / placed[:, 2:]) * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    view = look(pictures["00.png"], BOARD, "00")
    assert view is not None
    got = min((view.points, view.points[::-1]), key=lambda points: np.abs(points - want).max())
    assert np.abs(got - want).max() < 0.5


def test_a_board_that_has_not_moved_says_nothing_new(views: list[View]) -> None:
    still = replace(views[0], points=views[0].points + 4.0)
    assert not is_new(still, views)
    assert not is_new(replace(still, points=still.points[::-1]), views)  # found from its other end
    assert is_new(replace(views[0], points=views[0].points + 6.5), views)


def test_coverage_counts_cells() -> None:
    at = [(10, 10), (630, 10), (10, 470), (630, 470), (12, 12)]
    views = [View("a", (640, 480), np.array(at[:2], np.float32)), View("b", (640, 480), np.array(at[2:], np.float32))]
    assert coverage(views) == pytest.approx(4 / 24)
    assert coverage([View("c", (640, 480), np.array([[-3, 700]], np.float32))]) == 0.0
