"""What the camera sees and what the simulator says it shows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_vla.cameras.rules import fingerprint, luma_plane
from edge_vla.errors import EngineError
from edge_vla.geometry import CameraPose
from edge_vla.parse.loc import parse_detections
from edge_vla.sim.eye import SensorNoise, visible_boxes
from edge_vla.sim.judge import facing_rad, ground_truth, outline
from edge_vla.sim.oracle import OracleEngine
from edge_vla.sim.rooms import make_room
from edge_vla.sim.truth import true_view
from edge_vla.sim.view import GroundTruth, Truth
from edge_vla.sim.world import World
from edge_vla.types import Box, Frame

Make = Callable[..., Any]
CAMERA = CameraPose(math.radians(70), 4 / 3, 0.25, math.radians(10), 0.08)
# Slack for the foot of a box, m and share of the distance: an upright round thing touches the floor where its box ends; a ball curves away.
FEET = {
    "cup": (0.02, 0.03),
    "bottle": (0.02, 0.03),
    "can": (0.02, 0.03),
    "person": (0.03, 0.03),
    "ball": (0.12, 0.05),
    "cone": (0.06, 0.03),
}


@pytest.mark.parametrize("name", FEET)
def test_the_foot_of_a_true_box_is_where_the_thing_stands(make_world: Make, make_eye: Make, name: str) -> None:
    world: World = make_world((name, 2.0, 0.0, 0.7), size=(8.0, 8.0), start=(-1.0, 0.0, 0.0))
    eye = make_eye(world)
    fixed_m, share = FEET[name]
    for away_m, bearing in ((0.8, 0.0), (1.5, -0.35), (3.0, 0.3)):
        world.move_thing(0, -1.0 + away_m * math.cos(bearing), away_m * math.sin(bearing), 0.7)
        world.settle()
        (box,) = true_view(world, eye, CAMERA).boxes
        x_m, y_m = CAMERA.foot(box)
        surface_m = world.surface_distance(0)
        assert abs(math.hypot(x_m, y_m) - surface_m) <= fixed_m + share * surface_m, (away_m, bearing)
        assert math.atan2(y_m, x_m) == pytest.approx(bearing, abs=0.06)


def test_boxes_come_most_visible_first_and_hidden_things_not_at_all(make_world: Make, make_eye: Make) -> None:
    world: World = make_world(("box", 1.0, 0.0, 0.0), ("can", 2.0, 0.0, 0.0), ("cup", 1.5, 0.7, 0.0), ("ball", -1.0, 0.0, 0.0))
    truth = true_view(world, make_eye(world), CAMERA)
    assert [box.label for box in truth.boxes] == ["box", "cup"]
    left, ahead = truth.free_distance_m[0], min(truth.free_distance_m[7:9])
    assert ahead == pytest.approx(1.0 - 0.08 - 0.15, abs=0.06)
    assert left > 2.0


def test_visible_boxes_are_tight() -> None:
    seen = np.full((10, 20), -1, dtype=np.int32)
    seen[2:5, 4:10] = 1
    assert visible_boxes(seen, 3) == [None, (Box(0.2, 0.2, 0.5, 0.5), 18), None]


def test_the_same_moment_renders_the_same_and_another_does_not(make_eye: Make) -> None:
    world = World(make_room(1_000_001))
    eye = make_eye(world)
    first = eye.rgb(world.data)
    assert first.shape == (240, 320, 3)
    assert first.std() > 10  # a picture, not a blank
    assert np.array_equal(first, eye.rgb(world.data))
    world.place_robot(0.0, 0.0, 2.0)
    assert not np.array_equal(first, eye.rgb(world.data))


def test_noise_never_repeats_and_follows_its_seed() -> None:
    """A frozen camera is told by exact repeats, so a still scene must not have one within a run's frames."""
    still = np.full((240, 320, 3), 90, dtype=np.uint8)
    noise, same, other = SensorNoise(3), SensorNoise(3), SensorNoise(4)
    prints = [fingerprint(luma_plane(noise(still))) for _ in range(300)]
    assert all(one != two for one, two in itertools.pairwise(prints))
    assert prints[:5] == [fingerprint(luma_plane(same(still))) for _ in range(5)]
    assert prints[:5] != [fingerprint(luma_plane(other(still))) for _ in range(5)]


