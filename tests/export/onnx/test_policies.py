"""Every backbone with every head as a bundle: its graphs are the model's, and the engine says what the model says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_vla.backends.bundle import Bundle, PolicyManifest
from edge_vla.errors import ConfigError
from edge_vla.learn.backbones import BACKBONES
from export.bundle.bundling import Wanted, export_model
from tests.learn.backbones.test_matrix import HISTORIES, make, tiny  # noqa: F401 - a fixture

Config = dict[str, Any]
# Every pair once; of the other histories one backbone, and Flamingo, whose pictures are beside its sequence.
CASES = [(name, head, "post") for name in BACKBONES for head in HISTORIES]
CASES += [("RoboPaligemma", "LSTMDecoder", "pre"), ("RoboPaligemma", "FCDecoder", "video"), ("RoboFlamingo", "GPTDecoder", "pre")]


@pytest.mark.parametrize(("name", "head", "history"), CASES)
def test_it_is_the_model(tiny: Callable[[str], Config], name: str, head: str, history: str, tmp_path: Path) -> None:  # noqa: F811
    model = make(tiny(name), name, head, history)
    model.eval()
    manifest = export_model(model, Wanted(tmp_path / "bundle", policy=True))
    assert isinstance(manifest, PolicyManifest)
    found = manifest.verified
    assert found is not None
    graphs = {"vision", "lm_step"} | ({"head"} if head != "DiscreteDecoder" else set())
    assert {key.split(".")[0] for key in found.graphs} == graphs == set(manifest.graphs)
    assert max(found.graphs.values()) < 1e-4  # seen: 3e-5
    assert (found.allowed, found.relative, found.share) == (1e-4, False, 1.0)
    assert found.agreeing == found.answers >= 4
    assert found.passed
    assert Bundle(tmp_path / "bundle").manifest == manifest  # on disk, its files whole


def test_another_model_is_another_engine(tiny: Callable[[str], Config], tmp_path: Path) -> None:  # noqa: F811
    """The same bundle does not agree with other weights: the comparison can fail."""
    from export.bundle.answering import acted, rooms

    model = make(tiny("RoboPaligemma"), "RoboPaligemma", "LSTMDecoder", "post").eval()
    manifest = export_model(model, Wanted(tmp_path / "bundle", policy=True))
    assert isinstance(manifest, PolicyManifest)
    pictures = rooms((64, 48))
    before = acted(model, manifest, pictures).cases[-1].says
    for parameter in model.act_head.parameters():  # type: ignore[union-attr]
        parameter.data += 0.05
    after = acted(model, manifest, pictures).cases[-1].says
    assert np.abs(np.array(before) - np.array(after)).max() > 1e-2


@pytest.mark.parametrize(
    ("layout", "why"),
    [
        (["linear_x"], "want 3 of linear_x, linear_y, angular_z and '-', one for each dimension"),
        (["linear_x", "linear_x", "-"], "names a direction twice"),
        (["linear_x", "sideways", "-"], "want 3 of linear_x"),
    ],
)
def test_an_action_layout_that_does_not_fit_is_refused(tiny: Callable[[str], Config], layout: list[str], why: str, tmp_path: Path) -> None:  # noqa: F811
    model = make(tiny("RoboPaligemma"), "RoboPaligemma", "FCDecoder", "post").eval()
    with pytest.raises(ConfigError, match=why):
        export_model(model, Wanted(tmp_path / "bundle", policy=True, layout=layout))
    assert list(tmp_path.iterdir()) == []
