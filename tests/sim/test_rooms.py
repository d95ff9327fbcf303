"""Rooms: the same seed gives the same room, with what was asked for, and space to move."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from edge_vla.learn.data import shards
from edge_vla.learn.data.views import HELD_OUT_SEED, room_views
from edge_vla.series import Setting
from edge_vla.sim.objects import CLASSES
from edge_vla.sim.robot import RobotModel
from edge_vla.sim.rooms import Room, make_room, room_xml
from edge_vla.sim.world import World

SEEDS = range(1_000_000, 1_000_012)


def xml_of(room: Room) -> str:
    return room_xml(room, RobotModel(), np.random.default_rng([room.seed, 0, 1]))


def test_there_are_the_twelve_classes() -> None:
    assert set(CLASSES) == {"cup", "bottle", "ball", "box", "can", "book", "chair", "table", "plant", "cone", "door", "person"}


def test_the_same_seed_is_the_same_room_to_the_last_digit() -> None:
    assert xml_of(make_room(7, require=("cup",))) == xml_of(make_room(7, require=("cup",)))


def test_other_seeds_are_other_rooms() -> None:
    assert len({xml_of(make_room(seed)) for seed in SEEDS}) == len(SEEDS)


def test_the_same_seed_is_painted_and_lit_alike() -> None:
    one, same, other = (World(make_room(seed)).model for seed in (7, 7, 8))
    assert np.array_equal(one.tex_data, same.tex_data)
    assert np.array_equal(one.light_pos, same.light_pos)
    assert not np.array_equal(one.light_pos, other.light_pos)


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_required_comes_first_and_once(name: str) -> None:
    names = [thing.shape.name for thing in make_room(SEEDS[0], require=(name,)).things]
    assert names[0] == name
    assert names.count(name) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_excluded_is_absent(seed: int) -> None:
    assert "cup" not in {thing.shape.name for thing in make_room(seed, exclude=("cup",)).things}


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_overlaps_and_the_robot_stands_free_inside(seed: int) -> None:
    room = make_room(seed)
    half_x, half_y = room.size_m[0] / 2, room.size_m[1] / 2
    for one, two in itertools.combinations(room.things, 2):
        assert math.hypot(one.x_m - two.x_m, one.y_m - two.y_m) > one.shape.radius + two.shape.radius + 0.4
    for thing in room.things:
        assert abs(thing.x_m) < half_x
        assert abs(thing.y_m) < half_y
        assert math.hypot(thing.x_m - room.start[0], thing.y_m - room.start[1]) > thing.shape.radius + 0.45
    world = World(room)
    world.step(0.04)
    assert world.contacts.episodes == 0


def test_an_unknown_class_is_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no class 'unicorn'.*cup, bottle"):
        make_room(1, require=("unicorn",))


def test_no_training_room_is_an_evaluation_room() -> None:
    with pytest.raises(ValueError, match="held out"):
        next(room_views(HELD_OUT_SEED, 1))
    assert shards.VALIDATION_SEED < HELD_OUT_SEED <= Setting.__dataclass_fields__["seed"].default
