"""The operator's door: arguments to parts, parts to a run, a run to a summary and an exit code. Stops the base whatever happens.

python -m edge_vla.run --goal find_object --target cup

With --json the last line of stdout is one JSON object, however the run ends; everything else is on stderr. Its `result` and the exit code:
reached 0, not_found and timeout 1, refused 2 (arguments or configuration: nothing has moved), fault 3, interrupted 130 or 143. What was
never measured is null. A run whose wheels nobody saw stand at its end is a fault, whatever it was before, also an interrupted one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import traceback
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from edge_vla import places
from edge_vla.arguments import Arguments
from edge_vla.behaviours.obey import refusal
from edge_vla.config import ROBOT_PROFILE, load_profile, profile_file
from edge_vla.errors import ConfigError, EdgeVLAError
from edge_vla.goals import GOALS, Goal, clean_target, require_supported, to_goal
from edge_vla.opening import find_engine, open_engine, prove
from edge_vla.parse import parse_all
from edge_vla.parts import make_base
from edge_vla.pilot import prompt_of
from edge_vla.record import run_folder
from edge_vla.robot import instructed, make_plan
from edge_vla.session import Interrupt, Request, Session
from edge_vla.summary import Summary, render, save, unmeasured
from edge_vla.types import Engine, RobotAction, acting

EXIT_CONFIG, EXIT_FAULT = 2, 3


class _Out(Console):
    """Prints names and paths as they are, never as markup. Whoever reads may leave before the end: the exit code stands."""

    def __init__(self, *, stderr: bool) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())  # or Python's last flush would be the exit code


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Raises ConfigError, after the usage, for what is no command line."""
    cli = Arguments(
        "python -m edge_vla.run", "Drive a robot towards a goal in words.",
        "exit codes: 0 reached, 1 not reached, 2 bad arguments or configuration, 3 stopped by a fault, 130 and 143 interrupted; "
        "with --json the result is then reached, not_found or timeout, refused, fault, interrupted",
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
    cli.add_argument("--allow-unverified", action="store_true", help="drive with an engine that differs from its model, at your risk")
    cli.add_argument("--reset", type=int, metavar="FAULT", help="let go the fault of this number, for which the robot stopped earlier")
    cli.add_argument("--json", action="store_true", help="one line of JSON on stdout however it ends, everything else on stderr")
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
    make_base(profile.base)  # a kind that is none starts no simulator
    if goal is Goal.COMMAND and not args.text:
        raise ConfigError("goal 'command' needs a sentence, for example --text 'turn left 90 degrees'")
    plan = make_plan(profile, goal, target if goal is not Goal.COMMAND else None, stop_at_m=args.stop_at)
    engine = find_engine(args.engine)
    folder = run_folder(args.record, goal, target)
    source = args.robot or profile_file()
    return Request(
        profile,
        plan,
        engine,
        args.seed,
        args.timeout_s,
        folder,
        args.allow_domain_mismatch,
        args.allow_unverified,
        source,
        args.text or "",
        args.stop_at,
        args.reset,
    )


def _worded(request: Request, engine: Engine) -> Request:
    """In the words the engine takes: a policy is told what to do; for any other a command is parsed. Raises ConfigError."""
    plan = request.plan
    if acting(engine):
        if request.stop_at_m is not None:
            raise ConfigError(f"--stop-at {request.stop_at_m}: engine {request.engine!r} is a policy and stops where it was trained to")
        return replace(request, plan=instructed(plan, request.sentence))
    if plan.goal is not Goal.COMMAND:
        return request
    return replace(request, plan=replace(plan, commands=_commands(request.sentence, request.profile.base.kind)))


def _commands(sentence: str, base: str) -> tuple[RobotAction, ...]:
    """The sentence as motions with an end. Raises ConfigError."""
    commands = parse_all(sentence)
    for command in commands:
        if why := refusal(command):
            raise ConfigError(f"cannot obey {sentence!r}: {why}")
        if command.linear_y != 0.0:
            raise ConfigError(f"cannot obey {sentence!r}: base {base!r} is differential and cannot move sideways")
    return commands


def main(argv: list[str] | None = None) -> int:
    """The whole run; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    as_json = "--json" in words  # before anything is parsed: what cannot be parsed has its line too
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a name the terminal cannot show is no fault
    out = _Out(stderr=as_json)
    interrupt, known = Interrupt(), dict[str, Any]()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt.handle)
    try:
        summary = _run(_request(words, known), interrupt, out)
    except ConfigError as err:
        ended = EXIT_CONFIG, "refused", str(err)
    except EdgeVLAError as err:
        ended = EXIT_FAULT, "fault", str(err)
    except KeyboardInterrupt:  # before the robot could be armed
        number = signal.Signals(interrupt.signal or signal.SIGINT)
        known["signal"] = int(number)
        ended = 128 + number, "interrupted", f"signal {number.name}, before anything could move"
    except Exception as err:  # noqa: BLE001 - the last one: all parts are stopped by now, and the operator is owed more than a traceback
        ended = EXIT_FAULT, "fault", f"{type(err).__name__}: {err} (a bug; {_keep_traceback(known.get('folder'))})"
    else:
        return _finish(summary, interrupt, out, as_json=as_json)
    interrupt.deferred = True
    return _come_to_nothing(ended, known, as_json=as_json)


def _request(words: list[str], known: dict[str, Any]) -> Request:
    """The checked request; `known` gets what a run that goes no further can still say of itself."""
    args = parse_args(words)
    known |= {"goal": args.goal, "target": args.target, "engine": args.engine}
    request = request_of(args)
    known |= {"target": request.plan.target, "simulated": request.profile.simulated, "folder": request.folder}
    return request


def _run(request: Request, interrupt: Interrupt, out: Console) -> Summary:
    """Engine first, so that a bad bundle or an unknown target starts nothing."""
    profile = request.profile
    with ExitStack() as stack:
        stack.callback(_drop_if_empty, request.folder)
        session = stack.enter_context(Session(request, interrupt, partial(out.print, soft_wrap=True)))
        engine = open_engine(
            request.engine,
            profile,
            truth_of=session.truth_of if profile.simulated else None,
            allow_domain=request.allow_domain_mismatch,
            allow_unverified=request.allow_unverified,
        )
        stack.callback(engine.close)
        session.request = request = _worded(request, engine)
        plan = request.plan
        prove(engine, request.engine, profile, [prompt_of(plan)], [plan.target] if plan.target else [])
        out.print(_told(request), soft_wrap=True)
        if request.allow_unverified:
            out.print(Text.assemble(("UNVERIFIED", "bold red"), f" engine {request.engine}: --allow-unverified was given"), soft_wrap=True)
        return session.run(engine)


def _told(request: Request) -> Text:
    """Which robot is about to be driven: nobody should have to guess."""
    name = request.profile.robot.name
    if not request.profile.simulated:
        return Text(f"{name}, profile {request.source}")
    source = request.source or f"built in, for there is no {places.told(ROBOT_PROFILE)}"
    return Text.assemble(("SIMULATED", "bold magenta"), f" room {request.seed}: {name}, profile {source}")


def _finish(summary: Summary, interrupt: Interrupt, out: Console, *, as_json: bool) -> int:
    """Say what came of it. The run is over: nothing here changes its result."""
    interrupt.deferred = True
    folder = Path(summary.record) if summary.record else None
    for notice in (save(summary, folder), _picture(folder)) if folder else ():
        if notice:
            out.print(notice, soft_wrap=True)
    out.print(render(summary))
    if as_json:
        print(summary.to_json())
    return summary.exit_code


def _come_to_nothing(ended: tuple[int, str, str], known: dict[str, Any], *, as_json: bool) -> int:
    """Say why there was no run, or why there is no summary of it."""
    code, result, why = ended
    words = {"refused": "", "fault": "stopped by a fault: ", "interrupted": "interrupted: "}
    print(f"run: {words[result]}{why}", file=sys.stderr)
    folder = known.pop("folder", None)
    known["record"] = str(folder) if folder is not None and folder.is_dir() else None
    line = json.dumps(unmeasured(result, why, known))
    if known["record"]:
        with suppress(OSError):  # said on stderr already
            (folder / "summary.json").write_text(line + "\n", "utf-8")
    if as_json:
        print(line)
    return code


def _keep_traceback(folder: Path | None) -> str:
    """Write the exception being handled where it can be found; where that is."""
    trace = traceback.format_exc()
    with suppress(OSError):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)  # it may have been empty, and dropped
            (folder / "traceback.txt").write_text(trace, "utf-8")
            return f"traceback in {folder / 'traceback.txt'}"
    sys.stderr.write(trace)
    return "traceback above"


def _drop_if_empty(folder: Path) -> None:
    """What was refused leaves no folder behind."""
    with suppress(OSError):  # it holds something
        folder.rmdir()


def _picture(folder: Path) -> str:
    """Draw strip.png; what came of it."""
    from edge_vla.strip import draw_strip

    try:
        draw_strip(folder, folder / "strip.png")
    except Exception as err:  # noqa: BLE001 - a picture that cannot be drawn is no reason to lose a summary
        return f"no picture of the run: {err}"
    return f"picture: {folder / 'strip.png'}"


if __name__ == "__main__":
    sys.exit(main())
