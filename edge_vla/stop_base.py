"""`python -m edge_vla.stop_base --profile P`: brings a base to a stand whose guard has died. For systemd's ExecStopPost, and for a hand.

It opens the port itself and says zero, fifty times a second, until the base reports wheels that stand; nothing that could move it. A guard
that lives keeps the port to itself: use `python -m edge_vla.stop` then. Motor power stays on.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from edge_vla.config import load_profile
from edge_vla.errors import ConfigError, EdgeVLAError
from edge_vla.guard.halt import Halted, halt_base

STILL, UNCONFIRMED, USAGE, NO_PORT = 0, 1, 2, 3
PATIENCE_S, MOST_PATIENCE_S = 5.0, 60.0


def main(words: list[str] | None = None) -> int:
    """0 when the wheels stand, 1 when zeros were said and nobody knows, 2 for words that say nothing, 3 without a port."""
    cli = argparse.ArgumentParser(
        prog="python -m edge_vla.stop_base", description=__doc__,
        epilog="exit codes: 0 the wheels stand, 1 zeros were sent but nothing confirms it, 2 bad arguments or profile, 3 no port",
    )  # fmt: skip
    cli.add_argument("--profile", type=Path, required=True, help="a robot profile, for example launch/robot.toml")
    cli.add_argument("--port", help="the base's device, where it is not the profile's")
    cli.add_argument("--seconds", type=float, default=PATIENCE_S, help="how long to try while the port is busy or missing, default 5")
    cli.add_argument("--json", action="store_true", help="one line of JSON instead of a line of text")
    args = cli.parse_args(words)
    try:
        halted = _halt(args.profile, args.port, args.seconds)
    except EdgeVLAError as err:
        sys.stderr.write(f"stop_base: {err}\n")
        return USAGE
    if args.json:
        sys.stdout.write(json.dumps(asdict(halted)) + "\n")
    else:
        (sys.stdout if halted.still else sys.stderr).write(f"stop_base: {halted.why}, {halted.zeros} zeros, {halted.reports} reports\n")
    if not halted.opened:
        return NO_PORT
    return STILL if halted.still else UNCONFIRMED


def _halt(path: Path, port: str | None, seconds: float) -> Halted:
    if not 0.0 <= seconds <= MOST_PATIENCE_S:
        raise ConfigError(f"--seconds {seconds}: want 0 to {MOST_PATIENCE_S:.0f}")
    profile = load_profile(path)
    if profile.simulated and port is None:
        raise ConfigError(f"{path}: a simulated base is gone with its simulator; name one with --port")
    base = profile.base
    return halt_base(base.kind, base.codec, port or base.port, base.baud, seconds)


if __name__ == "__main__":
    sys.exit(main())
