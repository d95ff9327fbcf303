"""A latch outlives its guard: the next one of the same robot starts in it. One line of JSON for every latch and every reset."""

from __future__ import annotations

import json
import os
from pathlib import Path

from edge_vla.errors import ConfigError
from edge_vla.guard.lines import LineLog
from edge_vla.guard.private import private
from edge_vla.guard.state import FaultCode, Machine

SUFFIX = ".latch"
QUEUE_LINES = 64
CLOSE_S = 0.2
MOST_ID = 1 << 32  # of a datagram
MOST_BYTES = 65_536  # what is read back: the newest hundreds of lines


def latch_path(folder: Path, port: str) -> Path:
    """Where the latches of the robot behind a port are kept."""
    return folder / (port.strip("/").replace("/", "_") + SUFFIX)


class LatchMemory:
    """Appends by a thread of its own, so that a disk that is full or stuck holds no tick up."""

    def __init__(self, path: str | None) -> None:
        """None remembers nothing. Raises ConfigError for a folder that others may enter, or a file that cannot be had."""
        self._lines: LineLog | None = None
        self.machine = Machine()
        self._known = 0  # the id of the latch the file ends with, 0 when it ends with a reset
        if path is None:
            return
        private(Path(path).parent)
        try:
            self.machine = recall(_tail(path))
            self._lines = LineLog(path, QUEUE_LINES, CLOSE_S)
        except OSError as err:
            raise ConfigError(f"latch memory {path}: {err.strerror}") from err
        self._known = self.machine.fault_id if self.machine.fault is not FaultCode.NONE else 0

    def keep(self, machine: Machine, *, forget: bool = False) -> None:
        """Note a new latch or its reset; `forget` a latch that was only the way the run ended."""
        latched = machine.fault is not FaultCode.NONE and not forget
        held = machine.fault_id if latched else 0
        if held == self._known or self._lines is None:
            return
        self._known = held
        self._lines.write(json.dumps({"fault_id": machine.fault_id, "fault": machine.fault.name if latched else "NONE"}).encode() + b"\n")

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()


def recall(lines: list[bytes]) -> Machine:
    """The machine that the last line left: latched, or not. A last line that cannot be read may have been a latch, so it is one."""
    said = [line for line in lines if line.strip()]
    if not said:
        return Machine()
    last = _read(said[-1])
    if last is not None:
        return remembered(*last)
    known = next((found[1] for line in reversed(said) if (found := _read(line)) is not None), 0)
    return remembered(FaultCode.SELF_CHECK, known + 1)


def _read(line: bytes) -> tuple[FaultCode, int] | None:
    try:
        found = json.loads(line)
        fault, fault_id = FaultCode[found["fault"]], found["fault_id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    whole = isinstance(fault_id, int) and not isinstance(fault_id, bool) and 1 <= fault_id < MOST_ID
    return (fault, fault_id) if whole else None


def remembered(fault: FaultCode, fault_id: int) -> Machine:
    """A machine that starts in a latch, or after one that was reset: ids go on, so that an old reset fits no new latch."""
    before = Machine(fault_id=fault_id)
    if fault is FaultCode.NONE:
        return before
    return Machine(fault_id=fault_id - 1).latch(0, fault)


def _tail(path: str) -> list[bytes]:
    """The last lines of a file, the first of them perhaps half a line; none where there is no file."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - the guard imports no more than it must
            file.seek(max(0, os.fstat(file.fileno()).st_size - MOST_BYTES))
            return file.read(MOST_BYTES).splitlines()
    except FileNotFoundError:
        return []
