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
OURS_TOO = {"sm", "update", "write"}  # names of our own and of Python's that a new class of TensorRT has as well


@pytest.fixture(scope="module")
def sources(checkout: Path) -> list[Path]:
    return foreign_sources(checkout)


@pytest.fixture(scope="module")
def alone(sources: list[Path], checkout: Path, kept: Path) -> Checked:
    """What mypy has against the sources with TensorRT and CUDA unknown to it: none of this check's business."""
    return check_sources(sources, None, checkout, kept / "mypy")


def foreign_names(read: Read) -> set[str]:
    return {name for wheel in (*TENSORRT, *CUDA) for name in read(wheel).names}


def missing_names(sources: list[Path], pair: Pair, read: Read) -> list[str]:
    """What the newest versions have and this pair has not, of the names our sources use; whose they are stays open."""
    newest = {name for wheel in NEWEST for name in read(wheel).names}
    return sorted(read(pair[1]).lacks(read(pair[0]).lacks((attribute_names(sources) & newest) - OURS_TOO)))


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
    if folder is None:  # no wheel for this Python
        assert missing_names(sources, pair, read) == []
        return
    found = check_sources(sources, folder, checkout, kept / "mypy")
    assert sorted(found.errors - alone.errors) == []
    assert found.lost == ()


def test_names_alone_would_agree_too(sources: list[Path], read: Read) -> None:
    """What a Python without some wheel checks instead has to come to the same."""
    assert {pair[0].version: missing_names(sources, pair, read) for pair in PAIRS} == {wheel.version: [] for wheel in TENSORRT}


def test_what_is_asked_for_is_in_the_versions_that_are_said_to_have_it(sources: list[Path], read: Read) -> None:
    assert asked_names(sources) & foreign_names(read) == set(OPTIONAL)
    for name, versions in OPTIONAL.items():
        assert {wheel.version for wheel in TENSORRT if name in read(wheel).names} == versions
        assert versions < {wheel.version for wheel in TENSORRT}, f"{name} needs no asking"


def test_what_tensorrt_11_dropped_is_not_used(sources: list[Path], checkout: Path) -> None:
    assert [f"{path.relative_to(checkout)}:{line} {name}" for path in sources for line, name in uses(path)] == []


def has(contents: Contents, entry: str) -> bool:
    """Whether a version has this class, or this member of a class."""
    owner, _, member = entry.partition(".")
    described = (contents.said or {"classes": {}})["classes"].get(owner)
    return described is not None and (not member or member in described["members"])


def test_all_of_that_was_in_10_and_is_not_in_11(read: Read) -> None:
    olds, new = [read(wheel) for wheel in TENSORRT[:-1]], read(TENSORRT[-1])
    assert [entry for entry in sorted(NEVER) if has(new, entry)] == []
    if any(old.said for old in olds):  # else no wheel of 10 is made for this Python
        assert [entry for entry in sorted(NEVER) if not any(has(old, entry) for old in olds)] == []
