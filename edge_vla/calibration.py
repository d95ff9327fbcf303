"""What `python -m calib` measured about a robot: TOML files that a profile refers to, checked as they are read.

`fill` puts what they hold into a profile's tables. Knows nothing about how anything was measured.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_vla.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HFOV_SLACK_DEG = 0.05  # what rounding in a profile may hide
TRACK_SLACK_M = 0.0005
RATIO_SLACK = 2e-3  # of figures in a file that follow from each other
REACTION_FLOOR_S = 0.2  # the guard's own figure (guard/limits.py): a measured one may only make the robot more careful

Pixels = Annotated[float, Field(gt=0, le=1e5)]


class Calibration(BaseModel):
    """What every such file begins with."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    version: Literal[1]
    made: AwareDatetime
    versions: dict[str, str]  # of the packages it was made with


class CameraCalibration(Calibration):
    """Intrinsics of a pinhole camera with OpenCV's five distortion coefficients k1, k2, p1, p2, k3, at one picture size.

    The runtime uses `hfov_deg` alone: bearings and ranges assume a centred pinhole without distortion.
    """

    kind: Literal["camera"]
    width: int = Field(ge=64, le=7680)
    height: int = Field(ge=64, le=4320)
    fx: Pixels
    fy: Pixels
    cx: Pixels
    cy: Pixels
    distortion: list[float] = Field(min_length=5, max_length=5)
    hfov_deg: float = Field(ge=20, le=150)
    rms_px: float = Field(ge=0)  # reprojection error over all corners of all views
    views: int = Field(ge=1)

    @model_validator(mode="after")
    def _agrees(self) -> CameraCalibration:
        if abs(self.hfov_deg - hfov_deg(self.fx, self.width)) > HFOV_SLACK_DEG:
            raise ValueError(f"hfov_deg = {self.hfov_deg}: fx = {self.fx} at width = {self.width} is {hfov_deg(self.fx, self.width):.3f}")
        if self.cx >= self.width or self.cy >= self.height:
            raise ValueError(f"cx, cy = {self.cx}, {self.cy}: want a point of the {self.width} x {self.height} picture")
        return self


class WheelsCalibration(Calibration):
    """A measured drive: what the odometry said beside what tape and floor said.

    `track_m` makes the odometry's turns right as the base counts them. The runtime has no use for `scale` yet: bases take none.
    """

    kind: Literal["wheels"]
    simulated: bool
    drive_track_m: float = Field(ge=0.05, le=1.0)  # what the odometry was told during the drive
    odometry_distance_m: float = Field(gt=0)
    measured_distance_m: float = Field(gt=0)
    odometry_turn_deg: float
    measured_turn_deg: float
    scale: float = Field(ge=0.7, le=1.4)  # metres on the floor for a metre of odometry
    track_m: float = Field(ge=0.05, le=1.0)

    @model_validator(mode="after")
    def _agrees(self) -> WheelsCalibration:
        wanted = {
            "scale": self.measured_distance_m / self.odometry_distance_m,
            "track_m": self.drive_track_m * self.odometry_turn_deg / self.measured_turn_deg if self.measured_turn_deg else math.nan,
        }
        for name, value in wanted.items():
            if not abs(getattr(self, name) / value - 1) <= RATIO_SLACK:  # so that a nan fails
                raise ValueError(f"{name} = {getattr(self, name)}: the drive it comes from says {value:.5f}")
        return self


class DelayCalibration(Calibration):
    """From a command to the wheels: a dead time, then a first-order motor.

    `reaction_s` is both together, when 63 % of a step is there. The guard plans stops with it where it is longer than its own.
    """

    kind: Literal["delay"]
    simulated: bool
    delay_s: float = Field(ge=0, le=1)
    tau_s: float = Field(ge=0, le=1)
    reaction_s: float = Field(ge=0, le=1)
    gain: float = Field(ge=0.5, le=1.5)  # measured speed for a speed asked for
    explained: float = Field(ge=0, le=1)  # share of the speed's variance that the two figures explain
    samples: int = Field(ge=1)

    @model_validator(mode="after")
    def _agrees(self) -> DelayCalibration:
        if abs(self.reaction_s - self.delay_s - self.tau_s) > 1e-3:
            raise ValueError(f"reaction_s = {self.reaction_s}: want delay_s + tau_s = {self.delay_s + self.tau_s:.4f}")
        return self


Kind = TypeVar("Kind", bound=Calibration)


