"""`python -m edge_vla.sim --link-fd N`: the simulator process. Settings come as one JSON line on stdin."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType

from edge_vla.errors import EdgeVLAError
from edge_vla.sim.settings import SimSettings

EXIT_REFUSED = 2
NICE = -10  # where permitted: the controller this stands for shares its processor with nobody; the camera's thread is at +5
SWITCH_S = 0.001  # the camera's Python must not hold the firmware up for the usual 5 ms


def main() -> int:
    """Run one simulator until the worker is done with it."""
    parser = argparse.ArgumentParser(prog="python -m edge_vla.sim", description="Started by the worker, not by hand.")
    parser.add_argument("--link-fd", type=int, required=True, help="inherited end of the worker's SOCK_SEQPACKET pair")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the worker's to handle
    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's software renderer takes every core it finds; read when a context is made
    try:
        return _serve(SimSettings.from_json(sys.stdin.readline()), socket.socket(fileno=args.link_fd))
    except ModuleNotFoundError as err:
        sys.stderr.write(f"simulator: {err}; it is installed with: pip install 'edge_vla[sim]'\n")
    except (EdgeVLAError, OSError, ValueError) as err:
        sys.stderr.write(f"simulator: {err}\n")
    return EXIT_REFUSED


def _serve(settings: SimSettings, control: socket.socket) -> int:
    from edge_vla.sim.live import Live  # MuJoCo, which may not be installed

    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    sys.setswitchinterval(SWITCH_S)
    with control, Live(settings, control) as live:

        def leave(_number: int, _frame: FrameType | None) -> None:
            live.leave()

        signal.signal(signal.SIGTERM, leave)
        gc.freeze()
        live.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
