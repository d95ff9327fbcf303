"""A button on one line of /dev/gpiochipN, through the kernel's second line interface. Standard library only.

A stop button is wired normally closed, to ground, with the pull up and `active = "high"`: pressed it opens, and so does a wire that is cut.
A deadman is the other way round, normally open and `active = "low"`: a wire that is cut is one that is let go.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from edge_vla.errors import ConfigError
from edge_vla.inputs.button import InputGone, News
from edge_vla.inputs.kernel import READ, WRITE, Ioctl, ioctl, number

CONSUMER = b"edge_vla"
# struct gpio_v2_line_request: 64 lines, consumer, config (flags, how many attributes, room, ten attributes), lines, buffer, room, fd
LINES, LINE_CONSUMER = struct.Struct("=64I"), struct.Struct("=32s")
CONFIG, ATTRIBUTE, TAIL = struct.Struct("=QI20x"), struct.Struct("=IIQQ"), struct.Struct("=II20xi")
ATTRIBUTES = 10
REQUEST_BYTES = LINES.size + LINE_CONSUMER.size + CONFIG.size + ATTRIBUTES * ATTRIBUTE.size + TAIL.size
VALUES = struct.Struct("=QQ")  # bits, mask
EVENT = struct.Struct("=QIIII24x")  # when, which edge, line, number, number on this line
EVENTS_A_READ = 16  # what the kernel keeps for one line
GET_LINE = number(READ | WRITE, 0xB4, 0x07, REQUEST_BYTES)
GET_VALUES = number(READ | WRITE, 0xB4, 0x0E, VALUES.size)
ACTIVE_LOW, INPUT, RISING, FALLING = 1 << 1, 1 << 2, 1 << 4, 1 << 5
PULLS = {"up": 1 << 8, "down": 1 << 9, "none": 1 << 10}
DEBOUNCE = 3  # an attribute: microseconds
BECAME_ACTIVE, BECAME_INACTIVE = 1, 2
MOST_DEBOUNCE_MS = 100  # a stop button that answers later is none


class GpioButton:
    """Held while line `line` of `chip` is `active`. `active` has no default: the wrong one reads a button backwards."""

    def __init__(self, chip: str, line: int, active: str, pull: str = "up", debounce_ms: int = 5, *, ioctl: Ioctl = ioctl) -> None:
        """Raises InputGone where the chip or the line is not to be had, ConfigError for words that say nothing."""
        request = bytearray(line_request(line, active, pull, debounce_ms))
        self._name, self._ioctl = f"{chip} line {line}", ioctl
        self._edges, self._news = Edges(), News()
        try:
            fd = os.open(chip, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                ioctl(fd, GET_LINE, request)
            finally:
                os.close(fd)
        except OSError as err:
            raise InputGone(f"{self._name}: {err.strerror}; {present()}") from err
        self._fd = int(TAIL.unpack_from(request, REQUEST_BYTES - TAIL.size)[2])
        if self._fd <= 0:  # an error, by linux/gpio.h
            raise InputGone(f"{self._name}: the kernel gives no line")
        os.set_blocking(self._fd, False)
        try:
            self._look()
        except InputGone:
            self.close()
            raise

    def fileno(self) -> int:
        return self._fd

    def read(self) -> bool | None:
        if not self._news:
            try:
                self._hear()
            except InputGone:
                if not self._news:  # the last it has said before comes first
                    raise
        return self._news.tell()

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _hear(self) -> None:
        """A handful of edges, and then the line itself: of too many edges the kernel forgets some."""
        try:
            data = os.read(self._fd, EVENTS_A_READ * EVENT.size)
        except BlockingIOError:
            return
        except OSError as err:
            raise InputGone(f"{self._name}: {err.strerror}") from err
        if not data:
            raise InputGone(f"{self._name}: it says nothing more")
        for held in self._edges.feed(data):
            self._news.note(held=held)
        self._look()

    def _look(self) -> None:
        values = bytearray(VALUES.pack(0, 1))
        try:
            self._ioctl(self._fd, GET_VALUES, values)
        except OSError as err:
            raise InputGone(f"{self._name}: {err.strerror}") from err
        self._news.note(held=bool(VALUES.unpack(values)[0] & 1))


class Edges:
    """Edge events, split anywhere, to held or not. The kernel has turned the line round already where it is active low."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bool]:
        """Changes in `data`, in order."""
        data = self._rest + data
        whole = len(data) - len(data) % EVENT.size
        self._rest = data[whole:]
        edges = [edge for _, edge, *_ in EVENT.iter_unpack(data[:whole])]
        return [edge == BECAME_ACTIVE for edge in edges if edge in (BECAME_ACTIVE, BECAME_INACTIVE)]


def line_request(line: int, active: str, pull: str, debounce_ms: int) -> bytes:
    """What asks for one line as an input with both edges. Raises ConfigError."""
    numbers: tuple[tuple[str, object, int], ...] = (("line", line, 0xFFFF), ("debounce_ms", debounce_ms, MOST_DEBOUNCE_MS))
    for name, value, most in numbers:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise ConfigError(f"gpio {name}={value!r}: want a whole number in 0..{most}")
    if active not in ("low", "high"):
        raise ConfigError(f"gpio active={active!r}: want low or high")
    if pull not in PULLS:
        raise ConfigError(f"gpio pull={pull!r}: want {', '.join(PULLS)}")
    flags = INPUT | RISING | FALLING | PULLS[pull] | (ACTIVE_LOW if active == "low" else 0)
    attributes = [ATTRIBUTE.pack(DEBOUNCE, 0, debounce_ms * 1000, 1)] if debounce_ms else []
    room = bytes(ATTRIBUTE.size * (ATTRIBUTES - len(attributes)))
    head = LINES.pack(line, *[0] * 63) + LINE_CONSUMER.pack(CONSUMER) + CONFIG.pack(flags, len(attributes))
    return head + b"".join(attributes) + room + TAIL.pack(1, 0, 0)


def present(devices: Path = Path("/dev")) -> str:
    """What chips there are, in words."""
    chips = sorted(map(str, devices.glob("gpiochip*")))
    return f"there is {', '.join(chips) if chips else f'no gpiochip in {devices}'}"
