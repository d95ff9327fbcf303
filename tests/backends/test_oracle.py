"""The oracle says what the simulator knows about the frame it is asked about, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from edge_vla.errors import EngineError
from edge_vla.sim.objects import CLASSES
from edge_vla.sim.oracle import OracleEngine
from edge_vla.sim.view import Truth
from edge_vla.types import Box, Frame

TRUTH = {
    7: Truth((Box(0.25, 0.5, 0.75, 0.625, "cup"), Box(0.1, 0.1, 0.2, 0.2, "cup"), Box(0.0, 0.0, 1.0, 0.5, "door")), (1.0, 2.5)),
    8: Truth((), (4.0, 4.0)),
}


@pytest.fixture
def oracle() -> OracleEngine:
    return OracleEngine(TRUTH.get)


def frame(seq: int) -> Frame:
    return Frame(np.zeros((2, 2, 3), np.uint8), 0, seq)


@pytest.mark.parametrize(
    ("seq", "prompt", "text"),
    [
        (7, "detect cup", "<loc0256><loc0512><loc0768><loc0640> cup"),  # the more visible of the two
        (7, "detect door", "<loc0000><loc0000><loc1023><loc0512> door"),
        (7, "detect ball", ""),
        (8, "detect cup", ""),
        (7, "describe", "cup, cup, door"),
        (8, "describe", "nothing"),
    ],
)
def test_it_tells_the_truth_about_the_frame(oracle: OracleEngine, seq: int, prompt: str, text: str) -> None:
    reply = oracle.ask(frame(seq), prompt)
    assert reply.text == text
    assert reply.confidence == 1.0
    assert reply.free_distance_m == TRUTH[seq].free_distance_m


def test_a_frame_the_simulator_has_forgotten_is_an_error(oracle: OracleEngine) -> None:
    with pytest.raises(EngineError, match="knows nothing about frame 9"):
        oracle.ask(frame(9), "detect cup")


def test_it_knows_every_class_of_the_simulator(oracle: OracleEngine) -> None:
    assert oracle.targets == CLASSES
    assert len(CLASSES) >= 12
    oracle.close()
