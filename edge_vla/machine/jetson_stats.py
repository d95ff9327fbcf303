"""jetson-stats' client: power and temperatures of a Jetson while something is measured. The only file that imports jtop."""

from __future__ import annotations

import importlib
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from edge_vla.machine.board import Board

NOT_A_JETSON = "not a Jetson"
INSTALL = "sudo pip3 install -U jetson-stats"


@dataclass(frozen=True, slots=True)
class Reading:
    """One look. `power_w` is of the whole board."""

    power_w: float | None
    celsius: dict[str, float]


class JetsonStats:
    """Open for the time of a measurement. Without the service nothing is read and `why` says so."""

    def __init__(self, board: Board) -> None:
        self.why = "" if board.is_jetson else NOT_A_JETSON
        self._client: Any = None

    def __enter__(self) -> JetsonStats:
        if not self.why:
            self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._client is not None:
            with suppress(Exception):  # its service may be gone by now, and what was measured stands
                self._client.close()

    def read(self) -> Reading | None:
        """What the service said last. None where there is none, or once it is gone."""
        if self._client is None:
            return None
        try:
            power, temperature = self._client.power, self._client.temperature
            milliwatts = power.get("tot", {}).get("power")
            found = {name: float(zone["temp"]) for name, zone in temperature.items() if zone.get("online") and "temp" in zone}
        except Exception as err:  # noqa: BLE001 - its thread dies with whatever the service's connection raised
            self._client, self.why = None, f"jetson-stats broke off: {err}"
            return None
        return Reading(None if milliwatts is None else milliwatts / 1000, found)

    def _start(self) -> None:
        try:
            jtop = importlib.import_module("jtop")
        except ImportError:
            self.why = f"jetson-stats is not installed: {INSTALL}"
            return
        try:
            client = jtop.jtop(interval=0.5)
            client.start()
        except (jtop.JtopException, OSError) as err:  # no service, no permission, another version
            self.why = "jetson-stats: " + " ".join(str(err).split())
            return
        self._client = client
