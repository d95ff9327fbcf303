"""Rigs of real processes for the rows that only they can prove."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.guard.conftest import Rig


@pytest.fixture
def make_rig(tmp_path: Path, checkout: Path) -> Iterator[Callable[..., Rig]]:
    """A firmware and, once it is told to drive, a worker and its guard; options as Rig has them."""
    rigs: list[Rig] = []

    def make(**options: object) -> Rig:
        rigs.append(Rig(tmp_path, checkout, **options))  # type: ignore[arg-type]
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()
