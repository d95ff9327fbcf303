"""Wheel speeds to poses, and poses to answers about a moment. The worker uses the same PoseHistory. Knows nothing about slip."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import replace

from edge_vla.errors import GuardError
from edge_vla.guard.types import STILL, BaseTraits, Feedback, Pose, Speeds, Twist

CAPACITY = 512  # poses: 25 s at 20 Hz, five times the longest evidence
FINE_M = 0.002  # counters at least as fine as that are integrated instead of speeds
EXTRAPOLATE_NS = 100_000_000  # beyond the newest pose the last twist is believed this long, two periods of a 20 Hz base


class PoseHistory:
    """Poses in time order with the turn and travel summed along the way. Answers between them by interpolation."""

    def __init__(self) -> None:
        self._times: list[int] = []
        self._poses: list[Pose] = []
        self._sums: list[tuple[float, float]] = []  # (turn_rad, travel_m) up to each pose
        self._forgot = False

    @property
    def newest(self) -> Pose | None:
        return self._poses[-1] if self._poses else None

    def recent(self, count: int) -> tuple[Pose, ...]:
        """The newest `count` poses, oldest first."""
        return tuple(self._poses[-count:])

    def add(self, pose: Pose) -> bool:
        """Append a pose; one that is not newer than the newest is dropped and False comes back."""
        turn_rad = travel_m = 0.0
        if self._poses:
            last = self._poses[-1]
            if pose.t_ns <= last.t_ns:
                return False
            turn_rad = self._sums[-1][0] + abs(pose.yaw_rad - last.yaw_rad)
            travel_m = self._sums[-1][1] + math.hypot(pose.x_m - last.x_m, pose.y_m - last.y_m)
        self._times.append(pose.t_ns)
        self._poses.append(pose)
        self._sums.append((turn_rad, travel_m))
        if len(self._poses) > 2 * CAPACITY:
            del self._times[:CAPACITY], self._poses[:CAPACITY], self._sums[:CAPACITY]
            self._forgot = True
        return True

    def at(self, t_ns: int) -> Pose:
        """The pose at `t_ns`. Raises GuardError before any odometry or for a moment already forgotten."""
        if not self._poses or (t_ns < self._times[0] and self._forgot):
            raise GuardError(f"no odometry for t={t_ns} ns; it is known from {self._times[0] if self._times else None} ns on")
        if t_ns <= self._times[0] or len(self._poses) == 1:
            return replace(self._poses[0], t_ns=t_ns)
        index, share = self._place(t_ns)
        before, after = self._poses[index], self._poses[index + 1]
        x_m, y_m = _mix(before.x_m, after.x_m, share), _mix(before.y_m, after.y_m, share)
        return Pose(t_ns, x_m, y_m, _mix(before.yaw_rad, after.yaw_rad, share))

    def since(self, t_ns: int, until_ns: int | None = None) -> tuple[float, float]:
        """(turn_rad, travel_m) driven since `t_ns`, every back and forth counted; infinite for a moment already forgotten."""
        if not self._poses:
            return 0.0, 0.0
        if t_ns < self._times[0] and self._forgot:
            return math.inf, math.inf
        first, last = self._sum_at(t_ns), self._sum_at(self._times[-1] if until_ns is None else until_ns)
        return max(0.0, last[0] - first[0]), max(0.0, last[1] - first[1])

    def _sum_at(self, t_ns: int) -> tuple[float, float]:
        if t_ns <= self._times[0] or len(self._poses) == 1:
            return self._sums[0]
        index, share = self._place(t_ns)
        before, after = self._sums[index], self._sums[index + 1]
        return _mix(before[0], after[0], share), _mix(before[1], after[1], share)

    def _place(self, t_ns: int) -> tuple[int, float]:
        """The interval that answers for `t_ns` and where in it: above 1 when the newest interval is carried on."""
        index = min(bisect_right(self._times, t_ns), len(self._times) - 1) - 1
        start, end = self._times[index], self._times[index + 1]
        return index, (min(t_ns, end + EXTRAPOLATE_NS) - start) / (end - start)


def _mix(before: float, after: float, share: float) -> float:
    return before + share * (after - before)


class Odometry:
    """Integrates a base's reports into `poses`: its counters where they are fine, else its speeds; with `use_gyro` its turn rate."""

    def __init__(self, traits: BaseTraits, *, use_gyro: bool = False) -> None:
        self.poses = PoseHistory()
        self.measured: Twist | None = None
        self._drive = traits.drive
        self._fine = traits.travel_quantum_m is not None and traits.travel_quantum_m <= FINE_M
        self._use_gyro = use_gyro
        self._travel_m: Speeds | None = None  # of the last report that said it

    def hear(self, feedback: Feedback) -> None:
        """Take one report; without wheel speeds there is nothing to integrate."""
        if feedback.rebooted:
            self._travel_m = None  # its counters start anew
        if feedback.wheels_mps is None:
            return
        twist = self._drive.twist(feedback.wheels_mps)
        if self._use_gyro and feedback.gyro_z_radps is not None:
            twist = replace(twist, angular_z=feedback.gyro_z_radps)
        last = self.poses.newest
        if last is None:
            self.poses.add(Pose(feedback.t_ns, 0.0, 0.0, 0.0))
        elif not self.poses.add(_moved(last, self._step(feedback, last, twist), feedback.t_ns)):
            return
        self.measured, self._travel_m = twist, feedback.travel_m

    def _step(self, feedback: Feedback, last: Pose, twist: Twist) -> Twist:
        """What has been driven since `last`, in m and rad along its own axes."""
        dt_s = (feedback.t_ns - last.t_ns) * 1e-9
        before = self.measured or STILL
        driven = Twist(*((a + b) / 2.0 * dt_s for a, b in zip(_axes(before), _axes(twist), strict=True)))  # trapezoid
        if not self._fine or feedback.travel_m is None or self._travel_m is None:
            return driven
        counted = self._drive.twist(tuple(now - then for now, then in zip(feedback.travel_m, self._travel_m, strict=True)))
        gyro = self._use_gyro and feedback.gyro_z_radps is not None
        return replace(counted, angular_z=driven.angular_z) if gyro else counted


def _axes(twist: Twist) -> tuple[float, float, float]:
    return twist.linear_x, twist.linear_y, twist.angular_z


def _moved(pose: Pose, step: Twist, t_ns: int) -> Pose:
    """Midpoint in heading: second order, so a 20 Hz base still closes its circles."""
    heading = pose.yaw_rad + step.angular_z / 2.0
    along, across = math.cos(heading), math.sin(heading)
    x_m, y_m = step.linear_x * along - step.linear_y * across, step.linear_x * across + step.linear_y * along
    return Pose(t_ns, pose.x_m + x_m, pose.y_m + y_m, pose.yaw_rad + step.angular_z)
