"""`python -m edge_vla.bench`: what each stage costs, on what, and whether that or an answer has changed since a base.

Exit codes: 0 measured, and not slower than a base; 1 slower, or an answer is another one; 2 bad arguments or configuration, nothing was
measured; 3 a part failed; 130 interrupted. With --json the last line of stdout is the report without its samples, or why there is none.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import cv2
from rich.console import Console

from edge_vla.arguments import Arguments, require_writable
from edge_vla.bench.github import notices, summary
from edge_vla.bench.measuring import GROUPS, Judge, Wanted, judge_saved, measure, prepare
from edge_vla.bench.picture import draw_report
from edge_vla.bench.report import Report, read_report
from edge_vla.bench.table import lines, render
from edge_vla.config import Provider, RobotProfile, load_profile
from edge_vla.errors import ConfigError, EdgeVLAError
from edge_vla.opening import find_engine
from edge_vla.parts import ORACLE

EXIT_REFUSED, EXIT_FAULT, EXIT_INTERRUPTED = 2, 3, 130
LOG_WIDTH = 132  # of a table in a log
SUMMARY = "GITHUB_STEP_SUMMARY"  # GitHub's name for the file a step's summary goes to


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Raises ConfigError, after the usage, for what is no command line."""
    cli = Arguments(
        "python -m edge_vla.bench", "Measure every stage from the camera to the base, and compare with an earlier measurement.",
        "exit codes: 0 measured and not slower, 1 slower or another answer, 2 bad arguments or configuration, 3 fault, 130 interrupted",
    )  # fmt: skip
    cli.add_argument("--engine", default="engines/default", help="a bundle folder")
    cli.add_argument("--robot", type=Path, help="robot profile: camera, base and engine threads; the base itself is never opened")
    cli.add_argument("--provider", choices=get_args(Provider), help="what runs an ONNX bundle, instead of the profile's: all of it or none")
    cli.add_argument("--stages", default=",".join(GROUPS), help="of engine, guard (firmware simulator on a pty), camera; with commas")
    cli.add_argument(
        "--frames", type=Path, help="a bundle with reference answers (default: the engine's), a recorded run, a folder of images"
    )
    cli.add_argument("--prompt", action="append", default=[], help="ask only this; may be given more than once")
    cli.add_argument("--rounds", type=int, default=16, help="8 to 10000: how often each question is asked; the other stages grow with it")
    cli.add_argument("--out", type=Path, default=Path("runs/bench.json"), help="the report with all samples; the picture lies beside it")
    cli.add_argument("--compare", type=Path, action="append", default=[], metavar="BASE.json", help="an earlier report: slower or another "
                     "answer is exit code 1; given twice, what lies between the two is taken for the machine's own drift")  # fmt: skip
    cli.add_argument("--measured", type=Path, metavar="NEW.json", help="judge this report instead of measuring")
    cli.add_argument("--max-regression", default="10%", help="by how much p50 and p95 of a stage may grow, 0%% to 1000%%")
    cli.add_argument("--any-machine", action="store_true", help="compare with a base of another machine or power mode, at your risk")
    cli.add_argument("--github", action="store_true", help=f"annotations on stdout and a summary in ${SUMMARY}")
    cli.add_argument("--json", action="store_true", help="one line of JSON at the end of stdout, everything else on stderr")
    return cli.parse_args(argv)


def wanted_of(args: argparse.Namespace) -> Wanted:
    """Checked arguments. Raises ConfigError."""
    groups = tuple(dict.fromkeys(args.stages.split(",")))
    if strange := [group for group in groups if group not in GROUPS]:
        raise ConfigError(f"--stages {strange[0]!r}: want one or more of {', '.join(GROUPS)}, with commas")
    if "engine" not in groups:
        raise ConfigError(f"--stages {args.stages}: want 'engine' among them, for its answers are half of what is compared")
    if not 8 <= args.rounds <= 10_000:
        raise ConfigError(f"--rounds {args.rounds}: want 8 to 10000")
    if args.engine == ORACLE:
        raise ConfigError(f"--engine {ORACLE}: it runs no model, so there is nothing to measure; want a bundle folder")
    return Wanted(find_engine(args.engine), profile_of(args), groups, args.frames, tuple(args.prompt), args.rounds)


