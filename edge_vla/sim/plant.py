"""Wheels, encoders and gyro between a simulated firmware and the MuJoCo world. The robot there has two wheels, whatever the base has."""

from __future__ import annotations

import math

import numpy as np

from edge_vla.guard.types import Drive, Speeds
from edge_vla.guard.wheels import Differential
from edge_vla.sim.world import World

MOTOR_TAU_S = 0.15  # first-order speed loop of a small geared motor


def track_of(drive: Drive, otherwise_m: float) -> float:
    """The simulated robot's track, m: the base's own where it has one."""
    return drive.track_m if isinstance(drive, Differential) else otherwise_m


class MotorWheels:
    """The firmware's wheels: speed targets through a motor's lag onto MuJoCo's actuators."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._target = np.zeros(2)
        self._driven = np.zeros(2)

    def set_target(self, *targets_mps: float) -> None:
        self._target[:] = targets_mps

    def speeds(self) -> Speeds:
        """True surface speeds (left, right) in m/s."""
        return self._world.wheel_speeds()

    def advance(self, dt_s: float) -> None:
        """Let the motors follow for `dt_s`, then the world."""
        self._driven += (1 - math.exp(-dt_s / MOTOR_TAU_S)) * (self._target - self._driven)
        self._world.set_wheels(float(self._driven[0]), float(self._driven[1]))
        self._world.step(dt_s)


class Fitted:
    """A base's own wheels on the simulated robot's two: through the motion of the body, of which sideways is left out."""

    def __init__(self, drive: Drive, wheels: MotorWheels, own: Differential) -> None:
        self._drive, self._wheels, self._own = drive, wheels, own

    def set_target(self, *targets_mps: float) -> None:
        self._wheels.set_target(*self._own.wheels(self._drive.twist(targets_mps)))

    def speeds(self) -> Speeds:
        return self.as_told(self._wheels.speeds())

    def as_told(self, wheels_mps: Speeds) -> Speeds:
        """What the simulated robot's two wheels would be on the base."""
        return self._drive.wheels(self._own.twist(wheels_mps))


class Sensors:
    """Encoder scale error and noise, gyro bias and noise; seeded."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._rng = np.random.default_rng([seed, 23])
        self._scale = 1 + self._rng.normal(0, 0.01, 2)
        self._bias = float(self._rng.normal(0, 0.002))

    def encoders(self) -> Speeds:
        """Measured surface speeds (left, right) in m/s."""
        noise = self._rng.normal(0, 0.002, 2)
        left, right = np.array(self._world.wheel_speeds()) * self._scale
        return float(left + noise[0] * (abs(left) > 0.005)), float(right + noise[1] * (abs(right) > 0.005))

    def gyro(self) -> float:
        """Measured turn rate, rad/s."""
        return self._world.turn_rate() + self._bias + float(self._rng.normal(0, 0.005))
