"""The rig as an operator has it: a guard process, a firmware simulator on a tty, real time. Nothing here depends on how fast that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from calib.driver import Driver
from calib.rig import Rig, open_rig
from calib.wheels import main
from edge_vla.calibration import WheelsCalibration, read_calibration
from edge_vla.config import RobotProfile
from edge_vla.errors import GuardError
from edge_vla.guard.client import GuardProcess
from edge_vla.guard.types import Twist


@pytest.mark.slow
@pytest.mark.deadline
def test_a_simulated_robot_is_driven_through_a_guard_of_its_own(sim_profile: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "wheels.toml"
    given = ["--distance-m", "0.5", "--turns", "1", "--measured-distance-m", "0.5", "--measured-turn-deg", "360"]
    main(["--robot", str(sim_profile), "--yes", *given, "--out", str(out)])
    found = read_calibration(out, WheelsCalibration)
    assert 0.45 < found.odometry_distance_m <= 0.51
    assert 345 < found.odometry_turn_deg <= 362
    assert found.simulated is True
    assert "SIMULATED, no robot moves" in capsys.readouterr().out


@pytest.mark.deadline
def test_what_goes_wrong_leaves_the_base_standing() -> None:
    """The guard is told to stop as the rig is left, and says whether it saw the wheels stand."""
    used: list[Rig] = []

    def drive_and_fail() -> None:
        with open_rig(RobotProfile()) as rig:
            used.append(rig)
            driver = Driver(rig)
            driver.arm()
            for _ in range(300):
                status = driver.tick(Twist(0.15), 1.0)
                if status is not None and status.measured is not None and status.measured.linear_x > 0.1:
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        drive_and_fail()
    guard = used[0].guard
    assert isinstance(guard, GuardProcess)
    assert guard.confirmed_still is True


def test_a_base_that_is_none_is_refused() -> None:
    profile = RobotProfile.model_validate({"base": {"kind": "hovercraft"}})
    with pytest.raises(GuardError, match=r"base 'hovercraft' is unknown"), open_rig(profile):
        pass
