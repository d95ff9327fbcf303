"""The boards a plan is made for: memory, bandwidth, arithmetic, power modes. Figures as published, none measured; docs/planning.md has
where each comes from and which are unverified.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edge_vla.errors import ConfigError, did_you_mean

GIB = 2**30
# Rate of each arithmetic in units of dense int8. Orin's CUDA cores do a sixteenth in fp32, Thor's a sixty-fourth; no TF32 is assumed.
SM_87 = {"fp32": 1 / 16, "fp16": 1 / 2, "int8": 1.0}
SM_110 = {"fp32": 1 / 64, "fp16": 1 / 2, "int8": 1.0, "fp8": 1.0, "fp4": 2.0}


@dataclass(frozen=True, slots=True)
class Mode:
    """A power mode: what the GPU does in it."""

    name: str
    int8_tops: float  # dense: half of the sparse figure that is advertised
    bandwidth_gbps: float  # of the memory, in units of 10^9 bytes


@dataclass(frozen=True, slots=True)
class Device:
    """A module. CPU and GPU share its memory."""

    name: str
    title: str
    memory_gib: float  # as sold
    visible_gib: float  # of it, what Linux has left to give
    sm: tuple[int, int]
    rates: Mapping[str, float]  # arithmetic to its rate in units of dense int8
    modes: tuple[Mode, ...]  # the fastest first

    @property
    def visible_bytes(self) -> int:
        return int(self.visible_gib * GIB)

    def operations_per_s(self, arithmetic: str, mode: Mode) -> float:
        """At full rate. Raises ConfigError for an arithmetic that the SM has not."""
        if arithmetic not in self.rates:
            raise ConfigError(f"{self.name}: SM {self.sm[0]}.{self.sm[1]} computes in {', '.join(self.rates)}, not in {arithmetic}")
        return mode.int8_tops * 1e12 * self.rates[arithmetic]


DEVICES = (
    Device(
        "orin-nano", "Jetson Orin Nano 8 GB", 8, 7.4, (8, 7), SM_87,
        (Mode("super", 67 / 2, 102), Mode("15w", 40 / 2, 68)),
    ),
    Device("orin-nx", "Jetson Orin NX 16 GB", 16, 15.3, (8, 7), SM_87, (Mode("maxn", 30, 102.4),)),
    Device(
        "agx-orin", "Jetson AGX Orin 64 GB", 64, 61.4, (8, 7), SM_87,
        (Mode("maxn", 171 / 2, 204.8), Mode("50w", 109 / 2, 204.8), Mode("30w", 41 / 2, 204.8), Mode("15w", 14 / 2, 204.8)),
    ),
    Device("thor", "Jetson AGX Thor 128 GB", 128, 122.8, (11, 0), SM_110, (Mode("maxn", 2070 / 4, 273),)),
)  # fmt: skip


def find_device(name: str, memory_gib: float | None = None) -> Device:
    """A board by its name; `memory_gib` for a module of it with less or more memory. Raises ConfigError with the nearest name."""
    known = {device.name: device for device in DEVICES}
    if name not in known:
        raise ConfigError(f"device {name!r}: want one of {', '.join(known)}{did_you_mean(name, known)}")
    found = known[name]
    if memory_gib is None:
        return found
    if not 1 <= memory_gib <= 1024:
        raise ConfigError(f"memory {memory_gib:g} GiB: want 1 to 1024")
    share = found.visible_gib / found.memory_gib
    return replace(found, title=f"{found.title}, with {memory_gib:g} GB", memory_gib=memory_gib, visible_gib=memory_gib * share)


def find_mode(device: Device, name: str | None = None) -> Mode:
    """A power mode by its name, the fastest without one. Raises ConfigError."""
    known = {mode.name: mode for mode in device.modes}
    if name is not None and name not in known:
        raise ConfigError(f"power mode {name!r}: {device.name} has figures for {', '.join(known)}")
    return known[name] if name is not None else device.modes[0]
