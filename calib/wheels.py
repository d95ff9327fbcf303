"""`python -m calib wheels`: scale and track of the wheels, from a measured drive or from the numbers of one.

python -m calib wheels --robot launch/robot.toml --distance-m 2 --turns 3 --out launch/wheels.toml
python -m calib wheels --track-m 0.172 --odometry-distance-m 2.01 --measured-distance-m 1.96 \
    --odometry-turn-deg 1083 --measured-turn-deg 1062 --out launch/wheels.toml
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib import toml
from calib.consent import ask_number, ask_to_move
from calib.driver import Driver
from calib.header import header
from calib.rig import Rig, open_rig
from edge_vla.arguments import Arguments
from edge_vla.calibration import WheelsCalibration, checked
from edge_vla.config import RobotProfile, load_profile
from edge_vla.errors import ConfigError
from edge_vla.guard.types import Twist

TURN_RPS = 0.5  # slow enough not to slip on a hard floor
LEAST_M, MOST_M = 0.5, 10.0  # a tape errs by 5 mm
MOST_TURNS = 20
SLACK = 0.6  # a drive may end this much short of what was asked, or beyond: the wheels are what is measured
NUMBERS = ("odometry_distance_m", "measured_distance_m", "odometry_turn_deg", "measured_turn_deg")


@dataclass(frozen=True, slots=True)
class Drive:
    """What odometry and tape said about the same drive; left turns are positive. `track_m` is what the odometry was told."""

    track_m: float
    odometry_distance_m: float
    measured_distance_m: float
    odometry_turn_deg: float
    measured_turn_deg: float
    simulated: bool = False

    def __post_init__(self) -> None:
        for name in ("odometry_distance_m", "measured_distance_m"):
            if not SLACK * LEAST_M <= getattr(self, name) <= MOST_M / SLACK:
                raise ConfigError(f"{name} = {getattr(self, name)}: want {SLACK * LEAST_M:.2f} to {MOST_M / SLACK:.2f}")
        for name in ("odometry_turn_deg", "measured_turn_deg"):
            if not SLACK * 360 <= abs(getattr(self, name)) <= 360 * MOST_TURNS / SLACK:
                most = 360 * MOST_TURNS / SLACK
                raise ConfigError(f"{name} = {getattr(self, name)}: want {SLACK * 360:.0f} to {most:.0f} either way, whole turns counted")
        if self.odometry_turn_deg * self.measured_turn_deg < 0:
            raise ConfigError(f"odometry turned {self.odometry_turn_deg} and the robot {self.measured_turn_deg} degrees: left is positive")
        if not 0.5 <= self.odometry_turn_deg / self.measured_turn_deg <= 2.0:
            told = f"odometry turned {self.odometry_turn_deg} and the robot {self.measured_turn_deg} degrees"
            raise ConfigError(f"{told}: want no more than twice one for the other; are the whole turns counted?")

    def document(self, out: Path) -> dict[str, Any]:
        """`wheels.toml`. Raises ConfigError for a scale or track that no wheel has."""
        figures = {
            "simulated": self.simulated, "drive_track_m": self.track_m,
            **{name: round(float(getattr(self, name)), 4) for name in NUMBERS},
            "scale": round(self.measured_distance_m / self.odometry_distance_m, 5),
            "track_m": round(self.track_m * self.odometry_turn_deg / self.measured_turn_deg, 5),
        }  # fmt: skip
        document = header("wheels") | figures
        checked(out, document, WheelsCalibration)
        return document


def main(words: list[str], open_: Callable[[RobotProfile], AbstractContextManager[Rig]] = open_rig) -> None:
    """Raises ConfigError for numbers that cannot be, GuardError when the guard stops the drive."""
    cli = Arguments("python -m calib wheels", "Scale and track from a measured drive.", "See docs/calibration.md for how to measure.")
    cli.add_argument("--robot", type=Path, help="a robot profile: drives it, straight ahead and then on the spot")
    cli.add_argument("--distance-m", type=float, default=2.0, help="with --robot: straight ahead")
    cli.add_argument("--turns", type=int, default=3, help="with --robot: on the spot, negative to the right")
    cli.add_argument("--yes", action="store_true", help="with --robot: do not ask before it moves")
    cli.add_argument("--track-m", type=float, help="without --robot: what the odometry was told")
    for name in NUMBERS:
        cli.add_argument(f"--{name.replace('_', '-')}", type=float)
    cli.add_argument("--out", type=Path, required=True, help="the file a profile's base.wheels names")
    args = cli.parse_args(words)
    drive = _drive(args, open_) if args.robot else _from_numbers(args)
    document = drive.document(args.out)
    toml.write(args.out, document)
    print(f"{args.out}: scale {document['scale']:.4f}, track {document['track_m']:.4f} m (told {drive.track_m} m)")


def _from_numbers(args: argparse.Namespace) -> Drive:
    missing = [name for name in ("track_m", *NUMBERS) if getattr(args, name) is None]
    if missing:
        raise ConfigError(f"without --robot, want {', '.join('--' + name.replace('_', '-') for name in missing)} too")
    return Drive(args.track_m, *(getattr(args, name) for name in NUMBERS))


def _drive(args: argparse.Namespace, open_: Callable[[RobotProfile], AbstractContextManager[Rig]]) -> Drive:
    """Straight ahead, then on the spot; asks for what was not given."""
    profile = load_profile(args.robot)
    if given := [name for name in ("track_m", "odometry_distance_m", "odometry_turn_deg") if getattr(args, name) is not None]:
        raise ConfigError(f"--{given[0].replace('_', '-')} with --robot: the robot's own odometry says it")
    if not LEAST_M <= args.distance_m <= MOST_M:
        raise ConfigError(f"--distance-m {args.distance_m}: want {LEAST_M} to {MOST_M}")
    if not 1 <= abs(args.turns) <= MOST_TURNS:
        raise ConfigError(f"--turns {args.turns}: want 1 to {MOST_TURNS}, negative to the right")
    track_m = profile.base.track_m
    if track_m is None:
        raise ConfigError(f"base {profile.base.kind!r} has its track in its firmware: nothing here would use what is measured")
    limits = profile.limits
    speed, rate = min(limits.blind_linear_mps, limits.max_linear_mps), min(TURN_RPS, limits.max_angular_rps)
    ask_to_move(_told(profile, args, speed, rate), yes=args.yes)
    with open_(profile) as rig:
        driver = Driver(rig)
        start, end = driver.go(Twist(speed), travel_m=args.distance_m)
        odometry_m = math.hypot(end.x_m - start.x_m, end.y_m - start.y_m)
        print(f"straight: {odometry_m:.3f} m by odometry (--odometry-distance-m)", flush=True)
        measured_m = args.measured_distance_m
        if measured_m is None:
            measured_m = ask_number("Metres on the tape, from where it stood to where it stands", "--measured-distance-m")
            ask_to_move(f"Now {abs(args.turns)} turns on the spot. Mark which way it faces.", yes=args.yes)
        start, end = driver.go(Twist(0.0, 0.0, math.copysign(rate, args.turns)), turn_rad=2 * math.pi * abs(args.turns))
        odometry_deg = math.degrees(end.yaw_rad - start.yaw_rad)
        print(f"on the spot: {odometry_deg:.1f} degrees by odometry (--odometry-turn-deg)", flush=True)
        measured_deg = args.measured_turn_deg
        if measured_deg is None:
            measured_deg = ask_number("Degrees it turned in all, left positive, 360 for each whole turn", "--measured-turn-deg")
    return Drive(track_m, odometry_m, measured_m, odometry_deg, measured_deg, profile.simulated)


def _told(profile: RobotProfile, args: argparse.Namespace, speed: float, rate: float) -> str:
    """What is about to happen, in words that can be checked by looking at the floor."""
    side = "left" if args.turns > 0 else "right"
    port = "SIMULATED, no robot moves" if profile.simulated else profile.base.port
    return (
        f"{profile.robot.name} ({port}) will DRIVE {args.distance_m} m straight ahead at {speed} m/s ({args.distance_m / speed:.0f} s), "
        f"then turn {abs(args.turns)} times {side} on the spot at {rate} rad/s ({2 * math.pi * abs(args.turns) / rate:.0f} s).\n"
        f"It does not look where it goes. Clear {args.distance_m + 1:.1f} m ahead and 1 m around, mark where it stands, keep a hand on its "
        "switch; Ctrl-C stops it."
    )
