"""`python -m edge_vla.sim.firmware --log runs/x/wheels.jsonl --base waveshare`: a base without a world. First prints its tty."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from edge_vla.bases import BASES, make_base
from edge_vla.errors import ConfigError
from edge_vla.guard.types import STILL
from edge_vla.sim.firmware import make_firmware
from edge_vla.sim.firmware.noise import BadLine, Faults
from edge_vla.sim.firmware.pty import PtyLine
from edge_vla.sim.firmware.wheels import FirstOrderWheels, WheelLog

STEP_NS = 5_000_000  # 200 Hz: twice what the log promises
NICE = -10  # where permitted: the controller this stands for shares its processor with nobody


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m edge_vla.sim.firmware")
    parser.add_argument("--log", type=Path, required=True, help="where wheels.jsonl goes")
    parser.add_argument("--baud", type=int, default=115200)
    parser.add_argument("--tau-s", type=float, default=0.15, help="motor time constant")
    parser.add_argument("--base", choices=tuple(BASES), default="waveshare")
    parser.add_argument("--options", type=json.loads, default={}, help="of the base, as a profile's [base.options], in JSON")
    parser.add_argument("--line", type=json.loads, default={}, help="a bad line: shares of drop, duplicate, corrupt, split, echo, in JSON")
    parser.add_argument("--seed", type=int, default=0, help="of the bad line")
    args = parser.parse_args()
    stop = []

    def leave(number: int, _frame: FrameType | None) -> None:
        stop.append(number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    try:
        drive = make_base(args.base, args.options).traits.drive
        wheels = FirstOrderWheels(args.tau_s, gains=[1.0] * len(drive.wheels(STILL)))
        faults = Faults(**args.line)
    except (ConfigError, TypeError) as err:
        sys.stderr.write(f"firmware: {err}\n")
        return 2
    with WheelLog(args.log) as log:
        line = PtyLine(BadLine(make_firmware(args.base, args.options, wheels, log), faults, args.seed), args.baud)
        return serve(line, wheels, log, stop)


def serve(line: PtyLine, wheels: FirstOrderWheels, log: WheelLog, stop: list[int]) -> int:
    """Until a signal comes."""
    with line:
        sys.stdout.write(line.path + "\n")
        sys.stdout.flush()
        last_ns = due_ns = time.monotonic_ns()
        while not stop:
            now_ns = time.monotonic_ns()
            wheels.advance((now_ns - last_ns) * 1e-9)
            log.write(now_ns, wheels.speeds())
            line.pump(now_ns)
            last_ns = now_ns
            due_ns = max(due_ns + STEP_NS, now_ns)
            time.sleep((due_ns - now_ns) * 1e-9)
    return 0


if __name__ == "__main__":
    sys.exit(main())
