"""TensorRT's builder: an ONNX file and its profiles become a plan. Precision is the graph's own: no flag of one is ever set.

Works with TensorRT 10.3 and later and with 11, whose networks are always strongly typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tensorrt as trt

from edge_vla.backends.manifest import Graph, Span
from edge_vla.backends.plans import DTYPES, Log
from edge_vla.errors import ConfigError, EngineError
from export.plans.progress import Progress
from export.plans.timing_cache import TimingCache

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Choices:
    """What a user may choose. Raises ConfigError."""

    workspace_mb: int = 1024  # that tactics may work in
    level: int = 3  # TensorRT's optimisation level: more tries more, and takes longer
    tf32: bool = False
    refit: bool = False
    strip: bool = False
    version_compatible: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.workspace_mb <= 1024 * 1024:
            raise ConfigError(f"workspace {self.workspace_mb} MiB: want 1 to {1024 * 1024}")
        if not 0 <= self.level <= 5:
            raise ConfigError(f"optimisation level {self.level}: want 0 to 5")

    @property
    def one_profile(self) -> bool:
        """TensorRT takes a single profile for a plan whose weights can be replaced."""
        return self.refit or self.strip


@dataclass(frozen=True, slots=True)
class Workshop:
    """What the graphs of a bundle have in common while they are built, one after another."""

    choices: Choices
    log: Log
    timing: TimingCache
    progress: Progress


def build_plan(source: Path, graph: Graph, profiles: list[dict[str, Span]], shop: Workshop) -> trt.IHostMemory | None:
    """A plan; None when it was stopped. Raises EngineError for what the parser or the builder refuses, ConfigError for another graph."""
    builder = _builder(shop.log)
    network = builder.create_network(network_flags())
    _parse(network, source, shop.log)
    _agree(network, source, graph)
    config = builder.create_builder_config()
    _configure(config, shop)
    for number, profile in enumerate(profiles):
        config.add_optimization_profile(_profile(builder, source, number, profile))
    plan: trt.IHostMemory | None = builder.build_serialized_network(network, config)
    if plan is None and not shop.progress.stopped:
        raise EngineError(f"{source}: TensorRT {trt.__version__} does not build it: {shop.log.why()}")
    shop.timing.keep(config)  # what was timed before a stop is worth keeping too
    return plan


def network_flags() -> int:
    """Types are the graph's own. 11 knows nothing else and ignores the flag that 10 wants for it."""
    if int(trt.__version__.split(".")[0]) >= 11:
        return 0
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _builder(log: Log) -> trt.Builder:
    try:
        return trt.Builder(log)
    except (TypeError, RuntimeError) as err:  # pybind11's way to say that the library made none
        raise EngineError(f"TensorRT {trt.__version__} makes no builder here: {log.why()}") from err


def _parse(network: trt.INetworkDefinition, source: Path, log: Log) -> None:
    """By path: weights beside the graph are found there, and no file is too large for it."""
    parser = trt.OnnxParser(network, log)
    if parser.parse_from_file(str(source)):
        return
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    told = [f"{each.node_operator()} {each.node_name()!r}: {each.desc()}" if each.node_operator() else each.desc() for each in errors]
    raise EngineError(f"{source}: TensorRT {trt.__version__} does not parse it: {'; '.join(told) or log.why()}")


def _agree(network: trt.INetworkDefinition, source: Path, graph: Graph) -> None:
    """Raises ConfigError for a graph that is not what its manifest says."""
    found = [network.get_input(i) for i in range(network.num_inputs)] + [network.get_output(i) for i in range(network.num_outputs)]
    got = [f"{each.name} {DTYPES.get(each.dtype, str(each.dtype))}" for each in found]
    want = [f"{tensor.name} {tensor.dtype}" for tensor in (*graph.inputs, *graph.outputs)]
    if sorted(got) != sorted(want):
        raise ConfigError(f"{source} has {', '.join(got)}; its manifest says {', '.join(want)}")


def _configure(config: trt.IBuilderConfig, shop: Workshop) -> None:
    choices = shop.choices
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, choices.workspace_mb * MIB)
    config.builder_optimization_level = choices.level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # times by layer need the layers' names
    config.progress_monitor = shop.progress
    if not choices.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)  # on unless told otherwise, and float32 is then no float32
    flags = (
        (choices.refit, trt.BuilderFlag.REFIT), (choices.strip, trt.BuilderFlag.STRIP_PLAN),
        (choices.version_compatible, trt.BuilderFlag.VERSION_COMPATIBLE),
    )  # fmt: skip
    for wanted, flag in flags:
        if wanted:
            config.set_flag(flag)
    shop.timing.lend(config)


def _profile(builder: trt.Builder, source: Path, number: int, profile: Mapping[str, Span]) -> trt.IOptimizationProfile:
    made = builder.create_optimization_profile()
    try:
        for name, span in profile.items():
            made.set_shape(name, tuple(span.least), tuple(span.best), tuple(span.most))
    except RuntimeError as err:
        raise EngineError(f"{source}: TensorRT takes no profile {number} of {profile}: {err}") from err
    return made