def test_the_oracle_answers_from_the_truth_of_its_frame() -> None:
    truth = Truth((Box(0.25, 0.5, 0.75, 0.625, "cup"), Box(0.0, 0.0, 0.5, 0.5, "door")), (1.0, 2.0))
    oracle = OracleEngine({7: truth}.get)
    frame = Frame(np.zeros((8, 8, 3), dtype=np.uint8), 0, 7)
    reply = oracle.ask(frame, "detect cup")
    assert (parse_detections(reply.text), reply.free_distance_m) == ([truth.boxes[0]], (1.0, 2.0))
    assert oracle.ask(frame, "detect ball").text == ""
    assert oracle.ask(frame, "describe").text == "cup, door"
    with pytest.raises(EngineError, match="frame 8"):
        oracle.ask(Frame(frame.rgb, 0, 8), "detect cup")


def test_truth_crosses_a_process_unchanged() -> None:
    truth = Truth((Box(0.25, 0.5, 0.75, 0.625, "cup"),), (1.0, 0.1 + 0.2))
    assert Truth.from_json(truth.to_json()) == truth


@pytest.mark.parametrize(("yaw", "want"), [(0.0, 0.0), (0.1, 0.0), (0.5, 0.5), (-0.5, 0.5), (math.pi, math.pi), (3.0, 3.0)])
def test_facing_is_the_angle_to_the_edge(make_world: Make, yaw: float, want: float) -> None:
    world: World = make_world(("ball", 1.0, 0.0, 0.0), start=(0.0, 0.0, yaw))
    edge = math.asin(
        1.0 - world.surface_distance(0)
    )  # the ball's radius at a metre; the robot's eye for surfaces is 0.1 m up, as is its middle
    assert facing_rad(world, 0) == pytest.approx(max(0.0, want - edge) if want else 0.0, abs=0.02)


def test_between_the_legs_of_a_table_is_facing_it(make_world: Make) -> None:
    world: World = make_world(("table", 1.2, 0.0, math.pi / 2))
    assert facing_rad(world, 0) == 0.0
    for yaw in np.linspace(-3.1, 3.1, 24):  # under it, whichever way it looks
        world.place_robot(1.2, 0.0, yaw)
        assert facing_rad(world, 0) == 0.0


def test_the_outline_follows_the_thing(make_world: Make) -> None:
    world: World = make_world(("book", 1.0, 0.5, 0.0))
    before = outline(world, 0)
    world.move_thing(0, -1.0, 0.5, 0.0)
    world.settle()
    assert outline(world, 0) - before == pytest.approx(np.tile((-2.0, 0.0), (len(before), 1)), abs=1e-6)


@pytest.mark.parametrize(("name", "yaw"), [("door", 0.0), ("door", math.pi / 2), ("cup", math.pi / 2), ("table", 0.5), ("can", 1.0)])
def test_the_outline_is_as_large_as_the_thing_however_it_is_turned(make_world: Make, name: str, yaw: float) -> None:
    """A door's parts are boxes, a cup's are meshes, capsules and cylinders, some of them turned."""
    world: World = make_world((name, 1.0, 0.5, yaw))
    x, y = (outline(world, 0) - (1.0, 0.5)).T
    shape = world.room.things[0].shape
    ahead, aside = math.cos(yaw) * x + math.sin(yaw) * y, math.cos(yaw) * y - math.sin(yaw) * x
    assert np.abs(ahead).max() == pytest.approx(shape.half_x, abs=0.03)
    assert np.abs(aside).max() == pytest.approx(shape.half_y, abs=0.03)


def test_the_verdict_reads_the_nearest_of_a_name(make_world: Make) -> None:
    world: World = make_world(("can", 2.0, 0.0, 0.0), ("can", 0.5, 0.0, 0.0), ("ball", -0.4, 0.0, 0.0))
    truth = ground_truth(world, path_m=1.5, t_ns=9)
    near = truth.nearest("can")
    assert near is not None
    assert near.x_m == pytest.approx(0.5, abs=0.02)
    assert near.distance_m == pytest.approx(world.surface_distance(1))
    assert truth.nearest("cup") is None
    assert truth.found("can")
    assert not truth.found("can", within_m=0.4)
    assert not truth.found("ball")  # near, but behind
    world.move_thing(1, 0.3, 0.0, 0.0)
    moved = ground_truth(world, path_m=1.5, t_ns=9).nearest("can")
    assert moved is not None
    assert near.distance_m - moved.distance_m == pytest.approx(0.2, abs=0.01)  # without a step in between


def test_ground_truth_crosses_a_process_unchanged(make_world: Make) -> None:
    import json
    from dataclasses import asdict

    truth = ground_truth(make_world(("can", 2.0, 0.0, 0.0)), path_m=1.5, t_ns=9)
    assert GroundTruth.from_dict(json.loads(json.dumps(asdict(truth)))) == truth
