"""A base behind its guard, and the clock it is driven by: a profile's robot, or a firmware simulator where the profile is simulated."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from edge_vla.config import RobotProfile
from edge_vla.errors import BaseError, GuardError
from edge_vla.guard.client import GuardClient, GuardProcess
from edge_vla.guard.settings import GuardSettings
from edge_vla.robot import guard_limits

PERIOD_NS = 10_000_000  # half a guard tick: every status is seen


class Rig(Protocol):
    """What a manoeuvre is driven with."""

    @property
    def guard(self) -> GuardClient: ...

    def now_ns(self) -> int: ...

    def wait(self) -> None:
        """Until the guard may have something new to say."""
        ...


class LiveRig:
    """A guard process on the host's clock."""

    def __init__(self, guard: GuardProcess) -> None:
        self.guard: GuardClient = guard
        self._due_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wait(self) -> None:
        now_ns = time.monotonic_ns()
        self._due_ns = max(self._due_ns + PERIOD_NS, now_ns)
        time.sleep((self._due_ns - now_ns) * 1e-9)


@contextmanager
def open_rig(profile: RobotProfile) -> Iterator[Rig]:
    """Start the guard; leaving stops the base. Raises GuardError when the guard refuses, or saw the wheels still turn at its end."""
    base = profile.base
    with _port(profile) as port:
        settings = GuardSettings(
            base=base.kind, port=port, baud=base.baud, limits=guard_limits(profile),
            base_options=base.codec,
            use_gyro=False,  # it is the wheels' own turn that is measured
        )  # fmt: skip
        with GuardProcess.start(settings) as guard:
            yield LiveRig(guard)
        if not guard.confirmed_still:
            raise GuardError("the wheels did not confirm zero at the end")


@contextmanager
def _port(profile: RobotProfile) -> Iterator[str]:
    """The base's device; for a simulated robot a firmware simulator's, on a floor without end."""
    if not profile.simulated:
        yield profile.base.port
        return
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "edge_vla.sim.firmware", "--log", str(Path(folder) / "wheels.jsonl"), "--baud", str(profile.base.baud)]
        with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True, start_new_session=True) as firmware:
            try:
                path = firmware.stdout.readline().strip() if firmware.stdout is not None else ""
                if not path:
                    raise BaseError(f"the firmware simulator ended with exit code {firmware.wait()}")
                yield path
            finally:
                firmware.terminate()
