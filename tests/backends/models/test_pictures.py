"""What a bundle says of its pictures, against what each model does with its own: the same numbers, and the same places."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_vla.backends.backbone_manifest import Picture
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.pictures import Preparation, prepare
from export.bundle.description import picture_of
from tests.learn.backbones.engines import NAMES, camera

SIZES = ((96, 64), (40, 90), (31, 250), (640, 480), (700, 620))


@pytest.mark.parametrize("question", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_manifests_pictures_are_the_models(engine: Callable[[str], BaseRoboVLM], name: str, question: bool) -> None:
    model = engine(name)
    for seed, size in enumerate(SIZES):
        read = Picture.model_validate_json(picture_of(model, size, question=question).model_dump_json())
        how, rgb = Preparation(**read.model_dump()), camera(*size, seed)
        want = model.question_picture(rgb) if question else model.preprocess(rgb)
        np.testing.assert_array_equal(prepare(rgb, how), want.numpy())
        assert not question or how.map(*size) == model.picture_map(*size)


def test_questions_and_policies_differ_where_the_originals_do(engine: Callable[[str], BaseRoboVLM]) -> None:
    told = [(name, *(picture_of(engine(name), (96, 64), question=question).kind for question in (False, True))) for name in NAMES]
    assert [(name, policy, question) for name, policy, question in told if (policy, question) != ("squash", "squash")] == [
        ("llava", "squash", "pad"),
        ("llava_mpt", "squash", "middle"),
        ("flamingo", "squash", "middle"),
        ("flamingo_neox", "squash", "middle"),
        ("moondream_c", "closest", "closest"),
        ("moondream_d", "mosaic", "mosaic"),
        ("uform", "pad", "pad"),
    ]
