"""Closed-loop evaluation in lockstep: episodes in held-out rooms, a table, a picture of paths, controls beside the result."""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track
from rich.table import Table

from edge_vla.config import RobotProfile, load_profile
from edge_vla.errors import ConfigError, EdgeVLAError
from edge_vla.goals import Goal, require_supported, to_goal
from edge_vla.parts import ORACLE, make_base, make_engine
from edge_vla.robot import make_plan

if TYPE_CHECKING:
    from edge_vla.sim.episode import Case, Verdict
    from edge_vla.sim.lockstep import Lockstep
    from edge_vla.types import Engine

GOALS = (Goal.FIND_OBJECT, Goal.NAVIGATE, Goal.LOOK, Goal.FOLLOW, Goal.AVOID)
BOUNDS = {
    "episodes": (1, 100_000), "latency_ms": (0, 5000), "jobs": (1, 64), "absent_fraction": (0, 1), "timeout_s": (1, 3600),
    "seed": (0, 2**31),
}  # fmt: skip
UNTRAINED = Path("engines/untrained")


@dataclass(frozen=True, slots=True)
class Setting:
    """How a set of episodes is run; everything that may change a result."""

    goal: Goal
    engine: str
    latency_ms: int = 200
    episodes: int = 100
    seed: int = 1_000_000
    absent_fraction: float = 0.2
    timeout_s: float = 120.0
    stop_at_m: float = 0.45
    compensate: bool = True
    control: str = ""  # "swapped" or "blank"


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of a set of episodes. Success, SPL and time are over episodes whose target is there."""

    success: float
    spl: float
    contacts_per_episode: float
    false_arrivals: float  # share of target-absent episodes that ended as "reached"
    wrong_arrivals: float  # share of the others that said "reached" somewhere else
    time_s: float  # median of the successes
    path_m: float
    episodes: int
    present: int
    absent: int
    said: dict[str, int]


def cases(setting: Setting) -> list[Case]:
    """Absent targets are spread evenly; the same seed always gives the same cases."""
    from edge_vla.sim.episode import draw_case

    absent = round(setting.episodes * setting.absent_fraction) if setting.goal is not Goal.AVOID and setting.goal is not Goal.FOLLOW else 0
    marks = {int((k + 0.5) * setting.episodes / absent) for k in range(absent)} if absent else set()
    return [draw_case(setting.seed + i, setting.goal, absent=i in marks, index=i) for i in range(setting.episodes)]


@cache
def load_engine(name: str, threads: int) -> Engine:
    """A bundle's engine, loaded once in each worker: no episode leaves anything behind in it."""
    return make_engine(name, threads=threads, domain="sim")


def run_one(job: tuple[Case, Setting, RobotProfile]) -> Verdict:
    """One episode in this process."""
    from edge_vla.sim.episode import Terms, run_case

    case, setting, profile = job
    base = make_base(profile.base.kind, profile.base.track_m, profile.base.max_wheel_mps)

    def build(run: Lockstep) -> Engine:
        from edge_vla.sim.controls import Blank, Swapped

        threads = profile.engine.threads
        oracle = setting.engine == ORACLE
        engine = (
            make_engine(ORACLE, threads=threads, domain="sim", truth_of=run.truth_of) if oracle else load_engine(setting.engine, threads)
        )
        if setting.control == "swapped":
            return Swapped(engine)
        return Blank(engine) if setting.control == "blank" else engine

    terms = Terms(setting.latency_ms, setting.timeout_s, setting.stop_at_m, setting.compensate)
    return run_case(case, profile, base, build, terms)


def run_all(setting: Setting, profile: RobotProfile, jobs: int) -> Iterator[Verdict]:
    """Every episode, in order. Workers are fresh processes: a GL context does not survive a fork."""
    work = [(case, setting, profile) for case in cases(setting)]
    if jobs == 1:
        yield from map(run_one, work)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(run_one, work)


