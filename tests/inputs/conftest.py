"""One rig per registered input: a real pipe or pty in the place of the device, and the kernel's half of ioctl where there is one."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import pytest

from edge_vla.inputs import Button
from edge_vla.inputs.evdev import BITS, EVIOCGBIT_KEY, EVIOCGKEY, KEYS, EvdevButton
from edge_vla.inputs.gpio import GET_LINE, GET_VALUES, GpioButton
from edge_vla.inputs.keyboard import KeyboardButton

MS = 1_000_000
SYN, KEY = 0, 1
REPORT, DROPPED = 0, 3


def event(kind: int, code: int, value: int) -> bytes:
    """As this machine's kernel writes it."""
    return struct.pack("@llHHi", 1_700_000_000, 123_456, kind, code, value)


def edge(which: int, number: int = 1) -> bytes:
    return struct.pack("=QIIII24x", 5 * MS, which, 17, number, number)


def bits(*codes: int) -> bytes:
    return sum(1 << code for code in set(codes)).to_bytes(BITS, "little")


class Rig(Protocol):
    """What the contract suite does to any of them."""

    def make(self) -> Button: ...

    def press(self) -> None: ...

    def release(self) -> None: ...

    def pull_out(self) -> None: ...


class EvdevRig:
    """A named pipe is the device."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "event7")
        os.mkfifo(self.path)
        self.fd = os.open(self.path, os.O_RDWR)
        self.code = KEYS["BTN_TR"]
        self.has = {*KEYS.values()}
        self.held: set[int] = set()
        self.asked: list[int] = []
        self.fails: dict[int, int] = {}  # by request: errno

    def ioctl(self, fd: int, request: int, buffer: bytearray) -> int:
        self.asked.append(request)
        if request in self.fails:
            raise OSError(self.fails[request], os.strerror(self.fails[request]))
        buffer[:] = bits(*{EVIOCGKEY: self.held, EVIOCGBIT_KEY: self.has}[request])
        return len(buffer)

    def make(self, key: str | int = "BTN_TR") -> EvdevButton:
        return EvdevButton(self.path, key, ioctl=self.ioctl)

    def say(self, *events: tuple[int, int, int]) -> None:
        os.write(self.fd, b"".join(event(*words) for words in events))

    def press(self) -> None:
        self.held.add(self.code)
        self.say((KEY, self.code, 1), (SYN, REPORT, 0))

    def release(self) -> None:
        self.held.discard(self.code)
        self.say((KEY, self.code, 0), (SYN, REPORT, 0))

    def pull_out(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class GpioRig:
    """A pipe is the line's events; `level` is the line itself, turned round already as the kernel does."""

    def __init__(self, folder: Path) -> None:
        self.chip = folder / "gpiochip0"
        self.chip.touch()
        self.reader, self.fd = os.pipe()
        self.level = 0
        self.request = b""
        self.gives: int | None = None  # another file than the pipe
        self.fails: dict[int, int] = {}

    def ioctl(self, fd: int, request: int, buffer: bytearray) -> int:
        if request in self.fails:
            raise OSError(self.fails[request], os.strerror(self.fails[request]))
        if request == GET_LINE:
            self.request = bytes(buffer)
            buffer[-4:] = struct.pack("=i", os.dup(self.reader) if self.gives is None else self.gives)
        else:
            assert request == GET_VALUES
            assert struct.unpack("=QQ", buffer)[1] == 1
            buffer[:] = struct.pack("=QQ", self.level, 1)
        return 0

    def make(self, **words: object) -> GpioButton:
        return GpioButton(str(self.chip), **{"line": 17, "active": "high", **words}, ioctl=self.ioctl)  # type: ignore[arg-type]

    def press(self) -> None:
        self.level = 1
        os.write(self.fd, edge(1))

    def release(self) -> None:
        self.level = 0
        os.write(self.fd, edge(2))

    def pull_out(self) -> None:
        self.fails[GET_VALUES] = errno.ENODEV
        for name in ("reader", "fd"):
            fd = getattr(self, name)
            setattr(self, name, -1)
            if fd >= 0:
                os.close(fd)


class KeyboardRig:
    """A pseudo terminal, and a clock that only the test moves."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.path = os.ttyname(self.slave)
        self.now_ns = 1_000_000 * MS

    def make(self, **words: object) -> KeyboardButton:
        return KeyboardButton(self.path, **words, clock=lambda: self.now_ns)  # type: ignore[arg-type]

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def press(self) -> None:
        self.type(b" ")

    def release(self) -> None:
        self.now_ns += 601 * MS

    def pull_out(self) -> None:
        for name in ("master", "slave"):
            fd = getattr(self, name)
            setattr(self, name, -1)
            if fd >= 0:
                os.close(fd)


RIGS: dict[str, Callable[[Path], Rig]] = {"evdev": EvdevRig, "gpio": GpioRig, "keyboard": lambda _folder: KeyboardRig()}


@pytest.fixture
def rigs() -> dict[str, Callable[[Path], Rig]]:
    return RIGS


def opened(name: str, folder: Path) -> Iterator[Rig]:
    rig = RIGS[name](folder)
    yield rig
    with suppress(OSError):
        rig.pull_out()


@pytest.fixture
def evdev(tmp_path: Path) -> Iterator[Rig]:
    yield from opened("evdev", tmp_path)


@pytest.fixture
def gpio(tmp_path: Path) -> Iterator[Rig]:
    yield from opened("gpio", tmp_path)


@pytest.fixture
def keyboard(tmp_path: Path) -> Iterator[Rig]:
    yield from opened("keyboard", tmp_path)
