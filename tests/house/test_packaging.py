"""The wheel: what is in it, what it asks for, and that it runs from a clean environment away from the checkout."""

from __future__ import annotations

import email
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

NOT_SOURCE = {"build", "dist", "engines", "runs", "data", "training"}  # large, and no part of what setup.py reads


def pip(python: Path, *args: str | Path) -> None:
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *args]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for entry in checkout.iterdir():
        if entry.is_dir() and not entry.name.startswith(".") and entry.name not in NOT_SOURCE and entry.suffix != ".egg-info":
            shutil.copytree(entry, source / entry.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif entry.is_file():
            shutil.copy2(entry, source)
    for name in ("export", "calib", "tests", "docs"):  # what must stay out has to be there to be left out
        package = source / name
        package.mkdir(exist_ok=True)
        (package / "__init__.py").touch()
    pip(Path(sys.executable), "wheel", "--no-deps", "--wheel-dir", out, source)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and its core dependencies from the registry, and nothing else."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    pip(python, "install", wheel)
    return python


def run_clean(python: Path, cwd: Path, *args: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run([python, *args], cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in an environment of its own, with the dependencies of the one that tests: fetching those of `sim` takes minutes."""
    home = tmp_path_factory.mktemp("beside")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    pip(Path(sys.executable), "--python", python, "install", "--no-index", "--no-deps", wheel)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # a path alone: the editable edge_vla there stays unseen
    return python


def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_only_top_level_is_edge_vla(wheel: Path) -> None:
    assert {name.split("/")[0] for name in members(wheel) if ".dist-info/" not in name} == {"edge_vla"}


def test_the_workshops_were_there_to_be_left_out(wheel: Path, checkout: Path) -> None:
    """Not a name of theirs is in the wheel, though both lay beside the package it was built of."""
    names = {Path(name).name for name in members(wheel)} - {"__init__.py", "__main__.py"}
    for workshop in ("export", "calib"):
        modules = {path.name for path in (checkout / workshop).glob("*.py")} - {"__init__.py", "__main__.py"}
        package = {path.name for path in (checkout / "edge_vla").rglob("*.py")}
        assert modules - package, workshop
        assert not (modules - package) & names


def test_every_module_and_the_type_marker_are_in_it(wheel: Path, checkout: Path) -> None:
    modules = {str(path.relative_to(checkout)) for path in (checkout / "edge_vla").rglob("*.py")}
    firmware = {f"edge_vla/sim/firmware/ev1/{name}" for name in ("ev1.h", "ev1.ino", "host.cpp")}
    assert modules | firmware | {"edge_vla/py.typed"} <= members(wheel)


def test_torch_is_asked_for_by_learn_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    requirements = metadata.get_all("Requires-Dist") or []
    assert metadata["Requires-Python"] == ">=3.10"
    heavy = [line for line in requirements if line.startswith(("torch", "transformers"))]
    assert heavy
    assert all('extra == "learn"' in line.replace("'", '"') for line in heavy)
    assert not [line for line in requirements if line.startswith(("torchvision", "timm", "open_clip"))]


@pytest.mark.slow
def test_it_imports_from_a_clean_environment(clean_python: Path, tmp_path: Path) -> None:
    result = run_clean(
        clean_python, tmp_path, "-W", "error", "-c", "import edge_vla; print(edge_vla.ActionType.MOVE.value, edge_vla.__file__)"
    )
    assert result.returncode == 0, result.stderr
    value, home = result.stdout.split()
    assert value == "move"
    assert Path(home).is_relative_to(clean_python.parents[1])


@pytest.mark.slow
def test_the_default_robot_of_a_wheel_is_the_simulator(clean_python: Path, tmp_path: Path) -> None:
    result = run_clean(clean_python, tmp_path, "-c", "from edge_vla.config import default_profile; print(default_profile().simulated)")
    assert (result.returncode, result.stdout.strip()) == (0, "True"), result.stderr


@pytest.mark.slow
def test_run_answers_help_from_a_clean_environment(clean_python: Path, tmp_path: Path) -> None:
    result = run_clean(clean_python, tmp_path, "-m", "edge_vla.run", "--help")
    assert result.returncode == 0, result.stderr
    assert "--goal" in result.stdout


@pytest.mark.slow
def test_an_installed_wheel_drives_with_a_bundle_from_anywhere(installed: Path, checkout: Path, tmp_path: Path) -> None:
    """Worker, guard, simulator and engine, far from any checkout: nothing beside the package, the bundle named by its path."""
    where = run_clean(installed, tmp_path, "-c", "import edge_vla; print(edge_vla.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(installed.parents[1]), where.stderr
    (tmp_path / "small.toml").write_text("[camera]\nwidth = 160\nheight = 120\n")
    words = ("-m", "edge_vla.run", "--goal", "identify_main_object", "--robot", "small.toml", "--json")
    done = run_clean(installed, tmp_path, *words, "--engine", str(checkout / "engines/default"))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["result"], told["simulated"], bool(told["words"])) == ("reached", True, True)
    assert (tmp_path / told["record"] / "strip.png").is_file()
    refused = run_clean(installed, tmp_path, *words)
    assert refused.returncode == 2
    assert f"no engine 'engines/default': looked for {tmp_path}/engines/default and {installed.parents[1]}/lib/" in refused.stderr
