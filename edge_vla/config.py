"""A robot profile: one TOML file, read once, to frozen and validated models. The defaults are `launch/sim.toml`.

Knows nothing about adapters but the names of the cameras: what options a `kind` has is said by `parts.py`, which constructs it.
"""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator, model_validator

from edge_vla import places
from edge_vla.calibration import fill
from edge_vla.errors import ConfigError, did_you_mean
from edge_vla.hidden import hide_passwords

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = [
    "BaseProfile", "CameraProfile", "EngineProfile", "LimitsProfile", "RobotInfo", "RobotProfile", "SteerProfile",
    "default_profile", "load_profile", "profile_file",
]  # fmt: skip

ROBOT_PROFILE = Path("launch/robot.toml")  # the operator's own robot
SIMULATED_PORT = "sim"  # the simulator opens a pty of its own and hands its path to the guard
SIMULATED_CAMERA = "simulator"
CAMERA_KINDS = (
    "simulator",
    "v4l2",
    "csi",
    "gstreamer",
    "rtsp",
    "http",
    "video",
    "images",
)  # a test keeps them equal to edge_vla.cameras.CAMERAS
SHORTEST_DEADMAN_MS = 200
LINEAR_CEILING_MPS = 0.5
ANGULAR_CEILING_RPS = 1.0
WHEEL_CEILING_MPS = 1.3  # vendor maximum; above 2.0 the Waveshare firmware keeps the old speed and refreshes its timer
SIMULATOR_MOST = {"width": 640, "height": 480, "fps": 60}  # what its renderer is built for; a test keeps them equal to sim/settings.py
# Wrong ones aim the robot beside its target without a word, so a real robot has to state them.
MEASURED = {
    "base": ("kind", "port", "max_wheel_mps"),
    "camera": ("kind", "hfov_deg", "height_m", "pitch_deg", "forward_m"),
}

OWN_TRACK = ("create2", "kobuki", "rosmaster")  # bases that are told how the robot moves, not its wheels

Provider = Literal["cpu", "cuda", "tensorrt"]  # of ONNX Runtime; backends/providers.py knows what it calls them
Kind = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Section(BaseModel):
    """Strict: no text for numbers, no nan, no unknown key, no change after construction."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RobotInfo(_Section):
    """Who the robot is. `domain` decides which engines may drive it."""

    name: str = Field(default="simulated rover", min_length=1, max_length=64)
    domain: Literal["sim", "real"] = "sim"
    has_arm: bool = False


class BaseProfile(_Section):
    """The wheels and the wire to them. `port` is a device path, or `sim`."""

    kind: Kind = "waveshare"
    port: str = Field(default=SIMULATED_PORT, min_length=1)
    baud: int = Field(default=115200, ge=9600, le=2_000_000)
    track_m: float | None = Field(default=None, ge=0.05, le=1.0)  # None: as the base's own firmware has it
    max_wheel_mps: float = Field(default=0.7, gt=0, le=WHEEL_CEILING_MPS)
    wheels: str = ""  # file of `python -m calib wheels`, beside the profile: says track_m
    delay: str = ""  # file of `python -m calib delay`: says limits.reaction_s where that is longer
    options: dict[str, float | int | str] = Field(default_factory=dict)  # what this kind wants to know besides, checked by its codec

    @property
    def codec(self) -> dict[str, float | int | str]:
        """What the base's codec is built with."""
        track = {} if self.track_m is None else {"track_m": self.track_m}
        return {**track, "max_wheel_mps": self.max_wheel_mps, **self.options}


