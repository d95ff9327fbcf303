"""Where a plan's time goes, layer by layer, as TensorRT's own profiler tells it.

Layers are timed one by one: their sum is more than a pass takes.
"""

from __future__ import annotations

import json
from typing import Any

import tensorrt as trt

from edge_vla.backends.bundle import Bundle
from edge_vla.backends.tensorrt import TensorrtGraphs

PASSES = 20
LAYERS_FILE = "layers.json"


class LayerTimes(trt.IProfiler):
    """Milliseconds of every layer, summed."""

    def __init__(self) -> None:
        trt.IProfiler.__init__(self)
        self.ms: dict[str, float] = {}

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        self.ms[layer_name] = self.ms.get(layer_name, 0.0) + ms


def time_layers(bundle: Bundle, passes: int = PASSES) -> dict[str, Any]:
    """By graph and pass, at the sizes its profile is fastest at: each layer's mean milliseconds and what TensorRT made of it."""
    graphs = TensorrtGraphs(bundle, cuda_graphs=False)  # a captured graph tells no layers
    try:
        found: dict[str, Any] = {}
        for name, plan in graphs.plans.items():
            timers = [LayerTimes() for _ in graphs.passes[name]]
            for each, timer in zip(graphs.passes[name], timers, strict=True):
                each.context.profiler = timer
            for _ in range(passes):
                graphs.exercise(name, most=False)
            told = plan.engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
            found[name] = {
                "passes": [
                    {"number": passes, "layers": [{"name": layer, "mean_ms": ms / passes} for layer, ms in timer.ms.items()]}
                    for timer in timers
                ],
                "made": json.loads(told),
            }  # fmt: skip
        return found
    finally:
        graphs.close()
