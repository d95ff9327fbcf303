"""`python -m tests.faults.kills --count 1000`: kills the worker at random moments of its life and asks the base when it heard the zero.

Not a test file: half an hour. One firmware serves all; each worker and its guard are new. A moment may come before the guard has the port,
while the robot stands, speeds up, drives, or turns. Whatever was being driven has to end within the bounds of docs/safety.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.progress import track

from edge_vla.guard.ramp import declared_stop_s
from tests.guard.conftest import Rig
from tests.guard.test_process import ORACLE_MS, SIGNAL_MS, SPEED, TAU_S

CHECKOUT = Path(__file__).parents[2]
LONGEST_LIFE_S = 1.5  # some die before they move, some while they speed up, most while they drive
STILL_MPS = 0.02
WHEELS_MS = SIGNAL_MS + 1000 * declared_stop_s(SPEED, TAU_S) + ORACLE_MS


class Base:
    """The firmware that outlives its workers, and what it has accepted since some moment."""

    def __init__(self, folder: Path) -> None:
        self.rig = Rig(folder, CHECKOUT)
        self._log = folder / "wheels.jsonl"
        self._read = 0

    def rows(self) -> list[dict]:
        """What has been logged since the last call."""
        with self._log.open() as file:
            file.seek(self._read)
            lines = file.read()
        whole = lines[: lines.rfind("\n") + 1]
        self._read += len(whole.encode())
        return [json.loads(line) for line in whole.splitlines()]


def kill_one(base: Base, folder: Path, life_s: float) -> dict[str, float]:
    """Start, kill after `life_s`, watch: how fast it was, and both figures in ms."""
    base.rows()
    words = [
        sys.executable,
        "tests/guard/worker_script.py",
        base.rig.path,
        str(folder / "guard.jsonl"),
        str(folder / "none" / "base.latch"),
        "0",
        "115200",
    ]
    worker = subprocess.Popen(words, cwd=CHECKOUT, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, stdin=-1, stdout=-1, text=True)
    time.sleep(life_s)
    onset_ns = time.monotonic_ns()
    os.kill(worker.pid, signal.SIGKILL)
    said = worker.communicate()[0].split()
    rows, guard = base.rows(), int(said[1]) if said[:1] == ["guard"] else 0
    give_up_s = time.monotonic() + 5.0
    while time.monotonic() < give_up_s and (_alive(guard) or not _stands(rows)):
        time.sleep(0.02)
        rows += base.rows()
    (folder / "none" / "base.latch").unlink(missing_ok=True)
    return figures(rows, onset_ns)


def _alive(pid: int) -> bool:
    return pid > 0 and Path(f"/proc/{pid}").exists()


def _stands(rows: list[dict]) -> bool:
    newest = [row for row in rows if row["accepted"] is None][-20:]
    return len(newest) == 20 and all(max(map(abs, row["wheels"])) < STILL_MPS for row in newest)


def figures(rows: list[dict], onset_ns: int) -> dict[str, float]:
    commands = [(row["t_ns"], json.loads(row["accepted"])) for row in rows if (row["accepted"] or "").startswith('{"T":1,')]
    before = [frame["L"] for t_ns, frame in commands if t_ns <= onset_ns]
    last = max((t_ns for t_ns, frame in commands if t_ns > onset_ns and (frame["L"] or frame["R"])), default=onset_ns)
    driven = bool(before and before[-1])
    zero = next((t_ns for t_ns, frame in commands if t_ns >= last and not (frame["L"] or frame["R"])), None)
    moved = max((row["t_ns"] for row in rows if row["t_ns"] >= onset_ns and max(map(abs, row["wheels"])) >= STILL_MPS), default=onset_ns)
    zero_ms = 0.0 if not driven else math.inf if zero is None else (zero - onset_ns) / 1e6
    return {"speed": before[-1] if before else 0.0, "zero_ms": zero_ms, "wheels_ms": (moved - onset_ns) / 1e6}


def summed(results: list[dict[str, float]]) -> dict[str, float]:
    """What is told of a campaign."""
    bad = [result for result in results if result["zero_ms"] > SIGNAL_MS or result["wheels_ms"] > WHEELS_MS]
    zeros = sorted(result["zero_ms"] for result in results if result["speed"] > 0.0)
    return {
        "killed": len(results),
        "while moving": len(zeros),
        "zero p50 ms": round(zeros[len(zeros) // 2], 1) if zeros else 0.0,
        "zero longest ms": round(max(zeros, default=0.0), 1),
        "zero bound ms": SIGNAL_MS,
        "wheels longest ms": round(max((result["wheels_ms"] for result in results), default=0.0), 1),
        "wheels bound ms": round(WHEELS_MS, 1),
        "beyond a bound": len(bad),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where the figures go, as JSON")
    args = parser.parse_args()
    rng, results = random.Random(args.seed), []
    with tempfile.TemporaryDirectory() as name:
        base = Base(Path(name))
        try:
            results = [kill_one(base, Path(name), rng.uniform(0.0, LONGEST_LIFE_S)) for _ in track(range(args.count), "kill -9")]
        finally:
            base.rig.close()
    summary = summed(results) | {"seed": args.seed}
    print(json.dumps(summary))
    if args.out is not None:
        args.out.write_text(json.dumps(summary, indent=1) + "\n")
    return 1 if summary["beyond a bound"] else 0


if __name__ == "__main__":
    sys.exit(main())