def hfov_deg(fx: float, width: int) -> float:
    """The horizontal field of view whose slope from column to column is the camera's: of its pinhole, centred."""
    return math.degrees(2 * math.atan(width / (2 * fx)))


def read_tables(path: Path, kind: str) -> dict[str, Any]:
    """A TOML file that says it is of this kind. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as err:
        raise ConfigError(f"{path}: {err.strerror}; `python -m calib {kind.split('_', maxsplit=1)[0]}` writes it") from err
    except ValueError as err:  # broken TOML, or bytes that are no UTF-8
        raise ConfigError(f"{path} is not TOML: {err}") from err
    if tables.get("kind") != kind:
        raise ConfigError(f"{path}: kind = {tables.get('kind')!r}, want {kind!r}")
    return tables


def read_calibration(path: Path, model: type[Kind]) -> Kind:
    """The calibration in a file. Raises ConfigError naming file, key and value."""
    (kind,) = model.model_fields["kind"].annotation.__args__  # type: ignore[union-attr]  # a Literal of one
    return checked(path, read_tables(path, kind), model)


def checked(path: Path, tables: Mapping[str, Any], model: type[Kind]) -> Kind:
    """The tables of a file as what they should be. Raises ConfigError for the first thing that is wrong."""
    try:
        return model.model_validate(tables)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {where + ': ' if where else ''}{first['msg']}, got {str(first['input'])[:80]!r}") from err


# -- into a profile


def fill(tables: dict[str, Any], folder: Path) -> None:
    """Read what a profile's tables refer to, relative to `folder`, and put it where it belongs. Raises ConfigError.

    A table of a wrong type is left alone: the profile's own check names it.
    """
    simulated = _section(tables, "robot").get("domain", "sim") == "sim"
    camera, base = _section(tables, "camera"), _section(tables, "base")
    if name := _name(camera, "calibration"):
        _fill_camera(camera, read_calibration(folder / name, CameraCalibration), name)
    if name := _name(base, "wheels"):
        wheels = _same_world(read_calibration(folder / name, WheelsCalibration), name, simulated=simulated)
        _fill_number(base, ("base", "track_m", wheels.track_m), f"wheels = {name!r}", TRACK_SLACK_M)
    if name := _name(base, "delay"):
        delay = _same_world(read_calibration(folder / name, DelayCalibration), name, simulated=simulated)
        _fill_reaction(tables.setdefault("limits", {}), delay, name)


def _section(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = tables.get(name)
    return section if isinstance(section, dict) else {}


def _name(section: Mapping[str, Any], key: str) -> str:
    name = section.get(key)
    return name if isinstance(name, str) else ""


def _same_world(calibration: Kind, name: str, *, simulated: bool) -> Kind:
    """A simulated robot's wheels say nothing about a real one's, nor the other way round."""
    if getattr(calibration, "simulated", simulated) is not simulated:
        robot, other = ("simulated", "real") if simulated else ("real", "simulated")
        raise ConfigError(f"{name} was measured on a {other} robot, this one is {robot}: measure this one")
    return calibration


def _fill_camera(camera: dict[str, Any], found: CameraCalibration, name: str) -> None:
    for key, value in (("width", found.width), ("height", found.height)):
        if camera.setdefault(key, value) != value:
            raise ConfigError(
                f"[camera] {key} = {camera[key]} and calibration = {name!r} ({key} = {value}) contradict each other: "
                "calibrate at the size that is used"
            )
    _fill_number(camera, ("camera", "hfov_deg", found.hfov_deg), f"calibration = {name!r}", HFOV_SLACK_DEG)


def _fill_number(section: dict[str, Any], place: tuple[str, str, float], source: str, slack: float) -> None:
    """`place`: section, key and what was measured. Raises ConfigError for another number there."""
    title, key, value = place
    given = section.setdefault(key, value)
    if isinstance(given, int | float) and not abs(given - value) <= slack:
        raise ConfigError(f"[{title}] {key} = {given} and {source} ({key} = {value}) contradict each other: leave one of them out")


def _fill_reaction(limits: object, found: DelayCalibration, name: str) -> None:
    if not isinstance(limits, dict):
        return
    measured = max(REACTION_FLOOR_S, found.reaction_s)
    given = limits.setdefault("reaction_s", measured)
    if isinstance(given, int | float) and not given >= found.reaction_s:  # a longer one is only more careful
        raise ConfigError(f"[limits] reaction_s = {given} and delay = {name!r} (reaction_s = {found.reaction_s}) contradict each other")
