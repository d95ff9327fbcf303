"""The tiny bundle of tests/golden, copies of it to spoil, and frames of one or two colours. No torch, no onnx."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_vla.backends.bundle import Bundle
from edge_vla.backends.finder import FinderEngine
from edge_vla.parts import open_bundle
from edge_vla.types import Frame
from tests.bundles import Manifest, copied

RED, BLUE, GREY, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (127, 127, 127), (255, 255, 255), (0, 0, 0)


@pytest.fixture(scope="session")
def tiny(checkout: Path) -> Path:
    """Its rules are told in tests/golden/make_tiny_bundle.py, which writes it."""
    return checkout / "tests" / "golden" / "tiny_bundle"


@pytest.fixture
def make_bundle(tiny: Path, tmp_path: Path) -> Callable[..., Path]:
    """make_bundle(edit, {"vision.onnx": b"..."}): a copy, some files replaced and signed, then `edit(manifest)` applied."""

    def make(edit: Callable[[Manifest], object] = lambda _: None, files: dict[str, bytes] | None = None) -> Path:
        return copied(tiny, tmp_path / "bundle", edit, files or {})

    return make


@pytest.fixture
def make_engine_of(make_bundle: Callable[..., Path]) -> Callable[..., FinderEngine]:
    """The engine of such a copy."""
    return lambda *args, **kwargs: open_bundle(Bundle(make_bundle(*args, **kwargs)))


@pytest.fixture(scope="session")
def engine(tiny: Path) -> FinderEngine:
    return open_bundle(Bundle(tiny))


@pytest.fixture(scope="session")
def paint() -> Callable[..., Frame]:
    """paint(left, right): a 64 x 32 frame of two colours."""

    def make(left: tuple[int, int, int], right: tuple[int, int, int] | None = None) -> Frame:
        rgb = np.empty((32, 64, 3), np.uint8)
        rgb[:, :32], rgb[:, 32:] = left, right or left
        return Frame(rgb, 0, 0)

    return make


@pytest.fixture(scope="session")
def red(paint: Callable[..., Frame]) -> Frame:
    """What the tiny engine takes for a cup."""
    return paint(RED)


@pytest.fixture(scope="session")
def blue(paint: Callable[..., Frame]) -> Frame:
    """What it takes for a ball."""
    return paint(BLUE)


@pytest.fixture(scope="session")
def grey(paint: Callable[..., Frame]) -> Frame:
    """What it takes for nothing."""
    return paint(GREY)
