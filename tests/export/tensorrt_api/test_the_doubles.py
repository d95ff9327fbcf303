"""The doubles that stand in for TensorRT and CUDA in tests are called as the real ones are: same parameters, same numbers of enumerations.

What a double does when it is called is its own; that is proved of nothing but itself.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.export.tensorrt_api.stubs import parts, spelt
from tests.export.tensorrt_api.wheels import CUDA, TENSORRT, Contents, Wheel

Read = Callable[[Wheel], Contents]


def functions(folder: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Class or "", name and parameters of what is public in a double; properties have none."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            for each in node.body if isinstance(node, ast.ClassDef) else [node]:
                if isinstance(each, ast.FunctionDef) and (not each.name.startswith("_") or each.name == "__init__"):
                    yield node.name if isinstance(node, ast.ClassDef) else "", each.name, [a.arg for a in each.args.args if a.arg != "self"]


def members(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Class, name and number of what is written as NAME = 3 in a class."""
    for path in sorted(folder.rglob("*.py")):
        for node in (each for each in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(each, ast.ClassDef)):
            for each in node.body:
                if isinstance(each, ast.Assign) and isinstance(each.value, ast.Constant) and isinstance(each.value.value, int):
                    for target in each.targets:
                        if isinstance(target, ast.Name) and target.id.isupper() | target.id.startswith("cuda"):
                            yield node.name, target.id, each.value.value


def parameters(signature: str) -> list[str]:
    """Names, but for the object's own; Python's own words as they can be written."""
    inside = signature[signature.index("(") + 1 : signature.rindex(")")]
    names = [each.partition("=")[0].partition(":")[0].split()[-1].lstrip("*") for each in parts(inside)]
    return [spelt(name) for name in names if name not in ("self", "arg0")]


def real(said: dict[str, Any], owner: str, name: str) -> list[list[str]] | None:
    """Every overload's; None for what the real module has not, or has as a property."""
    if not owner:
        found = said["functions"].get(name)
    else:
        kind = next((kind for dotted, kind in said["classes"].items() if dotted.split(".")[-1] == owner), None)
        found = None if kind is None else kind["members"].get(name)
        found = found if found is None or found["kind"] == "method" else None
    return None if found is None else [parameters(line.split(" -> ")[0]) for line in found.get("signatures", ())]


def disagreements(said: dict[str, Any], folder: Path) -> tuple[int, list[str]]:
    """How much of a double could be compared, and what is wrong with it."""
    compared, wrong = 0, []
    for owner, name, taken in functions(folder):
        overloads = real(said, owner, name)
        if overloads:
            compared += 1
            wrong += [f"{owner}.{name}({', '.join(taken)})"] if taken not in overloads else []
    for owner, name, number in members(folder):
        kind = next((kind for dotted, kind in said["classes"].items() if dotted.split(".")[-1] == owner), {"members": {}})
        if name in kind["members"]:
            compared += 1
            wrong += [f"{owner}.{name} = {number}"] if kind["members"][name].get("value", number) != number else []
    return compared, wrong


@pytest.mark.parametrize("wheel", [*TENSORRT, *CUDA], ids=str)
def test_parameters_and_numbers(wheel: Wheel, read: Read, checkout: Path) -> None:
    said = read(wheel).said
    if said is not None:  # else no wheel for this Python; the newest has one
        compared, wrong = disagreements(said, checkout / "tests" / "doubles" / ("tensorrt" if wheel in TENSORRT else "cuda"))
        assert wrong == []
        assert compared > 20


def test_a_wrong_double_is_found(tmp_path: Path, read: Read) -> None:
    said = read(TENSORRT[-1]).said
    assert said is not None
    (tmp_path / "double.py").write_text("""
class IOptimizationProfile:
    def set_shape(self, input, least, opt, max): ...
class Builder:
    def create_network(self, flags=0): ...
class DataType:
    INT64 = 7
    HALF = 1
""")
    assert disagreements(said, tmp_path) == (
        4, ["IOptimizationProfile.set_shape(input, least, opt, max)", "DataType.INT64 = 7"],
    )  # fmt: skip
