"""The fault matrix on a virtual clock: every row on every base where it makes sense. `tests/faults/row.py` says what is asserted."""

from __future__ import annotations

import pytest

from edge_vla.bases import BASES
from tests.faults.matrix import MATRIX
from tests.faults.row import Row, judge, play

CASES = [pytest.param(row, kind, id=f"{row.number:02d}-{row.name}-{kind}") for row in MATRIX for kind in BASES if not row.skip(kind)]


@pytest.mark.parametrize(("row", "kind"), CASES)
def test_row(row: Row, kind: str) -> None:
    judge(row, kind, play(row, kind))
