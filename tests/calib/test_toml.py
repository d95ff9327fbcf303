"""What is written is read back as it was, is TOML, and replaces a file whole or not at all."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calib import toml
from calib.header import header
from edge_vla.calibration import tomllib
from edge_vla.errors import ConfigError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PLAIN = st.one_of(TEXTS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=4))
TABLES = st.recursive(
    st.dictionaries(TEXTS, VALUES, max_size=4),
    lambda inner: st.dictionaries(TEXTS, st.one_of(VALUES, inner, st.lists(inner, min_size=1, max_size=3)), max_size=4),
    max_leaves=6,
)


@given(TABLES)
def test_what_is_written_is_read_back(document: dict[str, Any]) -> None:
    assert tomllib.loads(toml.dumps(document)) == document


def test_a_moment_and_a_header_are_read_back() -> None:
    moment = datetime(2026, 11, 22, 18, 5, 1, tzinfo=timezone.utc)
    assert tomllib.loads(toml.dumps({"made": moment})) == {"made": moment}
    written = header("wheels", opencv="5.0")
    assert tomllib.loads(toml.dumps(written)) == written
    assert (written["kind"], written["version"], written["versions"]["opencv"]) == ("wheels", 1, "5.0")


def test_plain_values_stay_before_tables() -> None:
    assert (
        toml.dumps({"t": {"x": 1}, "a": 2, "many": [{"y": 3}, {"y": 4}]}) == "a = 2\n\n[t]\nx = 1\n\n[[many]]\ny = 3\n\n[[many]]\ny = 4\n"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, None, {1, 2}, [1.0, math.nan], b"x"])
def test_what_a_reader_would_refuse_is_not_written(tmp_path: Path, value: object) -> None:
    (tmp_path / "x.toml").write_text("old = 1\n")
    with pytest.raises(ConfigError, match=r"table\.key = .*: want a finite number"):
        toml.write(tmp_path / "x.toml", {"table": {"key": value}})
    assert [path.name for path in tmp_path.iterdir()] == ["x.toml"]
    assert (tmp_path / "x.toml").read_text() == "old = 1\n"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*no/x\.toml: No such file"):
        toml.write(tmp_path / "no" / "x.toml", {})
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match=r"cannot write .*folder\.toml: Is a directory"):
        toml.write(tmp_path / "folder.toml", {"a": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["folder.toml"]


def test_a_text_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*surrogates not allowed"):
        toml.write(tmp_path / "x.toml", {"source": "picture\udcff.png"})
    assert not list(tmp_path.iterdir())
