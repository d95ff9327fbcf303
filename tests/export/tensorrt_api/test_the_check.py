"""The check of our sources can fail: small sources with one thing wrong, and what the wheels are known to say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.export.tensorrt_api.checked import Checked, asked_names, check_sources
from tests.export.tensorrt_api.never import uses
from tests.export.tensorrt_api.stubs import Translator, cython_stub, parts, pybind_stub
from tests.export.tensorrt_api.wheels import CUDA, PAIRS, TENSORRT, Contents, NoRegistry, Wheel, contents

Read = Callable[[Wheel], Contents]
Check = Callable[[str, int], "Checked | None"]
OLD, NEW = 0, -1  # of PAIRS

HEAD = """
import tensorrt as trt
from cuda.bindings import runtime as cudart

def use(builder: trt.Builder, config: trt.IBuilderConfig, engine: trt.ICudaEngine, context: trt.IExecutionContext) -> None:
    """


@pytest.fixture
def check(tmp_path: Path, kept: Path, stubs: Callable[[Wheel, Wheel], Path | None]) -> Check:
    """None where a pair has no wheels for this Python."""

    def of(source: str, pair: int) -> Checked | None:
        folder = stubs(*PAIRS[pair])
        if folder is None:
            return None
        (tmp_path / "sample.py").write_text(source)
        return check_sources([tmp_path / "sample.py"], folder, tmp_path, kept / "mypy")

    return of


def test_what_is_right_passes(check: Check) -> None:
    source = (
        HEAD
        + """flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    config.set_memory_pool_limit(pool=trt.MemoryPoolType.WORKSPACE, pool_size=1 << 30)
    profile = builder.create_optimization_profile()
    profile.set_shape("x", min=(1, 2), opt=[1, 2], max=trt.Dims([1, 2]))
    plan = builder.build_serialized_network(network, config)
    if plan is not None:
        print(bytes(plan), plan.nbytes, [size for size in engine.get_tensor_shape("x")])
    error, address = cudart.cudaMalloc(16)
    context.set_tensor_address("x", int(address))
