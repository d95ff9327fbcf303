"""The wheels-up check against firmware simulators in real processes: what a healthy base gets, and all that can be wrong with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_vla.bases.check import FAIL, OK, _judged, main
from edge_vla.config import load_profile


def told(profile: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, tuple[str, str]]]:
    code = main(["--profile", str(profile), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["simulated"] is True
    return code, {line["what"]: (line["level"], line["found"]) for line in said["lines"]}


@pytest.mark.deadline
@pytest.mark.parametrize(
    ("kind", "wheels", "stops"),
    [
        ("waveshare", 2, "ok"),
        ("ros_arduino", 2, "ok"),
        ("rosmaster", 4, "warn"),
        ("kobuki", 2, "warn"),
        ("create2", 2, "warn"),
        ("roboclaw", 2, "ok"),
        ("ev1", 2, "ok"),
    ],
)
def test_a_healthy_base(checkout: Path, capsys: pytest.CaptureFixture[str], kind: str, wheels: int, stops: str) -> None:
    """A base without a watchdog drives on, which is a warning and no failure: its traits say so."""
    profile = checkout / "launch" / ("sim.toml" if kind == "waveshare" else f"simulated/{kind}.toml")
    code, lines = told(profile, capsys)
    assert code == 0
    assert lines["answers"][0] == OK
    assert lines["answers"][1].startswith(f"{kind}, ")
    assert sum(what.endswith("wheel") and level == OK for what, (level, _) in lines.items()) == wheels
    level, found = lines["host gone"]
    assert level == stops
    if stops == "ok":
        bounded = kind in ("ros_arduino", "roboclaw")  # asked for reports, they might be kept going: asked late
        after_ms = int(found.partition("at most " if bounded else "still ")[2].partition(" ms")[0])
        assert 200 <= after_ms <= 300 + 208 + 150 + 200 * bounded  # watchdog, 0.08 to 0.02 m/s with 0.15 s, a report and the listener


@pytest.mark.deadline
def test_a_base_that_speaks_another_language(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile says EV1, the wire says Waveshare."""
    import edge_vla.bases.check as tool

    monkeypatch.setattr(tool, "ANSWER_S", 1.5)
    profile = tmp_path / "robot.toml"
    profile.write_text('[base]\nkind = "waveshare"\n')
    with tool.opened(load_profile(profile)) as port:
        other = tmp_path / "other.toml"
        other.write_text('[base]\nkind = "ev1"\n')
        check = tool.Check(load_profile(other), port, lambda _: None)
        assert check.run() is False
    (line,) = check.lines
    assert (line.level, line.what) == (FAIL, "answers")
    assert "0 reports" in line.found
    assert "is it ev1?" in line.found


@pytest.mark.parametrize(
    ("measured", "level", "said"),
    [
        ((0.08, 0.0), OK, "forwards"), ((0.05, 0.01), OK, "forwards"), ((0.0, 0.0), FAIL, "does not turn"),
        ((-0.08, 0.0), FAIL, "turns the other way"), ((0.0, 0.08), FAIL, "does not turn"), ((0.08, 0.08), FAIL, "swapped, or stuck"),
        ((0.16, 0.0), FAIL, "swapped, or stuck"), ((0.03, 0.0), FAIL, "swapped, or stuck"),
    ],
)  # fmt: skip
def test_one_wheel_judged(measured: tuple[float, float], level: str, said: str) -> None:
    found = _judged("left", (0.08, 0.0), measured)
    assert (found[0], found[1]) == (level, "left wheel")
    assert said in found[2]


def test_a_profile_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", str(tmp_path / "none.toml")]) == 2
    assert "none.toml" in capsys.readouterr().err


def test_nothing_moves_on_a_real_base_before_somebody_has_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "robot.toml"
    profile.write_text(
        '[robot]\ndomain = "real"\n[base]\nkind = "rosmaster"\nport = "/dev/none"\nmax_wheel_mps = 0.5\n'
        '[camera]\nkind = "v4l2"\nhfov_deg = 78.0\nheight_m = 0.2\npitch_deg = 5.0\nforward_m = 0.08\n'
    )
    monkeypatch.setattr("builtins.input", lambda _: "no")
    assert main(["--profile", str(profile)]) == 2
    assert "nothing moved" in capsys.readouterr().err
    monkeypatch.setattr("builtins.input", lambda _: "up")
    assert main(["--profile", str(profile)]) == 2
    assert "/dev/none" in capsys.readouterr().err
