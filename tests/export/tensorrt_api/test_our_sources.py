"""Every name, argument and result of TensorRT and CUDA that our sources use is in every version of their bindings.

The wheels hold Python's side alone: it is the bindings that are proved, not what TensorRT does when it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.export.tensorrt_api.checked import Checked, asked_names, attribute_names, check_sources, foreign_sources
from tests.export.tensorrt_api.never import NEVER, uses
from tests.export.tensorrt_api.wheels import CUDA, PAIRS, TENSORRT, Contents, Wheel

Read = Callable[[Wheel], Contents]
Stubs = Callable[[Wheel, Wheel], "Path | None"]
Pair = tuple[Wheel, Wheel]
NEWEST = PAIRS[-1]

# Names that sources read by getattr or hasattr because only these versions have them.
OPTIONAL: dict[str, set[str]] = {}


@pytest.fixture(scope="module")
def sources(checkout: Path) -> list[Path]:
    return foreign_sources(checkout)


@pytest.fixture(scope="module")
def alone(sources: list[Path], checkout: Path, kept: Path) -> Checked:
    """What mypy has against the sources with TensorRT and CUDA unknown to it: none of this check's business."""
    return check_sources(sources, None, checkout, kept / "mypy")


def foreign_names(read: Read) -> set[str]:
    return {name for wheel in (*TENSORRT, *CUDA) for name in read(wheel).names}


def test_the_sources_that_name_tensorrt_are_found(sources: list[Path], checkout: Path) -> None:
    names = {str(path.relative_to(checkout)) for path in sources}
    assert {"edge_vla/backends/tensorrt.py", "edge_vla/backends/cuda.py", "export/tensorrt.py"} <= names
    others = {str(path.relative_to(checkout)) for folder in ("edge_vla", "export") for path in (checkout / folder).rglob("*tensorrt*.py")}
    assert others <= names


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0].version} with CUDA {pair[1].version}")
def test_our_sources_agree_with(
    pair: Pair, sources: list[Path], checkout: Path, kept: Path, read: Read, stubs: Stubs, alone: Checked
) -> None:
    folder = stubs(*pair)
    if folder is None:  # no wheel for this Python: names alone, without whose they are
        used = attribute_names(sources) & {name for wheel in NEWEST for name in read(wheel).names}
        assert sorted(used - read(pair[0]).names - read(pair[1]).names) == []
        return
    found = check_sources(sources, folder, checkout, kept / "mypy")
    assert sorted(found.errors - alone.errors) == []
    foreign = foreign_names(read)
    assert [f"{place} .{name}" for place, name in found.lost if name in foreign] == []


def test_names_alone_would_agree_too(sources: list[Path], read: Read) -> None:
    """What a Python without some wheel checks instead has to come to the same."""
    newest = {name for wheel in NEWEST for name in read(wheel).names}
    for tensorrt, cuda in PAIRS:
        assert sorted((attribute_names(sources) & newest) - read(tensorrt).names - read(cuda).names) == []


def test_what_is_asked_for_is_in_the_versions_that_are_said_to_have_it(sources: list[Path], read: Read) -> None:
    assert asked_names(sources) & foreign_names(read) == set(OPTIONAL)
    for name, versions in OPTIONAL.items():
        assert {wheel.version for wheel in TENSORRT if name in read(wheel).names} == versions
        assert versions < {wheel.version for wheel in TENSORRT}, f"{name} needs no asking"


def test_what_tensorrt_11_dropped_is_not_used(sources: list[Path], checkout: Path) -> None:
    assert [f"{path.relative_to(checkout)}:{line} {name}" for path in sources for line, name in uses(path)] == []


def test_all_of_that_was_in_10_and_is_not_in_11(read: Read) -> None:
    olds, new = [read(wheel).said for wheel in TENSORRT[:-1]], read(TENSORRT[-1]).said
    if new is None or not all(olds):
        olds = [said for said in olds if said]  # those this Python has
    def has(said: dict[str, object], entry: str) -> bool:
        owner, _, member = entry.partition(".")
        described = said["classes"].get(owner)  # type: ignore[attr-defined]
        return described is not None and (not member or member in described["members"])

    assert sorted(entry for entry in NEVER if olds and not any(has(said, entry) for said in olds)) == []
    assert new is None or sorted(entry for entry in NEVER if has(new, entry)) == []
