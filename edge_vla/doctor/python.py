"""The interpreter and its packages: Python, ONNX Runtime and what it can run on, OpenCV."""

from __future__ import annotations

import re
import sys
from importlib import metadata, util

from edge_vla.doctor.finding import Finding, check, fail, ok, warn
from edge_vla.doctor.host import Host

PIP = f"{sys.executable} -m pip"
OLDEST = (3, 10)
NEEDED = ("numpy", "cv2", "tokenizers", "serial", "pydantic", "rich")  # modules the core imports
JETSON_WHEELS = {6: "https://pypi.jetson-ai-lab.io/jp6/cu126", 7: "https://pypi.jetson-ai-lab.io/sbsa/cu130"}


@check("python")
def python(host: Host) -> Finding:
    told = ".".join(map(str, host.python))
    if host.python < OLDEST:
        return fail(f"Python {told}; want 3.10 or later", "sudo apt-get install -y python3.10-venv && make setup PYTHON=python3.10")
    return ok(f"Python {told}")


@check("packages")
def packages(_host: Host) -> Finding:
    missing = [name for name in NEEDED if util.find_spec(name) is None]
    if missing:
        return fail(f"no module {', '.join(missing)}", "make setup")
    return ok(f"{len(NEEDED)} of {len(NEEDED)} modules")


@check("onnxruntime")
def onnxruntime(host: Host) -> Finding:
    found = installed("onnxruntime")
    if len(found) > 1:
        both = " ".join(found)
        return fail(f"{both} overwrite each other's files", f"{PIP} uninstall -y {both} && {PIP} install 'edge_vla[cpu]'")
    if not found:
        return fail("no ONNX Runtime: no engine can be run", f"{PIP} install 'edge_vla[cpu]'")
    import onnxruntime as ort  # only here: the doctor must answer without it

    providers = [name.removesuffix("ExecutionProvider") for name in ort.get_available_providers()]
    told = f"ONNX Runtime {ort.__version__} on {', '.join(providers)}"
    wheels = JETSON_WHEELS.get(host.board.jetpack_major or 0)
    if wheels and "CUDA" not in providers:
        return warn(f"{told}: the GPU is not used", f"{PIP} uninstall -y {found[0]} && {PIP} install onnxruntime-gpu --index-url {wheels}")
    return ok(told)


@check("opencv")
def opencv(_host: Host) -> Finding:
    found = installed("opencv")
    if len(found) > 1:
        others = " ".join(name for name in found if name != "opencv-python-headless")
        return warn(f"{', '.join(found)} overwrite each other's files", f"{PIP} uninstall -y {others} && {PIP} install --force-reinstall "
                    "--no-deps opencv-python-headless")  # fmt: skip
    import cv2

    with_gst = re.search(r"GStreamer:\s+(\w+)", cv2.getBuildInformation())
    gst = "with" if with_gst and with_gst[1] == "YES" else "without"
    return ok(f"OpenCV {cv2.__version__} ({found[0] if found else 'of the system'}), {gst} GStreamer")


def installed(prefix: str) -> list[str]:
    """Distributions whose name begins like this, sorted."""
    names = {str(each.metadata["Name"]).lower() for each in metadata.distributions()}
    return sorted(name for name in names if name.startswith(prefix))
