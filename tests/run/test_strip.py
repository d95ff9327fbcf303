"""The picture of a run: which frames, and that every mark is where its value says."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_vla import draw
from edge_vla.behaviours.state import halt
from edge_vla.errors import ConfigError
from edge_vla.record import frame_path
from edge_vla.strip import BARS_PX, CAPTION_PX, HEAD_PX, TILE_PX, VELOCITY, choose, draw_strip
from edge_vla.types import Pose, Reply

LEFT, TOP = draw.MARGIN_PX, draw.MARGIN_PX + HEAD_PX  # where the first tile begins
HIGH = 288  # px: a frame of 4:3
TALL = HIGH + BARS_PX + CAPTION_PX


def picture(path: Path) -> draw.Image:
    image = cv2.imread(str(path))
    assert image is not None
    return image


def near(pixel: np.ndarray, colour: draw.Colour) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= 2)


# -- which frames


@pytest.mark.parametrize(
    ("seen", "count", "chosen"),
    [
        ("", 8, []),
        ("0", 8, [0]),
        ("01", 8, [0, 1]),
        ("000000000", 3, [0, 4, 8]),
        ("000001111", 3, [0, 5, 8]),
        ("000001111", 4, [0, 2, 5, 8]),
        ("000001111", 5, [0, 2, 3, 5, 8]),
        ("0" * 100, 5, [0, 24, 49, 74, 99]),
        ("1111", 8, [0, 1, 2, 3]),
        ("01111", 2, [0, 4]),
        ("01111", 1, [0]),
        ("01111", 0, []),
    ],
)
def test_first_last_first_sighting_then_the_widest_gaps(seen: str, count: int, chosen: list[int]) -> None:
    assert choose([flag == "1" for flag in seen], count) == chosen


# -- the marks


@pytest.fixture
def drawn(make_recorder, make_look, make_tick, tmp_path: Path) -> Callable[..., draw.Image]:
    """The strip of a recording of these looks, one tick each, a metre apart straight ahead."""

    def make(*replies: Reply | None, count: int = 8, **tick: object) -> draw.Image:
        with make_recorder() as recorder:
            for k, reply in enumerate(replies):
                t_ns = 1_000_000_000 * (k + 1)
                pose = Pose(t_ns, float(k), 0.0, 0.0)
                frame, said, look = make_look(k + 1, t_ns, reply, pose)
                recorder.look(frame, said, look, 300_000_000)
                recorder.tick(make_tick(t_ns, look, pose, **tick))
        draw_strip(tmp_path / "run", tmp_path / "strip.png", count)
        return picture(tmp_path / "strip.png")

    return make


def test_the_box_is_where_it_was_seen(drawn: Callable[..., draw.Image]) -> None:
    sheet = drawn(None)
    corners = [(y, x) for y in (0.25, 0.5) for x in (0.25, 0.5)]
    assert all(near(sheet[TOP + round(y * HIGH), LEFT + round(x * TILE_PX)], draw.GREEN) for y, x in corners)
    assert near(sheet[TOP + round(0.75 * HIGH), LEFT + round(0.75 * TILE_PX)], (90, 90, 90))  # the frame itself


def test_a_box_nobody_acts_upon_is_amber(drawn: Callable[..., draw.Image]) -> None:
    sheet = drawn(Reply("<loc0256><loc0256><loc0512><loc0512> cup", 0.2))
    assert near(sheet[TOP + HIGH // 2, LEFT + TILE_PX // 2], draw.AMBER)


def test_a_refused_reply_is_marked(drawn: Callable[..., draw.Image]) -> None:
    assert near(drawn(Reply("<loc0001>", 0.9))[TOP + 12, LEFT + 10], draw.RED)


def test_the_bars_stand_below_their_columns(drawn: Callable[..., draw.Image]) -> None:
    sheet = drawn(Reply("", 0.9, (0.2, 0.7, 2.0, 4.0)))
    floor = TOP + HIGH + BARS_PX - 1
    middles = [LEFT + round((k + 0.5) * TILE_PX / 4) for k in range(4)]
    assert near(sheet[floor, middles[0]], draw.RED)
    assert near(sheet[floor, middles[1]], draw.AMBER)
    heights = [int(sum(not near(sheet[y, x], draw.PANEL) for y in range(floor - BARS_PX + 1, floor + 1))) for x in middles]
    assert heights == [1 + 3 + 1, 1 + 11 + 1, 1 + 31, BARS_PX]  # 47 px are 3 m; the line at 1 m crosses the short ones


def test_the_arrow_points_where_the_robot_is_sent(drawn: Callable[..., draw.Image]) -> None:
    """0.25 m/s ahead is half of a third of the height, 0.5 rad/s to the left half of a third of the width."""
    sheet = drawn(Reply("", 0.9))
    foot, tip = (LEFT + 192, TOP + HIGH - 14), (LEFT + 192 - 64, TOP + HIGH - 14 - 48)
    assert near(sheet[tip[1], tip[0]], VELOCITY)
    assert near(sheet[(foot[1] + tip[1]) // 2, (foot[0] + tip[0]) // 2], VELOCITY)
    assert near(sheet[foot[1] - 48, foot[0] + 64], (90, 90, 90))


def test_a_look_is_shown_with_the_first_tick_that_rested_on_it(make_recorder, make_look, make_tick, tmp_path: Path) -> None:
    frame, reply, look = make_look(1, 1_000_000_000, Reply("", 0.9))
    with make_recorder() as recorder:
        recorder.look(frame, reply, look, 300_000_000)
        recorder.tick(make_tick(1_200_000_000, look))
        recorder.tick(make_tick(1_300_000_000, look, action=halt("standing still")))
    draw_strip(tmp_path / "run", tmp_path / "strip.png")
    assert near(picture(tmp_path / "strip.png")[TOP + HIGH - 14 - 24, LEFT + 192 - 32], VELOCITY)  # the middle of the first tick's arrow


def test_the_floor_has_ahead_up_and_left_left() -> None:
    floor = draw.Floor((400, 300), [(0.0, 0.0), (2.0, 1.0)], around_m=0.9)
    assert floor.px_per_m == pytest.approx((300 - 80) / 3.8)
    assert [floor.at(*place) for place in ((1.0, 0.5), (2.0, 0.5), (1.0, 1.0))] == [(200, 138), (200, 80), (171, 138)]
    assert floor.ahead(Pose(0, 1.0, 0.5, 0.0), 10, 3) == (197, 128)
    assert floor.ahead(Pose(0, 1.0, 0.5, math.pi / 2), 10, 3) == (190, 141)


def test_the_way_leads_up_from_the_first_frame_to_the_last(drawn: Callable[..., draw.Image]) -> None:
    sheet = drawn(Reply("", 0.9), Reply("", 0.9), Reply("", 0.9))
    floor = sheet[TOP:, LEFT + 3 * (TILE_PX + draw.GAP_PX) : -draw.MARGIN_PX]
    greens = np.abs(floor.astype(int) - draw.GREEN).max(axis=2) <= 2  # an approach
    middle = np.nonzero(greens[:, floor.shape[1] // 2])[0]
    px_per_m = (TALL - 80) / (2 + 2 * 0.9)
    assert len(middle) >= 2 * px_per_m - 40  # less what the wedge hides
    assert greens[middle[len(middle) // 2]].sum() <= 4 + 2 * 14 * 2  # a line, and at most a disc beside it
    assert near(floor[middle.min() - 2, floor.shape[1] // 2], VELOCITY)  # the robot is at the upper end


# -- the sheet


@pytest.mark.parametrize(("looks", "count", "across", "down"), [(1, 8, 1, 1), (3, 8, 3, 1), (6, 8, 4, 2), (9, 8, 4, 2), (9, 9, 4, 3)])
def test_tiles_stand_in_rows_of_four_beside_the_floor(
    looks: int, count: int, across: int, down: int, drawn: Callable[..., draw.Image]
) -> None:
    sheet = drawn(*[Reply("", 0.9)] * looks, count=count)
    tall = down * TALL + (down - 1) * draw.GAP_PX
    assert sheet.shape == (HEAD_PX + tall + 2 * LEFT, across * (TILE_PX + draw.GAP_PX) + max(tall, 420) + 2 * LEFT, 3)


def test_a_real_run_is_drawn_the_same_twice(recorded, tmp_path: Path) -> None:
    draw_strip(recorded.folder, tmp_path / "a.png")
    draw_strip(recorded.folder, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    sheet = picture(tmp_path / "a.png")
    greens = np.abs(sheet.astype(int) - draw.GREEN).max(axis=2) <= 2
    assert sheet.shape[:2] == (HEAD_PX + 2 * TALL + draw.GAP_PX + 2 * LEFT, 4 * (TILE_PX + draw.GAP_PX) + 2 * TALL + draw.GAP_PX + 2 * LEFT)
    assert greens.sum() > 5000  # boxes, the way, the target


def test_words_outside_ascii_and_too_long_are_drawn_as_far_as_they_go() -> None:
    style = draw.Style()
    assert draw.fit("short", style, 200) == "short"
    cut = draw.fit("a very long reason for something " * 5, style, 200)
    assert cut.endswith("...")
    assert 150 < draw.extent(cut, style)[0] <= 200
    assert draw.extent("컵", style) == draw.extent("?", style)


# -- what cannot be drawn


def test_missing_images_are_passed_over(drawn: Callable[..., draw.Image], tmp_path: Path) -> None:
    drawn(None, None, None)
    frame_path(tmp_path / "run", 2).unlink()
    frame_path(tmp_path / "run", 3).write_bytes(b"no image")
    draw_strip(tmp_path / "run", tmp_path / "again.png")
    assert picture(tmp_path / "again.png").shape[1] == TILE_PX + draw.GAP_PX + 420 + 2 * LEFT
    frame_path(tmp_path / "run", 1).unlink()
    with pytest.raises(ConfigError, match="no frame was recorded"):
        draw_strip(tmp_path / "run", tmp_path / "again.png")


def test_a_picture_that_cannot_be_written_is_said(recorded, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*: No such file or directory"):
        draw_strip(recorded.folder, tmp_path / "nowhere" / "strip.png", 1)


def test_no_recording_no_strip(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a recording"):
        draw_strip(tmp_path, tmp_path / "strip.png")
