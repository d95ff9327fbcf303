"""`python -m edge_vla.doctor`: one line for everything a run needs of this machine, and the command that mends what is wrong.

Exit codes: 0 nothing fails (warnings do not count), 1 something does, 2 bad arguments. --json prints one line of JSON instead.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from edge_vla.arguments import Arguments
from edge_vla.doctor.checks import examine
from edge_vla.doctor.finding import Finding, Level
from edge_vla.doctor.host import this_host
from edge_vla.errors import ConfigError
from edge_vla.machine.tree import ROOT

COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
NAME_WIDTH = 18
EXIT_FAIL, EXIT_REFUSED = 1, 2


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Examine and tell; returns the exit code. `root` is the machine's, for another one its files."""
    cli = Arguments(
        "python -m edge_vla.doctor", "What keeps a robot from running on this machine, and what mends it.",
        "exit codes: 0 nothing fails, 1 something does, 2 bad arguments",
    )  # fmt: skip
    cli.add_argument("--engine", default="engines/default", help="the bundle that has to load and to answer")
    cli.add_argument("--robot", type=Path, help="robot profile; default launch/robot.toml, or the simulator where there is none")
    cli.add_argument("--json", action="store_true", help="one line of JSON")
    words = sys.argv[1:] if argv is None else argv
    try:
        args = cli.parse_args(words)
    except ConfigError as err:
        sys.stderr.write(f"doctor: {err}\n")
        if "--json" in words:
            sys.stdout.write(json.dumps({"result": "refused", "why": str(err)}) + "\n")
        return EXIT_REFUSED
    out = Console(markup=False, emoji=False, highlight=False)
    found: dict[str, Finding] = {}
    for name, finding in examine(this_host(args.engine, args.robot, root)):
        found[name] = finding
        if not args.json:
            tell(out, name, finding)
    counts = {level: sum(finding.level is level for finding in found.values()) for level in Level}
    result = max(found.values(), key=lambda finding: [*Level].index(finding.level)).level
    if args.json:
        checks = [{"name": name, "level": each.level.value, "text": each.text, "fix": each.fix} for name, each in found.items()]
        sys.stdout.write(json.dumps({"result": result.value, "checks": checks}) + "\n")
    else:
        out.print(", ".join(f"{n} {level.value}" for level, n in counts.items()), style=COLOURS[result])
    return EXIT_FAIL if counts[Level.FAIL] else 0


def tell(out: Console, name: str, finding: Finding) -> None:
    """One line as soon as it is known, the fix below it. Nothing is broken into lines: a command must stay one to be copied."""
    line = Text.assemble((f"{finding.level.value:5}", COLOURS[finding.level]), f"{name:{NAME_WIDTH}}", finding.text)
    out.print(line, soft_wrap=True)
    if finding.fix:
        out.print(Text.assemble(("     " + " " * NAME_WIDTH + "fix: ", "dim"), finding.fix), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
