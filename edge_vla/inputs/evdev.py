"""A key of a keyboard, joystick or gamepad through /dev/input. Standard library only; the device is not grabbed, others hear the key too.

What a stick or an analogue trigger says is an axis and no key: use a shoulder button. A radio gamepad out of reach holds its last state for
as long as its receiver does not notice.
"""

from __future__ import annotations

import errno
import os
import struct
from contextlib import suppress
from pathlib import Path

from edge_vla.errors import ConfigError, did_you_mean
from edge_vla.inputs.button import InputGone, News
from edge_vla.inputs.kernel import READ, Ioctl, ioctl, number

EVENT = struct.Struct("@llHHi")  # struct input_event in this machine's words: seconds, microseconds, type, code, value
EVENTS_A_READ = 64  # what the kernel keeps for a reader by default
SYN, KEY = 0, 1  # types
SYN_REPORT, SYN_DROPPED = 0, 3  # codes of SYN
RELEASED, PRESSED = 0, 1  # values of KEY; 2 is its repetition
KEY_MAX = 0x2FF
BITS = KEY_MAX // 8 + 1  # bytes of a bit for every key
EVIOCGKEY = number(READ, ord("E"), 0x18, BITS)
EVIOCGBIT_KEY = number(READ, ord("E"), 0x20 + KEY, BITS)
DEVICES, NAMES = Path("/dev/input"), Path("/sys/class/input")

# linux/input-event-codes.h, as far as a hand looks for it; any other by its number
KEYS = {
    "KEY_ESC": 1, "KEY_BACKSPACE": 14, "KEY_ENTER": 28, "KEY_LEFTCTRL": 29, "KEY_LEFTSHIFT": 42, "KEY_B": 48, "KEY_RIGHTSHIFT": 54,
    "KEY_SPACE": 57, "KEY_F12": 88, "KEY_KPENTER": 96, "KEY_RIGHTCTRL": 97, "KEY_UP": 103, "KEY_PAGEUP": 104, "KEY_DOWN": 108,
    "KEY_PAGEDOWN": 109, "KEY_PAUSE": 119, "KEY_STOP": 128, "BTN_LEFT": 0x110, "BTN_RIGHT": 0x111, "BTN_MIDDLE": 0x112,
    "BTN_TRIGGER": 0x120, "BTN_THUMB": 0x121, "BTN_THUMB2": 0x122, "BTN_TOP": 0x123, "BTN_TOP2": 0x124, "BTN_PINKIE": 0x125,
    "BTN_BASE": 0x126, "BTN_SOUTH": 0x130, "BTN_EAST": 0x131, "BTN_NORTH": 0x133, "BTN_WEST": 0x134, "BTN_TL": 0x136, "BTN_TR": 0x137,
    "BTN_TL2": 0x138, "BTN_TR2": 0x139, "BTN_SELECT": 0x13A, "BTN_START": 0x13B, "BTN_MODE": 0x13C, "BTN_THUMBL": 0x13D,
    "BTN_THUMBR": 0x13E,
}  # fmt: skip


class EvdevButton:
    """Key `key`, by name or number, of the device behind the path `device`."""

    def __init__(self, device: str, key: str | int, *, ioctl: Ioctl = ioctl) -> None:
        """Raises InputGone where the device cannot be opened, ConfigError for a key that there is not, or not on it."""
        code = key_code(key)
        self._device, self._ioctl = device, ioctl
        self._events, self._news = KeyEvents(code), News()
        try:
            self._fd = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as err:
            raise InputGone(f"{device}: {err.strerror}; {present()}") from err
        try:
            self._require(code)
            self._look()
        except BaseException:
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
        """One handful of events, and how the key stands where some of them were lost."""
        try:
            data = os.read(self._fd, EVENTS_A_READ * EVENT.size)
        except BlockingIOError:
            return
        except OSError as err:
            raise InputGone(f"{self._device}: {'unplugged' if err.errno == errno.ENODEV else err.strerror}") from err
        if not data:
            raise InputGone(f"{self._device}: it says nothing more")
        for held in self._events.feed(data):
            self._news.note(held=held)
        if self._events.lost:
            self._look()

    def _look(self) -> None:
        """How the key stands; the kernel drops what it had queued about keys before."""
        self._news.note(held=_has(self._bits(EVIOCGKEY), self._events.code))
        self._events.lost = False

    def _require(self, code: int) -> None:
        there = self._bits(EVIOCGBIT_KEY)
        if not _has(there, code):
            known = [name for name, number in KEYS.items() if _has(there, number)]
            raise ConfigError(f"{self._device} has no key {code}; it has {', '.join(known) or 'none that has a name here'}")

    def _bits(self, request: int) -> bytearray:
        bits = bytearray(BITS)
        try:
            self._ioctl(self._fd, request, bits)
        except OSError as err:
            if err.errno in (errno.ENOTTY, errno.EINVAL):
                raise ConfigError(f"{self._device} is no input device; {present()}") from err
            raise InputGone(f"{self._device}: {err.strerror}") from err
        return bits


class KeyEvents:
    """What a device says, split anywhere, to what it says of one key. `lost`: the kernel has dropped some, so ask how the key stands."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.lost = False
        self._rest = b""
        self._dropping = False  # until the next report all there is belongs to one that is not whole

    def feed(self, data: bytes) -> list[bool]:
        """Presses and releases in `data`, in order."""
        data = self._rest + data
        whole = len(data) - len(data) % EVENT.size
        self._rest = data[whole:]
        heard: list[bool] = []
        for _, _, kind, code, value in EVENT.iter_unpack(data[:whole]):
            if kind == SYN and code == SYN_DROPPED:
                self._dropping = True
            elif kind == SYN and code == SYN_REPORT and self._dropping:
                self._dropping, self.lost = False, True
            elif kind == KEY and code == self.code and value in (RELEASED, PRESSED) and not self._dropping:
                heard.append(value == PRESSED)
        return heard


def key_code(key: str | int) -> int:
    """Raises ConfigError, naming the nearest."""
    if isinstance(key, str) and key in KEYS:
        return KEYS[key]
    with suppress(ValueError):
        code = key if isinstance(key, int) else int(key, 0)
        if 0 < code <= KEY_MAX:
            return code
    raise ConfigError(f"key {key!r}: want a number in 1..{KEY_MAX} or one of {', '.join(KEYS)}{did_you_mean(str(key), KEYS)}")


def present(devices: Path = DEVICES, names: Path = NAMES) -> str:
    """What there is to choose from, in words: links that survive replugging first, then devices with the names they give themselves."""
    links = sorted(map(str, (devices / "by-id").glob("*event*")))
    events = sorted(devices.glob("event*"), key=lambda path: (len(path.name), path.name))
    named = [f"{path} ({_name(names / path.name / 'device' / 'name')})" for path in events]
    return f"there is {', '.join(links + named) or f'nothing in {devices}'}"


def _name(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return "no name"


def _has(bits: bytes | bytearray, code: int) -> bool:
    return bool(bits[code // 8] >> code % 8 & 1)
