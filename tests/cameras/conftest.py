"""The rigs as fixtures, and which test of the contract suite cannot be put to which of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_vla.cameras import CAMERAS
from tests.cameras.rigs import RIGS, Rig, SimulatorRig

REPEATS = "its picture comes again and again"
# Every test of the suite that is not put to a kind, and why. A test counts them.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("v4l2", "test_a_frame_is_read_once"): REPEATS,
    ("rtsp", "test_a_frame_is_read_once"): REPEATS,
    ("http", "test_a_frame_is_read_once"): REPEATS,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "rig" in metafunc.fixturenames:
        kinds = [kind for kind in sorted({*CAMERAS, *RIGS}) if (kind, metafunc.function.__name__) not in EXCEPTIONS]
        metafunc.parametrize("rig", kinds, indirect=True)


@pytest.fixture
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Every registered camera's rig in turn."""
    assert request.param in CAMERAS, f"a rig for {request.param!r}, which is not in edge_vla.cameras.CAMERAS"
    assert request.param in RIGS, f"camera {request.param!r} has no rig in tests/cameras/rigs.py"
    rig = RIGS[request.param](tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def simulator_rig(tmp_path: Path) -> Iterator[SimulatorRig]:
    rig = SimulatorRig(tmp_path)
    yield rig
    rig.close()
