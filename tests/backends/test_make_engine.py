"""A name becomes the engine that may drive this robot, or a refusal in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_vla.backends.finder import FinderEngine
from edge_vla.errors import ConfigError
from edge_vla.parts import make_engine
from edge_vla.sim.oracle import OracleEngine
from edge_vla.types import Frame


def test_a_bundle_of_the_robots_domain_drives(tiny: Path, red: Frame) -> None:
    engine = make_engine(str(tiny), threads=1, domain="sim")
    assert engine.ask(red, "detect cup").text == "<loc0192><loc0304><loc0416><loc0528> cup"


def test_an_engine_trained_on_the_simulator_does_not_drive_a_real_robot(tiny: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"was trained on 'sim' images and this robot is 'real'; --allow-domain-mismatch drives it all the same"
    ):
        make_engine(str(tiny), threads=1, domain="real")


def test_unless_the_risk_is_named(tiny: Path, red: Frame) -> None:
    engine = make_engine(str(tiny), threads=1, domain="real", allow_domain=True)
    assert isinstance(engine, FinderEngine)
    assert engine.ask(red, "is there a cup?").text == "yes"


def test_an_engine_trained_on_real_rooms_is_refused_by_the_simulator_too(make_bundle: Callable[..., Path]) -> None:
    folder = make_bundle(lambda m: m.update(domain="real"))
    with pytest.raises(ConfigError, match="was trained on 'real' images and this robot is 'sim'"):
        make_engine(str(folder), threads=1, domain="sim")
    make_engine(str(folder), threads=1, domain="real")


def test_a_folder_without_an_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no manifest\.json"):
        make_engine(str(tmp_path / "nothing"), threads=1, domain="sim")


def test_the_oracle_needs_a_simulator() -> None:
    with pytest.raises(ConfigError, match="cannot see a real room"):
        make_engine("oracle", threads=1, domain="real")
    assert isinstance(make_engine("oracle", threads=1, domain="sim", truth_of=lambda _: None), OracleEngine)
