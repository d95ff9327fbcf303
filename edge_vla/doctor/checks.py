"""Every check, in the order it is told: file by file, and in each file as it stands there."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from edge_vla.doctor import cameras, drawing, jetpack, power, python, realtime, robot, serial, space
from edge_vla.doctor.finding import CHECKS, Check, Finding, fail
from edge_vla.doctor.host import Host

FILES = (jetpack, python, cameras, serial, power, space, realtime, drawing, robot)  # a new file of checks is named here


def examine(host: Host) -> Iterator[tuple[str, Finding]]:
    """(name, finding) of every check, one by one."""
    order = [file.__name__ for file in FILES]
    for name, function in sorted(CHECKS.items(), key=lambda item: order.index(item[1].__module__)):
        yield name, found_by(function, host)


def found_by(function: Check, host: Host) -> Finding:
    """What a check finds. One that breaks is a finding too: the others must still be told."""
    try:
        return function(host)
    except Exception as err:  # noqa: BLE001 - there is no telling what a machine can do to a check
        where = traceback.extract_tb(err.__traceback__)[-1]
        return fail(f"the check itself broke: {type(err).__name__}: {err}", f"tell us, with {where.filename}:{where.lineno}")
