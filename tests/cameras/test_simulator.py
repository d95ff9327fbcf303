"""What only the simulator's camera does: it tells the truth about a frame, and counts what its far side dropped."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest

from edge_vla.cameras.simulator import TRUTHS, SimulatorCamera
from edge_vla.errors import CameraError
from edge_vla.sim.view import Truth
from edge_vla.types import Box

RGB = np.full((48, 64, 3), 90, dtype=np.uint8)


def truth(k: int) -> Truth:
    return Truth((Box(0.0, 0.0, 0.5, k / 1000, "cup"),), (float(k),))


def test_the_truth_comes_with_its_frame_and_is_kept_for_a_while(simulator_rig: Any) -> None:
    with closing(SimulatorCamera(str(simulator_rig.path))) as camera:
        for k in range(1, TRUTHS + 3):
            simulator_rig.show(RGB, truth(k))
        newest = camera.read(20.0).seq
        assert newest == TRUTHS + 2
        assert camera.truth_of(newest) == truth(newest)
        assert camera.truth_of(3) == truth(3)
        assert camera.truth_of(2) is None
        simulator_rig.show(RGB)
        assert camera.truth_of(newest + 1) is None


def test_exposures_nobody_asked_for_in_time_are_counted(simulator_rig: Any) -> None:
    with closing(SimulatorCamera(str(simulator_rig.path))) as camera:
        simulator_rig.show(RGB, skip=6)  # what was before its first frame is not this camera's
        camera.read(20.0)
        assert camera.dropped == 0
        simulator_rig.show(RGB, skip=2)
        camera.read(20.0)
        assert camera.dropped == 2


def test_a_far_side_that_is_no_simulator_is_refused(simulator_rig: Any) -> None:
    with closing(SimulatorCamera(str(simulator_rig.path))) as camera:
        simulator_rig.garble()
        with pytest.raises(CameraError, match="no frame header"):
            camera.read(20.0)
