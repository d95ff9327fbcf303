"""Firmware simulators: what a base does with the bytes it gets, quirks and hazards included. A new one is one file and one line here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from edge_vla.bases import BASES, make_base
from edge_vla.errors import ConfigError
from edge_vla.guard.types import Hazard, Speeds
from edge_vla.sim.firmware.create2 import Create2Firmware, Robot
from edge_vla.sim.firmware.ev1 import EV1Firmware
from edge_vla.sim.firmware.kobuki import KobukiFirmware
from edge_vla.sim.firmware.roboclaw import RoboClawFirmware, Unit
from edge_vla.sim.firmware.ros_arduino import RosArduinoFirmware, Sketch
from edge_vla.sim.firmware.rosmaster import RosmasterFirmware
from edge_vla.sim.firmware.waveshare import WaveshareFirmware
from edge_vla.sim.firmware.wheels import WheelLog, Wheels

Options = Mapping[str, Any]
AUTO_STOP_MS = 2000  # as the sketch is published


class Controller(Protocol):
    """A controller on a virtual clock. Tests set `battery_v` and `hazards`; it reports them as the real one does, or not at all."""

    battery_v: float
    hazards: Hazard

    def feed(self, data: bytes, now_ns: int) -> None: ...

    def step(self, now_ns: int) -> None: ...

    def read(self, now_ns: int) -> bytes: ...

    def reboot(self, now_ns: int) -> None:
        """A brown-out: deaf and mute for a while, and what was only in RAM is lost."""
        ...


# By base: the simulator, and what it has to know of the codec's options to be the board that the codec is made for.
FIRMWARES: dict[str, tuple[Callable[..., Controller], Callable[[Options], Options]]] = {
    "waveshare": (WaveshareFirmware, lambda _: {}),
    "ros_arduino": (
        RosArduinoFirmware,
        lambda o: {"sketch": Sketch(o["ticks_per_m"], round(o["loop_hz"]), o["auto_stop_ms"] or AUTO_STOP_MS)},
    ),
    "rosmaster": (RosmasterFirmware, lambda o: {"car_type": {"x3": 1, "x3plus": 2}[o["car"]]}),
    "kobuki": (KobukiFirmware, lambda _: {}),
    "create2": (Create2Firmware, lambda o: {"robot": Robot(o["track_m"])}),
    "roboclaw": (RoboClawFirmware, lambda o: {"unit": Unit(o["ticks_per_m"], o["address"], o["status_bytes"])}),
    "ev1": (
        EV1Firmware,
        lambda o: {"size_m": o["reach_m"] if o["drive"] == "mecanum" else o["track_m"], "counts_per_m": o["counts_per_m"]},
    ),
}


def make_firmware(
    kind: str, options: Options, wheels: Wheels, log: WheelLog | None = None, measure: Callable[[], Speeds] | None = None,
    gyro: Callable[[], float] | None = None,
) -> Controller:  # fmt: skip
    """The controller of the base that `make_base(kind, options)` speaks to. Raises ConfigError as that does, or for a base without one."""
    make_base(kind, options)
    if kind not in FIRMWARES:
        raise ConfigError(f"base {kind!r} has no firmware simulator; there are: {', '.join(FIRMWARES)}")
    build, fitted = FIRMWARES[kind]
    given = inspect.signature(BASES[kind]).bind(**options)
    given.apply_defaults()
    return build(wheels, log, measure, gyro, **fitted(given.arguments))
