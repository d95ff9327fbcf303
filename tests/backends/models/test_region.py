"""Coordinates in numpy against the region model in torch, number by number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_vla.backends.region import Region, load_region
from edge_vla.backends.speaker import SpeakerEngine
from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.moondream_layout import LOG_SIZES, RegionShape
from edge_vla.learn.backbones.moondream_region import RegionModel
from edge_vla.types import Frame
from tests.backends.models.torch_graphs import TorchGraphs, speaker_bundle
from tests.learn.backbones.engines import at, camera, load
from tests.learn.backbones.tiny_moondream import write_moondream

SHAPE = RegionShape(dim=32, coord_feat_dim=16, coord_out_dim=64, size_feat_dim=24, size_out_dim=128, inner_dim=40)


def both(log_sizes: bool, seed: int = 0) -> tuple[RegionModel, Region]:
    torch.manual_seed(seed)
    model = RegionModel(SHAPE, log_sizes=log_sizes).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p) * 0.3)
    return model, Region({name: t.numpy() for name, t in model.state_dict().items()}, 32, log_sizes=log_sizes)


@pytest.mark.parametrize("log_sizes", [True, False])
@torch.no_grad()
def test_numbers_are_read_and_written_alike(log_sizes: bool) -> None:
    model, region = both(log_sizes)
    seen = set()
    for hidden in torch.randn(40, 32):
        value, chance = model.read_coordinate(hidden)
        assert region.read_coordinate(hidden.numpy()) == (float(value), pytest.approx(float(chance), rel=1e-5))
        least = 0 if log_sizes else 1
        assert region.least == least
        size, sure = region.read_size(hidden.numpy(), region.least)
        wanted, surely = model.read_size(hidden, least=least)
        np.testing.assert_allclose(size, wanted.numpy(), rtol=1e-6)
        np.testing.assert_allclose(sure, surely.numpy(), rtol=1e-5)
        np.testing.assert_allclose(region.encode_coordinate(float(value)), model.encode_coordinate(value), atol=1e-5)
        np.testing.assert_allclose(region.encode_size(size), model.encode_size(wanted), atol=1e-5)
        seen |= {float(value), *size.tolist()}
    assert len(seen) > 20


def test_other_weights_read_something_else() -> None:
    hidden = np.ones(32, np.float32)
    assert both(True)[1].read_coordinate(hidden) != both(True, seed=1)[1].read_coordinate(hidden)


@pytest.mark.parametrize("revision", ["2025-01-09", LOG_SIZES])
def test_releases_before_and_after_sizes_went_by_their_logarithm(tmp_path: Path, revision: str) -> None:
    write_moondream(tmp_path / "model", "D")
    model = load(at("RoboMoonDream", tmp_path / "model", vlm={"revision": revision}))
    (tmp_path / "bundle").mkdir()
    bundle = speaker_bundle(model, tmp_path / "bundle", places=2)
    assert bundle.manifest.region.log_sizes is (revision == LOG_SIZES)  # type: ignore[attr-defined]
    speaker, rgb = SpeakerEngine(bundle, TorchGraphs(model, bundle)), camera(64, 48)
    got, want = speaker.find(Frame(rgb, 0, 0), "red cup"), model.find("red cup", rgb, most=2)
    assert got.places
    assert [place.where for place in got.places] == [place.where for place in want.places]
    assert got.confidence == pytest.approx(want.confidence, rel=1e-4)
    assert speaker.ask(Frame(rgb, 0, 0), "what is it?").text == model.generate("what is it?", rgb, max_new_tokens=12)


def matrices() -> dict[str, Any]:
    return {name: t.numpy().copy() for name, t in both(True)[0].state_dict().items()}


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("coord_encoder.bias", np.zeros(31), r"coord_encoder.bias: want \(32,\), got \(31,\)"),
        ("size_features", np.zeros((1, 24)), r"size_features: want \(2, 12\), got \(1, 24\)"),
        ("coord_decoder.fc2.bias", np.zeros((64, 1)), r"coord_decoder.fc2.bias: want \(64,\), got \(64, 1\)"),
        ("coord_decoder.fc1.weight", np.full((40, 32), np.nan), "coord_decoder.fc1.weight: want finite numbers"),
        ("more", np.zeros(1), "nothing missing, more unknown"),
    ],
)
def test_matrices_that_make_up_none(tmp_path: Path, name: str, values: np.ndarray, why: str) -> None:
    np.savez(tmp_path / "region.npz", **matrices() | {name: values})
    with pytest.raises(ConfigError, match=rf"region.npz: region: .*{why}"):
        load_region(tmp_path / "region.npz", 32, log_sizes=True)


def test_an_odd_number_of_bins_of_sizes(tmp_path: Path) -> None:
    odd = {"size_decoder.fc2.weight": np.zeros((127, 40)), "size_decoder.fc2.bias": np.zeros(127)}
    np.savez(tmp_path / "region.npz", **matrices() | odd)
    with pytest.raises(ConfigError, match="want as many bins of widths as of heights, got 127"):
        load_region(tmp_path / "region.npz", 32, log_sizes=True)


def test_half_precision_is_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "region.npz", **{name: values.astype(np.float16) for name, values in matrices().items()})
    value, _ = load_region(tmp_path / "region.npz", 32, log_sizes=True).read_coordinate(np.ones(32, np.float32))
    assert value == both(True)[1].read_coordinate(np.ones(32, np.float32))[0]
