"""What a pass made of each layer of a graph, and why; ready to be written as JSON beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layer:
    """One node. Figures depend on the pass; `docs/precision.md` says what each means."""

    name: str
    kind: str  # its operator
    precision: str  # what it is now: fp32, fp16, w8a8, w8 or w4
    reason: str = ""  # why it is not what was asked for
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """One graph. `figures` are of the whole."""

    source: str
    precision: str  # what was asked for
    layers: tuple[Layer, ...]
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many layers are what, and why."""
        told = (f"{layer.precision} ({layer.reason})" if layer.reason else layer.precision for layer in self.layers)
        return dict(sorted(Counter(told).items()))

    def layer(self, name: str) -> Layer:
        """By its node's name."""
        return next(layer for layer in self.layers if layer.name == name)

    def text(self) -> str:
        """JSON. An error without bound is "inf", for JSON has no such number."""
        told = asdict(self) | {"counts": self.counts}
        told["figures"] = _sayable(self.figures)
        for layer in told["layers"]:
            layer["figures"] = _sayable(layer["figures"])
        return json.dumps(told, indent=1, allow_nan=False) + "\n"

    def save(self, path: Path) -> None:
        path.write_text(self.text())


def _sayable(figures: Mapping[str, float]) -> dict[str, float | str]:
    return {name: float(f"{value:.6g}") if abs(value) < float("inf") else str(value) for name, value in figures.items()}
