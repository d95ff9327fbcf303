"""Episodes: what was seen on the way, in order, written once, never of a held-out room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_vla.config import RobotProfile
from edge_vla.learn.data.shards import read_shard
from edge_vla.learn.data.views import HELD_OUT_SEED
from edge_vla.learn.policy import episodes
from edge_vla.learn.policy.episodes import NUDGE_LOOKS, THINGS, Recorded, drive, read_episodes, record, view_of
from edge_vla.learn.policy.teacher import PERIOD_S, SPEED_MPS, TURN_RPS, Teacher
from edge_vla.robot import camera_pose
from edge_vla.sim.objects import CLASSES
from edge_vla.sim.view import Truth
from edge_vla.types import Box, Frame

TRUTH = Truth((Box(0.25, 0.5, 0.5, 0.75, "cone"), Box(0.0, 0.0, 0.1, 0.1, "cup")), tuple(0.25 * k for k in range(1, 17)))
CAMERA = camera_pose(RobotProfile())


def test_a_view_is_the_frame_with_its_truth() -> None:
    rgb = np.zeros((240, 320, 3), np.uint8)
    rgb[:, 160:] = (200, 100, 50)
    view = view_of(Frame(rgb, 0, 1), TRUTH)
    assert view.rgb.shape == (224, 224, 3)
    assert (view.rgb[0, 0].tolist(), view.rgb[0, -1].tolist()) == ([0, 0, 0], [200, 100, 50])
    assert view.boxes[0].tolist() == [CLASSES.index("cone"), 0.25, 0.5, 0.5, 0.75, 60 * 80]
    assert view.boxes[1, 0] == CLASSES.index("cup")
    assert view.free_m.tolist() == list(TRUTH.free_distance_m)


def test_whoever_drives_is_nudged_now_and_then_and_every_frame_is_kept() -> None:
    recorded = Recorded(Teacher(lambda _: TRUTH, CAMERA), lambda _: TRUTH, np.random.default_rng(3))
    frames = [Frame(np.full((48, 64, 3), k, np.uint8), k, k) for k in range(200)]
    own = Teacher(lambda _: TRUTH, CAMERA).ask(frames[0], "find the cone").chunk
    said = [recorded.ask(frame, "find the cone").chunk for frame in frames]
    assert [int(view.rgb[0, 0, 0]) for view in recorded.views] == list(range(200))
    nudged = [k for k, chunk in enumerate(said) if chunk != own]
    assert 10 <= len(nudged) <= 50
    runs = np.split(nudged, np.nonzero(np.diff(nudged) != 1)[0] + 1)
    assert {len(run) % NUDGE_LOOKS for run in runs} == {0}
    pushes = [said[k] for k in nudged]
    assert all(0 <= push.twists[0].linear_x <= SPEED_MPS and abs(push.twists[0].angular_z) <= TURN_RPS for push in pushes)
    assert (len(pushes[0].twists), pushes[0].period_s) == (1, PERIOD_S)
    assert recorded.moves == {"linear_x", "angular_z"}


def test_episodes_are_written_once_and_read_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Two short ones, really driven."""
    monkeypatch.setattr(episodes, "EPISODES_PER_SHARD", 2)
    monkeypatch.setattr(episodes, "TIMEOUT_S", 1.0)
    record(tmp_path, 2, 5000)
    (path,) = tmp_path.iterdir()
    assert path.name == "0005000.npz"
    assert "views" in capsys.readouterr().out
    first, second = read_episodes(path)
    assert (first.thing, second.thing) == (THINGS[0], THINGS[1 % len(THINGS)])
    assert 3 <= len(first.views) <= 8
    flat = read_shard(path)
    assert len(flat) == len(first.views) + len(second.views)
    assert (first.views[0][0] == flat[0][0]).all()
    assert (second.views[-1][0] == flat[-1][0]).all()
    again = drive(5000, THINGS[0], RobotProfile())
    assert [view.boxes.tolist() for view in again] == [boxes.tolist() for _, boxes, _ in first.views]
    before = path.read_bytes()
    record(tmp_path, 2, 5000)
    assert (path.read_bytes(), capsys.readouterr().out) == (before, "")


def test_a_held_out_room_is_refused() -> None:
    with pytest.raises(ValueError, match=f"seed {HELD_OUT_SEED} is held out"):
        drive(HELD_OUT_SEED, "cone", RobotProfile())
