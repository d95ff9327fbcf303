"""`python -m tests.faults.table`: plays the matrix and writes its figures into docs/safety.md; `--processes` measures the real ones too."""

from __future__ import annotations

import argparse
import math
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from rich.progress import track

from edge_vla.bases import BASES
from tests.faults.matrix import MATRIX, PROCESSES, left_out
from tests.faults.row import AT_ONCE, BY_ITSELF, CONTROLLED, LIMITS, Outcome, Row, play

SAFETY = Path(__file__).parents[2] / "docs" / "safety.md"
KINDS = {AT_ONCE: "at once", CONTROLLED: "ramp", BY_ITSELF: "by the base", LIMITS: "drives on"}
VIRTUAL, REAL = "virtual", "processes"


def ms(value: float) -> str:
    return "-" if math.isnan(value) else "never" if math.isinf(value) else f"{value:.0f}"


def ranged(values: list[float]) -> str:
    """Smallest to largest over the bases; one number where they agree."""
    least, most = min(values), max(values)
    return ms(least) if ms(least) == ms(most) else f"{ms(least)} to {ms(most)}"


def virtual_line(row: Row, outcomes: dict[str, Outcome]) -> str:
    """One row over all bases it makes sense on."""
    bounds = [row.bounds(kind) for kind in outcomes]
    stops = [outcome.stop for outcome in outcomes.values()]
    faults = sorted({outcome.robot.fault().name.lower() for outcome in outcomes.values()})
    what = f"{row.number} | {row.name} | {'stays stopped' if row.stop == LIMITS and row.faults else KINDS[row.stop]}"
    if row.stop == LIMITS:
        return f"| {what} | - | - | - | - | {_latch(faults)} | {len(outcomes)} |"
    byte = [stop.slower if row.stop == CONTROLLED else stop.zero for stop in stops]
    bytes_, byte_bound = ("-", "-") if row.stop == BY_ITSELF else (ranged(byte), ranged([r for r, _ in bounds]))
    wheels = ranged([stop.still for stop in stops])
    return f"| {what} | {bytes_} | {byte_bound} | {wheels} | {ranged([b for _, b in bounds])} | {_latch(faults)} | {len(outcomes)} |"


def _latch(faults: list[str]) -> str:
    return ", ".join(f"`{fault}`" for fault in faults if fault != "none") or "-"


def virtual_table() -> str:
    """All rows played."""
    lines = [
        "| | fault | stop | bytes, ms | R | wheels, ms | bound | latches | bases |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in track(sorted(MATRIX, key=lambda row: row.number), "fault matrix", transient=True):
        lines += [virtual_line(row, {kind: play(row, kind) for kind in BASES if not row.skip(kind)})]
    return "\n".join([*lines, "", "Not on every base:", "", *missing(), ""])


def missing() -> list[str]:
    """What is left out, fault by fault."""
    by_fault: dict[tuple[str, str], list[str]] = {}
    for (name, kind), why in left_out().items():
        by_fault.setdefault((name, why), []).append(f"`{kind}`")
    return [f"- {name}: {', '.join(kinds)}; {why.lower().replace('_', ' ')}" for (name, why), kinds in by_fault.items()]


def real_table() -> str:
    """The process tests run now, one after the other, and what they measured."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:randomly",
            "-o",
            "junit_family=xunit1",
            f"--junitxml={report}",
            *PROCESSES.values(),
        ]
        subprocess.run(words, check=True, cwd=SAFETY.parents[1])
        tree = ET.parse(report)
    lines = ["| measured in real processes | first slower command, ms | zero, ms | wheels, ms |", "|---|---|---|---|"]
    lines += [f"| {prop.get('name', '')} | {' | '.join(measured(prop.get('value', '')))} |" for prop in tree.iter("property")]
    return "\n".join([*lines, ""])


def measured(value: str) -> list[str]:
    """The cells of what a test recorded: three moments, of which a guard that is dead says none, or a number of its own."""
    moments = re.findall(r"(?:slower|zero|still) ([\d.]+|inf)", value) or re.findall(r"[\d.]+|inf", value)
    if len(moments) != 3:
        return [f"{float(value):.2g}", "", ""]
    return ["-" if moment == "inf" else ms(float(moment)) for moment in moments]


def between(text: str, mark: str, new: str) -> str:
    """`text` with what stands between the two marks of that name replaced."""
    begin, end = f"<!-- {mark} -->\n", f"<!-- {mark} end -->"
    head, rest = text.split(begin)
    return head + begin + new + end + rest.split(end)[1]


def written(mark: str) -> str:
    text = SAFETY.read_text()
    return text.split(f"<!-- {mark} -->\n")[1].split(f"<!-- {mark} end -->")[0]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.table")
    parser.add_argument("--processes", action="store_true", help="measure the rows of real processes as well, two minutes")
    args = parser.parse_args()
    SAFETY.write_text(between(SAFETY.read_text(), VIRTUAL, virtual_table()))
    if args.processes:
        SAFETY.write_text(between(SAFETY.read_text(), REAL, real_table()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
