"""A recorded run, driven through the pilot again: the same inputs must give the same actions, to the last bit.

`python -m edge_vla.replay RUN_DIR [--json]` exits with 0 for identical, 1 for different, 2 for a folder it cannot use.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from edge_vla import __version__
from edge_vla.behaviours.state import Inputs, State
from edge_vla.errors import ConfigError
from edge_vla.pilot import step, understand
from edge_vla.record import SCHEMA, Header, LookLine, TickLine, plain
from edge_vla.types import Frame, Look

SHOWN = 10  # differences kept; the others are counted
NO_IMAGE = np.zeros((1, 1, 3), dtype=np.uint8)  # a reply has been given already, so nobody looks at the frame
REBUILT = ("evidence_deadline_ns", "box", "sighting", "rejected")  # what a look adds to its reply

READERS: dict[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in (Header, TickLine, LookLine)}

Line = TypeVar("Line", Header, TickLine, LookLine)


@dataclass(frozen=True, slots=True)
class Recording:
    """A run folder, read."""

    folder: Path
    header: Header
    ticks: tuple[TickLine, ...]
    looks: Mapping[int, LookLine]  # by the frame's seq, in the order of the run
    notes: tuple[str, ...] = ()  # what is missing, in words


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that came out differently."""

    where: str  # "tick 12" or "look 4"
    field: str
    recorded: Any
    replayed: Any

    def __str__(self) -> str:
        return f"{self.where}: {self.field} was {self.recorded!r}, is now {self.replayed!r}"


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay found. `differing` counts ticks and looks."""

    folder: str
    ticks: int
    looks: int
    differing: int
    differences: tuple[Difference, ...]  # the first ones
    notes: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        return self.differing == 0

    def to_json(self) -> str:
        """One line."""
        return json.dumps({"identical": self.identical, **asdict(self)})


def replay(folder: Path) -> ReplayResult:
    """Drive the recorded inputs through the pilot of today. Raises ConfigError for a folder that holds no usable recording."""
    recording = load(folder)
    plan, ticks, lines = recording.header.plan, recording.ticks, recording.looks.values()
    looks, found = {}, []
    for line in lines:
        looks[line.seq] = look = _look_again(line, recording.header)
        found.append(_compare(f"look {line.seq}", _parts(line, REBUILT), _parts(look, REBUILT)))
    state = State()
    for tick in ticks:
        inputs = Inputs(tick.now_ns, tick.pose, looks[tick.look] if tick.look is not None else None, armed=tick.armed, held=tick.held)
        state, action = step(state, inputs, plan)
        found.append(_compare(f"tick {tick.tick}", _parts(tick, ("phase", "action")), {"phase": state.phase, "action": action}))
    first = [difference for place in found for difference in place][:SHOWN]
    return ReplayResult(str(folder), len(ticks), len(lines), sum(map(bool, found)), tuple(first), recording.notes)


def _look_again(line: LookLine, header: Header) -> Look:
    """The recorded reply, understood by the code of today."""
    frame = Frame(NO_IMAGE, line.t_capture_ns, line.seq)
    return understand(line.reply, frame, line.pose, header.plan, (line.t_ready_ns, line.p99_ns))


def _parts(record: Any, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


def _compare(where: str, recorded: dict[str, Any], replayed: dict[str, Any]) -> list[Difference]:
    """Every leaf that Python does not write the same way: -0.0 is not 0.0, and nan is nan."""
    old, new = dict(_leaves(plain(recorded))), dict(_leaves(plain(replayed)))
    names = [name for name in {**old, **new} if repr(old.get(name)) != repr(new.get(name))]
    return [Difference(where, name, old.get(name), new.get(name)) for name in names]


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything in a record that is no record itself."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else key)
    else:
        yield name, value


# -- reading


def load(folder: Path) -> Recording:
    """Read a run folder. A last line that an interrupted run left half written is put aside and noted. Raises ConfigError."""
    header = _header(folder / "run.json")
    ticks, cut_tick = _lines(folder / "ticks.jsonl", TickLine)
    looks, cut_look = _lines(folder / "looks.jsonl", LookLine)
    notes = [f"{name}.jsonl ends in half a line, which is left out: the run was interrupted" for name in (*cut_tick, *cut_look)]
    if (header.package, header.machine) != (__version__, platform.machine()):
        notes.append(f"recorded by edge_vla {header.package} on {header.machine}, replayed by {__version__} on {platform.machine()}")
    by_seq = {look.seq: look for look in looks}
    whole = _supported(folder, ticks, by_seq)
    if len(whole) < len(ticks):
        notes.append(f"ticks from {len(whole)} on rest on look {ticks[len(whole)].look}, which was not recorded: left out")
    if not whole:
        raise ConfigError(f"{folder}: no tick was recorded")
    return Recording(folder, header, tuple(whole), by_seq, tuple(notes))


def _supported(folder: Path, ticks: list[TickLine], looks: Mapping[int, LookLine]) -> list[TickLine]:
    """The ticks up to the first whose look was lost at the end of a recording. Raises ConfigError for any other hole."""
    newest = max(looks, default=-1)
    for index, tick in enumerate(ticks):
        if tick.tick != index:
            raise ConfigError(f"{folder / 'ticks.jsonl'}:{index + 1}: tick {tick.tick}, want {index}")
        if tick.look is not None and tick.look not in looks:
            if tick.look < newest:
                raise ConfigError(f"{folder / 'ticks.jsonl'}:{index + 1}: rests on look {tick.look}, which looks.jsonl does not have")
            return ticks[:index]
    return ticks


def _header(path: Path) -> Header:
    try:
        record = json.loads(_read(path))
    except ValueError as err:
        raise ConfigError(f"{path} is not JSON: {err}") from err
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise ConfigError(f"{path}: schema {schema!r}, this edge_vla reads {SCHEMA}")
    return _record(record, Header, str(path))


def _lines(path: Path, kind: type[Line]) -> tuple[list[Line], tuple[str, ...]]:
    """The records of a file, and its name if its last line is cut off."""
    *whole, rest = _read(path).split(b"\n")
    found = []
    for number, text in enumerate(whole, 1):
        try:
            record = json.loads(text)
        except ValueError as err:
            raise ConfigError(f"{path}:{number} is not JSON: {err}") from err
        found.append(_record(record, kind, f"{path}:{number}"))
    return found, (path.stem,) if rest else ()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise ConfigError(f"not a recording: {path}: {err.strerror}") from err


def _record(record: Any, kind: type[Line], where: str) -> Line:
    """A record as its dataclass: every field there, none that this version does not know."""
    names = {item.name for item in fields(kind)}
    if not isinstance(record, dict) or set(record) != names:
        given = set(record) if isinstance(record, dict) else set()
        raise ConfigError(f"{where}: lacks {sorted(names - given)}, has unknown {sorted(given - names)}")
    try:
        read: Line = READERS[kind].validate_python(record)
    except ValidationError as err:
        first = err.errors()[0]
        raise ConfigError(f"{where}: {'.'.join(map(str, first['loc']))} = {first['input']!r}: {first['msg']}") from err
    return read


# -- the command


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m edge_vla.replay", description="Replay a recorded run and compare every action.")
    parser.add_argument("run_dir", type=Path, help="a run folder, like runs/20261122-131500-find_object-cup")
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    arguments = parser.parse_args(argv)
    try:
        result = replay(arguments.run_dir)
    except ConfigError as err:
        sys.stderr.write(f"replay: {err}\n")
        return 2
    sys.stdout.write(f"{result.to_json() if arguments.json else _told(result)}\n")
    return 0 if result.identical else 1


def _told(result: ReplayResult) -> str:
    """The result for a person."""
    size = f"{result.ticks} ticks and {result.looks} looks"
    head = f"identical: {size}" if result.identical else f"DIFFERENT in {result.differing} of {size}, first:"
    return "\n".join([head, *(f"  {difference}" for difference in result.differences), *(f"  note: {note}" for note in result.notes)])


if __name__ == "__main__":
    sys.exit(main())
