"""Evened channels: the same function, of channels that are nearer to each other in size, and so nearer after int8."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edge_vla.learn.finder.model import Finder
from export.default import fold_batch_norms, load_finder
from export.finder.even import FAINT, Joint, channel_peaks, even_prefix, even_vision
from export.finder.int8 import evened, image_of
from export.finder.modules import PrefixGraph, VisionGraph


@pytest.fixture(scope="module")
def finder(checkpoint: Path) -> Finder:
    made = load_finder(checkpoint)[0]
    fold_batch_norms(made)
    return made


@pytest.fixture(scope="module")
def images(pictures: list[np.ndarray]) -> list[torch.Tensor]:
    return [image_of(picture) for picture in pictures]


def spread(channels: torch.Tensor) -> float:
    """How much larger the largest channel is than the middle one."""
    return float(channels.max() / channels.median())


@torch.no_grad()
def test_the_vision_graph_says_the_same_and_its_channels_are_nearer_in_size(finder: Finder, images: list[torch.Tensor]) -> None:
    before, after = VisionGraph(copy.deepcopy(finder)).eval(), VisionGraph(copy.deepcopy(finder)).eval()
    even_vision(after, images)
    other = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(7)) * 2 - 1
    for image in (*images, other):
        for got, want in zip(after(image), before(image), strict=True):
            assert (got - want).abs().max() < 2e-5 * want.abs().max()

    def second(graph: VisionGraph) -> nn.Conv2d:
        return graph.eye.stem[2].second[0]

    peaks = [channel_peaks(graph, images, [Joint((), (second(graph),))])[second(graph)] for graph in (before, after)]
    assert spread(peaks[1]) < 0.8 * spread(peaks[0])
    assert not torch.equal(before.eye.stem[0][0].weight, after.eye.stem[0][0].weight)


@torch.no_grad()
def test_the_prefix_graph_keeps_the_same_keys_and_values(finder: Finder) -> None:
    before, after = PrefixGraph(copy.deepcopy(finder)).eval(), PrefixGraph(copy.deepcopy(finder)).eval()
    tokens = [torch.randn(1, 196, 256, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    even_prefix(after, tokens[:2])
    for given in tokens:
        for got, want in zip(after(given), before(given), strict=True):
            assert (got - want).abs().max() < 2e-5 * want.abs().max()
    changed = [not torch.equal(a, b) for a, b in zip(before.state_dict().values(), after.state_dict().values(), strict=True)]
    assert sum(changed) == 3 * 4 + 1, "of three layers all but what comes out of attention, of the last one keys and values"


def test_what_is_evened_is_a_copy(finder: Finder, pictures: list[np.ndarray]) -> None:
    before = {name: value.clone() for name, value in finder.state_dict().items()}
    evened(finder, pictures)
    assert all(torch.equal(value, before[name]) for name, value in finder.state_dict().items())


@torch.no_grad()
def test_a_dead_channel_is_left_as_faint_as_it_is() -> None:
    """Divided by next to nothing its weights and bias would be beyond int8, and beyond int32."""
    maker, reader = nn.Linear(2, 4), nn.Linear(4, 3)
    reader.weight.fill_(1.0)
    peaks = {reader: torch.tensor([8.0, 8.0, 0.0, 8.0 * FAINT])}
    factor = Joint((maker.weight, maker.bias), (reader,)).even(peaks)
    assert factor[2] == factor[3]
    assert float(factor.max() / factor.min()) == pytest.approx(FAINT**-0.8, rel=1e-4)
    assert float(factor.log().sum()) == pytest.approx(0, abs=1e-5)


@torch.no_grad()
def test_channels_of_one_size_stay() -> None:
    maker, reader = nn.Linear(2, 4), nn.Linear(4, 3)
    reader.weight.fill_(0.5)
    before = maker.weight.clone()
    factor = Joint((maker.weight, maker.bias), (reader,)).even({reader: torch.full((4,), 3.0)})
    assert torch.allclose(factor, torch.ones(4), atol=1e-6)
    assert torch.allclose(maker.weight, before)
