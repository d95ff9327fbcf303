"""Which computer this is: model, processor, memory, and on a Jetson its L4T and JetPack."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_vla.machine.tree import Tree

RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")
# developer.nvidia.com/embedded/jetpack-archive; the newest row that is not above an L4T names its JetPack
JETPACKS = (
    ((36, 2), "6.0 DP"), ((36, 3), "6.0"), ((36, 4), "6.1"), ((36, 4, 3), "6.2"), ((36, 4, 4), "6.2.1"), ((36, 5), "6.2.2"),
    ((38, 2), "7.0"), ((38, 4), "7.1"), ((39, 0), "7.2"),
)  # fmt: skip
ARM_PARTS = {"0xd42": "Cortex-A78AE", "0xd83": "Neoverse-V3AE", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76"}  # of a CPU part number


@dataclass(frozen=True, slots=True)
class Board:
    """One computer. Empty texts and 0 where its files say nothing."""

    model: str
    processor: str
    cores: int
    memory_gib: float
    l4t: str = ""  # 36.4.3; only a Jetson has one
    jetpack: str = ""
    gpu: str = ""  # of a desktop's NVIDIA driver; a Jetson's is its board's

    @property
    def is_jetson(self) -> bool:
        return bool(self.l4t) or "jetson" in self.model.lower()

    @property
    def jetpack_major(self) -> int | None:
        return int(self.jetpack.split(".")[0]) if self.jetpack else None


def read_board(tree: Tree) -> Board:
    """What the files of a machine say."""
    l4t = read_l4t(tree)
    info = tree.text("/proc/cpuinfo") or ""
    model = tree.text("/proc/device-tree/model") or tree.text("/sys/class/dmi/id/product_name") or ""
    cores = len(re.findall(r"^processor\s*:", info, re.MULTILINE))
    return Board(model, _processor(info), cores, read_memory_gib(tree), l4t, jetpack_of(l4t), _gpu(tree))


def read_l4t(tree: Tree) -> str:
    """L4T's version such as 36.4.3, "" where there is none."""
    match = RELEASE.search(tree.text("/etc/nv_tegra_release") or "")
    return f"{match[1]}.{match[2]}" if match else ""


def jetpack_of(l4t: str) -> str:
    """The JetPack of an L4T, "" for one that no JetPack 6 or later has; "35.x" is 5 whatever its revision."""
    version = tuple(int(part) for part in l4t.split(".")) if l4t else ()
    if version[:1] in ((34,), (35,)):
        return "5"
    known = [name for first, name in JETPACKS if first <= version and first[0] == version[0]] if version else []
    if known:
        return known[-1]
    return "7" if version and version[0] > JETPACKS[-1][0][0] else ""


def memory_kib(tree: Tree, name: str) -> int | None:
    """A line of /proc/meminfo, such as MemAvailable."""
    match = re.search(rf"^{name}:\s+(\d+) kB", tree.text("/proc/meminfo") or "", re.MULTILINE)
    return int(match[1]) if match else None


def read_memory_gib(tree: Tree) -> float:
    return round((memory_kib(tree, "MemTotal") or 0) / 2**20, 1)


def _gpu(tree: Tree) -> str:
    told = [tree.text(path) or "" for path in tree.glob("/proc/driver/nvidia/gpus/*/information")]
    return ", ".join(match[1].strip() for text in told if (match := re.search(r"^Model:(.+)$", text, re.MULTILINE)))


def _processor(info: str) -> str:
    """The name of the processor, or what its part number stands for: ARM kernels tell no name."""
    if name := re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE):
        return name[1].strip()
    parts = dict.fromkeys(re.findall(r"^CPU part\s*:\s*(\S+)", info, re.MULTILINE))
    return ", ".join(ARM_PARTS.get(part, f"ARM part {part}") for part in parts)
