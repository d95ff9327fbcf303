"""What pilot and guard cost besides the engine, in real runs: STEER and guard ticks, late ticks, cores in use.

"note" is what STEER spends on counting, recording and the status line behind each tick.

    .venv/bin/python -m benchmarks.overhead [--goal avoid] [--target cup] [--runs 3] [--seconds 30] [--engine engines/default]

Wall times: anything else on the machine shows in the p99s. The load average before the runs is printed beside them.
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COST = re.compile(r"n (\d+), p50 ([\d.]+) ms, p99 ([\d.]+) ms")


def one_run(goal: list[str], engine: str, seconds: float, seed: int) -> dict[str, float]:
    """One run with these words for its goal; times in ms. Only `avoid` and `follow` steer for all of the seconds."""
    command = [sys.executable, "-m", "edge_vla.run", *goal, "--engine", engine, "--seed", str(seed)]
    with tempfile.TemporaryDirectory() as folder:
        command += ["--timeout-s", str(seconds), "--record", folder, "--json"]
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):  # 1: not reached, which is as good here
            raise SystemExit(done.stderr)
        spent, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        summary = json.loads(done.stdout.splitlines()[-1])
        events = [json.loads(line) for line in Path(summary["record"], "guard.jsonl").read_text().splitlines()]
    guard = COST.match(next(line["detail"] for line in events if line["event"] == "ticks"))
    if guard is None:
        raise SystemExit("the guard did not say what its ticks cost")
    stages = summary["stages"]
    return {
        "steer_p50": stages["steer"]["p50_ms"], "steer_p99": stages["steer"]["p99_ms"], "steer_ticks": stages["steer"]["n"],
        "note_p50": stages["note"]["p50_ms"], "note_p99": stages["note"]["p99_ms"],
        "guard_p50": float(guard[2]), "guard_p99": float(guard[3]), "guard_ticks": int(guard[1]),
        "steer_late_fraction": summary["steer_late_fraction"], "engine_p50": stages["engine"]["p50_ms"],
        "engine_p99": stages["engine"]["p99_ms"], "looks_per_s": summary["looks"] / summary["time_s"],
        "cores_in_all": (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / spent,
    }  # fmt: skip


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--goal", default="avoid")
    cli.add_argument("--target", help="of the goals that need one")
    cli.add_argument("--runs", type=int, default=3)
    cli.add_argument("--seconds", type=float, default=30.0)
    cli.add_argument("--engine", default="engines/default")
    args = cli.parse_args()
    load = os.getloadavg()[0]
    goal = ["--goal", args.goal, *(["--target", args.target] if args.target else [])]
    runs = [one_run(goal, args.engine, args.seconds, seed) for seed in range(args.runs)]
    median, worst = ({name: round(pick([run[name] for run in runs]), 3) for name in runs[0]} for pick in (statistics.median, max))
    print(
        json.dumps({"goal": args.goal, "runs": args.runs, "seconds": args.seconds, "cores": os.cpu_count(), "load_before": round(load, 2)})
    )
    print(json.dumps({"median": median}))
    print(json.dumps({"worst": worst}))


if __name__ == "__main__":
    main()