class CameraProfile(_Section):
    """The camera and where it sits: `pitch_deg` down positive, `forward_m` from the wheel axis."""

    kind: Kind = SIMULATED_CAMERA
    width: int = Field(default=320, ge=64, le=3840)
    height: int = Field(default=240, ge=64, le=2160)
    fps: int = Field(default=15, ge=5, le=120)  # frames older than 200 ms are refused, so fewer than 5 a second are useless
    hfov_deg: float = Field(default=70.0, ge=20, le=150)
    height_m: float = Field(default=0.25, ge=0.02, le=2.0)
    pitch_deg: float = Field(default=10.0, ge=-30, le=60)
    forward_m: float = Field(default=0.08, ge=-1.0, le=1.0)
    calibration: str = ""  # file of `python -m calib camera`, beside the profile: says width, height and hfov_deg
    options: dict[str, bool | float | int | str] = Field(default_factory=dict)  # what this kind wants to know besides: docs/cameras.md

    @field_validator("kind")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in CAMERA_KINDS:
            raise ValueError(f"= {value!r}: want one of {', '.join(CAMERA_KINDS)}{did_you_mean(value, CAMERA_KINDS, 0.0)}")
        return value

    @field_serializer("options")
    def _shown(self, options: dict[str, bool | float | int | str]) -> dict[str, bool | float | int | str]:
        """As a recording of a run has them: without the password of an address."""
        return {key: hide_passwords(value) if isinstance(value, str) else value for key, value in options.items()}


class LimitsProfile(_Section):
    """What the guard enforces. `dec` brakes, so it is never weaker than `acc`."""

    max_linear_mps: float = Field(default=0.35, gt=0, le=LINEAR_CEILING_MPS)
    max_angular_rps: float = Field(default=1.0, gt=0, le=ANGULAR_CEILING_RPS)
    acc_linear_mps2: float = Field(default=0.8, gt=0, le=2.0)
    dec_linear_mps2: float = Field(default=1.5, gt=0, le=3.0)
    acc_angular_rps2: float = Field(default=4.0, gt=0, le=6.0)
    dec_angular_rps2: float = Field(default=6.0, gt=0, le=10.0)
    blind_linear_mps: float = Field(default=0.15, gt=0, le=LINEAR_CEILING_MPS)  # with no source of clear distance
    ttl_ms: int = Field(default=150, ge=50, le=250)  # silence longer than this is a stop
    deadman_ms: int = Field(default=0, ge=0, le=1000)  # nothing moves unless somebody holds a button, heard of within this; 0: none
    reaction_s: float = Field(default=0.2, ge=0.2, le=1.0)  # from a guard tick to the wheels obeying; 0.2: guard/limits.py

    @field_validator("deadman_ms")
    @classmethod
    def _long_enough(cls, value: int) -> int:
        if 0 < value < SHORTEST_DEADMAN_MS:
            raise ValueError(f"want 0 for none, or at least {SHORTEST_DEADMAN_MS}: a watcher says every 100 ms that the button is held")
        return value

    @model_validator(mode="after")
    def _ordered(self) -> LimitsProfile:
        pairs = (("acc_linear_mps2", "dec_linear_mps2"), ("acc_angular_rps2", "dec_angular_rps2"), ("blind_linear_mps", "max_linear_mps"))
        for low, high in pairs:
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} = {getattr(self, low)} must be at most {high} = {getattr(self, high)}")
        return self


class SteerProfile(_Section):
    """The fast loop. `stop_at_m` is from the robot's centre to the target's nearest surface."""

    hz: int = Field(default=30, ge=10, le=50)  # 50: the guard's own rate
    stop_at_m: float = Field(default=0.45, ge=0.25, le=3.0)


class EngineProfile(_Section):
    """What the engine may take from this machine. `provider` runs the graphs of an ONNX bundle, all of them or none."""

    threads: int = Field(default=1, ge=1, le=64)
    provider: Provider = "cpu"


