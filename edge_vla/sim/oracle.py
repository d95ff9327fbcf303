"""The engine that answers from the simulator's truth: the ceiling of every evaluation. Simulator only."""

from __future__ import annotations

from collections.abc import Callable

from edge_vla.errors import EngineError
from edge_vla.parse.loc import box_to_locs
from edge_vla.sim.objects import CLASSES
from edge_vla.sim.view import Truth
from edge_vla.types import Frame, Reply


class OracleEngine:
    """Knows every box. `truth_of` finds a frame's truth by its seq."""

    def __init__(self, truth_of: Callable[[int], Truth | None]) -> None:
        self._truth_of = truth_of

    @property
    def targets(self) -> tuple[str, ...]:
        return CLASSES

    def ask(self, frame: Frame, prompt: str) -> Reply:
        """Loc tokens for `detect X`, the names for anything else."""
        truth = self._truth_of(frame.seq)
        if truth is None:
            raise EngineError(f"the oracle knows nothing about frame {frame.seq}")
        if not prompt.startswith("detect "):
            return Reply(", ".join(box.label for box in truth.boxes) or "nothing", 1.0, truth.free_distance_m)
        thing = prompt.removeprefix("detect ")
        box = next((b for b in truth.boxes if b.label == thing), None)
        text = f"{box_to_locs(box)} {thing}" if box else ""
        return Reply(text, 1.0, truth.free_distance_m)

    def close(self) -> None:
        """Nothing is held."""
