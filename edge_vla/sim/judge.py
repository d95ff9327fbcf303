"""The verdict's numbers, read off the world: how far the robot is from each thing, and how well it faces it."""

from __future__ import annotations

import math

import mujoco
import numpy as np
from numpy.typing import NDArray

from edge_vla.geometry import wrap
from edge_vla.sim.view import GroundTruth, ThingTruth
from edge_vla.sim.world import World

_CORNERS: NDArray[np.float64] = np.array(np.meshgrid((-1, 1), (-1, 1), (-1, 1))).reshape(3, -1).T  # (8, 3) of a unit box
_TURN = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_RING = np.stack([np.cos(_TURN), np.sin(_TURN), np.zeros_like(_TURN)], axis=1)
_BALL: NDArray[np.float64] = np.concatenate([_RING * np.cos(a) + (0, 0, np.sin(a)) for a in np.linspace(-np.pi / 2, np.pi / 2, 7)])


def ground_truth(world: World, path_m: float, t_ns: int) -> GroundTruth:
    """Everything the judge wants to know, now."""
    world.settle()
    pose = world.pose()
    things = tuple(_thing(world, index) for index, placed in enumerate(world.room.things) if placed.shape.name)
    contacts = world.contacts
    return GroundTruth(
        t_ns, pose.x_m, pose.y_m, pose.yaw_rad, path_m, contacts.episodes, contacts.peak_n, tuple(contacts.things), things
    )  # fmt: skip


def facing_rad(world: World, index: int) -> float:
    """From the robot's heading to the nearest edge of a thing's outline on the floor plan; 0 when the heading meets it."""
    pose = world.pose()
    away = outline(world, index) - (pose.x_m, pose.y_m)
    middle = math.atan2(*away.mean(axis=0)[::-1])
    off_middle = np.arctan2(away[:, 1], away[:, 0]) - middle
    spread = np.arctan2(np.sin(off_middle), np.cos(off_middle))
    if spread.max() - spread.min() >= np.pi:
        return 0.0  # it stands all around the robot
    heading = wrap(pose.yaw_rad - middle)
    return max(0.0, heading - float(spread.max()), float(spread.min()) - heading)


def outline(world: World, index: int) -> NDArray[np.float64]:
    """(n, 2) points on the floor plan that span a thing: the corners of its parts, and rings of the round ones."""
    places = world.data.geom_xpos, world.data.geom_xmat.reshape(-1, 3, 3)
    parts = np.nonzero(world.geom_to_thing == index)[0].tolist()
    points: NDArray[np.float64] = np.concatenate([_points(world.model, g) @ places[1][g].T + places[0][g] for g in parts])
    return points[:, :2]


def _points(model: mujoco.MjModel, geom: int) -> NDArray[np.float64]:
    """(n, 3) points on the surface of a geom, in its own frame."""
    kinds = mujoco.mjtGeom
    kind = int(model.geom_type[geom])
    size: NDArray[np.float64] = np.array(model.geom_size[geom])
    if kind == kinds.mjGEOM_MESH:
        mesh = int(model.geom_dataid[geom])
        first = int(model.mesh_vertadr[mesh])
        return np.array(model.mesh_vert[first : first + int(model.mesh_vertnum[mesh])], dtype=np.float64)
    if kind in (kinds.mjGEOM_SPHERE, kinds.mjGEOM_ELLIPSOID):
        return np.multiply(_BALL, size if kind == kinds.mjGEOM_ELLIPSOID else size[0])
    if kind == kinds.mjGEOM_CYLINDER:
        return np.concatenate([_RING * size[0] + (0, 0, end * size[1]) for end in (-1, 1)])
    if kind == kinds.mjGEOM_CAPSULE:
        return np.concatenate([_BALL * size[0] + (0, 0, end * size[1]) for end in (-1, 1)])
    return np.multiply(_CORNERS, size)  # a box; the simulator has no other kind


def _thing(world: World, index: int) -> ThingTruth:
    x_m, y_m = outline(world, index).mean(axis=0)
    return ThingTruth(
        world.room.things[index].shape.name, float(x_m), float(y_m), float(world.surface_distance(index)), facing_rad(world, index)
    )  # fmt: skip