def result_of(verdicts: list[Verdict]) -> Result:
    present, absent = [v for v in verdicts if not v.absent], [v for v in verdicts if v.absent]
    good = [v for v in present if v.success]
    said: dict[str, int] = {}
    for v in verdicts:
        said[v.said] = said.get(v.said, 0) + 1

    def mean(values: Iterable[float]) -> float:
        kept = list(values)
        return round(sum(kept) / len(kept), 4) if kept else 0.0

    return Result(
        success=mean(v.success for v in present), spl=mean(v.spl for v in present),
        contacts_per_episode=mean(v.contacts for v in verdicts), false_arrivals=mean(v.said == "reached" for v in absent),
        wrong_arrivals=mean(v.said == "reached" and v.distance_m > 0.8 for v in present),
        time_s=round(sorted(v.time_s for v in good)[len(good) // 2], 1) if good else 0.0, path_m=mean(v.path_m for v in good),
        episodes=len(verdicts), present=len(present), absent=len(absent), said=said,
    )  # fmt: skip


def controls(setting: Setting) -> dict[str, Setting]:
    """The settings that belong beside a result: a ceiling, three that must fail, and what latency costs."""
    if not UNTRAINED.is_dir():
        raise ConfigError(f"--controls needs {UNTRAINED}: make it with `python -m export default --untrained --out {UNTRAINED}`")
    rows = {
        "oracle boxes": replace(setting, engine=ORACLE),
        "untrained weights": replace(setting, engine=str(UNTRAINED)),
        "swapped target word": replace(setting, control="swapped"),
        "blank camera": replace(setting, control="blank"),
    }
    for latency in (50, 200, 500):
        for compensate in (True, False):
            if latency != setting.latency_ms or not compensate:
                name = f"{latency} ms, {'with' if compensate else 'no'} odometry compensation"
                rows[name] = replace(setting, latency_ms=latency, compensate=compensate)
    return rows


def table(rows: dict[str, Result]) -> Table:
    """The figures side by side."""
    names = ("engine", "success", "SPL", "contacts", "false arrivals", "wrong arrivals", "median time", "episodes")
    out = Table(*names, title="SIMULATED closed-loop evaluation")
    for name, r in rows.items():
        out.add_row(
            name, f"{r.success:.0%}", f"{r.spl:.2f}", f"{r.contacts_per_episode:.2f}", f"{r.false_arrivals:.0%}",
            f"{r.wrong_arrivals:.0%}", f"{r.time_s:.0f} s", str(r.episodes),
        )  # fmt: skip
    return out


def evaluate(setting: Setting, profile: RobotProfile, jobs: int, label: str, *, quiet: bool) -> list[Verdict]:
    """All episodes with a progress bar."""
    work = run_all(setting, profile, jobs)
    return list(work if quiet else track(work, description=label, total=setting.episodes, console=Console(stderr=True)))


def summary(setting: Setting, result: Result) -> dict[str, object]:
    return asdict(result) | {
        "goal": setting.goal.value, "engine": setting.engine, "seed": setting.seed, "latency_ms": setting.latency_ms,
        "absent_fraction": setting.absent_fraction, "simulated": True,
    }  # fmt: skip


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    cli = argparse.ArgumentParser(prog="python -m edge_vla.evaluate", description="Closed-loop evaluation in simulated, held-out rooms.")
    cli.add_argument("--goal", default="find_object", help=", ".join(g.value for g in GOALS))
    cli.add_argument("--engine", default="engines/default", help="a bundle folder, or 'oracle' for the simulator's true boxes")
    cli.add_argument("--robot", type=Path, default=None, help="a robot profile with domain 'sim'")
    cli.add_argument("--episodes", type=int, default=100)
    cli.add_argument("--seed", type=int, default=1_000_000, help="first room; 1 000 000 and up are never used in training")
    cli.add_argument("--absent-fraction", type=float, default=0.2, help="share of episodes whose target is not in the room")
    cli.add_argument("--latency-ms", type=int, default=200, help="from exposure to reply, in simulated time")
    cli.add_argument("--timeout-s", type=float, default=120.0)
    cli.add_argument("--stop-at", type=float, default=None, help="metres from the robot's centre to the target")
    cli.add_argument("--no-compensation", action="store_true", help="place sightings where the robot is at the reply, as a control")
    cli.add_argument("--controls", action="store_true", help="also run oracle, untrained, swapped, blank and the latencies")
    cli.add_argument("--picture", type=Path, default=Path("runs/evaluation.png"))
    cli.add_argument("--jobs", type=int, default=1)
    cli.add_argument("--json", action="store_true", help="only the last line of JSON")
    return cli.parse_args(argv)


def setting_of(args: argparse.Namespace, profile: RobotProfile) -> Setting:
    """Checked arguments. Raises ConfigError."""
    goal = require_supported(to_goal(args.goal))
    if goal not in GOALS:
        raise ConfigError(f"goal {goal.value!r} has no closed-loop verdict; want one of {', '.join(g.value for g in GOALS)}")
    for name, (low, high) in BOUNDS.items():
        value = getattr(args, name)
        if not (math.isfinite(value) and low <= value <= high):
            raise ConfigError(f"--{name.replace('_', '-')} {value}: want {low} to {high}")
    stop_at = make_plan(profile, goal, None, stop_at_m=args.stop_at).stop_at_m
    return Setting(
        goal, args.engine, args.latency_ms, args.episodes, args.seed, args.absent_fraction, args.timeout_s, stop_at,
        compensate=not args.no_compensation,
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Exit 0 when the evaluation ran, 2 for bad arguments."""
    args = parse_args(argv)
    try:
        profile = load_profile(args.robot) if args.robot else RobotProfile()
        if not profile.simulated:
            raise ConfigError(f"{args.robot}: robot.domain is 'real'; an evaluation runs in the simulator")
        setting = setting_of(args, profile)
        rows = {"this engine": setting} | (controls(setting) if args.controls else {})
        if setting.engine != ORACLE:
            make_engine(setting.engine, threads=1, domain="sim").close()  # refuse a bad bundle before the first episode
    except EdgeVLAError as err:
        print(f"evaluate: {err}", file=sys.stderr)
        return 2
    results: dict[str, Result] = {}
    for name, row in rows.items():
        verdicts = evaluate(row, profile, args.jobs, name, quiet=args.json)
        results[name] = result_of(verdicts)
        if row is setting:
            _show(verdicts, args.picture, quiet=args.json)
    if not args.json:
        Console().print(table(results))
        Console().print(f"paths: {args.picture}")
    line = summary(setting, results["this engine"])
    if args.controls:
        line["controls"] = {name: asdict(r) for name, r in results.items() if name != "this engine"}
    print(json.dumps(line))
    return 0


def _show(verdicts: list[Verdict], picture: Path, *, quiet: bool) -> None:
    """Draw the paths and name every failure: each is a room somebody should look at."""
    from edge_vla.sim.paths import draw_paths

    draw_paths(verdicts, picture)
    for v in verdicts:
        if not (v.success or quiet):
            absent = " (absent)" if v.absent else ""
            where = f"{v.distance_m:.2f} m, {v.facing_deg:.0f} degrees"
            touched = ", ".join(v.touched) or "nothing"
            Console(stderr=True).print(f"  {v.seed} {v.target}{absent}: {v.said}, {where}, touched {touched}. {v.why}")


if __name__ == "__main__":
    sys.exit(main())