class RobotProfile(_Section):
    """One robot, whole. `RobotProfile()` is the simulated rover."""

    robot: RobotInfo = RobotInfo()
    base: BaseProfile = BaseProfile(track_m=0.172)  # Waveshare UGV Rover, as its firmware has it
    camera: CameraProfile = CameraProfile()
    limits: LimitsProfile = LimitsProfile()
    steer: SteerProfile = SteerProfile()
    engine: EngineProfile = EngineProfile()

    @property
    def simulated(self) -> bool:
        """True when neither wheels nor camera are real; the operator is told so first."""
        return self.robot.domain == "sim"

    @model_validator(mode="after")
    def _one_domain(self) -> RobotProfile:
        for key, value, simulated in (("base.port", self.base.port, SIMULATED_PORT), ("camera.kind", self.camera.kind, SIMULATED_CAMERA)):
            if (value == simulated) is not self.simulated:
                want = f"{simulated!r}" if self.simulated else f"anything but {simulated!r}"
                raise ValueError(f"robot.domain = {self.robot.domain!r} wants {key} = {want}, got {value!r}")
        return self

    @model_validator(mode="after")
    def _the_simulator_can(self) -> RobotProfile:
        for key, most in SIMULATOR_MOST.items() if self.simulated else ():
            if (value := getattr(self.camera, key)) > most:
                low = next(rule.ge for rule in CameraProfile.model_fields[key].metadata if hasattr(rule, "ge"))
                raise ValueError(f"[camera] {key} = {value}: the simulator wants an integer >= {low} and <= {most}")
        return self

    @model_validator(mode="after")
    def _measured(self) -> RobotProfile:
        sections = () if self.simulated else MEASURED.items()
        missing = [f"{name}.{key}" for name, keys in sections for key in keys if key not in getattr(self, name).model_fields_set]
        if sections and self.base.track_m is None and self.base.kind not in OWN_TRACK:
            missing.append("base.track_m")
        if missing:
            raise ValueError(f"a real robot has no default for {', '.join(missing)}: measure and write them down")
        return self

    @model_validator(mode="after")
    def _steers_within_ttl(self) -> RobotProfile:
        if self.steer.hz * self.limits.ttl_ms < 2000:  # one lost command must not stop the robot
            raise ValueError(f"limits.ttl_ms = {self.limits.ttl_ms} must be at least two periods of steer.hz = {self.steer.hz}")
        return self


def load_profile(path: Path | None) -> RobotProfile:
    """The profile in `path`, or the default robot. Raises ConfigError naming file, key, value and what is allowed."""
    if path is None:
        return default_profile()
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as err:
        raise ConfigError(f"robot profile {path}: {err.strerror}") from err
    except ValueError as err:  # broken TOML, or bytes that are no UTF-8
        raise ConfigError(f"robot profile {path} is not TOML: {err}") from err
    try:
        fill(tables, path.parent)
    except ConfigError as err:
        raise ConfigError(f"robot profile {path}: {err}") from err
    try:
        return RobotProfile.model_validate(tables)
    except ValidationError as err:
        lines = "\n".join(f"  {_explain(problem)}" for problem in err.errors())
        raise ConfigError(f"robot profile {path}:\n{lines}") from err


def default_profile() -> RobotProfile:
    """The operator's own robot where there is one, even if its profile is broken; otherwise the simulator."""
    found = profile_file()
    return RobotProfile() if found is None else load_profile(found)


def profile_file() -> Path | None:
    """The operator's own robot: `launch/robot.toml` here, then beside the package. None where there is none."""
    return places.find(ROBOT_PROFILE)


def _explain(problem: ErrorDetails) -> str:
    """One validation error as a line: key, value, and what is allowed there."""
    *where, key = [str(part) for part in problem["loc"]] or [""]
    model = _model(where)
    name = f"[{where[0]}] {'.'.join([*where[1:], key])}" if where else f"[{key}]"
    if problem["type"] == "extra_forbidden":
        allowed = list(model.model_fields)
        nearest = get_close_matches(key, allowed, n=1, cutoff=0.0)[0]
        return f"{name} is unknown; the nearest is {nearest!r}, allowed are {', '.join(allowed)}"
    if problem["type"] == "value_error":  # our own validators say key and value themselves
        return f"{name} {problem['ctx']['error']}" if key else str(problem["ctx"]["error"])
    if problem["type"] == "model_type":
        return f"{name} = {problem['input']!r}: wants a table"
    return f"{name} = {problem['input']!r}: {_allowed(model, key, problem)}"


def _model(where: list[str]) -> type[BaseModel]:
    section = RobotProfile.model_fields[where[0]].annotation if where else None
    return section if isinstance(section, type) and issubclass(section, BaseModel) else RobotProfile


def _allowed(model: type[BaseModel], key: str, problem: ErrorDetails) -> str:
    """What a field accepts, read off its own declaration so that message and check cannot differ."""
    field = model.model_fields.get(key)
    if field is None:  # inside a table of options
        return problem["msg"]
    words = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [f"{words[name]} {getattr(rule, name)}" for rule in field.metadata for name in words if hasattr(rule, name)]
    if not bounds:
        return problem["msg"]
    kind = "an integer" if field.annotation is int else "a number"
    return f"wants {kind} {' and '.join(bounds)}"