def profile_of(args: argparse.Namespace) -> RobotProfile:
    """The robot's, on another provider where one is named. Raises ConfigError."""
    profile = load_profile(args.robot)
    if args.provider is None:
        return profile
    return profile.model_copy(update={"engine": profile.engine.model_copy(update={"provider": args.provider})})


def judge_of(args: argparse.Namespace) -> Judge:
    """What the report is held against, and where it goes. Raises ConfigError."""
    if args.out.resolve() in [path.resolve() for path in args.compare]:
        raise ConfigError(f"--out {args.out}: that is a base of --compare, and would be lost; name another file")
    bases = tuple(map(read_report, args.compare))
    if args.measured and not bases:
        raise ConfigError("--measured judges a report: want --compare BASE.json with it")
    _probe(args.out)
    return Judge(bases, share_of(args.max_regression), any_machine=args.any_machine)


def share_of(text: str) -> float:
    """A percentage as a share: 10% is 0.1. Raises ConfigError without the sign, for 0.1 might be either."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", text.strip())
    if match is None or not 0 <= float(match[1]) <= 1000:
        raise ConfigError(f"--max-regression {text!r}: want a percentage such as 10%, 0% to 1000%")
    return float(match[1]) / 100


def main(argv: list[str] | None = None) -> int:
    """Prepare, measure, tell; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    as_json = "--json" in words
    try:
        args = parse_args(words)
        with ExitStack() as stack:
            step_summary = _step_summary() if args.github else None
            judge = judge_of(args)
            if args.measured:
                report = judge_saved(read_report(args.measured), judge)
            else:
                prepared = stack.enter_context(prepare(wanted_of(args), judge))
                report = measure(prepared, Console(stderr=True))
        return _tell(report, args, judge.bases, step_summary)
    except ConfigError as err:
        return _give_up("refused", str(err), EXIT_REFUSED, as_json=as_json)
    except (EdgeVLAError, OSError) as err:  # a full disk is no bug
        return _give_up("fault", str(err), EXIT_FAULT, as_json=as_json)
    except KeyboardInterrupt:
        return _give_up("interrupted", "interrupted", EXIT_INTERRUPTED, as_json=as_json)
    except Exception as err:  # noqa: BLE001 - the last one: whoever asked for JSON is owed a line, whatever broke
        traceback.print_exc()
        return _give_up("fault", f"{type(err).__name__}: {err} (a bug)", EXIT_FAULT, as_json=as_json)


def _tell(report: Report, args: argparse.Namespace, bases: Sequence[Report], step_summary: Path | None) -> int:
    """The report everywhere it is wanted; its exit code."""
    stream = sys.stderr if args.json else sys.stdout
    out = Console(file=stream, width=None if stream.isatty() else LOG_WIDTH, markup=False, emoji=False, highlight=False)
    out.print(render(report))
    for line in lines(report):
        out.print(line, soft_wrap=True)
    args.out.write_text(report.model_dump_json(indent=1) + "\n", "utf-8")
    picture = args.out.with_suffix(".png")
    try:
        draw_report(report, picture, bases[0] if bases else None)
        out.print(f"report: {args.out}, picture: {picture}", soft_wrap=True)
    except (OSError, cv2.error) as err:  # the figures stand without it
        out.print(f"report: {args.out}; no picture: {err}", soft_wrap=True)
    if step_summary is not None:
        with step_summary.open("a", encoding="utf-8") as file:
            file.write(summary(report))
        sys.stdout.write("".join(f"{line}\n" for line in notices(report)))
    if args.json:
        sys.stdout.write(report.model_dump_json(exclude={"stages": {"__all__": {"samples_ms"}}}) + "\n")
    return report.exit_code


def _give_up(result: str, why: str, code: int, *, as_json: bool) -> int:
    sys.stderr.write(f"bench: {why}\n")
    if as_json:
        sys.stdout.write(json.dumps({"result": result, "why": why}) + "\n")
    return code


def _step_summary() -> Path:
    """Where GitHub wants the summary. Raises ConfigError outside a step."""
    name = os.environ.get(SUMMARY)
    if not name:
        raise ConfigError(f"--github: ${SUMMARY} is not set, so this is no step of GitHub Actions")
    return Path(name)


def _probe(out: Path) -> None:
    """Raise ConfigError for a report that could not be written at the end."""
    if out.suffix != ".json":
        raise ConfigError(f"--out {out}: want a name that ends in .json")
    require_writable(out, "--out")


if __name__ == "__main__":
    sys.exit(main())