"""
    )
    for pair in (OLD, NEW):
        assert check(source, pair) in (None, Checked(frozenset(), ()))
    assert check(source, NEW) is not None


WRONG: tuple[tuple[str, tuple[int, ...], str], ...] = (
    ("config.set_flag(trt.BuilderFlag.FP16)", (NEW,), '"type[BuilderFlag]" has no attribute "FP16"'),
    ("config.set_flag(trt.BuilderFlag.STRICT_NANS)", (OLD,), '"type[BuilderFlag]" has no attribute "STRICT_NANS"'),
    ("print(engine.device_memory_size)", (NEW,), '"ICudaEngine" has no attribute "device_memory_size"'),
    ("print(engine.get_tensor_names())", (OLD, NEW), '"ICudaEngine" has no attribute "get_tensor_names"'),
    ("print(trt.Nothing)", (OLD, NEW), 'Module has no attribute "Nothing"'),
    ("config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size=1)", (OLD, NEW), 'Unexpected keyword argument "size"'),
    ("config.set_memory_pool_limit(1, 1)", (OLD, NEW), 'incompatible type "int"; expected "MemoryPoolType"'),
    ("builder.create_network(1, 2)", (OLD, NEW), 'Too many arguments for "create_network"'),
    ("print(builder.build_serialized_network(builder.create_network(), config).nbytes)", (OLD, NEW), '"None" of "IHostMemory | None"'),
    ("engine.num_layers = 3", (OLD, NEW), 'Property "num_layers" defined in "ICudaEngine" is read-only'),
    ("context.set_input_shape('x', 3)", (OLD, NEW), "No overload variant"),
    ("cudart.cudaMalloc(1, 2)", (OLD, NEW), 'Too many arguments for "cudaMalloc"'),
    ("cudart.cudaNothing()", (OLD, NEW), 'Module has no attribute "cudaNothing"'),
    ("print(cudart.cudaMemcpyKind.cudaMemcpyNowhere)", (OLD, NEW), 'has no attribute "cudaMemcpyNowhere"'),
    ("print(cudart.cudaDeviceProp().clockRate)", (NEW,), '"cudaDeviceProp" has no attribute "clockRate"'),
)


@pytest.mark.parametrize("pair", [OLD, NEW])
def test_what_is_wrong_is_told(check: Check, pair: int) -> None:
    """One wrong thing a line, some of them wrong in one version only."""
    source = HEAD + "\n    ".join(line for line, _, _ in WRONG) + "\n"
    first = HEAD.count("\n") + 1
    found = check(source, pair)
    if found is None:
        return
    told = {int(error.split(":")[1]) - first: error for error in found.errors}
    assert set(told) == {at for at, (_, pairs, _) in enumerate(WRONG) if pair in pairs}
    assert [error for at, error in told.items() if WRONG[at][2] not in error] == []


def test_a_method_that_tensorrt_calls_has_its_arguments(check: Check) -> None:
    source = "import tensorrt as trt\nclass Log(trt.ILogger):\n    def log(self, severity: trt.ILogger.Severity, msg: bytes) -> None: ...\n"
    found = check(source, NEW)
    assert found is not None
    (error,) = found.errors
    assert 'Argument 2 of "log" is incompatible with supertype "tensorrt.ILogger"' in error


def test_what_cannot_be_followed_is_told(check: Check) -> None:
    source = "from typing import Any\n" + HEAD + "loose: Any = engine\n    print(loose.get_tensor_names(), engine.num_layers)\n"
    found = check(source, NEW)
    assert found is not None
    assert found.lost == ("sample.py:8: loose.get_tensor_names",)


def test_names_that_are_asked_for_have_to_be_written_out(tmp_path: Path) -> None:
    source = tmp_path / "sample.py"
    source.write_text("import tensorrt as trt\nprint(getattr(trt.BuilderFlag, 'MONITOR_MEMORY', None), hasattr(trt, 'EngineStat'))\n")
    assert asked_names([source]) == {"MONITOR_MEMORY", "EngineStat"}
    source.write_text("print(getattr(object, input()))\n")
    with pytest.raises(ValueError, match=r"sample\.py:1: getattr of a name that is not written out"):
        asked_names([source])


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("config.set_flag(trt.BuilderFlag.INT8)", "BuilderFlag.INT8"),
        ("config.int8_calibrator = None", "IBuilderConfig.int8_calibrator"),
        ("class Mine(trt.IInt8MinMaxCalibrator): ...", "trt.IInt8MinMaxCalibrator"),
        ("from tensorrt import IInt8EntropyCalibrator2", "IInt8EntropyCalibrator2"),
        ("getattr(config, 'algorithm_selector')", "algorithm_selector"),
        ("layer.set_output_type(0, trt.DataType.HALF)", "ILayer.set_output_type"),
        ("trt.DataType.INT8", None),
        ("manifest.precision", None),
    ],
)  # fmt: skip
def test_what_must_not_be_used_is_found(tmp_path: Path, line: str, found: str | None) -> None:
    (tmp_path / "sample.py").write_text(f"{line}\n")
    assert list(uses(tmp_path / "sample.py")) == ([(1, found)] if found else [])


def test_the_wheels_say_what_is_known_of_them(read: Read) -> None:
    for wheel in TENSORRT:
        said = read(wheel).said
        if said is not None:
            assert said["version"] == wheel.version
            (line,) = said["classes"]["IOptimizationProfile"]["members"]["set_shape"]["signatures"]
            assert line.endswith(
                "min: tensorrt_bindings.tensorrt.Dims, opt: tensorrt_bindings.tensorrt.Dims, max: tensorrt_bindings.tensorrt.Dims) -> None"
            )
            assert {name for name, described in said["classes"].items() if described["buffer"]} == {"IHostMemory"}
            assert said["classes"]["DataType"]["members"]["INT64"] == {"kind": "member", "value": 8}
    for wheel in CUDA:
        said = read(wheel).said
        if said is not None:
            assert said["functions"]["cudaGraphInstantiate"]["signatures"] == ["cudaGraphInstantiate(graph, unsigned long long flags)"]
            assert said["classes"]["cudaMemcpyKind"]["members"]["cudaMemcpyDeviceToHost"]["value"] == 2


def test_without_a_wheel_for_this_python_its_names_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Read) -> None:
    """As on a Python for which 10.3 was not made."""
    full = read(TENSORRT[0])
    monkeypatch.setattr("tests.export.tensorrt_api.wheels.MACHINES", {})
    found = contents(TENSORRT[0], tmp_path)
    assert found.said is None
    if full.said is not None:
        assert found.lacks({name for name in full.names if len(name) > 1 and not name.startswith("_")}) == set()
    assert found.lacks({"build_serialized_network", "STRONGLY_TYPED", "get_tensor_names", "MONITOR_MEMORY"}) == {
        "get_tensor_names", "MONITOR_MEMORY",
    }  # fmt: skip


def test_a_registry_out_of_reach_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("INDEX_URL", "http://127.0.0.1:9/simple"),
        ("EXTRA_INDEX_URL", ""),
        ("FIND_LINKS", ""),
        ("CONFIG_FILE", "/dev/null"),
    ):
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(NoRegistry, match=r"tensorrt-cu12-bindings==10\.3\.0: "):
        contents(TENSORRT[0], tmp_path)


def test_signatures_are_translated() -> None:
    translator = Translator({"Dims": {}, "IHostMemory": {}, "ParserError": {}, "Builder": {}})
    assert parts("a: List[Tuple[int, str]], b: Dims = <Dims.X: (1, 2)>, c") == [
        "a: List[Tuple[int, str]]",
        "b: Dims = <Dims.X: (1, 2)>",
        "c",
    ]
    here = "tensorrt_bindings.tensorrt"
    line = f"2. f(self: {here}.Builder, in: List[{here}.Dims], b: buffer, path: str = None) -> List[int]"
    made = translator.method("Builder", "f", line)
    assert made == (
        "def f(self, in_: collections.abc.Sequence[_Sizes], b: _Bytes, path: builtins.str | None = ...) -> builtins.list[builtins.int]: ..."
    )
    assert translator.type("nvonnxparser::IParserError") == "ParserError"
    assert translator.type("nvinfer1::v_1_0::IUnheardOf") == "builtins.object"
    with pytest.raises(ValueError, match="no signature"):
        translator.method("Builder", "f", "f of nothing")


def test_a_stub_of_each_kind_compiles() -> None:
    nothing = {"classes": {}, "functions": {}, "values": {}}
    for text in (pybind_stub(nothing), cython_stub(nothing)):
        compile(text, "stub", "exec")
