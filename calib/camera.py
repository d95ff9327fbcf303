"""`python -m calib camera`: a camera's intrinsics from pictures of a chessboard.

python -m calib camera --images FOLDER --board 9x6 --square-mm 25 --out launch/camera.toml
python -m calib camera --robot launch/robot.toml --keep FOLDER --board 9x6 --square-mm 25 --out launch/camera.toml
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from calib import toml
from calib.chessboard import Board, View, is_new, look
from calib.intrinsics import LEAST_COVERAGE, LEAST_VIEWS, MOST_RMS_PX, Bounds, fit
from calib.sources import candidates
from calib.viewfinder import watch
from edge_vla.arguments import Arguments
from edge_vla.config import load_profile
from edge_vla.errors import ConfigError
from edge_vla.parts import make_camera

FRAMES = 1800  # a minute at 30 a second


def main(words: list[str]) -> None:
    """Raises ConfigError for views that cannot carry a calibration, CameraError for a camera that cannot be read."""
    cli = Arguments("python -m calib camera", "Intrinsics from a chessboard.", "See docs/calibration.md for how to take the pictures.")
    source = cli.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, help="a folder of pictures of the board")
    source.add_argument("--robot", type=Path, help="a robot profile: its camera is read live")
    cli.add_argument("--keep", type=Path, help="with --robot: a new folder for the pictures that were used")
    cli.add_argument("--frames", type=int, default=FRAMES, help="with --robot: how many to read before giving up")
    cli.add_argument("--board", required=True, help="inner corners, like 9x6")
    cli.add_argument("--square-mm", type=float, required=True, help="side of one square")
    cli.add_argument("--out", type=Path, required=True, help="the file a profile's camera.calibration names")
    cli.add_argument("--views", type=int, default=LEAST_VIEWS, help="different pictures wanted")
    cli.add_argument("--coverage", type=float, default=LEAST_COVERAGE, help="share of the picture to be covered")
    cli.add_argument("--max-rms-px", type=float, default=MOST_RMS_PX, help="reprojection error allowed, at 640 px of width")
    args = cli.parse_args(words)
    board, bounds = Board.parse(args.board, args.square_mm), _bounds(args)
    found = fit(_live(args, board, bounds) if args.robot else from_images(args.images, board), board, bounds)
    document = found.document()
    toml.write(args.out, document)
    print(
        f"{args.out}: {document['hfov_deg']} degrees across, fx {found.fx:.1f}, fy {found.fy:.1f}, centre {found.cx:.1f} {found.cy:.1f} "
        f"px, error {found.rms_px:.3f} px over {found.views} views that cover {found.coverage:.0%}"
    )


def _bounds(args: argparse.Namespace) -> Bounds:
    for name, value, low, high in (
        ("--views", args.views, 4, 1000), ("--coverage", args.coverage, 0.1, 1.0), ("--max-rms-px", args.max_rms_px, 0.01, 5.0),
        ("--frames", args.frames, 1, 1_000_000),
    ):  # fmt: skip
        if not low <= value <= high:
            raise ConfigError(f"{name} {value}: want {low} to {high}")
    return Bounds(args.views, args.coverage, args.max_rms_px)


def from_images(folder: Path, board: Board) -> list[View]:
    """The different views among a folder's pictures. Raises ConfigError for a file that is no picture, or none that shows the board."""
    views: list[View] = []
    pictures = candidates(folder)
    without = repeated = 0
    for picture in pictures:
        bgr = cv2.imread(str(picture.path), cv2.IMREAD_COLOR)
        if bgr is None:
            raise ConfigError(f"{picture.path} is no picture")
        view = look(np.ascontiguousarray(bgr[..., ::-1], np.uint8), board, picture.source)
        if view is None:
            without += 1
        elif is_new(view, views):
            views.append(view)
        else:
            repeated += 1
    print(f"{len(pictures)} pictures: the board is in {len(pictures) - without}, {repeated} of them show what another one shows")
    return views


def _live(args: argparse.Namespace, board: Board, bounds: Bounds) -> list[View]:
    profile = load_profile(args.robot)
    if profile.simulated:
        raise ConfigError(f"{args.robot} is simulated: no room of the simulator has a chessboard; its camera is what the profile says")
    if args.keep is None:
        raise ConfigError("--robot needs --keep FOLDER for the pictures that were used")
    if args.keep.exists():
        raise ConfigError(f"--keep {args.keep} exists already: name a new folder")
    camera = make_camera(profile.camera, None)
    try:
        _make(args.keep)
        return watch(camera, board, bounds, args.keep, args.frames, print)
    finally:
        camera.close()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as err:
        raise ConfigError(f"--keep {folder}: {err.strerror}") from err
