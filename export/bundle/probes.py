"""Fixed inputs for a model's graphs, and what torch makes of them: what a bundle is compared with, on any machine, without torch.

Each graph is probed at two lengths, and at the first with a second seed: an engine that says the same whatever it is fed is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from edge_vla.errors import ConfigError

Arrays = dict[str, NDArray[Any]]
FILE = "probes.npz"
FIRST, LATER, OTHER = "first", "later", "other seed"  # the later one of lm_step continues what the first has kept
CASES = (FIRST, LATER, OTHER)
SEED = 20
SIDES = ("in", "out")


@dataclass(frozen=True, slots=True)
class Probe:
    """One pass of a graph."""

    graph: str
    case: str
    inputs: Arrays
    outputs: Arrays


def save_probes(probes: list[Probe], path: Path) -> None:
    arrays = {
        f"{probe.graph}/{probe.case}/{side}/{name}": value
        for probe in probes
        for side, values in zip(SIDES, (probe.inputs, probe.outputs), strict=True)
        for name, value in values.items()
    }
    np.savez(path, **arrays)  # type: ignore[arg-type]


def load_probes(path: Path) -> list[Probe]:
    """Raises ConfigError for a file that is none of ours."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, BadZipFile) as err:
        raise ConfigError(f"{path}: {err}") from err
    found: dict[tuple[str, str], tuple[Arrays, Arrays]] = {}
    for name, value in arrays.items():
        parts = name.split("/")
        if len(parts) != 4 or parts[2] not in SIDES:
            raise ConfigError(f"{path}: {name!r} is no tensor of a probe")
        found.setdefault((parts[0], parts[1]), ({}, {}))[SIDES.index(parts[2])][parts[3]] = value
    return [Probe(graph, case, *sides) for (graph, case), sides in found.items()]


def step_feed(rows: NDArray[Any], new: int, past: int, *, grid: bool, rng: np.random.Generator) -> Arrays:
    """Embeddings of random words from `rows` (vocabulary, d), the positions behind `past`, and a causal mask."""
    total = past + new
    words = rng.integers(0, len(rows), new)
    positions = np.arange(past, total, dtype=np.int64)[None]
    seen = np.arange(total)[None] <= np.arange(past, total)[:, None]
    mask = np.where(seen, np.float32(0), np.finfo(np.float32).min)
    return {
        "embeddings": np.asarray(rows[words], np.float32)[None],
        "positions": np.repeat(positions[None], 3, 0) if grid else positions,
        "mask": mask[None, None].astype(np.float32),
    }


def generator(case: str) -> np.random.Generator:
    return np.random.default_rng(SEED + (case == OTHER))


def beside(latents: NDArray[Any] | None, new: int) -> Arrays:
    """What a model with pictures beside its sequence wants: every new position looks at the one picture."""
    return {} if latents is None else {"latents": latents, "seen": np.ones((1, new), np.int64)}
