"""Rendered views on disk: one .npz per batch of rooms, JPEG inside. Rendering resumes where it stopped."""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vla.learn.data.views import View, room_views

ROOMS_PER_SHARD = 12
VIEWS_PER_ROOM = 40
VALIDATION_SEED = 900_000  # training rooms are below, validation rooms from here to the held-out seeds
JPEG_QUALITY = 95


def write_shard(path: Path, views: list[View], **more: NDArray[np.int64]) -> None:
    """All or nothing: a shard appears under its name only when it is complete. `more` are arrays of one's own."""
    jpegs = [cv2.imencode(".jpg", v.rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1] for v in views]
    boxes = [v.boxes for v in views]
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as file:
        np.savez(
            file,
            jpeg=np.concatenate([j.ravel() for j in jpegs]),
            jpeg_end=np.cumsum([j.size for j in jpegs]),
            boxes=np.concatenate(boxes),
            boxes_end=np.cumsum([len(b) for b in boxes]),
            free=np.stack([v.free_m for v in views]),
            **more,  # type: ignore[arg-type] # numpy's own stubs take its flag for one of the arrays
        )
    part.rename(path)


def read_shard(path: Path) -> list[tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]]:
    """(jpeg bytes, boxes, free distances) per view; images stay compressed."""
    with np.load(path) as data:
        jpeg, boxes, free = data["jpeg"], data["boxes"], data["free"]
        jpegs = np.split(jpeg, data["jpeg_end"][:-1])
        split = np.split(boxes, data["boxes_end"][:-1])
    return [(j, b, f) for j, b, f in zip(jpegs, split, free, strict=True)]


def shard_views(first_seed: int) -> Iterator[View]:
    """Every view of one shard's rooms."""
    for seed in range(first_seed, first_seed + ROOMS_PER_SHARD):
        yield from room_views(seed, VIEWS_PER_ROOM)


def render(folder: Path, base_seed: int, shards: range) -> None:
    """Render the shards not on disk yet, telling how fast it goes."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in shards:
        path = folder / f"{base_seed + shard * ROOMS_PER_SHARD:07d}.npz"
        if path.exists():
            continue
        start = time.monotonic()
        write_shard(path, list(shard_views(base_seed + shard * ROOMS_PER_SHARD)))
        print(f"{path.name}: {ROOMS_PER_SHARD * VIEWS_PER_ROOM / (time.monotonic() - start):.0f} views/s", flush=True)


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description="Render labelled views of random rooms into shards.")
    cli.add_argument("folder", type=Path)
    cli.add_argument("--shards", type=int, default=64, help=f"{ROOMS_PER_SHARD * VIEWS_PER_ROOM} views each")
    cli.add_argument("--worker", type=int, default=0)
    cli.add_argument("--workers", type=int, default=1)
    cli.add_argument("--validation", action="store_true")
    args = cli.parse_args()
    render(args.folder, VALIDATION_SEED if args.validation else 0, range(args.worker, args.shards, args.workers))
