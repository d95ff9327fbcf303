"""Drives a base through its guard without a camera: the operator has looked, and every command says how far it may still go."""

from __future__ import annotations

import math

from calib.rig import Rig
from edge_vla.errors import GuardError
from edge_vla.guard.client import Evidence
from edge_vla.guard.lifetimes import TRAVEL_BUDGET_M, TURN_BUDGET_RAD
from edge_vla.guard.link import Status
from edge_vla.guard.state import LATCHED, GuardState, StopCause
from edge_vla.guard.types import STILL, Pose, Twist

READY_NS = 10_000_000_000  # from the first word of the guard to an armed base
ASK_NS = 200_000_000  # between two requests to arm
STAND_NS = 5_000_000_000
FRESH_NS = 200_000_000  # a status older than this waited while a person was asked
LIFE_NS = 300_000_000  # of what a command rests on: silence stops the base
SPARE_NS = 5_000_000_000  # on top of half as long again as a manoeuvre should take


class Driver:
    """One manoeuvre after the other. Between them the base is disarmed."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    def arm(self) -> Pose:
        """Wait for a base that answers and stands, and arm it: where it stands. Raises GuardError."""
        until_ns, ask_ns = self._rig.now_ns() + READY_NS, 0
        while True:
            status = self._heard()
            if status is not None and status.state is GuardState.ARMED_IDLE and self._rig.guard.poses.newest is not None:
                return self._rig.guard.poses.newest
            if status is not None and status.state is GuardState.DISARMED and self._rig.now_ns() >= ask_ns:
                self._rig.guard.arm()
                ask_ns = self._rig.now_ns() + ASK_NS
            if self._rig.now_ns() > until_ns:
                raise GuardError(f"the base was not ready within {READY_NS / 1e9:.0f} s: {_told(status)}")

    def tick(self, twist: Twist, travel_m: float = 0.0, turn_rad: float = 0.0) -> Status | None:
        """Ask once, with what may still be driven and turned; the newest status. Raises GuardError once the guard has stopped the base."""
        now_ns = self._rig.now_ns()
        budget = min(max(turn_rad, 0.0), TURN_BUDGET_RAD), min(max(travel_m, 0.0), TRAVEL_BUDGET_M)
        self._rig.guard.send(twist, None if twist == STILL else Evidence(now_ns, now_ns + LIFE_NS, *budget))
        status = self._heard()
        if status is not None and (status.state is GuardState.SOFT_STOP or status.state is GuardState.DISARMED):
            raise GuardError(f"the guard stopped the base: {_told(status)}")
        return status

    def go(self, twist: Twist, *, travel_m: float = 0.0, turn_rad: float = 0.0) -> tuple[Pose, Pose]:
        """Straight for `travel_m`, or on the spot for `turn_rad`: where the odometry was before, and after the wheels stand.

        Raises GuardError for a manoeuvre that takes half as long again as it should: a wheel may be stuck.
        """
        start = self.arm()
        should_s = travel_m / abs(twist.linear_x) if travel_m else turn_rad / abs(twist.angular_z)
        until_ns = self._rig.now_ns() + round(1.5 * should_s * 1e9) + SPARE_NS
        free = False  # of the hold that the manoeuvre before ended in
        while True:
            here = self._rig.guard.poses.newest or start
            driven_m, turned_rad = math.hypot(here.x_m - start.x_m, here.y_m - start.y_m), abs(here.yaw_rad - start.yaw_rad)
            left_m, left_rad = travel_m - driven_m, turn_rad - turned_rad
            if (left_m if travel_m else left_rad) <= 0.0:
                break
            status = self.tick(twist, left_m, left_rad)
            if status is not None and status.held and free:  # the guard has counted the braking in
                break
            free = free or (status is not None and not status.held)
            if self._rig.now_ns() > until_ns:
                driven = f"{driven_m:.2f} m and {math.degrees(turned_rad):.0f} degrees"
                raise GuardError(f"{driven} in half as long again as it should take: is a wheel stuck?")
        self.stand()
        return start, self._rig.guard.poses.newest or start

    def stand(self) -> None:
        """Stop, wait until the wheels stand, disarm. Raises GuardError when they do not."""
        until_ns = self._rig.now_ns() + STAND_NS
        status = self.tick(STILL)
        while status is None or not status.still or status.applied != STILL:
            if self._rig.now_ns() > until_ns:
                raise GuardError(f"the wheels did not stand within {STAND_NS / 1e9:.0f} s: {_told(status)}")
            status = self.tick(STILL)
        self._rig.guard.disarm()
        while status is None or status.state is not GuardState.DISARMED:  # what is asked for next must not be taken for armed still
            status = self._heard()
            if self._rig.now_ns() > until_ns:
                raise GuardError(f"the guard did not disarm: {_told(status)}")

    def _heard(self) -> Status | None:
        """The newest status, None while it is old. Raises GuardError for a latch."""
        self._rig.wait()
        status = self._rig.guard.poll()
        if status is None or self._rig.now_ns() - status.t_ns > FRESH_NS:
            return None
        if status.state in LATCHED:
            raise GuardError(f"the guard latched a fault: {_told(status)}")
        return status


def _told(status: Status | None) -> str:
    if status is None:
        return "it said nothing"
    cause = f", {status.cause.name.lower()}" if status.cause is not StopCause.NONE else ""
    return f"{status.state.name.lower()}, fault {status.fault.name.lower()}, refused {status.refusal.name.lower()}{cause}"
