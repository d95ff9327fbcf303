"""A report held against a base: is it slower, beyond what noise explains, or does it say something else?

Gated are p50 and p95 of every warm stage. p50 is what a user feels and is the steadiest figure there is; p95 is the bad case that a
median hides. p99 and the longest rest on single events of a run and are shown, not judged, as are cold figures, which are one sample.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edge_vla.agreement import ANOTHER_MACHINE, Tolerance, difference, told
from edge_vla.bench.distribution import GATED, Spread, judge
from edge_vla.bench.report import AnswerLine, Change, Checked, Comparison, EngineFacts, Machine, Report, Stage
from edge_vla.errors import ConfigError
from edge_vla.types import Chunk, Reply, Twist

EXACT = Tolerance(0, 0.001, 0.001)  # the same files on the same processor and versions answer to the last bit; JSON rounds
SHOWN = 20  # changed answers told one by one


@dataclass(frozen=True, slots=True)
class Here:
    """What is about to be measured, as far as a base has to be the same."""

    machine: Machine
    power_mode: str
    threads: int
    keys: tuple[str, ...]  # of the questions
    groups: tuple[str, ...]  # of stages


def require_comparable(base: Report, here: Here, *, any_machine: bool) -> None:
    """Raise ConfigError, before anything is measured, for a base that this measurement will say nothing about."""
    if missing := [group for group in base.method.stages if group not in here.groups]:
        raise ConfigError(f"--compare {base.path}: it measured {', '.join(base.method.stages)}; add --stages {','.join(missing)}")
    if set(here.keys) != {line.key for line in base.answers}:
        raise ConfigError(
            f"--compare {base.path}: it asked {len(base.answers)} other questions ({base.method.source}); name the same with --frames"
        )
    ours = here.machine.identity | {"power_mode": here.power_mode, "threads": here.threads}
    theirs = base.machine.identity | {"power_mode": base.conditions.power_mode, "threads": base.engine.threads}
    other = [f"{name} {theirs[name]!r}, here {ours[name]!r}" for name in ours if ours[name] != theirs[name]]
    if other and not any_machine:
        raise ConfigError(
            f"--compare {base.path}: measured on another machine or in another mode ({'; '.join(other)}), so its latencies say nothing "
            "about these; measure a base here, or name the risk with --any-machine"
        )


def compare(bases: Sequence[Report], new: Report, limit: float) -> Comparison:
    """What has become of the base; `limit` is the share by which a quantile may grow.

    More bases are more measurements of the same, at other times: what lies between them is the machine's own drift. Answers and
    versions are held against the first.
    """
    base, changes = bases[0], list[Change]()
    for name in dict.fromkeys([*new.stages, *base.stages]):
        changes += _changes(name, [found for each in bases if (found := each.stages.get(name))], new.stages.get(name), limit)
    alike = base.machine.identity == new.machine.identity and base.versions.packages == new.versions.packages
    exact = alike and _same_files(base.engine, new.engine) and _run_alike(base.engine, new.engine)
    answers = check_answers(base.path or "base", _replies(base.answers), new.answers, EXACT if exact else ANOTHER_MACHINE)
    return Comparison(bases=[each.path for each in bases], max_regression=limit, changes=changes, answers=answers, notes=_notes(base, new))


def check_answers(against: str, wanted: dict[str, Reply], answers: Sequence[AnswerLine], tolerance: Tolerance) -> Checked:
    """Which answers are not the wanted ones, by key."""
    changed = []
    for line in answers:
        want, got = wanted[line.key], _reply(line)
        if not tolerance.holds(difference(got, want)):
            changed.append(f"{line.prompt!r} ({line.key}): was {told(want)}, is {told(got)}")
    more = [f"and {len(changed) - SHOWN} more"] if len(changed) > SHOWN else []
    return Checked(against=against, tolerance=str(tolerance), answers=len(answers), changed=changed[:SHOWN] + more)


def _changes(name: str, bases: Sequence[Stage], new: Stage | None, limit: float) -> list[Change]:
    if new is None:
        return [Change(stage=name, statistic="p50", base_ms=bases[0].p50_ms, new_ms=None, ratio=None, word="gone")]
    if not bases:
        return [Change(stage=name, statistic="p50", base_ms=None, new_ms=new.p50_ms, ratio=None, word="new")]
    found = []
    for statistic, _ in GATED:
        was, now = _spread(bases, statistic), _spread([new], statistic)
        if was is not None and now is not None:
            ratio = round(now.value / was.value, 4) if was.value > 0 else None
            word = judge(was, now, limit)
            found.append(Change(stage=name, statistic=statistic, base_ms=was.value, new_ms=now.value, ratio=ratio, word=word))
    return found


def _spread(stages: Sequence[Stage], statistic: str) -> Spread | None:
    """The median of what each measurement found, bracketed by all their blocks."""
    values = [value for stage in stages if (value := getattr(stage, f"{statistic}_ms")) is not None]
    blocks = [ms for stage in stages for ms in getattr(stage, f"{statistic}_blocks_ms")]
    return Spread(round(statistics.median(values), 4), tuple(blocks)) if values else None


def _notes(base: Report, new: Report) -> list[str]:
    """What is different besides latencies and answers."""
    notes = []
    if not _same_files(base.engine, new.engine):
        notes.append(f"another engine: {base.engine.folder} ({base.engine.precision}), now {new.engine.folder} ({new.engine.precision})")
    if not _run_alike(base.engine, new.engine):
        was_on, now_on = (f"{each.backend} on {', '.join(each.providers)}" for each in (base.engine, new.engine))
        notes.append(f"run by {was_on}, now {now_on}")
    was, now = ({"python": each.versions.python, **each.versions.packages} for each in (base, new))
    notes += [
        f"{name} {was.get(name, 'absent')}, now {now.get(name, 'absent')}" for name in {**was, **now} if was.get(name) != now.get(name)
    ]
    if base.machine.identity != new.machine.identity or base.conditions.power_mode != new.conditions.power_mode:
        notes.append("another machine or power mode: the latencies are not comparable")
    return notes


def _same_files(one: EngineFacts, other: EngineFacts) -> bool:
    return one.sha256 == other.sha256


def _run_alike(one: EngineFacts, other: EngineFacts) -> bool:
    return one.backend == other.backend and one.providers == other.providers


def _replies(lines: Sequence[AnswerLine]) -> dict[str, Reply]:
    return {line.key: _reply(line) for line in lines}


def _reply(line: AnswerLine) -> Reply:
    free = None if line.free_distance_m is None else tuple(line.free_distance_m)
    chunk = None if line.twists is None else Chunk(tuple(Twist(*twist) for twist in line.twists), period_s=1.0)
    return Reply(line.text, line.confidence, free, chunk=chunk)
