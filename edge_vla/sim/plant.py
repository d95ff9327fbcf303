"""Wheels, encoders and gyro between a simulated firmware and the MuJoCo world."""

from __future__ import annotations

import math

import numpy as np

from edge_vla.sim.world import World

MOTOR_TAU_S = 0.15  # first-order speed loop of a small geared motor


class MotorWheels:
    """The firmware's wheels: speed targets through a motor's lag onto MuJoCo's actuators."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._target = np.zeros(2)
        self._driven = np.zeros(2)

    def set_target(self, left_mps: float, right_mps: float) -> None:
        self._target[:] = left_mps, right_mps

    def speeds(self) -> tuple[float, float]:
        """True surface speeds (left, right) in m/s."""
        return self._world.wheel_speeds()

    def advance(self, dt_s: float) -> None:
        """Let the motors follow for `dt_s`, then the world."""
        self._driven += (1 - math.exp(-dt_s / MOTOR_TAU_S)) * (self._target - self._driven)
        self._world.set_wheels(float(self._driven[0]), float(self._driven[1]))
        self._world.step(dt_s)


class Sensors:
    """Encoder scale error and noise, gyro bias and noise; seeded."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._rng = np.random.default_rng([seed, 23])
        self._scale = 1 + self._rng.normal(0, 0.01, 2)
        self._bias = float(self._rng.normal(0, 0.002))

    def encoders(self) -> tuple[float, float]:
        """Measured surface speeds (left, right) in m/s."""
        noise = self._rng.normal(0, 0.002, 2)
        left, right = np.array(self._world.wheel_speeds()) * self._scale
        return float(left + noise[0] * (abs(left) > 0.005)), float(right + noise[1] * (abs(right) > 0.005))

    def gyro(self) -> float:
        """Measured turn rate, rad/s."""
        return self._world.turn_rate() + self._bias + float(self._rng.normal(0, 0.005))
