"""What the checks say of the Python that runs them, of one that lacks something, and of engines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_vla.config import RobotProfile
from edge_vla.doctor.finding import Finding, Level
from edge_vla.doctor.host import Host

Found = Callable[..., Finding]
MakeHost = Callable[..., Host]


@pytest.mark.parametrize(("name", "text"), [("packages", "6 of 6 modules"), ("onnxruntime", "ONNX Runtime "), ("opencv", "OpenCV ")])
def test_the_interpreter_that_runs_the_tests_is_in_order(found: Found, name: str, text: str) -> None:
    finding = found(name, "desktop")
    assert (finding.level, finding.text.startswith(text)) == (Level.OK, True)


def test_a_jetson_whose_onnxruntime_knows_no_gpu_is_told_where_the_wheel_is(found: Found) -> None:
    import onnxruntime

    assert "CUDAExecutionProvider" not in onnxruntime.get_available_providers()
    finding = found("onnxruntime", "orin")
    assert "the GPU is not used" in finding.text
    assert finding.fix.endswith("install onnxruntime-gpu --index-url https://pypi.jetson-ai-lab.io/jp6/cu126")
    assert "sbsa/cu130" in found("onnxruntime", "thor").fix


BARE = """
import sys
from pathlib import Path
from edge_vla.doctor.checks import CHECKS, examine
from edge_vla.doctor.host import this_host
print("\\n".join(f"{n}|{f.level.value}|{f.text}|{f.fix}" for n, f in examine(this_host("engines/default", None)) if n in sys.argv[1:]))
"""


def without(checkout: Path, tmp_path: Path, *modules: str, dists: dict[str, str] | None = None) -> dict[str, list[str]]:
    """What checks find in an interpreter in which these modules cannot be found, and these distributions can."""
    for name in dists or {}:
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    blocked = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in {modules!r} else found(name, package)
sys.meta_path.insert(0, Blocker())
"""
    names = ["packages", "onnxruntime", "opencv", "simulator", "engine"]
    done = subprocess.run([sys.executable, "-c", blocked + BARE, *names], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {line.split("|")[0]: line.split("|")[1:] for line in done.stdout.splitlines()}


def test_missing_modules_are_told_with_what_installs_them(checkout: Path, tmp_path: Path) -> None:
    told = without(checkout, tmp_path, "tokenizers", "onnxruntime", "mujoco")
    assert told["packages"] == ["fail", "no module tokenizers", "make setup"]
    assert told["simulator"] == ["fail", "not installed", f"{sys.executable} -m pip install 'edge_vla[sim]'"]
    assert told["engine"][0] == "fail"
    assert "pip install 'edge_vla[cpu]'" in told["engine"][2]


def test_packages_that_overwrite_each_other_are_told(checkout: Path, tmp_path: Path) -> None:
    told = without(checkout, tmp_path, dists={"onnxruntime-gpu": "", "opencv-python": ""})
    assert told["onnxruntime"][:2] == ["fail", "onnxruntime onnxruntime-gpu overwrite each other's files"]
    assert told["onnxruntime"][2].startswith(f"{sys.executable} -m pip uninstall -y onnxruntime onnxruntime-gpu && ")
    assert told["opencv"][:2] == ["warn", "opencv-python, opencv-python-headless overwrite each other's files"]


def test_a_simulator_that_cannot_draw_is_told(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "no_such_thing")
    finding = found("simulator", "desktop")
    assert finding.level is Level.FAIL
    assert "it cannot draw (MUJOCO_GL=no_such_thing): " in finding.text
    assert "libegl1" in finding.fix
    assert found("simulator", "orin").level is Level.WARN  # a robot needs none


# -- the engine ----------------------------------------------------------------------------------------------------
def test_the_default_engine_loads_and_answers(found: Found, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    finding = found("engine", "desktop")
    asked = len(json.loads((checkout / "engines" / "default" / "reference.json").read_text())["answers"])
    assert asked > 20
    assert (finding.level, finding.text) == (Level.OK, f"engines/default (int8, sim): {asked} of {asked} answers as at export")


def test_an_engine_for_another_kind_of_robot_is_told(found: Found, real: RobotProfile, checkout: Path) -> None:
    finding = found("engine", "orin", profile=real, engine=str(checkout / "engines/default"))
    assert finding.level is Level.WARN
    assert "this robot is 'real': a run refuses it" in finding.text


def test_an_engine_without_reference_answers_is_told(found: Found, checkout: Path) -> None:
    finding = found("engine", "desktop", engine=str(checkout / "tests/golden/tiny_bundle"))
    assert finding.level is Level.WARN
    assert "loads, but: " in finding.text


def test_an_engine_that_is_not_there_fails(found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert found("engine", "desktop", engine="engines/none").text.startswith("no engine 'engines/none'")


def test_an_engine_whose_files_changed_fails(found: Found, checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    folder.mkdir()
    for path in (checkout / "tests/golden/tiny_bundle").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "vision.onnx").write_bytes(b"")
    finding = found("engine", "desktop", engine=str(folder))
    assert finding.level is Level.FAIL
    assert "vision.onnx has sha256" in finding.text
