"""What a guard process is told at its start, as one line of JSON. Validated on both sides; knows nothing about profiles."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from edge_vla.errors import ConfigError
from edge_vla.guard.limits import Limits

TICK_HZ = 50


def new_session() -> int:
    """A session id no earlier worker has used."""
    return secrets.randbits(63) | 1


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """One guard's base, port and limits. `session` and `worker_pid` default to the process that builds this."""

    base: str  # a name in edge_vla.bases.BASES
    port: str  # device path
    base_options: Mapping[str, float | int | str] = field(default_factory=dict)
    baud: int = 115200
    limits: Limits = field(default_factory=Limits)
    tick_hz: int = TICK_HZ
    use_gyro: bool = False
    low_battery_v: float | None = None
    log_path: str | None = None
    memory_path: str | None = None  # where latches outlive this guard; none: they do not
    deadman_ms: int = 0  # without a word that the button is held for so long, nothing moves; 0: no deadman
    session: int = field(default_factory=new_session)
    worker_pid: int = field(default_factory=os.getpid)

    def __post_init__(self) -> None:
        for name, low, high in (("baud", 9600, 2_000_000), ("tick_hz", 20, 100), ("session", 1, (1 << 64) - 1), ("worker_pid", 1, 1 << 31)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"{name}={value!r}: want a whole number in {low}..{high}")
        for name in ("base", "port"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ConfigError(f"{name}={getattr(self, name)!r}: want a text")
        if self.deadman_ms not in (0, *range(200, 1001)):
            raise ConfigError(f"deadman_ms={self.deadman_ms!r}: want 200..1000, or 0 for none")
        if self.low_battery_v is not None and not (math.isfinite(self.low_battery_v) and self.low_battery_v > 0):
            raise ConfigError(f"low_battery_v={self.low_battery_v!r}: want a finite number > 0, or none")

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(line: str) -> GuardSettings:
        """Every key must be there and known. Raises ConfigError, naming the nearest key for an unknown one."""
        try:
            values = json.loads(line)
        except ValueError as err:
            raise ConfigError(f"guard settings are no JSON: {err}") from err
        checked = _keys(values, GuardSettings, "guard settings")
        limits = Limits(**_keys(checked["limits"], Limits, "limits"))
        return GuardSettings(**{**checked, "limits": limits})


def _keys(values: object, kind: type[GuardSettings] | type[Limits], where: str) -> dict[str, Any]:
    """`values` with exactly the fields of `kind`."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: want an object, got {values!r}")
    known = [item.name for item in fields(kind)]
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}; did you mean {get_close_matches(key, known, n=1, cutoff=0.0)[0]!r}?")
    missing = [name for name in known if name not in values]
    if missing:
        raise ConfigError(f"{where}: missing {', '.join(missing)}")
    return values
