"""A series of episodes in lockstep: which rooms and targets, under which terms, in how many processes. Says nothing about results."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edge_vla import places
from edge_vla.config import RobotProfile
from edge_vla.errors import ConfigError, EdgeVLAError
from edge_vla.goals import Goal
from edge_vla.parts import ORACLE, make_base, make_engine
from edge_vla.robot import within
from edge_vla.types import acting

if TYPE_CHECKING:
    from edge_vla.sim.episode import Case, Verdict
    from edge_vla.sim.lockstep import Lockstep
    from edge_vla.types import Engine

UNTRAINED = Path("engines/untrained")
HELD_OUT = 1_000_000  # rooms from here on are never trained on


@dataclass(frozen=True, slots=True)
class Setting:
    """How a set of episodes is run; everything that may change a result."""

    goal: Goal
    engine: str
    latency_ms: int = 200
    episodes: int = 100
    seed: int = HELD_OUT
    absent_fraction: float = 0.2
    timeout_s: float = 120.0
    stop_at_m: float = 0.45
    compensate: bool = True
    control: str = ""  # "swapped" or "blank"
    targets: tuple[str, ...] = ()  # asked for in turn; none: every thing there is
    allow_unverified: bool = False  # an engine that differs from its model drives all the same

    @property
    def held_out(self) -> bool:
        """None of its rooms can have been trained on: they are numbered upwards from `seed`."""
        return self.seed >= HELD_OUT


def cases(setting: Setting) -> list[Case]:
    """Absent targets are spread evenly; the same seed always gives the same cases."""
    from edge_vla.sim.episode import draw_case

    absent = round(setting.episodes * setting.absent_fraction) if setting.goal is not Goal.AVOID and setting.goal is not Goal.FOLLOW else 0
    marks = {int((k + 0.5) * setting.episodes / absent) for k in range(absent)} if absent else set()
    return [draw_case(setting.seed + i, setting.goal, absent=i in marks, index=i, things=setting.targets) for i in range(setting.episodes)]


def controls(setting: Setting, *, policy: bool = False) -> dict[str, Setting]:
    """The settings that belong beside a result: a ceiling, three that must fail, and what latency costs.

    Of a policy the untrained one is another bundle, which nobody but its exporter has; nor has it sightings to compensate.
    """
    rows = {"oracle boxes": replace(setting, engine=ORACLE)}
    if not policy:
        untrained = places.find(UNTRAINED)
        if untrained is None:
            raise ConfigError(f"--controls needs {UNTRAINED}: make it with `python -m export default --untrained --out {UNTRAINED}`")
        rows["untrained weights"] = replace(setting, engine=str(untrained))
    rows["swapped target word"] = replace(setting, control="swapped")
    rows["blank camera"] = replace(setting, control="blank")
    for latency in (50, 200, 500):
        for compensate in (True,) if policy else (True, False):
            if latency != setting.latency_ms or not compensate:
                name = f"{latency} ms" if policy else f"{latency} ms, {'with' if compensate else 'no'} odometry compensation"
                rows[name] = replace(setting, latency_ms=latency, compensate=compensate)
    return rows


@cache
def load_engine(name: str, threads: int, provider: str = "cpu", *, allow_unverified: bool = False) -> Engine:
    """A bundle's engine, loaded once in each worker: no episode leaves anything behind in it."""
    return make_engine(name, threads=threads, domain="sim", provider=provider, allow_unverified=allow_unverified)


def run_one(job: tuple[Case, Setting, RobotProfile]) -> Verdict:
    """One episode in this process."""
    from edge_vla.sim.episode import Terms, run_case

    case, setting, profile = job
    loaded, policy, threads = None, False, profile.engine.threads
    if setting.engine != ORACLE:
        loaded = load_engine(setting.engine, threads, profile.engine.provider, allow_unverified=setting.allow_unverified)
        policy = acting(loaded)
        profile, _ = within(profile, loaded)
    base = make_base(profile.base)

    def build(run: Lockstep) -> Engine:
        from edge_vla.sim.controls import Blank, Swapped
        from edge_vla.sim.objects import CLASSES

        engine = loaded or make_engine(ORACLE, threads=threads, domain="sim", truth_of=run.truth_of)
        if setting.control == "swapped":
            return Swapped(engine, setting.targets or CLASSES)
        return Blank(engine) if setting.control == "blank" else engine

    terms = Terms(setting.latency_ms, setting.timeout_s, setting.stop_at_m, setting.compensate, policy)
    return run_case(case, profile, base, build, terms)


def run_all(setting: Setting, profile: RobotProfile, jobs: int) -> Iterator[Verdict]:
    """Every episode, in order. Workers are fresh processes: a GL context does not survive a fork. Raises EdgeVLAError when one dies."""
    work = [(case, setting, profile) for case in cases(setting)]
    if jobs == 1:
        yield from map(run_one, work)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, signal.signal, (signal.SIGINT, signal.SIG_DFL)) as pool:  # Ctrl-C ends workers without a word
        try:
            yield from pool.map(run_one, work)
        except BrokenProcessPool as err:
            for worker in multiprocessing.active_children():  # one started in that very moment the pool waits for, but does not end
                worker.kill()
            raise EdgeVLAError(f"one of {jobs} worker processes died; if the machine ran out of memory, use fewer --jobs") from err
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
