"""How fast the machine is allowed to be and how hot it is: power mode, clocks, thermal zones, throttle counters."""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from pathlib import Path

from edge_vla.machine.tree import Tree

MODE = re.compile(r"pmode:(\d+)")  # `pmode:0002`, of JetPack 4 with `fmode:quiet` behind it
MODEL = re.compile(r"^< POWER_MODEL ID=(\d+) NAME=(\S+) >", re.MULTILINE)
GPUS = ("*.gpu", "*.ga10b", "gpu-gpc-0")  # of /sys/class/devfreq: Orin's before and with JetPack 6, Thor's
FULL_HZ = 0.98  # share of the most: clocks are rounded to a table


@dataclass(frozen=True, slots=True)
class PowerMode:
    """The mode nvpmodel is in and those it could be in: (id, name). On a Jetson the fastest is neither always 0 nor always the last."""

    number: int
    name: str
    known: tuple[tuple[int, str], ...]

    @property
    def fastest(self) -> tuple[int, str]:
        """MAXN where there is one (MAXN_SUPER before MAXN), else the most watts."""
        return max(self.known or ((self.number, self.name),), key=lambda mode: _rank(mode[1]))


@dataclass(frozen=True, slots=True)
class Clocks:
    """Of all processors together, MHz; None where the kernel does not say. `locked`: the least is the most, as after jetson_clocks."""

    cpu_mhz: int | None  # median now
    cpu_most_mhz: int | None  # that the power mode allows
    gpu_mhz: int | None
    governor: str
    locked: bool | None


@dataclass(frozen=True, slots=True)
class Heat:
    """The hottest zone. `throttles`: some zone is at or beyond the point at which its clocks are lowered."""

    zone: str
    celsius: float
    throttles: bool


def read_power_mode(tree: Tree) -> PowerMode | None:
    """nvpmodel's own file, which needs neither the command nor root."""
    match = MODE.search(tree.text("/var/lib/nvpmodel/status") or "")
    if match is None:
        return None
    known = tuple((int(number), name) for number, name in MODEL.findall(tree.text("/etc/nvpmodel.conf") or ""))
    number = int(match[1])
    return PowerMode(number, dict(known).get(number, f"mode {number}"), known)


def read_clocks(tree: Tree) -> Clocks:
    """What cpufreq and devfreq say now; without cpufreq, as in a virtual machine, /proc/cpuinfo."""
    policies = "/sys/devices/system/cpu/cpufreq/policy*/"
    now, least, most = (tree.numbers(f"{policies}scaling_{name}_freq") for name in ("cur", "min", "max"))
    governors = dict.fromkeys(tree.text(path) or "" for path in tree.glob(f"{policies}scaling_governor"))
    gpu = next((path for name in GPUS for path in tree.glob(f"/sys/class/devfreq/{name}")), None)
    gpu_hz = None if gpu is None else tree.number(gpu / "cur_freq")
    bounds = [*zip(least, most, strict=False)]
    if gpu is not None and (low := tree.number(gpu / "min_freq")) and (high := tree.number(gpu / "max_freq")):
        bounds.append((low, high))
    mhz = [n / 1000 for n in now] or [
        float(n) for n in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", tree.text("/proc/cpuinfo") or "", re.MULTILINE)
    ]
    return Clocks(
        round(statistics.median(mhz)) if mhz else None, max(most) // 1000 if most else None,
        None if gpu_hz is None else gpu_hz // 1_000_000, ", ".join(governors),
        all(low >= FULL_HZ * high for low, high in bounds) if bounds else None,
    )  # fmt: skip


def read_heat(tree: Tree) -> Heat | None:
    """The thermal zones that answer; a Jetson's that are switched off do not."""
    zones = []
    for zone in tree.glob("/sys/class/thermal/thermal_zone*"):
        milli = tree.number(zone / "temp")
        if milli is None or milli <= 0:
            continue
        trips = [tree.number(trip.with_name(trip.name.replace("_type", "_temp"))) for trip in _passive(tree, zone.name)]
        zones.append((milli / 1000, tree.text(zone / "type") or zone.name, any(trip and milli >= trip for trip in trips)))
    if not zones:
        return None
    celsius, name, _ = max(zones)
    return Heat(name, round(celsius, 1), any(throttles for *_, throttles in zones))


def read_throttle_events(tree: Tree) -> int | None:
    """How often the hardware has throttled since it was switched on: Jetson's over-current counters, x86's thermal ones."""
    counters = tree.numbers("/sys/class/hwmon/hwmon*/oc*_event_cnt")
    counters += tree.numbers("/sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")
    return sum(counters) if counters else None


def _passive(tree: Tree, zone: str) -> list[Path]:
    """The trip points of a zone at which clocks are lowered."""
    return [path for path in tree.glob(f"/sys/class/thermal/{zone}/trip_point_*_type") if tree.text(path) == "passive"]


def _rank(name: str) -> tuple[int, float]:
    watts = re.match(r"(?:MODE_)?(\d+)W", name)
    return (2, len(name)) if name.startswith("MAXN") else (1, float(watts[1]) if watts else 0.0)
