"""What an operator has to say before a robot that stopped for a fault drives again. Knows nothing about why it stopped."""

from __future__ import annotations

import time

from edge_vla.drive import latched
from edge_vla.errors import GuardError
from edge_vla.guard.client import GuardProcess
from edge_vla.guard.link import Status

PATIENCE_S = 4.0  # a base boots, and two reports confirm that the wheels stand
ASK_S = 0.2


def require_unlatched(guard: GuardProcess, reset: int | None) -> str:
    """Reset the latch `reset`, if that is the one an earlier run of this robot left; what was done, in words. Raises GuardError."""
    status = guard.poll()
    if not latched(status) or status is None:
        return "" if reset is None else f"--reset {reset}: nothing is latched"
    what = f"{status.fault.name.lower()} (fault {status.fault_id})"
    if reset is None:
        raise GuardError(f"this robot stopped for {what} and stays stopped: look at it, then run again with --reset {status.fault_id}")
    if reset != status.fault_id:
        raise GuardError(f"--reset {reset}: the robot stopped for {what}; a reset names that number")
    after = _reset(guard, reset)
    if after is None or latched(after):
        why = "it says nothing" if after is None else after.refusal.name.lower().replace("_", " ")
        raise GuardError(f"--reset {reset}: still stopped for {what}: {why}")
    return f"reset: {what}"


def _reset(guard: GuardProcess, fault_id: int) -> Status | None:
    """Ask until it is granted, or patience ends; the newest status."""
    give_up_s = time.monotonic() + PATIENCE_S
    while latched(status := guard.poll()) and time.monotonic() < give_up_s:
        guard.reset(fault_id)
        guard.wait(ASK_S)
    return status
