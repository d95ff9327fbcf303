"""A bad line: bytes that are lost, doubled, changed, or come in pieces, on the way to the base and back. A seed repeats it."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields

from edge_vla.errors import ConfigError
from edge_vla.sim.firmware.pty import Firmware


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of the bytes, 0 to 1. `split` is how often what goes over in one piece is cut in two, the rest comes with the next step."""

    drop: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    split: float = 0.0
    echo: float = 0.0  # how often what the base hears comes back as if it had said it

    def __post_init__(self) -> None:
        for item in fields(self):
            if not 0.0 <= getattr(self, item.name) <= 1.0:
                raise ConfigError(f"line {item.name}={getattr(self, item.name)}: want a share in 0..1")


class BadLine:
    """A firmware behind such a line; to whoever pumps it, a firmware."""

    def __init__(self, firmware: Firmware, faults: Faults, seed: int = 0) -> None:
        self._firmware, self._faults = firmware, faults
        self._rng = random.Random(seed)
        self._to, self._from, self._echo = b"", b"", b""

    def feed(self, data: bytes, now_ns: int) -> None:
        whole = self._to + self._spoil(data)
        if data and self._rng.random() < self._faults.echo:
            self._echo += data
        cut = self._cut(whole)
        self._to = whole[cut:]
        self._firmware.feed(whole[:cut], now_ns)

    def step(self, now_ns: int) -> None:
        self._firmware.step(now_ns)

    def read(self, now_ns: int) -> bytes:
        whole = self._from + self._spoil(self._echo + self._firmware.read(now_ns))
        self._echo = b""
        cut = self._cut(whole)
        self._from = whole[cut:]
        return whole[:cut]

    def _cut(self, whole: bytes) -> int:
        return self._rng.randrange(len(whole)) if whole and self._rng.random() < self._faults.split else len(whole)

    def _spoil(self, data: bytes) -> bytes:
        if not (self._faults.drop or self._faults.duplicate or self._faults.corrupt):
            return data
        out = bytearray()
        for byte in data:
            if self._rng.random() < self._faults.drop:
                continue
            said = byte ^ (1 << self._rng.randrange(8)) if self._rng.random() < self._faults.corrupt else byte
            out += bytes((said,)) * (2 if self._rng.random() < self._faults.duplicate else 1)
        return bytes(out)
