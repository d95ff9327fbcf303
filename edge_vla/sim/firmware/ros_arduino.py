"""The Arduino of ros_arduino_bridge as its sketch documents it, hazards A1, A2, A3 and A5 included.

Pure: bytes and times in, bytes and wheel targets out. Not modelled: the PID (the wheels have a lag of their own), raw PWM (`o`, in one
fork) and servos, which are refused as a sketch without them does. Assumed, because no source says it: that the motor driver lets go while
the Arduino boots, and that an argument too long for its buffer (A1) only loses what does not fit; really it overwrites other variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from edge_vla.guard.types import NO_HAZARD, Hazard, Speeds
from edge_vla.sim.firmware.wheels import WheelLog, Wheels

CR, SPACE = 13, 32
ARGUMENT_CHARS = 15  # and the zero behind them
BOOT_NS = 1_500_000_000  # about, with its bootloader
NUMBER = re.compile(rb"[ \t\n\v\f]*([-+]?\d+)")
BASE_COMMANDS = b"meru"
PIN_READS, PIN_WRITES = b"adp", b"cwx"


@dataclass(frozen=True, slots=True)
class Sketch:
    """What is compiled into one: `PID_RATE`, `AUTO_STOP_INTERVAL`, whether `USE_BASE` is defined; and the wheels it was built for."""

    ticks_per_m: float = 16571.0
    pid_rate_hz: int = 30
    auto_stop_ms: int = 2000
    use_base: bool = True

    @property
    def per_tick_mps(self) -> float:
        """The speed of one count per frame; a frame has whole milliseconds, 33 at 30 Hz."""
        return 1000.0 / (1000 // self.pid_rate_hz) / self.ticks_per_m


STOCK = Sketch()


class RosArduinoFirmware:
    """One board. `measure` is what its encoders see (default: the true speeds); `overruns` counts characters there was no room for."""

    def __init__(
        self,
        wheels: Wheels,
        log: WheelLog | None = None,
        measure: Callable[[], Speeds] | None = None,
        gyro: Callable[[], float] | None = None,
        *,
        sketch: Sketch = STOCK,
    ) -> None:
        self.battery_v = 0.0  # it does not know
        self.hazards: Hazard = NO_HAZARD  # it has no sensor for any
        self.overruns = 0
        self._wheels = wheels
        self._log = log
        self._measure = measure or wheels.speeds
        self._gyro = gyro  # it has none
        self._sketch = sketch
        self._up_ns = 0
        self._last_step_ns: int | None = None
        self._last_motor_ns = 0
        self._moving = False
        self._out = bytearray()
        self._reset_command()
        self._counts = [0.0, 0.0]

    def feed(self, data: bytes, now_ns: int) -> None:
        """Bytes from the host. A booting Arduino does not hear them."""
        if now_ns < self._up_ns:
            return
        for byte in data:
            self._hear(byte, now_ns)

    def step(self, now_ns: int) -> None:
        """One pass of the loop: counters and the automatic stop."""
        last_ns, self._last_step_ns = self._last_step_ns, now_ns
        if now_ns < self._up_ns:
            return
        if last_ns is not None:
            for side, speed in enumerate(self._measure()):
                self._counts[side] += speed * self._sketch.ticks_per_m * (now_ns - last_ns) * 1e-9
        if self._moving and now_ns - self._last_motor_ns > self._sketch.auto_stop_ms * 1_000_000:
            self._moving = False
            self._wheels.set_target(0.0, 0.0)

    def read(self, now_ns: int) -> bytes:  # noqa: ARG002 - a real line would pace it
        """Take what it has said so far."""
        said = bytes(self._out)
        self._out.clear()
        return said

    def reboot(self, now_ns: int) -> None:
        """Brown-out or a toggled DTR (A3): motors off, counters at zero, not a word."""
        self._moving = False
        self._wheels.set_target(0.0, 0.0)
        self._out.clear()
        self._reset_command()
        self._counts = [0.0, 0.0]
        self._up_ns = now_ns + BOOT_NS

    def _reset_command(self) -> None:
        self._letter = 0
        self._place = 0  # 0: the letter, then the arguments
        self._arguments = [bytearray(), bytearray()]

    def _hear(self, byte: int, now_ns: int) -> None:
        """Only a carriage return ends a command (A2); a line feed is a letter like any other, and the last letter counts."""
        if byte == CR:
            self._run(now_ns)
            self._reset_command()
        elif byte == SPACE:
            self._place = min(self._place + 1, 2)  # what follows a third space belongs to the second argument
        elif self._place == 0:
            self._letter = byte
        elif len(argument := self._arguments[self._place - 1]) < ARGUMENT_CHARS:
            argument.append(byte)
        else:
            self.overruns += 1

    def _run(self, now_ns: int) -> None:
        letter = bytes((self._letter,))
        if letter in BASE_COMMANDS and self._sketch.use_base:
            self._run_base(letter, now_ns)
        elif letter == b"b":
            self._say("57600")
        elif letter in PIN_READS:
            self._say("0")
        else:
            self._say("OK" if letter in PIN_WRITES else "Invalid Command")

    def _run_base(self, letter: bytes, now_ns: int) -> None:
        match letter:
            case b"m":
                self._drive(_as_int(self._arguments[0]), _as_int(self._arguments[1]), now_ns)
            case b"r":
                self._counts = [0.0, 0.0]
            case b"e":
                left, right = (_signed(int(count), 32) for count in self._counts)
                self._say(f"{left} {right}")
                return
        self._say("OK")  # and gains are taken as they come

    def _drive(self, left: int, right: int, now_ns: int) -> None:
        self._last_motor_ns = now_ns
        self._moving = (left, right) != (0, 0)
        targets = (left * self._sketch.per_tick_mps, right * self._sketch.per_tick_mps)
        self._wheels.set_target(*targets)
        if self._log is not None:
            self._log.write(now_ns, self._wheels.speeds(), f"m {left} {right}", targets)

    def _say(self, text: str) -> None:
        self._out += text.encode() + b"\r\n"


def _as_int(argument: bytes | bytearray) -> int:
    """`atoi` of an AVR: what begins as a number is one, anything else is zero, and an int has 16 bits."""
    match = NUMBER.match(bytes(argument))
    return _signed(int(match[1]), 16) if match else 0


def _signed(value: int, bits: int) -> int:
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half
