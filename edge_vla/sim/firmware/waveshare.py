"""The ESP32 of a Waveshare UGV as its source documents it, hazards W1-W3 included. Pure: bytes and times in, bytes and wheel targets out.

Not modelled, because no source says it: the exact feedback phase, the boot time, and what the general firmware prints at boot.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from edge_vla.guard.types import NO_HAZARD, Hazard, Speeds
from edge_vla.sim.firmware.wheels import WheelLog, Wheels

HEARTBEAT_MS = 3000
FEEDBACK_MS = 50
POOL_CHARS = 256  # StaticJsonDocument<256>: a longer line does not fit and is dropped silently
MAX_BUFFER = 1 << 20  # the firmware's String has no bound; this one has, so that a test cannot eat the machine
SPEED_CAP_MPS = 2.0
TRACKS_M = {1: 0.125, 2: 0.172, 3: 0.141}  # T:900 main type: RaspRover, UGV Rover, UGV Beast
BOOT_TEXT = b"ets Jul 29 2019 12:21:46\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n"
GYRO_COUNTS = 16.4 * 180.0 / math.pi  # per rad/s
ACCEL_1G = 8192
UINT32 = 0xFFFFFFFF
INT_MIN, INT_MAX = -(1 << 31), (1 << 31) - 1
FLOAT_MAX = 3.4028235e38  # the controller's float has 32 bits; what is beyond it is infinite there
NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


@dataclass(slots=True)
class Settings:
    """What lives in RAM and is lost at a reboot."""

    echo: bool = False
    continuous: bool = True
    heartbeat_ms: int = HEARTBEAT_MS
    feedback_ms: int = FEEDBACK_MS
    rate_left: float = 1.0
    rate_right: float = 1.0
    track_m: float = TRACKS_M[2]


class WaveshareFirmware:
    """One controller. `measure` is what its encoders report (default: the true speeds), `gyro` its turn rate in rad/s."""

    def __init__(
        self,
        wheels: Wheels,
        log: WheelLog | None = None,
        measure: Callable[[], Speeds] | None = None,
        gyro: Callable[[], float] | None = None,
        *,
        echo: bool = False,
        boot_s: float = 2.0,
    ) -> None:
        self.battery_v = 11.8
        self.hazards: Hazard = NO_HAZARD  # it has no sensor for any
        self.settings = Settings(echo=echo)
        self._wheels = wheels
        self._log = log
        self._measure = measure or wheels.speeds
        self._gyro = gyro or (lambda: 0.0)
        self._echo_default = echo
        self._boot_ns = round(boot_s * 1e9)
        self._line = bytearray()
        self._out = bytearray()
        self._up_ns: int | None = None  # None until the clock is known: it starts booted
        self._last_command_ns = 0
        self._heartbeat_stopped = False
        self._last_feedback_ns = 0
        self._last_step_ns: int | None = None
        self._goal: Speeds = (0.0, 0.0)
        self._odometer_m = [0.0, 0.0]

    def feed(self, data: bytes, now_ns: int) -> None:
        """Bytes from the host. A booting controller does not hear them."""
        if self._booting(now_ns):
            return
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._line += end
            self._run_line(bytes(self._line), now_ns)
            self._line.clear()
        self._line += rest
        del self._line[MAX_BUFFER:]

    def step(self, now_ns: int) -> None:
        """One pass of the firmware's loop: watchdog, odometer, feedback."""
        last_ns, self._last_step_ns = self._last_step_ns, now_ns
        if self._up_ns is None:
            self._up_ns = self._last_command_ns = self._last_feedback_ns = now_ns
        if self._booting(now_ns):
            return
        if not self._heartbeat_stopped and now_ns - self._last_command_ns > self.settings.heartbeat_ms * 1_000_000:
            self._heartbeat_stopped = True  # and only once: whoever sets a speed later without clearing this is not watched
            self._aim(0.0, 0.0)
        if last_ns is not None:
            for side, speed in enumerate(self._measure()):
                self._odometer_m[side] += speed * (now_ns - last_ns) * 1e-9
        if self.settings.continuous and now_ns - self._last_feedback_ns >= self.settings.feedback_ms * 1_000_000:
            self._last_feedback_ns = now_ns
            self._report()

    def read(self, now_ns: int) -> bytes:  # noqa: ARG002 - a real line would pace it
        """Take what the controller has said so far."""
        said = bytes(self._out)
        self._out.clear()
        return said

    def reboot(self, now_ns: int) -> None:
        """Brown-out or a toggled DTR: wheels off, RAM settings lost, boot text, deaf and mute while booting."""
        self.settings = Settings(echo=self._echo_default)
        self._line.clear()
        self._aim(0.0, 0.0)
        self._heartbeat_stopped = False
        self._odometer_m = [0.0, 0.0]
        self._up_ns = self._last_command_ns = self._last_feedback_ns = now_ns + self._boot_ns
        self._out += BOOT_TEXT

    def _booting(self, now_ns: int) -> bool:
        return self._up_ns is not None and now_ns < self._up_ns

    def _run_line(self, line: bytes, now_ns: int) -> None:
        """Parse one line as ArduinoJson does: one value, whatever follows it ignored, NaN refused, errors dropped silently."""
        text = line.decode("latin-1").strip()
        if not text or len(text) > POOL_CHARS:
            return
        try:
            message, _ = json.JSONDecoder(parse_constant=_no_constant).raw_decode(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(message, dict):
            return
        if self.settings.echo:
            self._out += text.encode("latin-1") + b"\r\n"
        if self._obey(message, now_ns) and self._log is not None:
            self._log.write(now_ns, self._wheels.speeds(), text, self._goal)

    def _obey(self, message: dict[str, object], now_ns: int) -> bool:
        """Run one message; True when it was obeyed."""
        match _as_int(message.get("T")):
            case 0:
                self._aim(0.0, 0.0)
            case 1:
                return self._wheel_speeds(message.get("L"), message.get("R"), now_ns)
            case 13:  # W1: neither the timer nor the watchdog's flag hears of it
                forward, half = _as_float(message.get("X")), _as_float(message.get("Z")) * self.settings.track_m / 2.0
                return self._set_goal(forward - half, forward + half)
            case 130:
                self._report()
            case kind:
                return self._configure(kind, message)
        return True

    def _wheel_speeds(self, left: object, right: object, now_ns: int) -> bool:
        if not (_is_number(left) and _is_number(right)):
            return False
        self._last_command_ns = now_ns
        self._heartbeat_stopped = False
        return self._set_goal(_as_float(left), _as_float(right))

    def _set_goal(self, left_mps: float, right_mps: float) -> bool:
        """False for a speed that is out of range (W2: the timer is refreshed already, so the old speed lives on).

        So is an infinite T:13 whose difference is no number: what the real controller's PID makes of that, no source says.
        """
        if not (abs(left_mps) <= SPEED_CAP_MPS and abs(right_mps) <= SPEED_CAP_MPS):
            return False
        self._aim(left_mps * self.settings.rate_left, right_mps * self.settings.rate_right)
        return True

    def _aim(self, left_mps: float, right_mps: float) -> None:
        self._goal = (left_mps, right_mps)
        self._wheels.set_target(left_mps, right_mps)

    def _configure(self, kind: int, message: dict[str, object]) -> bool:
        value = _as_int(message.get("cmd"))
        match kind:
            case 131:
                self.settings.continuous = value != 0
            case 136:
                self.settings.heartbeat_ms = value & UINT32  # compared as unsigned: -1 is never
            case 138:
                self.settings.rate_left, self.settings.rate_right = (min(1.0, abs(_as_float(message.get(side)))) for side in "LR")
            case 142:
                self.settings.feedback_ms = max(0, value)
            case 143:
                self.settings.echo = value != 0
            case 900:
                self.settings.track_m = TRACKS_M.get(_as_int(message.get("main")), self.settings.track_m)
            case _:
                return False
        return True

    def _report(self) -> None:
        left, right = self._measure()
        message = {
            "T": 1001, "L": round(left, 9), "R": round(right, 9), "ax": 0, "ay": 0, "az": ACCEL_1G,
            "gx": 0, "gy": 0, "gz": round(self._gyro() * GYRO_COUNTS), "mx": 0, "my": 0, "mz": 0,
            "odl": int(self._odometer_m[0] * 100), "odr": int(self._odometer_m[1] * 100), "v": round(self.battery_v * 100),
        }  # fmt: skip
        self._out += json.dumps(message, separators=(",", ":")).encode() + b"\r\n"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _as_number(value: object) -> float:
    """ArduinoJson's conversions: a text that is a number counts (the vendor's ROS driver sends "13"), what is no number is zero."""
    if isinstance(value, str):
        return float(value) if NUMBER.fullmatch(value) else 0.0
    return value if isinstance(value, (int, float)) else 0.0


def _as_float(value: object) -> float:
    """`as<float>()`: too large is infinite."""
    number = _as_number(value)
    if abs(number) > FLOAT_MAX:
        return math.inf if number > 0 else -math.inf
    return number


def _as_int(value: object) -> int:
    """`as<int>()`: cut towards zero, and too large is zero."""
    number = _as_number(value)
    return int(number) if INT_MIN <= number <= INT_MAX else 0
