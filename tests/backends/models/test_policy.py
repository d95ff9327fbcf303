"""The policy's host against the model itself: every backbone, head and history, frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_vla.learn.backbones.base import BaseRoboVLM
from export.bundle.description import action_rows
from tests.backends.models.policies import TASK, frames, host, itself, shaken, whole
from tests.learn.backbones.test_matrix import CASES, CHUNK, DIM, WINDOW, Config, make, tiny  # noqa: F401 - a fixture

CASES_THAT_ARE = [case for case in CASES if case[0] != "RoboFlamingo" or case[2] != "video"]


@pytest.mark.parametrize(("name", "head", "history"), CASES_THAT_ARE)
def test_it_says_what_the_model_says(tiny: Callable[[str], Config], tmp_path: Path, name: str, head: str, history: str) -> None:  # noqa: F811
    model = shaken(make(tiny(name), name, head, history))
    discrete = head == "DiscreteDecoder"
    engine = host(model, tmp_path, rows=whole(model) if discrete else None, **({"chunk": 2} if discrete else {}))
    seen, told = frames(WINDOW + 2), []
    for k, frame in enumerate(seen):
        told.append(engine.says(frame, TASK))
        want = itself(model, seen[max(0, k + 1 - WINDOW) : k + 1], **({"chunk": 2} if discrete else {}))
        assert told[-1].shape == want.shape == (CHUNK, DIM)
        np.testing.assert_allclose(told[-1], want, atol=1e-5, rtol=1e-5)
    if not discrete:
        assert np.abs(told[-1] - told[-2]).max() > 1e-4, "it is blind"
        assert np.abs(told[-1][:, :-1]).min() < 0.99, "it says the ends of its range only"


class Only:
    """While it lasts the model says nothing but these rows."""

    def __init__(self, model: BaseRoboVLM, rows: list[list[int]]) -> None:
        self.model, self.plain = model, model.logits
        self.shut = torch.ones(len(model.word_embedding.weight), dtype=torch.bool)
        for first, end in rows:
            self.shut[first:end] = False

    def __enter__(self) -> None:
        self.model.logits = lambda hidden: self.plain(hidden).masked_fill(self.shut, -torch.inf)  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        del self.model.logits


@pytest.mark.parametrize("name", sorted({name for name, *_ in CASES}))
def test_discrete_actions_are_the_likeliest_rows_of_actions(tiny: Callable[[str], Config], tmp_path: Path, name: str) -> None:  # noqa: F811
    model = shaken(make(tiny(name), name, "DiscreteDecoder", "post"))
    with torch.no_grad():
        model.word_embedding.weight.mul_(0.05)
    engine = host(model, tmp_path, chunk=2)
    rows = engine.manifest.decoder.rows
    assert rows == action_rows(model.act_head.action_tokenizer)  # type: ignore[union-attr, arg-type]
    told = []
    for frame in frames(6):
        told.append(engine.says(frame, TASK))
        with Only(model, rows):
            np.testing.assert_array_equal(told[-1], itself(model, [frame], chunk=2).astype(np.float32))
    assert len({one.tobytes() for one in told}) > 1, "it is blind"
