"""The simulator: a MuJoCo room that is just another robot. Offscreen by default, so no display is needed."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")  # read by mujoco at its first import
