#!/usr/bin/env bash
# Makes offscreen rendering work: EGL with a driver behind it. Changes nothing where the simulator can already draw.
set -euo pipefail
python=${1:?usage: gl.sh PYTHON}

draws() {
  MUJOCO_GL=${MUJOCO_GL:-egl} "$python" - <<'PY'
import importlib.util
import sys

if importlib.util.find_spec("mujoco") is None:
    sys.exit(0)  # set up without the simulator: nothing to draw
import mujoco

context = mujoco.GLContext(16, 16)
context.make_current()
context.free()
PY
}

if [ "$(uname -s)" != Linux ] || draws >/dev/null 2>&1; then exit 0; fi

packages=(libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri)
if ! command -v apt-get >/dev/null; then
  echo "setup: the simulator draws with EGL, which is missing here; install Mesa's libEGL and its software driver" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "setup: as root, run: apt-get install ${packages[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "setup: installing OpenGL for offscreen rendering: ${packages[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -q &&
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "setup: apt-get failed; the simulator needs: ${packages[*]}" >&2
  exit 1
fi
draws || { echo "setup: OpenGL is installed, but the simulator still cannot draw (MUJOCO_GL=${MUJOCO_GL:-egl}); the reason is above" >&2; exit 1; }
