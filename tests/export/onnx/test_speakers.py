"""Every public checkpoint as an engine: the same boxes and the same sentences as the model itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_vla.backends.answers import read_answers
from edge_vla.backends.bundle import Bundle, SpeakerManifest
from edge_vla.learn.backbones.base import BaseRoboVLM
from export.bundle.bundling import Wanted, export_model
from tests.learn.backbones.engines import BOXES, FIRST_LOC, NAMES

Made = Callable[[str], tuple[dict[str, Any], BaseRoboVLM]]


def made(speaking: Made, name: str, out: Path, **wanted: Any) -> SpeakerManifest:
    manifest = export_model(speaking(name)[1], Wanted(out, policy=False, max_new_tokens=6, **wanted))
    assert isinstance(manifest, SpeakerManifest)
    return manifest


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_as_the_model(name: str, speaking: Made, tmp_path: Path) -> None:
    manifest = made(speaking, name, tmp_path / "bundle")
    found = manifest.verified
    assert found is not None
    assert max(found.graphs.values()) < 1e-4  # seen: 3e-5
    assert set(manifest.graphs) == {"vision", "lm_step"}
    assert found.agreeing == found.answers
    assert found.passed
    cases = read_answers(Bundle(tmp_path / "bundle")).cases
    assert len({case.prompt for case in cases}) == (2 if name in BOXES or name == "moondream_d" else 1)
    assert name.startswith("moondream") or any(case.text for case in cases)  # random weights end an answer as they please


@pytest.mark.parametrize("name", ["paligemma2", "qwen25", "flamingo", "llava_mpt"])
def test_a_cache_of_a_fixed_length_changes_no_answer(name: str, speaking: Made, tmp_path: Path) -> None:
    grown = made(speaking, name, tmp_path / "grown")
    fixed = made(speaking, name, tmp_path / "fixed", static=512)
    assert fixed.verified is not None
    assert fixed.verified.passed
    assert fixed.graphs["lm_step"].inputs[3].shape[2] == 512
    assert grown.graphs["lm_step"].inputs[3].shape[2] not in {0, 512}
    texts = [[(case.prompt, case.text) for case in read_answers(Bundle(tmp_path / of)).cases] for of in ("grown", "fixed")]
    assert texts[0] == texts[1]


def test_a_head_of_the_loc_rows_finds_the_same_boxes(speaking: Made, tmp_path: Path) -> None:
    """Of 1500 rows 1024 and the end are left; where a thing is does not depend on the others, how sure it is does."""
    model = speaking("paligemma")[1]
    end = min(model.end_ids())
    rows = sorted([[FIRST_LOC, FIRST_LOC + 1024], [end, end + 1]])
    manifest = made(speaking, "paligemma", tmp_path / "loc", rows=rows)
    assert [t.name for t in manifest.graphs["lm_step"].outputs] == ["logits", "choice", "hidden", "keys", "values"]
    assert manifest.graphs["lm_step"].outputs[0].shape == [1, 1025]
    assert manifest.verified is not None
    assert max(manifest.verified.graphs.values()) < 1e-4
