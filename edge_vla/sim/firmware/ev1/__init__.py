"""An EV1 base whose protocol is the very header that a board compiles: built here with the host's C++ compiler, reached through ctypes.

What is simulated is what a board adds to it: counters, a battery, and motors that obey what the header wants.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from edge_vla.errors import ConfigError
from edge_vla.guard.types import NO_HAZARD, Hazard, Speeds
from edge_vla.sim.firmware.wheels import WheelLog, Wheels

FOLDER = Path(__file__).parent
FLAGS = {Hazard.BUMPER: 1, Hazard.CLIFF: 2, Hazard.WHEEL_DROP: 4, Hazard.OVER_CURRENT: 8}
STRICT = ("-std=c++11", "-Wall", "-Wextra", "-Wconversion", "-Werror")
MAX_SAID = 4096
MS = 1_000_000
BOOT_NS = 300 * MS


@functools.cache
def library() -> ctypes.CDLL:
    """ev1.h, compiled. Raises ConfigError on a machine without a C++ compiler."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise ConfigError("an EV1 base is simulated by its own firmware, which wants a C++ compiler: sudo apt install g++")
    folder = Path(tempfile.mkdtemp(prefix="edge_vla_ev1_"))
    try:
        command = [compiler, *STRICT, "-O1", "-shared", "-fPIC", str(FOLDER / "host.cpp"), "-o", str(folder / "ev1.so")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigError(f"{compiler} refuses {FOLDER / 'ev1.h'}: {done.stderr[-2000:]}")
        return _typed(ctypes.CDLL(str(folder / "ev1.so")))
    finally:
        shutil.rmtree(folder)  # it stays mapped


def _typed(found: ctypes.CDLL) -> ctypes.CDLL:
    number, pointer = ctypes.c_uint32, ctypes.c_void_p
    found.ev1_host_new.restype = pointer
    found.ev1_host_new.argtypes = [ctypes.c_uint, number, number]
    found.ev1_host_byte.argtypes = [pointer, ctypes.c_char, number]
    found.ev1_host_tick.argtypes = [pointer, number]
    found.ev1_host_sense.argtypes = [pointer, ctypes.POINTER(ctypes.c_int32), number, number]
    found.ev1_host_wheels.argtypes = [pointer, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32)]
    found.ev1_host_take.argtypes = [pointer, ctypes.c_char_p, ctypes.c_int]
    for name in ("delete", "stop", "state", "rejected"):
        getattr(found, f"ev1_host_{name}").argtypes = [pointer]
    return found


class EV1Firmware:
    """One board. `size_m` is the track, or with four wheels half the track and half the wheelbase together."""

    def __init__(
        self, wheels: Wheels, log: WheelLog | None = None, measure: Callable[[], Speeds] | None = None,
        gyro: Callable[[], float] | None = None, *, size_m: float = 0.2, counts_per_m: float = 5000.0,
    ) -> None:  # fmt: skip
        self.battery_v = 11.8
        self.hazards = NO_HAZARD
        self._library = library()
        self._wheels, self._log, self._measure = wheels, log, measure or wheels.speeds
        self._gyro = gyro  # the protocol has no place for it
        self._count = len(wheels.speeds())
        self._size_mm, self._per_m = round(size_m * 1000), counts_per_m
        self._boots = 0  # its floating pin
        self._up_ns: int | None = None  # None until the clock is known
        self._last_step_ns: int | None = None
        self._counters = [0.0] * self._count
        self._board: int | None = None
        self._targets: Speeds = (0.0,) * self._count

    def feed(self, data: bytes, now_ns: int) -> None:
        """Bytes from the host."""
        if self._board is None:
            return
        line = bytearray()
        for byte in data:
            line.append(byte)
            if self._library.ev1_host_byte(self._board, bytes((byte,)), self._ms(now_ns)):
                self._drive()
                if self._log is not None and line.lstrip().startswith(b"V"):
                    self._log.write(now_ns, self._wheels.speeds(), line.decode("latin-1").strip(), self._targets)
            if byte == 0x0A:
                line.clear()

    def step(self, now_ns: int) -> None:
        """One pass of the sketch's loop."""
        last_ns, self._last_step_ns = self._last_step_ns, now_ns
        if self._up_ns is None:
            self._up_ns = now_ns
        if now_ns < self._up_ns:
            return
        if self._board is None:
            self._boots += 1
            self._board = self._library.ev1_host_new(self._count, self._boots, self._ms(now_ns))
        elif last_ns is not None:
            for k, speed in enumerate(self._measure()):
                self._counters[k] += speed * self._per_m * (now_ns - last_ns) * 1e-9
        counters = (ctypes.c_int32 * self._count)(*(int(count) for count in self._counters))
        flags = sum(bit for hazard, bit in FLAGS.items() if hazard in self.hazards)
        if Hazard.TRIPPED in self.hazards:  # its stop button
            self._library.ev1_host_stop(self._board)
        self._library.ev1_host_sense(self._board, counters, round(self.battery_v * 1000), flags)
        self._library.ev1_host_tick(self._board, self._ms(now_ns))
        self._drive()

    def read(self, now_ns: int) -> bytes:  # noqa: ARG002 - a real line would pace it
        """Take what the board has said so far."""
        if self._board is None:
            return b""
        room = ctypes.create_string_buffer(MAX_SAID)
        count = self._library.ev1_host_take(self._board, room, MAX_SAID)
        return room.raw[:count]

    def reboot(self, now_ns: int) -> None:
        """Brown-out: wheels off, everything forgotten, then the boot line."""
        self._library.ev1_host_delete(self._board)
        self._board = None
        self._counters = [0.0] * self._count
        self._aim((0.0,) * self._count)
        self._up_ns = now_ns + BOOT_NS

    def _ms(self, now_ns: int) -> int:
        """Since it booted, as a board counts."""
        return (now_ns - (self._up_ns or 0)) // MS & 0xFFFFFFFF

    def _drive(self) -> None:
        wanted = (ctypes.c_int32 * 4)()
        self._library.ev1_host_wheels(self._board, self._size_mm, wanted)
        self._aim(tuple(value * 1e-3 for value in wanted[: self._count]))

    def _aim(self, targets_mps: Speeds) -> None:
        self._targets = targets_mps
        self._wheels.set_target(*targets_mps)
