"""Closed-loop evaluation in lockstep: episodes in held-out rooms, a table, a picture of paths, controls beside the result.

Exit codes: 0 the evaluation ran, 2 bad arguments or configuration, 3 it broke off (what it had by then is shown), 130 interrupted.
The last line of stdout is JSON; its `fault` says why an evaluation broke off. Refused with --json it is {"result": "refused", "why": ...}.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from edge_vla.arguments import Arguments, require_writable
from edge_vla.config import RobotProfile, load_profile
from edge_vla.errors import ConfigError, EdgeVLAError
from edge_vla.goals import GOALS, Goal, get_instruction, get_vlm_prompt, require_known, require_supported, to_goal
from edge_vla.opening import find_engine, open_engine, prove
from edge_vla.parts import ORACLE, make_base
from edge_vla.robot import make_plan, within
from edge_vla.series import HELD_OUT, Setting, cases, controls, run_all
from edge_vla.types import acting

if TYPE_CHECKING:
    from edge_vla.sim.episode import Verdict

JUDGED = (Goal.FIND_OBJECT, Goal.NAVIGATE, Goal.LOOK, Goal.FOLLOW, Goal.AVOID)
LAST_SEED = 2**31 - 1  # that `run --seed` takes
BOUNDS = {
    "episodes": (1, 100_000), "latency_ms": (0, 5000), "jobs": (1, 64), "absent_fraction": (0, 1), "timeout_s": (1, 3600),
    "seed": (0, LAST_SEED),
}  # fmt: skip
EXIT_REFUSED, EXIT_FAULT, EXIT_INTERRUPTED = 2, 3, 130


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of a set of episodes. Success, SPL and time are over episodes whose target is there."""

    success: float
    spl: float  # of a success the shortest way over the way driven (`sim.episode.spl_of`), of a failure 0
    contacts_per_episode: float
    false_arrivals: float  # share of target-absent episodes that ended as "reached"
    wrong_arrivals: float  # share of the others that said "reached" somewhere else
    time_s: float  # median of the successes
    path_m: float
    episodes: int
    present: int
    absent: int
    said: dict[str, int]


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
        wrong_arrivals=mean(v.elsewhere for v in present),
        time_s=round(sorted(v.time_s for v in good)[len(good) // 2], 1) if good else 0.0, path_m=mean(v.path_m for v in good),
        episodes=len(verdicts), present=len(present), absent=len(absent), said=said,
    )  # fmt: skip


def table(rows: Mapping[str, Result]) -> Table:
    """The figures side by side."""
    names = ("engine", "success", "SPL", "contacts", "false arrivals", "wrong arrivals", "median time", "episodes")
    out = Table(*names, title="SIMULATED closed-loop evaluation")
    for name, r in rows.items():
        out.add_row(
            Text(name), f"{r.success:.0%}", f"{r.spl:.2f}", f"{r.contacts_per_episode:.2f}", f"{r.false_arrivals:.0%}",
            f"{r.wrong_arrivals:.0%}", f"{r.time_s:.0f} s", str(r.episodes),
        )  # fmt: skip
    return out


def evaluate(setting: Setting, profile: RobotProfile, jobs: int, label: str, into: list[Verdict], *, quiet: bool) -> None:
    """All episodes with a progress bar; what is done is in `into` whatever happens. Raises EdgeVLAError."""
    work = run_all(setting, profile, jobs)
    for verdict in work if quiet else track(work, description=label, total=setting.episodes, console=Console(stderr=True)):
        into.append(verdict)  # noqa: PERF402 - what is done has to stay when the next one fails


def summary(setting: Setting, result: Result | None, fault: str = "") -> dict[str, object]:
    """The last line. Without a single episode there are no figures."""
    figures = asdict(result) if result is not None else {"success": None, "spl": None, "episodes": 0}
    return figures | {
        "goal": setting.goal.value, "engine": setting.engine, "seed": setting.seed, "held_out": setting.held_out,
        "latency_ms": setting.latency_ms, "absent_fraction": setting.absent_fraction, "stop_at_m": setting.stop_at_m,
        "compensate": setting.compensate, "timeout_s": setting.timeout_s, "targets": list(setting.targets), "simulated": True,
        "fault": fault,
    }  # fmt: skip


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Raises ConfigError, after the usage, for what is no command line."""
    cli = Arguments(
        "python -m edge_vla.evaluate", "Closed-loop evaluation in simulated, held-out rooms.",
        "exit codes: 0 it ran, 2 bad arguments or configuration, 3 it broke off, 130 interrupted",
    )  # fmt: skip
    cli.add_argument("--goal", default="find_object", help=", ".join(g.value for g in JUDGED))
    cli.add_argument("--engine", default="engines/default", help="a bundle folder, or 'oracle' for the simulator's true boxes")
    cli.add_argument("--target", action="append", default=[], help="only this thing; again for another; default every thing there is")
    cli.add_argument("--robot", type=Path, default=None, help="a robot profile with domain 'sim'")
    cli.add_argument("--episodes", type=int, default=100)
    cli.add_argument("--seed", type=int, default=HELD_OUT, help="first room; 1 000 000 and up are never used in training")
    cli.add_argument("--absent-fraction", type=float, default=0.2, help="share of episodes whose target is not in the room")
    cli.add_argument("--latency-ms", type=int, default=200, help="from exposure to reply, in simulated time")
    cli.add_argument("--timeout-s", type=float, default=120.0)
    cli.add_argument("--stop-at", type=float, default=None, help="metres from the robot's centre to the target")
    cli.add_argument("--no-compensation", action="store_true", help="place sightings where the robot is at the reply, as a control")
    cli.add_argument("--controls", action="store_true", help="also run oracle, untrained, swapped, blank and the latencies")
    cli.add_argument("--allow-unverified", action="store_true", help="drive with an engine that differs from its model")
    cli.add_argument("--picture", type=Path, default=Path("runs/evaluation.png"))
    cli.add_argument("--jobs", type=int, default=1)
    cli.add_argument("--json", action="store_true", help="only the last line of JSON")
    return cli.parse_args(argv)


def setting_of(args: argparse.Namespace, profile: RobotProfile) -> Setting:
    """Checked arguments. Raises ConfigError."""
    from edge_vla.sim.episode import NEAR_M

    goal = require_supported(to_goal(args.goal))
    if goal not in JUDGED:
        raise ConfigError(f"goal {goal.value!r} has no closed-loop verdict; want one of {', '.join(g.value for g in JUDGED)}")
    for name, (low, high) in BOUNDS.items():
        value = getattr(args, name)
        if not (math.isfinite(value) and low <= value <= high):
            raise ConfigError(f"--{name.replace('_', '-')} {value}: want {low} to {high}")
    if (last := args.seed + args.episodes - 1) > LAST_SEED:
        raise ConfigError(f"--seed {args.seed} with --episodes {args.episodes}: the last room is {last}, want at most {LAST_SEED}")
    stop_at = make_plan(profile, goal, None, stop_at_m=args.stop_at).stop_at_m
    if goal is Goal.FIND_OBJECT and stop_at > NEAR_M:
        raise ConfigError(f"--stop-at {stop_at}: a thing is found within {NEAR_M} m; further away is --goal navigate")
    return Setting(
        goal, find_engine(args.engine), args.latency_ms, args.episodes, args.seed, args.absent_fraction, args.timeout_s, stop_at,
        compensate=not args.no_compensation, targets=_targets(args.target, goal), allow_unverified=args.allow_unverified,
    )  # fmt: skip


def _targets(asked: list[str], goal: Goal) -> tuple[str, ...]:
    """Which things to ask for, without one twice. Raises ConfigError for what the simulator does not have, and where the goal decides."""
    from edge_vla.sim.objects import CLASSES

    if asked and (goal is Goal.FOLLOW or not GOALS[goal].needs_target):
        raise ConfigError(f"--target {asked[0]}: goal {goal.value!r} is judged by {'a person' if goal is Goal.FOLLOW else 'no thing'}")
    for thing in asked:
        require_known(thing, CLASSES, "the simulator")
    return tuple(dict.fromkeys(asked))


def prepare(args: argparse.Namespace) -> tuple[RobotProfile, dict[str, Setting]]:
    """Everything that can be refused before the first episode. Raises ConfigError."""
    profile = load_profile(args.robot) if args.robot else RobotProfile()
    if args.allow_unverified:
        print(f"UNVERIFIED engine {args.engine}: --allow-unverified was given", file=sys.stderr)
    if not profile.simulated:
        raise ConfigError(f"{args.robot}: robot.domain is 'real'; an evaluation runs in the simulator")
    make_base(profile.base)
    setting = setting_of(args, profile)
    _probe(args.picture)
    rows = {"this engine": setting}
    policy = _proven(setting, profile)
    if args.controls:
        rows |= controls(setting, policy=policy)
        for name in {row.engine for row in rows.values()} - {setting.engine}:
            _proven(replace(setting, engine=name), profile)
    return profile, rows


def _proven(setting: Setting, profile: RobotProfile) -> bool:
    """Open the engine and ask it once what it will be asked; whether it is a policy. Raises ConfigError."""
    if setting.engine == ORACLE:
        return False
    asked = sorted({case.target for case in cases(setting)}) if GOALS[setting.goal].needs_target else []
    engine = open_engine(setting.engine, profile, allow_unverified=setting.allow_unverified)
    words = get_instruction if acting(engine) else get_vlm_prompt
    prove(engine, setting.engine, profile, [words(setting.goal, thing) for thing in asked[:1]] or [words(setting.goal)], asked)
    if slowed := within(profile, engine)[1]:
        print(f"evaluate: {slowed}", file=sys.stderr)
    engine.close()
    return acting(engine)


def main(argv: list[str] | None = None) -> int:
    """Prepare, run, show; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    try:
        args = parse_args(words)
        profile, rows = prepare(args)
    except EdgeVLAError as err:
        return _refuse(str(err), as_json="--json" in words)
    except ModuleNotFoundError as err:
        return _refuse(f"no module {err.name}; the simulator is installed with: pip install 'edge_vla[sim]'", as_json="--json" in words)
    done: dict[str, list[Verdict]] = {}
    code, fault = 0, ""
    try:
        for name, row in rows.items():
            evaluate(row, profile, args.jobs, name, done.setdefault(name, []), quiet=args.json)
    except KeyboardInterrupt:
        code, fault = EXIT_INTERRUPTED, "interrupted"
    except EdgeVLAError as err:
        code, fault = EXIT_FAULT, str(err)
    except Exception as err:  # noqa: BLE001 - the episodes before it took hours: they are shown, and the operator told
        traceback.print_exc()
        code, fault = EXIT_FAULT, f"{type(err).__name__}: {err}"
    if fault:
        print(f"evaluate: broke off: {fault}", file=sys.stderr)
    _report(rows, done, args, fault)
    return code


def _refuse(why: str, *, as_json: bool) -> int:
    print(f"evaluate: {why}", file=sys.stderr)
    if as_json:
        print(json.dumps({"result": "refused", "why": why}))
    return EXIT_REFUSED


def _report(rows: Mapping[str, Setting], done: Mapping[str, list[Verdict]], args: argparse.Namespace, fault: str) -> None:
    """The figures first, then whatever can fail without changing them."""
    results = {name: result_of(verdicts) for name, verdicts in done.items() if verdicts}
    mine = done.get("this engine", [])
    out, log = (Console(stderr=stderr, markup=False, emoji=False, highlight=False) for stderr in (False, True))
    if results and not args.json:
        out.print(table(results))
        _name_failures(mine, log)
    if mine:
        told = _picture(mine, args.picture)
        (log if args.json else out).print(told, soft_wrap=True)
    line = summary(rows["this engine"], results.get("this engine"), fault)
    if args.controls:
        line["controls"] = {name: asdict(r) for name, r in results.items() if name != "this engine"}
    print(json.dumps(line))


def _probe(picture: Path) -> None:
    """Raise ConfigError for a picture that could not be written at the end."""
    if not cv2.haveImageWriter(str(picture)):
        raise ConfigError(f"--picture {picture}: no picture format ends like this; want for example {picture.with_suffix('.png')}")
    require_writable(picture, "--picture")


def _picture(verdicts: list[Verdict], picture: Path) -> str:
    """Draw the paths; what came of it."""
    from edge_vla.sim.paths import draw_paths

    try:
        draw_paths(verdicts, picture)
    except (OSError, cv2.error) as err:
        return f"no picture of the paths: {err}"
    return f"paths: {picture}"


def _name_failures(verdicts: list[Verdict], log: Console) -> None:
    """Each is a room somebody should look at."""
    for v in verdicts:
        if not v.success:
            absent = " (absent)" if v.absent else ""
            where = f"{v.distance_m:.2f} m, {v.facing_deg:.0f} degrees"
            touched = ", ".join(v.touched) or "nothing"
            log.print(f"  {v.seed} {v.target}{absent}: {v.said}, {where}, touched {touched}. {v.why}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
