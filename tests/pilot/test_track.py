"""How a target is believed: what agrees, what challenges, and when it is given up. All numbers by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from edge_vla.geometry import CameraPose
from edge_vla.track import Track, update
from edge_vla.types import Look, Pose

AHEAD = Track(1.0, 0.0, 0.1, 0.8, 0, hits=2)


@pytest.fixture
def look(make_look: Callable[..., Look]) -> Callable[..., Look]:
    return make_look


def test_a_first_sighting_begins_a_track(look, camera: CameraPose) -> None:
    track = update(None, look(2.0, sees=(0.6, 0.8), confidence=0.7), camera, moving=False)
    assert track == Track(0.6, 0.8, pytest.approx(1.0 * math.tan(0.1)), 0.7, 2_000_000_000, hits=1, misses=0)


def test_no_sighting_begins_nothing(look, camera: CameraPose) -> None:
    assert update(None, look(), camera, moving=False) is None


@pytest.mark.parametrize(("hits", "confidence", "sure"), [(1, 0.85, True), (1, 0.849, False), (2, 0.3, True)])
def test_sure_by_two_looks_or_by_one_very_good_one(hits: int, confidence: float, sure: bool) -> None:
    assert Track(0, 0, 0, confidence, 0, hits=hits).sure is sure


def test_seen_from() -> None:
    away, bearing = AHEAD.seen_from(Pose(0, 1.0, -2.0, math.pi / 4))  # two metres due left of a robot that looks half left
    assert (away, math.degrees(bearing)) == pytest.approx((2.0, 45.0))


def test_an_agreeing_sighting_counts_for_six_tenths(look, camera: CameraPose) -> None:
    worn = replace(AHEAD, misses=1)
    track = update(worn, look(3.0, sees=(1.2, 0.1), confidence=0.6), camera, moving=False)
    assert track is not None
    assert (track.x_m, track.y_m) == pytest.approx((1.12, 0.06))
    assert (track.confidence, track.hits, track.misses, track.seen_ns) == (pytest.approx(0.7), 3, 0, 3_000_000_000)


def test_a_moving_target_is_where_it_was_seen_last(look, camera: CameraPose) -> None:
    track = update(AHEAD, look(3.0, sees=(1.4, 0.3)), camera, moving=True)
    assert track is not None
    assert (track.x_m, track.y_m, track.hits) == (1.4, 0.3, 3)


@pytest.mark.parametrize(
    ("track_m", "seen", "agrees"),
    [
        (1.0, (0.51, 0.0), True),  # along: half a metre near by
        (1.0, (0.49, 0.0), False),
        (1.0, (1.66, 0.0), True),  # and 40 % of the farther of the two
        (1.0, (1.67, 0.0), False),
        (3.0, (4.99, 0.0), True),
        (3.0, (5.01, 0.0), False),
        (1.0, (0.95, 0.34), True),  # across: 0.35 m near by
        (1.0, (0.94, 0.39), False),
        (4.0, (4.0, 0.58), True),  # and 15 % of the range further away
        (4.0, (4.0, 0.63), False),
    ],
)
def test_what_agrees(look, camera: CameraPose, track_m: float, seen: tuple[float, float], agrees: bool) -> None:
    track = replace(AHEAD, x_m=track_m)
    after = update(track, look(sees=seen, confidence=0.5), camera, moving=False)
    assert after is not None
    assert (after.hits, after.misses) == ((3, 0) if agrees else (2, 1))


def test_a_moving_target_may_be_twice_as_far_off(look, camera: CameraPose) -> None:
    sighting = look(sees=(1.9, 0.0), confidence=0.5)
    assert update(AHEAD, sighting, camera, moving=False) == replace(AHEAD, misses=1)
    assert update(AHEAD, sighting, camera, moving=True).x_m == 1.9  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("track", "confidence", "taken"),
    [
        (AHEAD, 0.8, False),  # sure, fresh and as confident: it stays
        (AHEAD, 0.81, True),  # a better look elsewhere
        (replace(AHEAD, misses=1), 0.5, False),
        (replace(AHEAD, misses=2), 0.5, True),  # it keeps being missed
        (replace(AHEAD, hits=1), 0.5, True),  # it never was sure
    ],
)
def test_a_sighting_elsewhere_is_a_challenge(look, camera: CameraPose, track: Track, confidence: float, taken: bool) -> None:
    after = update(track, look(3.0, sees=(-2.0, 1.0), confidence=confidence), camera, moving=False)
    assert after is not None
    if taken:
        assert (after.x_m, after.y_m, after.hits, after.misses, after.seen_ns) == (-2.0, 1.0, 1, 0, 3_000_000_000)
    else:
        assert after == replace(track, misses=track.misses + 1)


@pytest.mark.parametrize(
    ("track", "looks"),
    [(AHEAD, 4), (replace(AHEAD, hits=1), 2), (replace(AHEAD, hits=1, confidence=0.9), 4)],
    ids=["sure", "unsure", "one good look"],
)
def test_not_seen_where_it_should_be_ends_a_track(look, camera: CameraPose, track: Track, looks: int) -> None:
    left: Track | None = track
    for misses in range(1, looks):
        left = update(left, look(), camera, moving=False)
        assert left == replace(track, misses=misses)
    assert update(left, look(), camera, moving=False) is None


@pytest.mark.parametrize(
    ("place", "in_view"),
    [
        ((0.33, 0.0), False),  # below the picture: nearer than the camera's height ahead of it
        ((0.34, 0.0), True),
        ((math.cos(0.51), math.sin(0.51)), True),  # 0.42 of 70 degrees is 0.513 rad
        ((math.cos(0.52), math.sin(0.52)), False),
        ((math.cos(0.52), -math.sin(0.52)), False),
        ((-1.0, 0.0), False),
    ],
)
def test_not_seen_out_of_view_proves_nothing(look, camera: CameraPose, place: tuple[float, float], in_view: bool) -> None:
    track = replace(AHEAD, x_m=place[0], y_m=place[1], misses=1)
    assert update(track, look(), camera, moving=False) == replace(track, misses=2 if in_view else 1)
