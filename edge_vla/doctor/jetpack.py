"""The board and NVIDIA's software on it: JetPack, CUDA, TensorRT."""

from __future__ import annotations

import json
import re

from edge_vla.doctor.finding import Finding, check, fail, ok, warn
from edge_vla.doctor.host import Host
from edge_vla.machine.jetson_stats import NOT_A_JETSON

FLASH = "flash JetPack 6.2 or later: https://developer.nvidia.com/embedded/jetpack"
INSTALL = "sudo apt-get update && sudo apt-get install -y nvidia-jetpack"
CUDA_OF = {6: "12", 7: "13"}  # JetPack to CUDA
PYTHON_OF = {6: (3, 10), 7: (3, 12)}  # and to the Python its modules are for


@check("board")
def board(host: Host) -> Finding:
    found = host.board
    told = ", ".join(filter(None, (found.model, found.processor, f"{found.cores} cores", f"{found.memory_gib:g} GiB")))
    return ok(told if found.is_jetson else f"{NOT_A_JETSON}: {told}")


@check("jetpack")
def jetpack(host: Host) -> Finding:
    found = host.board
    if not found.is_jetson:
        return ok(NOT_A_JETSON)
    if not found.l4t:
        return warn("this is a Jetson, but /etc/nv_tegra_release does not say its L4T", "sudo apt-get install -y nvidia-l4t-core")
    major = found.jetpack_major
    if major is None or major < 6:
        which = f"JetPack {major}" if major else "a JetPack too old to be known"
        return fail(f"L4T {found.l4t} is {which}; want JetPack 6 or 7", FLASH)
    return ok(f"JetPack {found.jetpack}, L4T {found.l4t}")


@check("cuda")
def cuda(host: Host) -> Finding:
    version, driver = _cuda_version(host), host.tree.text("/proc/driver/nvidia/version")
    if not host.board.is_jetson:
        name = re.search(r"Kernel Module\D*([\d.]+)", driver or "")
        gpu = f"{host.board.gpu or 'NVIDIA'}, driver {name[1]}" if name else "no NVIDIA GPU"
        return ok(f"{gpu}, {f'CUDA {version}' if version else 'no CUDA'}{'' if name else ': engines run on the CPU'}")
    want = CUDA_OF.get(host.board.jetpack_major or 0)
    if not version:
        return warn("CUDA is not installed: engines run on the CPU", INSTALL)
    if want and version.split(".")[0] != want:
        return warn(f"CUDA {version}, but JetPack {host.board.jetpack} comes with CUDA {want}", INSTALL)
    return ok(f"CUDA {version}")


@check("tensorrt")
def tensorrt(host: Host) -> Finding:
    libraries = host.tree.glob("/usr/lib/*-linux-gnu/libnvinfer.so.*.*.*")
    version = libraries[-1].name.removeprefix("libnvinfer.so.") if libraries else ""
    if not host.board.is_jetson:
        return ok(f"TensorRT {version}" if version else "no TensorRT: only engines made for a Jetson need it")
    if not version:
        return warn("TensorRT is not installed: only ONNX bundles can run", INSTALL)
    modules = host.tree.glob("/usr/lib/python3*/dist-packages/tensorrt")
    if not modules:
        return warn(f"TensorRT {version}, without its Python module", "sudo apt-get install -y python3-libnvinfer")
    want = PYTHON_OF.get(host.board.jetpack_major or 0)
    if want and host.python != want:
        told = ".".join(map(str, want))
        return warn(
            f"TensorRT {version}, whose module is for Python {told}; this is {'.'.join(map(str, host.python))}",
            f"rm -rf .venv && python{told} -m venv --system-site-packages .venv && make setup",
        )
    return ok(f"TensorRT {version}")


def _cuda_version(host: Host) -> str:
    """Of the default toolkit, "" without one."""
    for path in [host.tree.path("/usr/local/cuda/version.json"), *reversed(host.tree.glob("/usr/local/cuda-*/version.json"))]:
        text = host.tree.text(path)
        if text is not None:
            try:
                return str(json.loads(text)["cuda"]["version"])
            except (ValueError, KeyError, TypeError):
                return "unknown"
    return ""
