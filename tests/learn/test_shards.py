"""Shards on disk: what is written is read, and an interrupted write is as if it had not begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_vla.learn.data import shards
from edge_vla.learn.data.shards import ROOMS_PER_SHARD, VALIDATION_SEED, read_shard, render, write_shard
from edge_vla.learn.data.views import HELD_OUT_SEED, View
from edge_vla.learn.finder.batch import decode

MakeBoxes = Callable[..., NDArray[np.float32]]


@pytest.fixture
def views(make_boxes: MakeBoxes) -> list[View]:
    """Two things, nothing, one thing; each view has its own colour and distances."""
    labels = [
        make_boxes(("cup", 0.1, 0.2, 0.3, 0.4, 50), ("door", 1 / 3, 0.5, 2 / 3, 0.75, 14)),
        make_boxes(),
        make_boxes(("ball", 0.0, 0.0, 1.0, 1.0, 76_800)),
    ]
    ramp = np.linspace(0, 120, 224, dtype=np.uint8)
    return [
        View(
            np.stack([np.tile(ramp, (224, 1)) + 40 * k, np.full((224, 224), 90, np.uint8), np.tile(ramp[:, None], 224)], -1),
            boxes,
            np.linspace(0.1, 4.0, 16, dtype=np.float32) / (k + 1),
        )
        for k, boxes in enumerate(labels)
    ]


def test_what_is_written_is_read(tmp_path: Path, views: list[View]) -> None:
    write_shard(tmp_path / "0.npz", views)
    samples = read_shard(tmp_path / "0.npz")
    assert len(samples) == 3
    for (jpeg, boxes, free), view in zip(samples, views, strict=True):
        assert boxes.dtype == free.dtype == np.float32
        assert boxes.tolist() == view.boxes.tolist()
        assert free.tolist() == view.free_m.tolist()
        assert np.abs(decode(jpeg).astype(int) - view.rgb).mean() < 2, "red is red and blue is blue"
    assert [path.name for path in tmp_path.iterdir()] == ["0.npz"]


def test_an_interrupted_write_leaves_no_shard(tmp_path: Path, views: list[View], monkeypatch: pytest.MonkeyPatch) -> None:
    write_shard(tmp_path / "0.npz", views)
    before = (tmp_path / "0.npz").read_bytes()

    def interrupted(file: IO[bytes], **arrays: object) -> None:
        file.write(b"half a shard")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    for name in ("0.npz", "1.npz"):
        with pytest.raises(KeyboardInterrupt):
            write_shard(tmp_path / name, views[:1])
    assert [path.name for path in tmp_path.glob("*.npz")] == ["0.npz"]
    assert (tmp_path / "0.npz").read_bytes() == before


def test_rendering_goes_on_where_it_stopped(tmp_path: Path, views: list[View], monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []

    def shard_views(first_seed: int) -> Iterator[View]:
        rendered.append(first_seed)
        yield from views

    monkeypatch.setattr(shards, "shard_views", shard_views)
    render(tmp_path / "train", 0, range(0, 3, 2))
    assert rendered == [0, 2 * ROOMS_PER_SHARD]
    render(tmp_path / "train", 0, range(4))
    assert rendered == [0, 24, 12, 36], "two were there already"
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == ["0000000.npz", "0000012.npz", "0000024.npz", "0000036.npz"]


def test_a_shard_is_twelve_rooms_of_forty_views(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(shards, "room_views", lambda seed, count: asked.append((seed, count)) or iter(()))
    assert list(shards.shard_views(36)) == []
    assert asked == [(seed, 40) for seed in range(36, 48)]


def test_training_validation_and_evaluation_rooms_are_disjoint() -> None:
    assert 0 < VALIDATION_SEED < HELD_OUT_SEED == 1_000_000
    assert VALIDATION_SEED % ROOMS_PER_SHARD == 0, "no training shard reaches into validation"
