"""What is in the bindings wheels of TensorRT and CUDA, from the package registry. A wheel is fetched once and what it says kept."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.export.tensorrt_api.empty_library import MACHINES, write_libraries

DESCRIBE = Path(__file__).with_name("describe.py")
LAST_OF_ALL = "3.12"  # the newest Python that every version here has a wheel for
OUT_OF_REACH = re.compile(r"connection|retrying|timed out|temporary failure|name resolution|proxy", re.IGNORECASE)
ENDED = re.compile(rb"[A-Za-z0-9_]{2,120}(?=\0)")  # a C string's last word; a linker lets "INPUT" be the end of another's


class NoRegistry(Exception):
    """The registry does not answer."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A version to be read, and the module that is asked."""

    project: str
    version: str
    module: str
    needs: tuple[str, ...] = ()  # pure packages beside it, of any version

    def __str__(self) -> str:
        return f"{self.project} {self.version}"


# Of the boards: JetPack 6, Thor's first, JetPack 7.2, and TensorRT 11.
TENSORRT = (
    Wheel("tensorrt-cu12-bindings", "10.3.0", "tensorrt_bindings"),
    Wheel("tensorrt-cu12-bindings", "10.13.3.9", "tensorrt_bindings"),
    Wheel("tensorrt-cu12-bindings", "10.16.1.11", "tensorrt_bindings"),
    Wheel("tensorrt-cu13-bindings", "11.4.0.106", "tensorrt_bindings"),
)
CUDA = (
    Wheel("cuda-python", "12.6.2.post1", "cuda.bindings.runtime"),
    Wheel("cuda-bindings", "13.4.4", "cuda.bindings.runtime", ("cuda-pathfinder",)),
)
PAIRS = tuple(zip(TENSORRT, (CUDA[0], CUDA[1], CUDA[1], CUDA[1]), strict=True))


@dataclass(frozen=True, slots=True)
class Contents:
    """Either what the module said of itself, or, without a wheel for this Python, the strings that its file holds."""

    said: dict[str, Any] | None
    names: frozenset[str]  # of everything it has, whosever; or ends of strings

    def lacks(self, names: set[str]) -> set[str]:
        if self.said is not None:
            return names - self.names
        strings = "\0".join((*self.names, ""))
        return {name for name in names if f"{name}\0" not in strings}


def contents(wheel: Wheel, cache: Path) -> Contents:
    """Raises NoRegistry when there is none to ask, RuntimeError when it lacks what is asked for."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}-{platform.machine()}"
    asked = hashlib.sha256(DESCRIBE.read_bytes()).hexdigest()[:8]
    kept = cache / f"{wheel.project}-{wheel.version}-{python}-{asked}.json"
    if not kept.is_file():
        with tempfile.TemporaryDirectory() as folder:
            found = _read(wheel, Path(folder))
        fresh = kept.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(found))
        fresh.replace(kept)  # another run may be writing it too
    found = json.loads(kept.read_text())
    said = found["said"]
    return Contents(said, frozenset(found["names"] if said is None else names_of(said)))


def names_of(said: dict[str, Any]) -> set[str]:
    """Of everything a module has, dotted or not."""
    members = {name for described in said["classes"].values() for name in described["members"]}
    parts = {part for name in said["classes"] for part in name.split(".")}
    return members | parts | set(said["functions"]) | set(said["values"])


def _read(wheel: Wheel, folder: Path) -> dict[str, Any]:
    site = folder / "site"
    if not _fetch(f"{wheel.project}=={wheel.version}", site, folder):
        _fetch(f"{wheel.project}=={wheel.version}", site, folder, LAST_OF_ALL)
        files = [path for path in site.rglob("*.so") if path.name.split(".")[0] in ("tensorrt", "runtime")]
        found = {match.decode() for path in files for match in ENDED.findall(path.read_bytes())}
        found |= {word for path in site.rglob("__init__.py") for word in re.findall(r"\w+", path.read_text("utf-8"))}
        return {"said": None, "names": sorted(found)}
    for need in wheel.needs:
        if not _fetch(need, site, folder):
            raise RuntimeError(f"{wheel} needs {need}, which this Python cannot have")
    return {"said": _asked(wheel, site, folder)}


def _fetch(asked: str, site: Path, folder: Path, python: str | None = None) -> bool:
    """Unpack what is asked for, for this machine, or for `python` on one that all are made for; False where there is none for this one."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--retries=1",
        "--timeout=30",
        f"--dest={folder}",
    ]
    if python is not None:
        systems = ("manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
        command += [f"--python-version={python}", "--implementation=cp", *(f"--platform={system}" for system in systems)]
    elif platform.machine() not in MACHINES or sys.platform != "linux":
        return False
    result = subprocess.run([*command, asked], capture_output=True, text=True, check=False)
    if result.returncode:
        if OUT_OF_REACH.search(result.stderr):
            raise NoRegistry(f"{asked}: {result.stderr.strip().splitlines()[-1]}")
        if python is None:
            return False
        raise RuntimeError(f"{asked}: {result.stderr}")
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(site, [name for name in archive.namelist() if name.endswith((".py", ".so"))])
    file.unlink()
    return True


def _asked(wheel: Wheel, site: Path, folder: Path) -> dict[str, Any]:
    """What the module says of itself, in an interpreter of its own, with nothing where TensorRT's libraries would be."""
    libraries = folder / "libraries"
    libraries.mkdir()
    write_libraries(libraries, int(wheel.version.split(".")[0]))
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON") and key != "LD_BIND_NOW"}
    env |= {"PYTHONPATH": str(site), "LD_LIBRARY_PATH": str(libraries)}
    result = subprocess.run([sys.executable, DESCRIBE, wheel.module], env=env, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{wheel}: {result.stderr}")
    found: dict[str, Any] = json.loads(result.stdout)
    return found
