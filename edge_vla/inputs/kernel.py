"""The one way from here into the kernel besides reading: ioctl on a buffer, and how its numbers are made on x86 and Arm."""

from __future__ import annotations

import fcntl
from collections.abc import Callable

Ioctl = Callable[[int, int, bytearray], int]  # (fd, number, buffer that is read and written) -> what the kernel returns; raises OSError

WRITE, READ = 1, 2  # as the caller sees it; both for what goes in and comes back


def number(direction: int, kind: int, which: int, size: int) -> int:
    """As linux/ioctl.h has it: direction 2 bits, size 14, kind 8, which 8."""
    return direction << 30 | size << 16 | kind << 8 | which


def ioctl(fd: int, request: int, buffer: bytearray) -> int:
    """The kernel's own."""
    return int(fcntl.ioctl(fd, request, buffer, True))  # noqa: FBT003 - its own signature: what comes back lands in `buffer`
