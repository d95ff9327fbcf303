"""`python -m export jetson-check [BUNDLE ...]`, or `make jetson-check`: proves on a device what no other machine can, and prints a report.

Builds plans of a small bundle that is in every checkout and of each BUNDLE, in a scratch folder, holds them against ONNX Runtime and
against the answers of their export, times them, and tries what has to fail. Its authors have run it on no device: docs/tensorrt.md.
Exit codes: 0 everything holds, 1 something does not, 2 bad arguments, 130 stopped.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from edge_vla.arguments import Arguments
from edge_vla.backends.bundle import Bundle
from edge_vla.errors import ConfigError, EdgeVLAError
from edge_vla.machine.tree import ROOT, Tree
from export.board.report import Outcome, Report

EXIT_FAILS, EXIT_REFUSED, EXIT_STOPPED = 1, 2, 130
SMALL = Path(__file__).resolve().parents[1] / "tests" / "golden" / "tiny_bundle"


def arguments() -> Arguments:
    cli = Arguments(
        "python -m export jetson-check", str(__doc__).partition("\n")[0], "exit codes: 0 everything holds, 1 something does not, 2 refused"
    )
    cli.add_argument("bundles", nargs="*", type=Path, metavar="BUNDLE", help="bundles with ONNX graphs, beside the small one")
    cli.add_argument("--report", type=Path, default=Path("jetson-check.md"), help="where the report goes (default jetson-check.md)")
    cli.add_argument("--looks", type=int, default=200, help="questions that are timed (default 200)")
    cli.add_argument("--keep", type=Path, help="build in this folder and keep the plans")
    return cli


def check(bundles: Sequence[Path], looks: int, folder: Path, tree: Tree, console: Console) -> Report:
    """Everything, in order; what fails is told and does not stop the rest. Raises ConfigError for what cannot be checked at all."""
    if not 10 <= looks <= 100_000:
        raise ConfigError(f"looks {looks}: want 10 to 100000")
    from export.board.checks import CHECKS, Case
    from export.board.facts import facts

    cases = [Case(Bundle(path), folder / f"{number}-{path.resolve().name}", looks, tree) for number, path in enumerate(bundles)]
    report = Report(facts(tree))
    for case in cases:
        for name, function in CHECKS.items():
            console.print(f"{case.name}: {name}")
            started = time.monotonic()
            try:
                passed, text = True, function(case)
            except EdgeVLAError as err:
                passed, text = False, str(err)
            except Exception as err:  # noqa: BLE001 - a device can do anything to a check; the others must still be tried
                where = traceback.extract_tb(err.__traceback__)[-1]
                passed, text = False, f"{type(err).__name__}: {err} ({Path(where.filename).name}:{where.lineno})"
            report.outcomes.append(Outcome(case.name, name, passed, text, time.monotonic() - started))
        report.tables += case.tables
    return report


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """`root` is the machine's files, for another one its tree."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        args = arguments().parse_args(sys.argv[1:] if argv is None else list(argv))
        with tempfile.TemporaryDirectory(prefix="jetson-check-") as scratch:
            folder = args.keep or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            report = check([SMALL, *args.bundles], args.looks, folder, Tree(root), console)
        text = report.markdown()
        args.report.write_text(text)
    except ModuleNotFoundError as err:
        print(f"jetson-check: no module {err.name}; python -m edge_vla.doctor says what this machine lacks", file=sys.stderr)
        return EXIT_REFUSED
    except (EdgeVLAError, OSError) as err:
        print(f"jetson-check: {err}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("jetson-check: stopped", file=sys.stderr)
        return EXIT_STOPPED
    print(text)
    print(f"jetson-check: {json.dumps(report.counts())}; the report is in {args.report}", file=sys.stderr)
    return EXIT_FAILS if report.failed else 0
