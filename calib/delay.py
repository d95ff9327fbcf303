"""`python -m calib delay`: how long the wheels take to obey, from steps of speed.

python -m calib delay --robot launch/robot.toml --out launch/delay.toml
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from calib import toml
from calib.consent import ask_to_move
from calib.driver import Driver
from calib.header import header
from calib.response import Response, fit
from calib.rig import Rig, open_rig
from edge_vla.arguments import Arguments
from edge_vla.calibration import DelayCalibration, checked
from edge_vla.config import RobotProfile, load_profile
from edge_vla.errors import ConfigError
from edge_vla.guard.types import STILL, Twist

# Seconds of driving and of rest, in turn: no two alike and none a multiple of a report's 50 ms, so that every phase of it is met.
DRIVE_S = (0.83, 1.07, 0.71, 0.94)
REST_S = (0.77, 0.59, 0.89, 0.68)
SPARE_M = 0.05  # of a step's budget
STEPS = (4, 40)


class Steps:
    """Forth and back from where the base stands. `asked` and `measured` are m/s with the moments they are of."""

    def __init__(self, rig: Rig, speed_mps: float) -> None:
        self.asked: list[tuple[int, float]] = []
        self.measured: list[tuple[int, float]] = []
        self._rig, self._speed_mps = rig, speed_mps
        self._driver = Driver(rig)

    def run(self, steps: int) -> None:
        """Raises GuardError when the guard stops the base."""
        self._driver.arm()
        for k in range(steps):
            speed = self._speed_mps * (1 if k % 2 == 0 else -1)
            self._hold(Twist(speed), DRIVE_S[k // 2 % len(DRIVE_S)])  # as long back as forth
            self._hold(STILL, REST_S[k % len(REST_S)])
        self._driver.stand()

    def _hold(self, twist: Twist, seconds: float) -> None:
        start_ns = self._rig.now_ns()
        while (passed_s := (self._rig.now_ns() - start_ns) * 1e-9) < seconds:
            status = self._driver.tick(twist, abs(twist.linear_x) * (seconds - passed_s) + SPARE_M)
            if status is not None and status.measured is not None and status.poses:
                _append(self.asked, status.t_ns, status.applied.linear_x)
                _append(self.measured, status.poses[-1].t_ns, status.measured.linear_x)  # a pose is as old as the report it is made of


def _append(signal: list[tuple[int, float]], t_ns: int, value: float) -> None:
    if not signal or t_ns > signal[-1][0]:
        signal.append((t_ns, value))


def main(words: list[str], open_: Callable[[RobotProfile], AbstractContextManager[Rig]] = open_rig) -> None:
    """Raises ConfigError for wheels that do not follow, GuardError when the guard stops the base."""
    cli = Arguments("python -m calib delay", "From a command to the wheels.", "See docs/calibration.md.")
    cli.add_argument("--robot", type=Path, required=True, help="a robot profile: drives it a hand's breadth forth and back")
    cli.add_argument("--steps", type=int, default=12)
    cli.add_argument("--yes", action="store_true", help="do not ask before it moves")
    cli.add_argument("--out", type=Path, required=True, help="the file a profile's base.delay names")
    args = cli.parse_args(words)
    if not STEPS[0] <= args.steps <= STEPS[1] or args.steps % 2:
        raise ConfigError(f"--steps {args.steps}: want an even number from {STEPS[0]} to {STEPS[1]}")
    profile = load_profile(args.robot)
    speed = min(profile.limits.blind_linear_mps, profile.limits.max_linear_mps)
    ask_to_move(_told(profile, args.steps, speed), yes=args.yes)
    with open_(profile) as rig:
        steps = Steps(rig, speed)
        steps.run(args.steps)
    found = fit(steps.asked, steps.measured)
    document = describe(found, args.out, simulated=profile.simulated)
    toml.write(args.out, document)
    print(
        f"{args.out}: {found.delay_s * 1e3:.0f} ms dead time, then {found.tau_s * 1e3:.0f} ms to 63 % of a step "
        f"({found.samples} reports, {found.explained:.1%} explained)"
    )


def describe(found: Response, out: Path, *, simulated: bool) -> dict[str, Any]:
    """`delay.toml`. Raises ConfigError for figures it cannot hold."""
    figures = {
        "simulated": simulated, "delay_s": found.delay_s, "tau_s": found.tau_s, "reaction_s": round(found.delay_s + found.tau_s, 4),
        "gain": round(found.gain, 4), "explained": round(found.explained, 5), "samples": found.samples,
    }  # fmt: skip
    document = header("delay") | figures
    checked(out, document, DelayCalibration)
    return document


def _told(profile: RobotProfile, steps: int, speed: float) -> str:
    port = "SIMULATED, no robot moves" if profile.simulated else profile.base.port
    seconds = steps * (sum(DRIVE_S) + sum(REST_S)) / len(DRIVE_S)
    return (
        f"{profile.robot.name} ({port}) will JERK forth and back {steps} times, up to {speed * max(DRIVE_S):.2f} m at {speed} m/s "
        f"({seconds:.0f} s).\nIt does not look where it goes. Clear 0.5 m before and behind it, keep a hand on its switch; Ctrl-C stops it."
    )
