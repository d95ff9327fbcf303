"""Who may import whom: measured in fresh interpreters for what is loaded, read off the source for who names whom."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ADAPTERS = ("edge_vla.cameras", "edge_vla.bases", "edge_vla.backends", "edge_vla.console")
TRAINING = ("torch", "transformers", "lightning", "peft", "safetensors")
WORKSHOPS = ("export", "calib")
PACKAGE = Path(__file__).resolve().parents[2] / "edge_vla"


def loaded_by(statement: str) -> set[str]:
    """The modules that `statement` adds to a fresh interpreter."""
    script = f"import sys, json; before = set(sys.modules); {statement}; print(json.dumps(sorted(set(sys.modules) - before)))"
    result = subprocess.run([sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


def top_levels(modules: set[str]) -> set[str]:
    return {module.split(".")[0] for module in modules}


def imports() -> Iterator[tuple[str, str, int]]:
    """(importing module, imported name, line) of every import statement in the package, wherever it stands."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield module, alias.name, node.lineno
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module}:{node.lineno}: relative import; this test and ruff want absolute ones"
                for alias in node.names:  # `from edge_vla import bases` names an adapter too
                    yield module, f"{node.module}.{alias.name}", node.lineno


def inside(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def wrong(allowed: Callable[[str, str], bool]) -> list[str]:
    return [f"{module}:{line} imports {name}" for module, name, line in imports() if not allowed(module, name)]


def test_the_package_alone_loads_nothing_foreign() -> None:
    assert top_levels(loaded_by("import edge_vla")) - set(sys.stdlib_module_names) == {"edge_vla"}


def test_the_public_types_load_nothing_foreign() -> None:
    assert top_levels(loaded_by("import edge_vla; edge_vla.ActionType.MOVE")) - set(sys.stdlib_module_names) == {"edge_vla"}


@pytest.mark.parametrize("name", ["run", "pilot", "parts", "evaluate"])
def test_the_runtime_loads_no_training_code(name: str) -> None:
    loaded = loaded_by(f"import edge_vla.{name}")
    assert not top_levels(loaded) & {*TRAINING, *WORKSHOPS}
    assert not {module for module in loaded if inside(module, ("edge_vla.learn",))}


def test_run_chooses_adapters_late() -> None:
    """`run --help` must answer on a machine with neither an engine nor the simulator installed."""
    assert not top_levels(loaded_by("import edge_vla.run")) & {"onnxruntime", "mujoco", "tensorrt"}


def test_the_guard_loads_the_standard_library_pyserial_and_itself() -> None:
    loaded = loaded_by("import edge_vla.guard.__main__")
    own = ("edge_vla.guard", "edge_vla.bases", "edge_vla.errors")
    foreign = {module for module in loaded if module != "edge_vla" and not inside(module, own)}
    assert not {module for module in foreign if module.split(".")[0] not in {*sys.stdlib_module_names, "serial"}}


def test_only_parts_names_adapters() -> None:
    def allowed(module: str, name: str) -> bool:
        if not inside(name, ADAPTERS) or module == "edge_vla.parts":
            return True
        if inside(module, ("edge_vla.guard",)) and inside(name, ("edge_vla.bases",)):
            return True  # the guard is a process of its own and encodes what it writes
        if inside(module, ("edge_vla.sim",)) and name in ("edge_vla.bases.BASES", "edge_vla.bases.make_base"):
            return True  # the other end of the line is built with the same track and counters, never with a codec's own file
        own = next((package for package in ADAPTERS if inside(module, (package,))), None)
        return own is not None and inside(name, (own,))

    assert not wrong(allowed)


def test_adapters_know_nothing_of_the_loop() -> None:
    loop = tuple(f"edge_vla.{name}" for name in ("run", "pilot", "parts", "evaluate", "goals", "learn"))
    assert not wrong(lambda module, name: not (inside(module, ADAPTERS) and inside(name, loop)))


def test_only_learn_imports_torch() -> None:
    assert not wrong(lambda module, name: name.split(".")[0] not in TRAINING or inside(module, ("edge_vla.learn",)))


def test_nothing_outside_learn_imports_learn() -> None:
    assert not wrong(lambda module, name: not inside(name, ("edge_vla.learn",)) or inside(module, ("edge_vla.learn",)))


def test_the_package_imports_no_workshop() -> None:
    assert not wrong(lambda _module, name: name.split(".")[0] not in WORKSHOPS)


# -- the workshop that measures

CALIB = PACKAGE.parent / "calib"


def test_its_door_loads_nothing_foreign() -> None:
    """`python -m calib` answers on a machine where nothing is installed yet."""
    assert top_levels(loaded_by("import calib.__main__")) - set(sys.stdlib_module_names) == {"calib", "edge_vla"}


@pytest.mark.parametrize("noun", ["int8", "camera", "wheels", "delay"])
def test_no_calibration_loads_training_code(noun: str) -> None:
    """Calibrations run on the robot, where there is no torch; what a robot's motion needs, needs no engine either."""
    loaded = loaded_by(f"import calib.{noun}")
    assert not top_levels(loaded) & {*TRAINING, "export", "onnx", "onnxruntime", "mujoco"}
    assert not {module for module in loaded if inside(module, ("edge_vla.learn",))}


def test_nothing_in_it_imports_training_code_or_the_other_workshop() -> None:
    found = [
        f"{path.name}:{node.lineno}"
        for path in CALIB.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        if name.split(".")[0] in {*TRAINING, "export"} or inside(name, ("edge_vla.learn",))
    ]
    assert not found
    assert len(list(CALIB.glob("*.py"))) > 10  # it looked where something is
