"""The operator's door: arguments to parts, parts to a run, a run to a summary and an exit code. Stops the base whatever happens.

python -m edge_vla.run --goal find_object --target cup
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

from rich.console import Console

from edge_vla.behaviours.state import Plan
from edge_vla.config import RobotProfile, load_profile
from edge_vla.errors import ConfigError, EdgeVLAError
from edge_vla.goals import GOALS, Goal, clean_target, require_supported, to_goal
from edge_vla.parse import parse_all
from edge_vla.parts import make_engine
from edge_vla.record import run_folder
from edge_vla.robot import make_plan
from edge_vla.session import Interrupt, Request, Session
from edge_vla.summary import Summary, render, save
from edge_vla.types import ActionType

EXIT_CONFIG, EXIT_FAULT = 2, 3


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    cli = argparse.ArgumentParser(
        prog="python -m edge_vla.run", description="Drive a robot towards a goal in words.",
        epilog="exit codes: 0 reached, 1 not reached, 2 bad arguments or configuration, 3 stopped by a fault, 130 and 143 interrupted",
    )  # fmt: skip
    cli.add_argument("--goal", required=True, help=", ".join(goal.value for goal in Goal))
    cli.add_argument("--target", help="the thing to find, follow or look for")
    cli.add_argument("--text", help="the sentence to obey with --goal command, English or Korean")
    cli.add_argument("--robot", type=Path, help="robot profile (TOML); default launch/robot.toml, or the simulator where there is none")
    cli.add_argument("--engine", default="engines/default", help="a bundle folder, or 'oracle' for the simulator's true boxes")
    cli.add_argument("--seed", type=int, default=7, help="the simulated room")
    cli.add_argument("--timeout-s", type=float, default=120.0)
    cli.add_argument("--stop-at", type=float, help="metres between the robot's centre and the target")
    cli.add_argument("--record", type=Path, default=Path("runs"), help="folder that gets a folder for this run")
    cli.add_argument("--allow-domain-mismatch", action="store_true", help="drive with an engine trained elsewhere, at your risk")
    cli.add_argument("--json", action="store_true", help="the summary as the last line of JSON, everything else on stderr")
    return cli.parse_args(argv)


def request_of(args: argparse.Namespace) -> Request:
    """Everything checked before anything is started. Raises ConfigError."""
    profile = load_profile(args.robot)
    goal = require_supported(to_goal(args.goal), has_arm=profile.robot.has_arm)
    target = clean_target(args.target) if args.target is not None else None
    if GOALS[goal].needs_target and target is None:
        raise ConfigError(f"goal {goal.value!r} needs a target, for example --target cup")
    if not (math.isfinite(args.timeout_s) and 1 <= args.timeout_s <= 86_400):
        raise ConfigError(f"--timeout-s {args.timeout_s}: want 1 to 86400")
    if not 0 <= args.seed < 2**31:
        raise ConfigError(f"--seed {args.seed}: want 0 to {2**31 - 1}")
    plan = _plan(args, profile, goal, target)
    folder = run_folder(args.record, goal, target)
    return Request(profile, plan, args.engine, args.seed, args.timeout_s, folder, args.allow_domain_mismatch)


def _plan(args: argparse.Namespace, profile: RobotProfile, goal: Goal, target: str | None) -> Plan:
    if goal is not Goal.COMMAND:
        return make_plan(profile, goal, target, stop_at_m=args.stop_at)
    if not args.text:
        raise ConfigError("goal 'command' needs a sentence, for example --text 'turn left 90 degrees'")
    commands = parse_all(args.text)
    for command in commands:
        if command.action_type in (ActionType.UNKNOWN, ActionType.NAVIGATE):
            what = f"{args.text!r}: {command.description or 'no movement in it'}"
            hint = f"; use --goal navigate --target {command.target_object!r}" if command.action_type is ActionType.NAVIGATE else ""
            raise ConfigError(f"cannot obey {what}{hint}")
        if command.action_type in (ActionType.GRAB, ActionType.RELEASE, ActionType.POINT):
            require_supported(command.action_type.value, has_arm=profile.robot.has_arm)
        if command.linear_y != 0.0:
            raise ConfigError(f"cannot obey {args.text!r}: base {profile.base.kind!r} is differential and cannot move sideways")
    return make_plan(profile, goal, None, commands=commands)


def main(argv: list[str] | None = None) -> int:
    """The whole run; returns the exit code."""
    args = parse_args(argv)
    out = Console(stderr=args.json)
    interrupt = Interrupt()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt.handle)
    try:
        request = request_of(args)
        summary = _run(request, interrupt, out)
    except ConfigError as err:
        print(f"run: {err}", file=sys.stderr)
        return EXIT_CONFIG
    except EdgeVLAError as err:
        print(f"run: stopped by a fault: {err}", file=sys.stderr)
        return EXIT_FAULT
    except KeyboardInterrupt:
        return 128 + (interrupt.signal or signal.SIGINT)
    out.print(render(summary))
    if args.json:
        print(summary.to_json())
    return summary.exit_code


def _run(request: Request, interrupt: Interrupt, out: Console) -> Summary:
    """Engine first, so that a bad bundle or an unknown target starts nothing."""
    simulated = request.profile.simulated
    with ExitStack() as stack:
        stack.callback(_drop_if_empty, request.folder)
        session = stack.enter_context(Session(request, interrupt))
        engine = make_engine(
            request.engine, threads=request.profile.engine.threads, domain=request.profile.robot.domain,
            truth_of=session.truth_of if simulated else None, allow_domain=request.allow_domain_mismatch,
        )  # fmt: skip
        stack.callback(engine.close)
        if request.plan.target and engine.targets is not None and request.plan.target not in engine.targets:
            raise ConfigError(f"engine {request.engine!r} does not know {request.plan.target!r}; it knows: {', '.join(engine.targets)}")
        if simulated:
            out.print(f"[bold magenta]SIMULATED[/] room {request.seed}: {request.profile.robot.name}")
        summary = session.run(engine)
    for notice in (save(summary, request.folder), _picture(request.folder)):
        if notice:
            out.print(notice)
    return summary


def _drop_if_empty(folder: Path) -> None:
    """What was refused leaves no folder behind."""
    with suppress(OSError):  # it holds something
        folder.rmdir()


def _picture(folder: Path) -> str:
    """Draw strip.png; "" or why there is none. The run is over: nothing about it changes."""
    from edge_vla.strip import draw_strip

    try:
        draw_strip(folder, folder / "strip.png")
    except ConfigError as err:
        return f"no picture of the run: {err}"
    return f"picture: {folder / 'strip.png'}"


if __name__ == "__main__":
    sys.exit(main())
