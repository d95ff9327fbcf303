"""The graphs of one model: which modules they are, what they are traced with, and how torch answers the probes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.caches import tensors_of
from edge_vla.learn.media import Media
from export.bundle.description import window_of
from export.bundle.probes import CASES, LATER, Arrays, Probe, beside, generator, step_feed
from export.torch_graphs.model_graphs import HeadGraph, PrefillGraph, StaticStepGraph, StepGraph, VisionGraph
from export.torch_graphs.sliced import sliced
from export.torch_graphs.tracing import Dynamic, trace

NEW, PAST = 7, 4  # positions of a probe's first pass of lm_step, and of its later one
EXAMPLE = 5, 3  # new and past positions that lm_step is traced with: none is 1, or an axis would be taken for a constant
STEP = ("embeddings", "positions", "mask", "past_keys", "past_values")
PREFILL = ("embeddings", "positions", "mask", "act")
BESIDE = ("latents", "seen")


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a language model its graphs are shaped by."""

    layers: int
    kv_heads: int
    head_dim: int
    latents: tuple[int, int] | None  # of a picture beside the sequence


@dataclass(slots=True)
class GraphSet:
    """`rows`: those that logits are left with; `static`: the length of a cache that does not grow; `acts`: a policy reads hidden states."""

    model: BaseRoboVLM
    canvas: tuple[int, int]  # of a picture, px, height and width
    acts: bool
    rows: Sequence[Sequence[int]] | None = None
    static: int | None = None
    both_ways: bool = False
    shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        self.shape = shape_of(self.model, self.canvas)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """By the manifest's names."""
        vision = VisionGraph(self.model)
        if self.acts:
            return {"vision": vision, "lm_step": PrefillGraph(self.model), "head": HeadGraph(self.model.act_head)}
        kind = StepGraph if self.static is None else StaticStepGraph
        return {"vision": vision, "lm_step": kind(self.model, both_ways=self.both_ways, choose=self.rows is not None)}

    def cut(self) -> AbstractContextManager[None]:
        """While it lasts the model has the head that is exported."""
        return sliced(self.model, self.rows)

    def write(self, folder: Path, *, half: bool = False) -> None:
        """NAME.onnx of every graph. Raises ConfigError as `trace` does."""
        with self.cut():
            for name, module in self.modules.items():
                inputs, told, dynamic = getattr(self, f"_{name}")()
                trace(
                    module.eval(), list(inputs.values()), folder / f"{name}.onnx", inputs_named=list(inputs), outputs_named=told,
                    dynamic=dynamic, half=half,
                )  # fmt: skip

    def _vision(self) -> tuple[dict[str, Tensor], list[str], Dynamic]:
        return {"image": torch.zeros(1, 3, *self.canvas)}, ["tokens"], {}

    def _lm_step(self) -> tuple[dict[str, Tensor], list[str], Dynamic]:
        new, past = EXAMPLE
        total = new if self.acts else past + new
        shape = self.shape
        positions = torch.arange(total - new, total)[None]
        grid = self.model.position_grid is not None
        inputs: dict[str, Tensor] = {
            "embeddings": torch.zeros(1, new, self.model.hidden_size),
            "positions": positions.expand(3, 1, -1).clone() if grid else positions, "mask": torch.zeros(1, 1, new, total),
        }  # fmt: skip
        dynamic: dict[str, dict[int, str]] = {"embeddings": {1: "new"}, "positions": {positions.ndim - 1 + grid: "new"}, "mask": {2: "new"}}
        if self.acts:
            inputs["act"] = torch.arange(2 * self.read).reshape(2, self.read) % new
            dynamic |= {"mask": {2: "new", 3: "new"}, "act": {0: "frames"} | ({} if self.reads_fixed else {1: "read"})}
            told = ["tokens"]
        else:
            kept = past if self.static is None else self.static
            inputs["mask"] = torch.zeros(1, 1, new, kept + new)
            inputs |= {name: torch.zeros(shape.layers, shape.kv_heads, kept, shape.head_dim) for name in STEP[3:]}
            if self.static is None:
                dynamic |= {"mask": {2: "new", 3: "all"}, "past_keys": {2: "past"}, "past_values": {2: "past"}}
            else:
                inputs["slots"] = torch.arange(new)
                dynamic |= {"mask": {2: "new", 3: "all"}, "slots": {0: "new"}}
            told = ["logits", *(["choice"] if self.rows is not None else []), "hidden", "keys", "values"]
        if shape.latents is not None:
            inputs |= {"latents": torch.zeros(1, 2, *shape.latents), "seen": torch.ones(1, new, dtype=torch.long)}
            dynamic |= {"latents": {1: "pictures"}, "seen": {1: "new"}}
        return inputs, told, dynamic

    def _head(self) -> tuple[dict[str, Tensor], list[str], Dynamic]:
        head = self.model.act_head
        several = window_of(self.model) > 1
        tokens = torch.zeros(1, 2 if several else 1, self.head_read, self.model.hidden_size)
        axes = ({1: "frames"} if several else {}) | ({} if self.head_fixed else {2: "read"})
        with torch.no_grad():
            told = ["actions"] if len(HeadGraph(head)(tokens)) == 1 else ["arm", "gripper"]
        return {"tokens": tokens}, told, {"tokens": axes}

    @property
    def reads_fixed(self) -> bool:
        """Whether a head reads ACT tokens, always as many, and not whatever a text and a picture have."""
        return self.model.action_space == "continuous"

    @property
    def read(self) -> int:
        """Positions of a frame that the trace's head reads."""
        return self.model.latent_num if self.reads_fixed else 3

    @property
    def head_fixed(self) -> bool:
        """A host pools what it reads down to the head's latents; a resampler takes it all."""
        return self.reads_fixed or getattr(self.model.act_head, "down_sample", "") == "pooling"

    @property
    def head_read(self) -> int:
        return self.model.latent_num if self.head_fixed else 3

    # -- probes

    def probes(self, rows: NDArray[Any]) -> list[Probe]:
        """What torch makes of fixed inputs; `rows` are the embeddings of words."""
        found: list[Probe] = []
        with torch.no_grad(), self.cut():
            modules = self.modules
            first: dict[str, Arrays] = {}
            for case in CASES:
                for name, module in modules.items():
                    inputs = getattr(self, f"_probe_{name}")(case, rows, first)
                    outputs = self._ask(module, inputs, getattr(self, f"_{name}")()[1])
                    first.setdefault(name, outputs)
                    found.append(Probe(name, case, inputs, outputs))
        return found

    def _ask(self, module: nn.Module, inputs: Arrays, told: list[str]) -> Arrays:
        kind = next(self.model.parameters()).dtype
        tensors = [torch.from_numpy(np.array(value)) for value in inputs.values()]
        out = module(*(t.to(kind) if t.is_floating_point() else t for t in tensors))
        values = [out] if isinstance(out, Tensor) else out
        return {name: (v.float() if v.is_floating_point() else v).numpy().copy() for name, v in zip(told, values, strict=True)}

    def _probe_vision(self, case: str, rows: NDArray[Any], first: dict[str, Arrays]) -> Arrays:  # noqa: ARG002 - one signature
        seed = generator(case if case != LATER else "darker")
        image = seed.normal(size=(1, 3, *self.canvas)).astype(np.float32)
        return {"image": image * np.float32(0.5 if case == LATER else 1.0)}

    def _probe_lm_step(self, case: str, rows: NDArray[Any], first: dict[str, Arrays]) -> Arrays:
        grid, latents = self.model.position_grid is not None, None
        if self.shape.latents is not None:
            latents = generator(case).normal(size=(1, 1, *self.shape.latents)).astype(np.float32)
        new = PAST if case == LATER else NEW
        past = NEW if case == LATER and not self.acts else 0
        fed = step_feed(rows, new + NEW * (self.acts and case == LATER), past, grid=grid, rng=generator(case))
        length = fed["embeddings"].shape[1]
        if self.acts:
            fed["act"] = np.arange(length - self.read, length, dtype=np.int64)[None]
            return {**fed, **beside(latents, length)}
        if self.static is None:
            empty = np.zeros((self.shape.layers, self.shape.kv_heads, 0, self.shape.head_dim), np.float32)
            kept = first["lm_step"] if past else {"keys": empty, "values": empty}
            fed |= {"past_keys": kept["keys"], "past_values": kept["values"]}
            return {**fed, **beside(latents, length)}
        return {**self._fixed(fed, past, first), **beside(latents, length)}

    def _fixed(self, fed: Arrays, past: int, first: dict[str, Arrays]) -> Arrays:
        """A step for caches of a fixed length: what is not written yet is hidden."""
        assert self.static is not None  # noqa: S101 - for mypy
        new = fed["embeddings"].shape[1]
        empty = np.zeros((self.shape.layers, self.shape.kv_heads, self.static, self.shape.head_dim), np.float32)
        kept = first["lm_step"] if past else {"keys": empty, "values": empty}
        mask = np.full((1, 1, new, self.static + new), np.finfo(np.float32).min, np.float32)
        mask[..., :past], mask[..., self.static :] = fed["mask"][..., :past], fed["mask"][..., past:]
        return fed | {
            "mask": mask, "past_keys": kept["keys"], "past_values": kept["values"], "slots": np.arange(past, past + new, dtype=np.int64)
        }  # fmt: skip

    def _probe_head(self, case: str, rows: NDArray[Any], first: dict[str, Arrays]) -> Arrays:  # noqa: ARG002 - one signature
        frames = window_of(self.model) if case == LATER else 1
        tokens = generator(case).normal(size=(1, frames, self.head_read, self.model.hidden_size))
        return {"tokens": tokens.astype(np.float32)}


@torch.no_grad()
def shape_of(model: BaseRoboVLM, canvas: tuple[int, int]) -> Shape:
    """By a look at what the model keeps of two positions."""
    kind = next(model.parameters()).dtype
    latents, more = None, {}
    if model.mark_id is not None:
        seen = model.encode_images(torch.zeros(1, 3, *canvas, dtype=kind))
        latents = int(seen.shape[2]), int(seen.shape[3])
        more = {"media": Media(seen, torch.ones(1, 2, dtype=torch.long))}
    embeddings, mask = torch.zeros(1, 2, model.hidden_size, dtype=kind), torch.ones(1, 2, dtype=torch.bool)
    out = model.run_text(embeddings, mask, torch.arange(2)[None], keep=True, **more)
    keys, _ = tensors_of(out.cache)
    return Shape(keys.shape[0], keys.shape[1], keys.shape[3], latents)
