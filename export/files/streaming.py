"""Weights as a checkpoint stores them into an ONNX file, a few rows at a time: none is ever held in the type it is written in.

Knows nothing of tracing; whoever calls says which tensor belongs to which name of the graph.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto, helper
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from edge_vla.errors import ConfigError
from export.files.weight_store import storing

PIECE = 2**23  # numbers that are converted at once
SHOWN_BYTES = 2**28  # from here on writing takes long enough to show how far it is
MAX_HALF = 65504


@dataclass(frozen=True, slots=True)
class Weight:
    """A large tensor of a graph. `values` may be a transposed view; what is not floating is written as it is."""

    name: str
    source: str  # its name in the model, for messages
    values: Tensor
    half: bool = False  # floats as float16, else as float32

    @property
    def dtype(self) -> np.dtype:
        if not self.values.is_floating_point():
            return torch.empty((), dtype=self.values.dtype).numpy().dtype
        return np.dtype(np.float16 if self.half else np.float32)

    @property
    def nbytes(self) -> int:
        return self.values.numel() * self.dtype.itemsize


def save(model: ModelProto, weights: Sequence[Weight], out: Path, *, beside: bool = False) -> None:
    """Write `model`, which lacks `weights`, with them: in `out` itself, or in one file beside it where they are many or `beside` says so.

    Nothing is at `out` until all is written. Raises ConfigError for a full disk and for a weight that is not finite in its new type.
    """
    total = sum(weight.nbytes for weight in weights)
    room = shutil.disk_usage(out.parent).free
    if total > room:
        raise ConfigError(f"{out}: its weights take {total / 1e9:.2f} GB, the disk has {room / 1e9:.2f} GB left")
    whole = ModelProto()
    whole.CopyFrom(model)
    with _showing(out.name, total) as progress, storing(out, beside=beside) as store:
        for weight in weights:
            slot = store.add(weight.name, helper.np_dtype_to_tensor_dtype(weight.dtype), tuple(weight.values.shape))
            for piece in pieces(weight.values.detach()):
                values = converted(piece, weight)
                slot.put(values)
                progress.advance(progress.task_ids[0], values.nbytes)
        store.finish(whole)


@contextmanager
def _showing(name: str, total: int) -> Iterator[Progress]:
    """How far a long write is, on stderr; its one task counts bytes."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=total < SHOWN_BYTES) as progress:
        progress.add_task(f"weights of {name}", total=total)
        yield progress


def pieces(values: Tensor, most: int = PIECE) -> Iterator[Tensor]:
    """Views of at most `most` numbers that follow one another in the order of the axes."""
    if values.numel() <= most:
        yield values
        return
    rows = most * len(values) // values.numel()
    if rows:
        yield from values.split(rows)
        return
    for row in values:
        yield from pieces(row, most)


def converted(piece: Tensor, weight: Weight) -> np.ndarray:
    """In the type it is written in, contiguous. Raises ConfigError for what is not finite, or not in that type."""
    if not piece.is_floating_point():
        return piece.contiguous().numpy()
    wide = piece.to(torch.float16 if weight.half and piece.dtype is torch.float16 else torch.float32).contiguous().numpy()
    if not np.isfinite(wide).all():
        raise ConfigError(f"{weight.source}: it holds nan or inf")
    if weight.dtype == wide.dtype:
        return wide
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float16)
    if not np.isfinite(narrow).all():
        raise ConfigError(f"{weight.source}: it holds {abs(wide).max():.6g}, float16 ends at {MAX_HALF}")
    return narrow
