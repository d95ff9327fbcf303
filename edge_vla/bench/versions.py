"""Versions of what a latency can depend on, and the commit it was measured at."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from edge_vla import __version__, places
from edge_vla.bench.report import Versions

PACKAGES = (
    "numpy", "opencv-python-headless", "opencv-python", "onnxruntime", "onnxruntime-gpu", "openvino", "onnxruntime-openvino", "tensorrt",
    "tokenizers", "pyserial", "pydantic", "mujoco",
)  # fmt: skip


def versions() -> Versions:
    """Of this interpreter and its packages; what is not installed is not named."""
    installed = {each.metadata["Name"].lower(): each.version for each in metadata.distributions() if each.metadata["Name"]}
    found = {name: installed[name] for name in PACKAGES if name in installed}
    return Versions(
        edge_vla=__version__, python=platform.python_version(), kernel=f"{platform.system()} {platform.release()} {platform.machine()}",
        commit=commit(places.HOME), packages=found,
    )  # fmt: skip


def commit(home: Path) -> str | None:
    """The commit of a checkout; None for an installed wheel, which may well lie inside somebody else's repository, and without git."""
    git = shutil.which("git")
    if git is None or not (home / ".git").exists():
        return None
    words = [git, "-C", str(home), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
