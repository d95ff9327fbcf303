"""`python -m edge_vla.stop`: every robot that this user drives on this machine stops and stays stopped until it is reset.

A protective stop, through the guards' own line: it needs neither the worker nor the console. It is no emergency stop, motor power stays on.
"""

from __future__ import annotations

import sys

from edge_vla.guard.stopline import runtime_folder, runtime_folders, stop_all

NOBODY = 1


def main() -> int:
    """0 when at least one guard was told."""
    told, gone = stop_all()
    left = f", {gone} of guards that are gone were removed" if gone else ""
    sys.stdout.write(f"{told} told to stop{left}\n")
    if not told:
        sys.stderr.write(f"no guard listens in {', '.join(map(str, runtime_folders() or [runtime_folder()]))}\n")
    return 0 if told else NOBODY


if __name__ == "__main__":
    sys.exit(main())
