"""The door: which calibrations there are, what each refusal is worth as an exit code, and what a help costs."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from calib.__main__ import NOUNS, main
from edge_vla.errors import ConfigError


def test_every_noun_has_a_main_and_a_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    for noun, (module, what) in NOUNS.items():
        assert f"  {noun:8}{what}" in told
        assert module == f"calib.{noun}"
        assert callable(import_module(module).main)


def test_a_noun_that_is_none_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["whels"]) == 2
    assert "nothing called 'whels' to calibrate; did you mean 'wheels'? There are: int8, camera, wheels, delay" in capsys.readouterr().err
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: python -m calib NOUN")


def test_a_refusal_is_a_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wheels", "--out", str(tmp_path / "wheels.toml")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("calib: without --robot, want --track-m, ")
    assert main(["wheels", "--out"]) == 2
    assert "calib: argument --out: expected one argument" in capsys.readouterr().err


def test_a_robot_that_is_not_there_is_exit_code_3(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through a guard process: it opens the port, and says why it cannot."""
    text = (checkout / "launch" / "waveshare_ugv.toml").read_text()
    (tmp_path / "robot.toml").write_text(text.replace("/dev/ttyTHS1", str(tmp_path / "no_tty")))
    assert main(["delay", "--robot", str(tmp_path / "robot.toml"), "--yes", "--out", str(tmp_path / "delay.toml")]) == 3
    assert f"{tmp_path}/no_tty: " in capsys.readouterr().err


def test_an_interrupt_is_exit_code_130(sim_profile: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def interrupt(_question: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupt)
    assert main(["delay", "--robot", str(sim_profile), "--out", str(tmp_path / "delay.toml")]) == 130
    assert capsys.readouterr().err == "calib: interrupted\n"


def test_a_missing_library_is_named(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(_words: list[str]) -> None:
        raise ModuleNotFoundError("No module named 'onnx'", name="onnx")

    monkeypatch.setattr("calib.int8.main", missing)
    assert main(["int8"]) == 2
    assert "calib: int8 needs onnx: make setup-learn" in capsys.readouterr().err


def test_it_runs_as_a_module(checkout: Path, tmp_path: Path) -> None:
    words = "--track-m 0.172 --odometry-distance-m 2 --measured-distance-m 2 --odometry-turn-deg 720 --measured-turn-deg 720 --out w.toml"
    run = [sys.executable, "-m", "calib", "wheels", *words.split()]
    done = subprocess.run(run, cwd=tmp_path, env={"PYTHONPATH": str(checkout)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "w.toml: scale 1.0000, track 0.1720 m (told 0.172 m)\n"
    assert (tmp_path / "w.toml").is_file()


def test_a_calibrations_errors_are_the_packages_own() -> None:
    with pytest.raises(ConfigError):
        import_module("calib.wheels").main(["--out", "x"])
