"""Can the simulator draw?"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import util

from edge_vla.doctor.finding import Finding, check, fail, ok, warn
from edge_vla.doctor.host import Host
from edge_vla.doctor.python import PIP

DRAW = "import mujoco; c = mujoco.GLContext(16, 16); c.make_current(); c.free()"
PATIENCE_S = 60
INSTALL = "sudo apt-get install -y libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri"


@check("simulator")
def simulator(host: Host) -> Finding:
    level = fail if host.simulated and not host.board.is_jetson else warn  # without a robot nothing else can be run
    if util.find_spec("mujoco") is None:
        return level("not installed", f"{PIP} install 'edge_vla[sim]'")
    environment = {"MUJOCO_GL": "egl", **os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-c", DRAW], env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return level(f"OpenGL did not answer for {PATIENCE_S} s", INSTALL)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return level(f"it cannot draw (MUJOCO_GL={environment['MUJOCO_GL']}): {why}", INSTALL)
    return ok(f"draws with {environment['MUJOCO_GL']}")
