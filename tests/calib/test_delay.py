"""Dead time and motor constant: recovered from signals made to measure, and from a firmware whose own are known, on a virtual clock."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from calib.delay import Steps, main
from calib.response import Signal, fit
from edge_vla.calibration import DelayCalibration, read_calibration
from edge_vla.config import load_profile
from edge_vla.errors import ConfigError
from edge_vla.robot import guard_limits

MS = 1_000_000
START_NS = 7_000_000_000


def signals(delay_ms: int, tau_ms: int, gain: float = 1.0, noise: float = 0.0, seed: int = 0) -> tuple[Signal, Signal]:
    """Steps asked every 20 ms and their answer in closed form, reported every 50 ms at moments that are no multiple of a millisecond."""
    levels = [0.15, 0.0, -0.15, 0.0, 0.12, -0.12, 0.0, 0.15]
    holds = [830, 770, 1070, 590, 710, 890, 940, 680]
    edges = np.cumsum([0, *holds])
    rng = np.random.default_rng(seed)

    def asked_at(t_ms: float) -> float:
        return levels[min(int(np.searchsorted(edges, t_ms, side="right")) - 1, len(levels) - 1)] if t_ms >= 0 else 0.0

    def answer(t_ms: float) -> float:
        value, last = 0.0, 0.0
        t = t_ms - delay_ms
        for level, edge, end in zip(levels, edges, edges[1:], strict=False):
            if t <= edge:
                break
            span = min(t, end) - edge
            value = level + (last - level) * math.exp(-span / tau_ms) if tau_ms else level
            last = value
        return gain * value

    asked = [(START_NS + t * MS, asked_at(t)) for t in range(0, int(edges[-1]), 20)]
    measured = [(START_NS + round(t * MS), answer(t) + noise * rng.normal()) for t in np.arange(3.3, edges[-1], 50)]
    return asked, measured


@pytest.mark.parametrize(("delay_ms", "tau_ms"), [(0, 150), (35, 150), (120, 80), (200, 300), (60, 0), (310, 20)])
def test_a_known_response_is_found_again(delay_ms: int, tau_ms: int) -> None:
    """Holding what is asked for 20 ms hides up to that from a step's edge: the signal's own edges are multiples of 10."""
    found = fit(*signals(delay_ms, tau_ms))
    assert found.delay_s * 1e3 == pytest.approx(delay_ms, abs=12)
    assert found.tau_s * 1e3 == pytest.approx(tau_ms, abs=8)
    assert found.explained > 0.99


def test_noise_of_an_encoder_moves_it_little() -> None:
    found = fit(*signals(90, 150, noise=0.004))
    assert found.delay_s == pytest.approx(0.09, abs=0.015)
    assert found.tau_s == pytest.approx(0.15, abs=0.02)


def test_wheels_that_go_too_slow_all_the_time_have_a_gain_and_no_delay() -> None:
    found = fit(*signals(40, 100, gain=0.8))
    assert found.gain == pytest.approx(0.8, abs=0.01)
    assert found.delay_s == pytest.approx(0.04, abs=0.012)


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (signals(0, 100, gain=0.4), r"at 0\.40 times the speed asked for, want 0\.5 to 1\.5"),
        (signals(0, 100, gain=-1.0), r"follow what was asked by \d+%, want 90%"),
        (signals(0, 100, gain=0.0, noise=0.01), r"follow what was asked by \d+%, want 90%"),
        (signals(700, 100), r"a delay of 500 ms and a time constant of \d+ ms: want less than 500 and 600"),
        (signals(0, 900), r"a time constant of 600 ms: want less than 500 and 600"),
        ((signals(0, 100)[0], signals(0, 100)[1][:59]), r"59 reports of the wheels' speed, want at least 60"),
        (([], signals(0, 100)[1]), r"reports of the wheels' speed"),
    ],
)
def test_wheels_that_do_not_follow_are_refused(signal: tuple[Signal, Signal], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(*signal)


# -- of a firmware


@pytest.mark.parametrize(("late_ms", "tau_s"), [(0, 0.15), (60, 0.15), (120, 0.08), (200, 0.25)])
def test_a_base_whose_delay_is_known_is_measured(make_rig, lend, sim_profile: Path, tmp_path: Path, late_ms: int, tau_s: float) -> None:
    """Reports wait up to 10 ms for the guard's next tick, 5 on average: within 12 ms of delay and 8 % of the motor constant."""
    rig = make_rig(late_ms=late_ms, tau_s=tau_s)
    out = tmp_path / "delay.toml"
    main(["--robot", str(sim_profile), "--yes", "--out", str(out)], lend(rig))
    found = read_calibration(out, DelayCalibration)
    assert found.delay_s == pytest.approx((late_ms + 5) / 1e3, abs=0.012)
    assert found.tau_s == pytest.approx(tau_s, rel=0.08)
    assert found.gain == pytest.approx(1.0, abs=0.02)
    assert found.reaction_s == pytest.approx(found.delay_s + found.tau_s, abs=1e-4)
    assert found.explained > 0.98
    assert found.simulated is True


def test_the_robot_ends_where_it_began(make_rig) -> None:
    rig = make_rig()
    steps, farthest = Steps(rig, 0.15), [0.0]
    rig.each = lambda: farthest.append(abs(rig.travel_m))
    steps.run(8)
    assert abs(rig.travel_m) < 0.03
    assert max(farthest) < 0.18  # what the operator is told, and braking
    assert rig.wheels.speeds() == pytest.approx((0.0, 0.0), abs=0.02)


def test_a_profile_with_the_measured_delay_plans_with_it(make_rig, lend, sim_profile: Path, tmp_path: Path) -> None:
    main(["--robot", str(sim_profile), "--yes", "--out", str(tmp_path / "delay.toml")], lend(make_rig(late_ms=150, tau_s=0.2)))
    (tmp_path / "robot.toml").write_text('[base]\ndelay = "delay.toml"\n')
    assert guard_limits(load_profile(tmp_path / "robot.toml")).reaction_s == pytest.approx(0.355, abs=0.025)


def test_it_says_what_will_move_and_waits_for_the_word(make_rig, lend, sim_profile: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    rig = make_rig()
    monkeypatch.setattr("builtins.input", lambda _question: "no")
    with pytest.raises(ConfigError, match="not confirmed: nothing moved"):
        main(["--robot", str(sim_profile), "--out", str(tmp_path / "delay.toml")], lend(rig))
    assert "will JERK forth and back 12 times, up to 0.16 m at 0.15 m/s (19 s)" in capsys.readouterr().out
    assert rig.clock_ns == 1_000_000_000


@pytest.mark.parametrize("steps", ["3", "5", "2", "42"])
def test_steps_that_would_not_bring_it_back_are_refused(make_rig, lend, sim_profile: Path, tmp_path: Path, steps: str) -> None:
    with pytest.raises(ConfigError, match=rf"--steps {steps}: want an even number from 4 to 40"):
        main(["--robot", str(sim_profile), "--yes", "--steps", steps, "--out", str(tmp_path / "delay.toml")], lend(make_rig()))


def test_wheels_that_stand_still_write_nothing(make_rig, lend, sim_profile: Path, tmp_path: Path) -> None:
    """A base on blocks with its motors off: refused by the fit, or by the guard before it."""
    rig = make_rig()
    rig.wheels.gains = [0.4, 0.4]
    with pytest.raises(ConfigError, match=r"times the speed asked for, want 0\.5 to 1\.5"):
        main(["--robot", str(sim_profile), "--yes", "--out", str(tmp_path / "delay.toml")], lend(rig))
    assert not (tmp_path / "delay.toml").exists()
