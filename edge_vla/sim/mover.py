"""Something that walks: a seeded stroll between free places of a room, for goals that follow. The same live and in lockstep."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_vla.geometry import wrap
from edge_vla.sim.world import World

SPEED_MPS = 0.15
TURN_RADPS = 1.2
GAP_M = 0.08  # kept to things and walls
ROBOT_M = 0.35  # kept to the robot's centre: half its length and a step
SHORTEST_M, LONGEST_M = 0.5, 2.5  # of one leg
PAUSE_S = (0.5, 3.0)
PATIENCE_S = 1.5  # how long it waits for a robot in its way before it goes elsewhere


def make_mover(world: World, thing_index: int, seed: int) -> Callable[[World, float], None]:
    """A mover for one thing of `world`: call it with simulated time, at least every 0.1 s."""
    return Stroll(world, thing_index, seed)


class Stroll:
    """Walks straight to a random free place, pauses, and goes on. Waits for the robot rather than walk into it."""

    def __init__(self, world: World, thing_index: int, seed: int) -> None:
        room = world.room
        thing = room.things[thing_index]
        self._index, self._radius = thing_index, thing.shape.radius
        self._rng = np.random.default_rng([seed, 31])
        self._room_half = np.array(room.size_m) / 2 - self._radius - GAP_M
        others = [placed for k, placed in enumerate(room.things) if k != thing_index]
        self._centres = np.array([(placed.x_m, placed.y_m) for placed in others]).reshape(-1, 2)
        self._reach = np.array([placed.shape.radius for placed in others]) + self._radius + GAP_M
        self._at, self._yaw = np.array((thing.x_m, thing.y_m)), thing.yaw_rad
        self._goal: NDArray[np.float64] | None = None
        self._t_s: float | None = None
        self._rest_s = 0.0
        self._blocked_s = 0.0

    def __call__(self, world: World, t_s: float) -> None:
        """Move on to simulated time `t_s`."""
        dt_s, self._t_s = t_s - (t_s if self._t_s is None else self._t_s), t_s
        if self._rest_s > 0:
            self._rest_s -= dt_s
        elif self._goal is None:
            self._choose(world)
        else:
            self._walk(world, self._goal, dt_s)
        world.move_thing(self._index, float(self._at[0]), float(self._at[1]), self._yaw)

    def _walk(self, world: World, goal: NDArray[np.float64], dt_s: float) -> None:
        way = goal - self._at
        left_m = float(np.hypot(*way))
        turn = wrap(math.atan2(way[1], way[0]) - self._yaw)
        self._yaw += math.copysign(min(abs(turn), TURN_RADPS * dt_s), turn)
        if abs(turn) > 0.5:
            return  # turns on the spot first
        step = way * min(1.0, SPEED_MPS * dt_s / max(left_m, 1e-6))
        if self._meets_robot(world, step):
            self._blocked_s += dt_s
            if self._blocked_s > PATIENCE_S:
                self._choose(world)
            return
        self._blocked_s = 0.0
        self._at = self._at + step
        if left_m < 0.01:
            self._goal, self._rest_s = None, float(self._rng.uniform(*PAUSE_S))

    def _meets_robot(self, world: World, step: NDArray[np.float64]) -> bool:
        """The step leads closer to a robot that is close already."""
        pose = world.pose()
        robot = np.array((pose.x_m, pose.y_m))
        after_m, before_m = np.hypot(*(self._at + step - robot)), np.hypot(*(self._at - robot))
        return bool(after_m < self._radius + ROBOT_M and after_m < before_m)

    def _choose(self, world: World) -> None:
        """Another place with a clear straight way to it; none, and it rests a while."""
        self._goal, self._blocked_s = None, 0.0
        for _ in range(40):
            heading, away_m = self._rng.uniform(-np.pi, np.pi), self._rng.uniform(SHORTEST_M, LONGEST_M)
            place = self._at + away_m * np.array((np.cos(heading), np.sin(heading)))
            if self._free(place, world):
                self._goal = place
                return
        self._rest_s = float(self._rng.uniform(*PAUSE_S))

    def _free(self, place: NDArray[np.float64], world: World) -> bool:
        """The straight way to `place` comes within reach of nothing, the robot included; away from what is too near already is free."""
        if np.any(np.abs(place) > self._room_half):
            return False
        pose = world.pose()
        centres = np.vstack((self._centres, (pose.x_m, pose.y_m)))
        reach = np.append(self._reach, self._radius + ROBOT_M)
        way, to_centres = place - self._at, centres - self._at
        reach = np.minimum(reach, np.hypot(*to_centres.T) - 1e-6)
        share = np.clip(to_centres @ way / (way @ way), 0.0, 1.0)
        return bool(np.all(np.hypot(*(to_centres - share[:, None] * way).T) > reach))
