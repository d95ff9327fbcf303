"""A bundle's plans, opened by TensorRT. A plan is code: its manifest says first whether this machine may run it."""

from __future__ import annotations

import mmap
from pathlib import Path

import tensorrt as trt

from edge_vla.backends.bundle import Bundle
from edge_vla.backends.cuda import Gpu
from edge_vla.backends.manifest import Graph, PlanInfo, Span, Tensor
from edge_vla.backends.plan_contract import REBUILD, unfit
from edge_vla.errors import ConfigError, EngineError

DTYPES = {trt.DataType.FLOAT: "float32", trt.DataType.HALF: "float16", trt.DataType.INT64: "int64", trt.DataType.UINT8: "uint8"}


class Log(trt.ILogger):
    """TensorRT's voice. It returns nothing and says why here; only errors are kept."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        if int(severity) <= int(trt.ILogger.Severity.ERROR):
            self.errors.append(msg)

    def why(self) -> str:
        """What was said since it was last asked."""
        said, self.errors = "; ".join(dict.fromkeys(self.errors)), []
        return said or "TensorRT gives no reason"


class OpenPlan:
    """One graph's plan and who made it; they end together."""

    def __init__(self, runtime: trt.Runtime, engine: trt.ICudaEngine, graph: Graph) -> None:
        self._runtime = runtime  # has to outlive its engine
        self.engine, self.graph = engine, graph


def open_plans(bundle: Bundle, gpu: Gpu, log: Log) -> dict[str, OpenPlan]:
    """All of a bundle's. Raises ConfigError for plans of another machine, EngineError for a file that is no plan."""
    plan = bundle.manifest.plan
    if plan is None:
        raise ConfigError(f"engine {bundle.folder} holds no plans: it runs with ONNX Runtime; {REBUILD}")
    if why := unfit(plan, trt.__version__, gpu.sm):
        raise ConfigError(f"engine {bundle.folder}: {why}")
    return {name: _open(bundle, plan, name, graph, log) for name, graph in bundle.manifest.graphs.items()}


def _open(bundle: Bundle, plan: PlanInfo, name: str, graph: Graph, log: Log) -> OpenPlan:
    path = bundle.path(graph.file)
    runtime = trt.Runtime(log)
    if plan.version_compatible:
        runtime.engine_host_code_allowed = True  # such a plan brings the runtime of its own TensorRT along
    engine = _deserialise(runtime, path)
    if engine is None:
        raise EngineError(f"{path}: not a plan of TensorRT {plan.tensorrt}: {log.why()}; {REBUILD}")
    source = {str(key): value for key, value in plan.stripped.items()}.get(name)
    if source is not None:
        _refit(engine, bundle.path(source.file), log)
    _agree(bundle, plan.profiles[name], graph, engine)  # type: ignore[index]
    return OpenPlan(runtime, engine, graph)


def _deserialise(runtime: trt.Runtime, path: Path) -> trt.ICudaEngine | None:
    try:
        # Mapped, not read: a board that shares its memory with the GPU has none to hold the plan twice.
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as plan:
            engine: trt.ICudaEngine | None = runtime.deserialize_cuda_engine(plan)
            return engine
    except (OSError, ValueError) as err:  # ValueError: an empty file
        raise EngineError(f"{path}: {err}") from err


def _refit(engine: trt.ICudaEngine, source: Path, log: Log) -> None:
    """Give a plan its weights. Raises EngineError."""
    refitter = trt.Refitter(engine, log)
    parser = trt.OnnxParserRefitter(refitter, log)
    if not parser.refit_from_file(str(source)):
        told = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise EngineError(f"{source}: a plan without weights cannot take them from here: {'; '.join(told) or log.why()}")
    if not refitter.refit_cuda_engine():
        raise EngineError(f"{source}: a plan without weights did not take those of this file: {log.why()}")


def _agree(bundle: Bundle, profiles: list[dict[str, Span]], graph: Graph, engine: trt.ICudaEngine) -> None:
    """Raises ConfigError where a plan is not what its manifest says."""
    names = [str(engine.get_tensor_name(i)) for i in range(engine.num_io_tensors)]
    for kind, mode, tensors in (("input", trt.TensorIOMode.INPUT, graph.inputs), ("output", trt.TensorIOMode.OUTPUT, graph.outputs)):
        found = {name: str(tensor_of(engine, name)) for name in names if engine.get_tensor_mode(name) == mode}
        want = {tensor.name: str(tensor) for tensor in tensors}
        if found != want:
            got, said = (", ".join(told.values()) or "none" for told in (found, want))
            raise ConfigError(f"engine {bundle.folder}: {graph.file} has the {kind}s {got}; its manifest says {said}")
    if on_host := [name for name in names if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE]:
        raise ConfigError(f"engine {bundle.folder}: {graph.file} wants {', '.join(on_host)} in the host's memory: sizes hang on them")
    count = int(engine.num_optimization_profiles)
    if count != len(profiles):
        raise ConfigError(f"engine {bundle.folder}: {graph.file} has {count} profiles; its manifest says {len(profiles)}")
    for i, profile in enumerate(profiles):
        for name, span in profile.items():
            got_shapes = [list(shape) for shape in engine.get_tensor_profile_shape(name, i)]
            want_shapes = [span.least, span.best, span.most]
            if got_shapes != want_shapes:
                raise ConfigError(
                    f"engine {bundle.folder}: {graph.file} takes {name} of {got_shapes} in profile {i}; its manifest says {want_shapes}"
                )


def tensor_of(engine: trt.ICudaEngine, name: str) -> Tensor:
    """What TensorRT says of a plan's input or output, in the manifest's words."""
    dtype = engine.get_tensor_dtype(name)
    shape = [int(size) if size >= 0 else "?" for size in engine.get_tensor_shape(name)]
    return Tensor.model_construct(name=name, dtype=DTYPES.get(dtype, str(dtype)), shape=shape)
