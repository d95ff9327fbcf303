"""One line of a diagnosis, and the registry of those who find them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from edge_vla.doctor.host import Host


class Level(Enum):
    """How bad it is. Only FAIL keeps the robot from running."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found. Anything but OK comes with what mends it, a command wherever there is one."""

    level: Level
    text: str
    fix: str = ""

    def __post_init__(self) -> None:
        if (self.level is Level.OK) is bool(self.fix):
            raise ValueError(f"{self.level.value} {self.text!r} with fix {self.fix!r}: what is not ok, and nothing else, has a fix")


def ok(text: str) -> Finding:
    return Finding(Level.OK, text)


def warn(text: str, fix: str) -> Finding:
    return Finding(Level.WARN, text, fix)


def fail(text: str, fix: str) -> Finding:
    return Finding(Level.FAIL, text, fix)


Check: TypeAlias = Callable[[Host], Finding]
CHECKS: dict[str, Check] = {}  # by the name a line begins with, in the order they are told


def check(name: str) -> Callable[[Check], Check]:
    """Register a check under a name no other has."""

    def register(function: Check) -> Check:
        if name in CHECKS:
            raise ValueError(f"two checks are called {name!r}")
        CHECKS[name] = function
        return function

    return register
