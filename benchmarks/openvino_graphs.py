"""A bundle's graphs run by OpenVINO, for comparison: the same files, and the same host in front of them. Needs openvino."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch

from edge_vla.backends.cache import PAST
from edge_vla.backends.graphs import Array, Feed
from edge_vla.errors import ConfigError
from edge_vla.learn.finder.model import Finder
from export.finder.int8 import Picture, evened, image_of, in_blocks, operators, quantise_measured
from export.finder.onnx import modules_of, trace

VERSION = str(ov.__version__)


class OpenvinoGraphs:
    """Latency hint. Steps are made by two requests in turn, so that what one has kept is read where it lies."""

    def __init__(self, files: Mapping[str, Path], threads: int, precision: str) -> None:
        """`precision` of what the graphs leave in float32: f32 or bf16."""
        core = ov.Core()
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
        self.providers = (f"OpenVINO {VERSION}",)
        models = {name: core.compile_model(str(path), "CPU", hints) for name, path in files.items()}
        self._names = {name: [next(iter(output.names)) for output in model.outputs] for name, model in models.items()}
        self._requests = {name: model.create_infer_request() for name, model in models.items() if name != "lm_step"}
        self._steps = [models["lm_step"].create_infer_request() for _ in range(2)]
        self._kept: dict[str, Any] = {}

    @property
    def past(self) -> int:
        return int(self._kept["past_keys"].shape[2])

    def run(self, name: str, feed: Feed) -> dict[str, Array]:
        return self._run(name, self._requests[name], feed)

    def begin(self, behind: Feed | None = None) -> None:
        if behind is None:
            raise ConfigError("want a bundle with a prefix graph")
        self._kept = {name: behind[PAST[name]] for name in PAST}

    def step(self, feed: Feed) -> dict[str, Array]:
        self._steps.reverse()
        told = self._run("lm_step", self._steps[0], {**feed, **self._kept})
        self._kept = {name: told.pop(PAST[name]) for name in PAST}
        return told

    def _run(self, name: str, request: Any, feed: Feed) -> dict[str, Array]:
        told = request.infer(dict(feed), share_inputs=True, share_outputs=True)
        return dict(zip(self._names[name], (np.asarray(value) for value in told.values()), strict=True))

    def close(self) -> None:
        """Requests end with the object."""


def write_int8(finder: Finder, pictures: list[Picture], folder: Path) -> None:
    """The same products in int8 as the bundle's, all with measured ranges: OpenVINO has no kernels for ranges found in each pass."""
    modules = evened(finder, pictures)
    images = [image_of(picture) for picture in pictures]
    with torch.no_grad():
        tokens = [modules["vision"](image)[0].numpy() for image in images]
    trace({**modules, "lm_step": modules_of(finder)["lm_step"]}, folder)
    vision, prefix = folder / "vision.onnx", folder / "prefix.onnx"
    nodes = [*operators(vision, "Conv")[1:], *operators(vision, "Gemm", in_blocks)]
    quantise_measured(vision, [image.numpy() for image in images], nodes)
    quantise_measured(prefix, tokens, operators(prefix, "Gemm"))
