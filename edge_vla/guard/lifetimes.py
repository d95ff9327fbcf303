"""The three lifetimes of a command: its own, its evidence's, its motion budget's. None can be renewed by sending the command again."""

from __future__ import annotations

import math
from enum import Enum

from edge_vla.guard.limits import Limits
from edge_vla.guard.link import Command, Count, Refused
from edge_vla.guard.odometry import Odometry, PoseHistory
from edge_vla.guard.ramp import stopping_distance
from edge_vla.guard.types import STILL, Twist

TTL_CEILING_MS = 500
EVIDENCE_CEILING_NS = 5_000_000_000  # DESIGN §4
FUTURE_NS = 5_000_000  # the worker may read its clock this much after the guard's tick began
# The longest thing anybody can be asked to do is one whole turn, or five metres (edge_vla/parse/command.py): no look backs more than that.
TURN_BUDGET_RAD = 2.0 * math.pi
TRAVEL_BUDGET_M = 5.0


class Expiry(Enum):
    """What has run out, if anything."""

    NOTHING = "nothing"
    TTL = "ttl"
    EVIDENCE = "evidence"
    BUDGET = "budget"


class Lifetimes:
    """The newest command and what the evidence behind it still allows."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.command: Command | None = None
        self.held = False  # this evidence's budget is used up
        self._t_capture_ns = 0
        self._deadline_ns = 0
        self._max_turn_rad = 0.0
        self._max_travel_m = 0.0

    def check(self, command: Command, now_ns: int) -> None:
        """Raise Refused for lifetimes that are over, in the future, too long, or older than what was already seen."""
        if not 1 <= command.ttl_ms <= TTL_CEILING_MS or command.t_issue_ns > now_ns + FUTURE_NS:
            raise Refused(Count.REJECT_LIFETIME, f"ttl {command.ttl_ms} ms issued {command.t_issue_ns - now_ns} ns from now")
        if now_ns > _expires_ns(command):
            raise Refused(Count.REJECT_LIFETIME, f"expired {now_ns - _expires_ns(command)} ns ago")
        if command.twist != STILL:
            self._check_evidence(command, now_ns)

    def _check_evidence(self, command: Command, now_ns: int) -> None:
        capture, deadline = command.t_capture_ns, command.evidence_deadline_ns
        if not 0 < capture <= min(now_ns, command.t_issue_ns):
            raise Refused(Count.REJECT_EVIDENCE, f"t_capture {capture - now_ns} ns from now: want a frame of the past")
        if capture < self._t_capture_ns:
            raise Refused(Count.REJECT_EVIDENCE, f"t_capture went back {self._t_capture_ns - capture} ns")
        if deadline - capture > EVIDENCE_CEILING_NS or deadline < now_ns:
            raise Refused(Count.REJECT_EVIDENCE, f"deadline {deadline - capture} ns after capture, {deadline - now_ns} ns from now")
        if not (0.0 <= command.max_turn_rad <= TURN_BUDGET_RAD and 0.0 <= command.max_travel_m <= TRAVEL_BUDGET_M):
            asked = f"budget {command.max_turn_rad} rad, {command.max_travel_m} m"
            raise Refused(Count.REJECT_RANGE, f"{asked}: want 0 to {TURN_BUDGET_RAD:.4f} rad and 0 to {TRAVEL_BUDGET_M} m")

    def adopt(self, command: Command) -> bool:
        """Make a checked command the current one. True when it asked for more than its evidence had been given before: it gets no more."""
        self.command = command
        if command.twist == STILL:
            return False
        if command.t_capture_ns > self._t_capture_ns:
            self._t_capture_ns, self._deadline_ns = command.t_capture_ns, command.evidence_deadline_ns
            self._max_turn_rad, self._max_travel_m = command.max_turn_rad, command.max_travel_m
            self.held = False
            return False
        asked = (command.evidence_deadline_ns, command.max_turn_rad, command.max_travel_m)
        had = (self._deadline_ns, self._max_turn_rad, self._max_travel_m)
        self._deadline_ns = min(asked[0], had[0])
        self._max_turn_rad, self._max_travel_m = min(asked[1], had[1]), min(asked[2], had[2])
        return any(a > h for a, h in zip(asked, had, strict=True))

    def drop(self) -> None:
        """Forget the command; what its evidence has used up stays used up."""
        self.command = None

    def fresh(self, now_ns: int) -> bool:
        """Somebody is talking, and what they ask for is still backed by evidence."""
        command = self.command
        return command is not None and self._outlived(command, now_ns) is Expiry.NOTHING

    def expiry(self, now_ns: int, applied: Twist, odometry: Odometry) -> Expiry:
        """What stops the current command now. A zero command, or none, has nothing that could run out."""
        command = self.command
        if command is None or command.twist == STILL:
            return Expiry.NOTHING
        outlived = self._outlived(command, now_ns)
        if outlived is not Expiry.NOTHING:
            return outlived
        self.held = self.held or self._used_up(now_ns, command.twist, applied, odometry)
        return Expiry.BUDGET if self.held else Expiry.NOTHING

    def _outlived(self, command: Command, now_ns: int) -> Expiry:
        if command.twist != STILL and now_ns > self._deadline_ns:
            return Expiry.EVIDENCE
        return Expiry.TTL if now_ns > _expires_ns(command) else Expiry.NOTHING

    def _used_up(self, now_ns: int, wanted: Twist, applied: Twist, odometry: Odometry) -> bool:
        """Counts what braking will still use, so that a budget bounds where the robot ends, not where it starts to brake."""
        limits, measured = self._limits, odometry.measured or STILL
        turn_rad, travel_m = odometry.poses.since(self._t_capture_ns, now_ns)
        turn_rad += stopping_distance(measured.angular_z, applied.angular_z, limits.dec_radps2, limits.reaction_s)
        travel_m += stopping_distance(_speed_mps(measured), _speed_mps(applied), limits.dec_mps2, limits.reaction_s)
        turning, travelling = wanted.angular_z != 0.0, _speed_mps(wanted) != 0.0
        # not below rather than at least: a nan has used it up
        return (turning and not turn_rad < self._max_turn_rad) or (travelling and not travel_m < self._max_travel_m)

    def clear_ahead_m(self, now_ns: int, poses: PoseHistory) -> float | None:
        """Of the clear distance the evidence saw, what has not been driven since; None when it saw none."""
        if self.command is None or self.command.clear_m is None:
            return None
        return self.command.clear_m - poses.since(self._t_capture_ns, now_ns)[1]


def check_numbers(command: Command) -> None:
    """Raise Refused unless budgets and clear distance are finite; the velocities are judged with the limits."""
    numbers = (command.max_turn_rad, command.max_travel_m, command.clear_m if command.clear_m is not None else 0.0)
    if not all(math.isfinite(number) for number in numbers):
        raise Refused(Count.REJECT_NOT_FINITE, f"budget or clear distance {numbers} is not finite")


def _speed_mps(twist: Twist) -> float:
    return math.hypot(twist.linear_x, twist.linear_y)


def _expires_ns(command: Command) -> int:
    return command.t_issue_ns + command.ttl_ms * 1_000_000
