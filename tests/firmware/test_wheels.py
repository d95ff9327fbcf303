"""The motors of the process tests, and the log of what they did on a disk that refuses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_vla.sim.firmware.wheels import FirstOrderWheels, WheelLog


def test_a_motor_follows_its_time_constant() -> None:
    wheels = FirstOrderWheels(tau_s=0.15, max_acc_mps2=100.0)
    wheels.set_target(0.3, -0.3)
    for _ in range(150):
        wheels.advance(0.001)
    assert wheels.speeds() == pytest.approx((0.3 * 0.63212, -0.3 * 0.63212), abs=1e-4)


def test_a_motor_accelerates_no_faster_than_it_can() -> None:
    wheels = FirstOrderWheels(tau_s=0.01, max_acc_mps2=2.0)
    wheels.set_target(1.0, 1.0)
    wheels.advance(0.1)
    assert wheels.speeds() == pytest.approx((0.2, 0.2))


def test_a_wheel_can_be_stuck_or_wired_backwards() -> None:
    wheels = FirstOrderWheels(gains=(0.0, -1.0))
    wheels.set_target(0.3, 0.3)
    for _ in range(300):
        wheels.advance(0.01)
    assert wheels.speeds() == pytest.approx((0.0, -0.3), abs=1e-4)


def test_a_full_disk_costs_lines_and_no_motion(capfd: pytest.CaptureFixture[str]) -> None:
    with WheelLog(Path("/dev/full")) as log:
        for n in range(5):
            log.write(n, (0.1, 0.1))
    assert log.lost == 5
    assert "No space left on device" in capfd.readouterr().err
