"""A long run, and whether it grows: `python -m benchmarks.soak --minutes 30`. Memory of every process, and late ticks minute by minute.

A robot that wanders in the simulator, everything real but the room, recorded as any run is. It fails when a process's memory in the last
quarter is more than GROWTH above the second quarter's, or the late ticks of the last quarter are more than three times the second's and
more than one in a hundred. The first quarter warms up.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLE_S = 5.0
GROWTH = 1.05
SPARE_MB = 4.0  # an allocator's own steps
LATE_NS = 10_000_000  # a third of a STEER tick


def resident_mb(pid: int) -> float:
    """What a process holds in memory, 0 for one that is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def family(pid: int) -> dict[str, int]:
    """The run and its children, by what they are."""
    found = {"worker": pid}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
            words = (process / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        for name, module in (("guard", b"edge_vla.guard"), ("simulator", b"edge_vla.sim")):
            if parent == pid and module in words:
                found[name] = int(process.name)
    return found


def soak(minutes: float, folder: str) -> tuple[dict[str, list[float]], Path, int]:
    """(memory of each process sample by sample, the run's folder, its exit code)."""
    words = [sys.executable, "-m", "edge_vla.run", "--goal", "avoid", "--timeout-s", str(round(60 * minutes)), "--record", folder, "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    memory: dict[str, list[float]] = {}
    while process.poll() is None:
        for name, pid in family(process.pid).items():
            memory.setdefault(name, []).append(resident_mb(pid))
        time.sleep(SAMPLE_S)
        done = len(memory.get("worker", [])) * SAMPLE_S / 60
        sys.stderr.write(f"\r{done:5.1f} of {minutes} min  " + "  ".join(f"{name} {values[-1]:.0f} MB" for name, values in memory.items()))
    sys.stderr.write("\n")
    summary = json.loads(process.communicate()[0].splitlines()[-1])
    return memory, Path(summary["record"]), process.returncode


def quarters(values: list[float]) -> list[float]:
    """The median of each quarter."""
    size = max(1, len(values) // 4)
    return [statistics.median(values[n * size : (n + 1) * size] or [0.0]) for n in range(4)]


def late_shares(run: Path) -> list[float]:
    """Of the STEER ticks in each quarter of the run, the share that came late."""
    late = [json.loads(line)["late_ns"] > LATE_NS for line in (run / "ticks.jsonl").read_text().splitlines()]
    size = max(1, len(late) // 4)
    return [sum(late[n * size : (n + 1) * size]) / size for n in range(4)]


def main() -> int:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--minutes", type=float, default=30.0)
    cli.add_argument("--out", type=Path, help="where the figures go, as JSON")
    args = cli.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        memory, run, code = soak(args.minutes, folder)
        late = late_shares(run)
    by_quarter = {name: [round(value, 1) for value in quarters([v for v in values if v])] for name, values in memory.items()}
    grown = [name for name, (_, second, _, last) in by_quarter.items() if last > GROWTH * second + SPARE_MB]
    later = late[3] > max(0.01, 3 * late[1])
    result = {
        "minutes": args.minutes, "exit_code": code, "resident_mb_by_quarter": by_quarter,
        "late_ticks_by_quarter": [round(share, 5) for share in late], "memory_grew": grown, "late_ticks_grew": later,
    }  # fmt: skip
    sys.stdout.write(json.dumps(result) + "\n")
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if grown or later or code else 0


if __name__ == "__main__":
    sys.exit(main())
