"""The fault matrix on a virtual clock: every row on every base where it makes sense. `tests/faults/row.py` says what is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_vla.bases import BASES
from tests.faults.matrix import MATRIX, NOT_THERE, PROCESSES, left_out
from tests.faults.row import Row, judge, play
from tests.faults.table import VIRTUAL, virtual_line, written

CASES = [pytest.param(row, kind, id=f"{row.number:02d}-{row.name}-{kind}") for row in MATRIX for kind in BASES if not row.skip(kind)]


@pytest.mark.parametrize(("row", "kind"), CASES)
def test_row(row: Row, kind: str) -> None:
    judge(row, kind, play(row, kind))


def test_the_documented_table_is_what_happens() -> None:
    """One row; the whole is written by `python -m tests.faults.table`."""
    table = written(VIRTUAL)
    for row in MATRIX:
        assert f"| {row.number} | {row.name} | " in table, "python -m tests.faults.table"
    row = next(row for row in MATRIX if row.name == "the base stops by itself (button, charger)")
    assert virtual_line(row, {kind: play(row, kind) for kind in BASES if not row.skip(kind)}) in table


def test_all_forty_are_here() -> None:
    assert {row.number for row in MATRIX} | {int(name.split()[0]) for name in PROCESSES} == set(range(1, 41))


def test_nothing_is_left_out_but_what_is_listed_with_its_reason() -> None:
    assert set(left_out()) == NOT_THERE
    assert all(len(why) > 10 for why in left_out().values())


@pytest.mark.parametrize("name", PROCESSES.values())
def test_the_rows_proved_elsewhere_are_there(checkout: Path, name: str) -> None:
    path, _, test = name.partition("::")
    assert f"def {test}(" in (checkout / path).read_text()
