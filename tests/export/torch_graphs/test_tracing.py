"""Modules of every kind of weight, traced and run: the answers are torch's, each weight is there once, nothing of this machine is."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from edge_vla.errors import ConfigError
from export.torch_graphs.tracing import LARGE, OPSET, trace

WIDTH, ROWS = 96, 1000  # a table of 96 000 numbers, more than LARGE
DYNAMIC = {"x": {1: "T"}}


class Tied(nn.Module):
    """Words in, words out, one table for both."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(ROWS, WIDTH)
        self.head = nn.Linear(WIDTH, ROWS, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.words(x))


class Turned(nn.Module):
    """A table that places turn by, and another that orders channels: buffers, large ones, neither of them in a checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(WIDTH, 700)
        self.norm = nn.LayerNorm(700)
        self.register_buffer("angles", torch.rand(ROWS, 100), persistent=False)
        self.register_buffer("order", torch.randperm(LARGE + 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        places = self.order[: x.shape[1]] % ROWS
        return self.norm(self.project(x))[..., :100] * self.angles[places]


class Attending(nn.Module):
    """One packed projection, which is cut in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(160, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class Remembering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(WIDTH, 200, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0][:, -1]


def filters() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 64, 19, stride=7), nn.GELU(), nn.Conv2d(64, 8, 3))


def deep() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 800), nn.GELU(), nn.Linear(800, WIDTH, bias=False))


KINDS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "tied": (Tied, ()), "turned": (Turned, (WIDTH,)), "attending": (Attending, (160,)), "remembering": (Remembering, (WIDTH,)),
    "filters": (filters, (3, 64, 64)), "deep": (deep, (WIDTH,)),
}  # fmt: skip


def made(kind: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(3)
    module = KINDS[kind][0]().eval()
    for parameter in module.parameters():
        parameter.data = parameter.data.to(dtype)
    return module


def given(kind: str, length: int = 5) -> Tensor:
    shape, generator = KINDS[kind][1], torch.Generator().manual_seed(length)
    if kind == "tied":
        return torch.randint(ROWS, (1, length), generator=generator)
    return torch.randn(*((1,) if kind == "filters" else (1, length)), *shape, generator=generator)


def write(module: nn.Module, kind: str, out: Path, **options: Any) -> onnx.ModelProto:
    dynamic = {} if kind in ("filters", "remembering") else DYNAMIC
    trace(module, [given(kind)], out, inputs_named=["x"], outputs_named=["y"], dynamic=dynamic, **options)
    return onnx.load(str(out))


def answer(out: Path, x: Tensor) -> np.ndarray:
    return ort.InferenceSession(str(out), providers=["CPUExecutionProvider"]).run(None, {"x": x.numpy()})[0]


def wide(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).float()


def distance(out: Path, module: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        want = wide(module)(x).numpy()
    got = answer(out, x)
    assert got.shape == want.shape
    return float(np.abs(got - want).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_answers_as_its_module_does(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    module = made(kind, dtype)
    write(module, kind, tmp_path / "g.onnx")
    for length in (5,) if kind in ("filters", "remembering") else (5, 11):
        assert distance(tmp_path / "g.onnx", module, given(kind, length)) <= 1e-5
    other = made(kind, dtype)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.25)
    assert distance(tmp_path / "g.onnx", other, given(kind)) > 1e-3


def stored(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if np.prod(t.dims) > LARGE}


def test_a_tied_weight_is_there_once(tmp_path: Path) -> None:
    module = made("tied")
    found = stored(write(module, "tied", tmp_path / "g.onnx"))
    assert list(found) == ["words.weight"]
    np.testing.assert_array_equal(found["words.weight"], module.words.weight.detach().numpy())


def test_a_weight_used_only_transposed_is_stored_so(tmp_path: Path) -> None:
    module = made("deep", torch.bfloat16)
    model = write(module, "deep", tmp_path / "g.onnx")
    found = stored(model)
    assert list(found) == ["0.weight.transposed", "2.weight.transposed"]
    assert found["2.weight.transposed"].shape == (800, WIDTH)
    np.testing.assert_array_equal(found["0.weight.transposed"], module[0].weight.detach().float().numpy().T)
    assert "Transpose" not in {node.op_type for node in model.graph.node}


def test_small_weights_are_folded_by_their_real_values(tmp_path: Path) -> None:
    """A bias that is the sum of two is one number each in the graph, and the right one."""

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.full((7,), 2.5)), nn.Parameter(torch.full((7,), -1.0))

        def forward(self, x: Tensor) -> Tensor:
            return x * (self.a + self.b)

    trace(Sum().eval(), [torch.zeros(1, 7)], tmp_path / "g.onnx", inputs_named=["x"], outputs_named=["y"])
    model = onnx.load(str(tmp_path / "g.onnx"))
    assert [node.op_type for node in model.graph.node] == ["Mul"]
    assert [numpy_helper.to_array(t).tolist() for t in model.graph.initializer] == [[1.5] * 7]


def test_half_is_stored_with_a_cast_behind(tmp_path: Path) -> None:
    module = made("deep", torch.bfloat16)
    model = write(module, "deep", tmp_path / "g.onnx", half=True)
    assert {name: value.dtype for name, value in stored(model).items()} == {
        "0.weight.transposed.half": np.float16, "2.weight.transposed.half": np.float16,
    }  # fmt: skip
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert [(list(node.input), list(node.output)) for node in casts] == [
        ([f"{n}.weight.transposed.half"], [f"{n}.weight.transposed"]) for n in (2, 0)
    ]
    assert distance(tmp_path / "g.onnx", module, given("deep")) <= 1e-5  # these bf16 weights are float16 numbers too, nearly all


def test_beyond_float16_is_refused(tmp_path: Path) -> None:
    module = made("deep", torch.bfloat16)
    with torch.no_grad():
        module[2].weight[3, 4] = -70000
    write(module, "deep", tmp_path / "wide.onnx")
    with pytest.raises(ConfigError, match=r"^2\.weight: it holds 70144, float16 ends at 65504$"):
        write(module, "deep", tmp_path / "g.onnx", half=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wide.onnx"]


def test_given_weights_go_before_a_modules_own(tmp_path: Path) -> None:
    """A module without memory, filled from a checkpoint's names; either name of a tied weight will do."""
    module = made("tied", torch.bfloat16)
    empty = copy.deepcopy(module).to("meta")
    empty.head.weight = empty.words.weight  # which moving takes apart
    write(empty, "tied", tmp_path / "g.onnx", weights={"head.weight": module.head.weight})
    assert empty.words.weight.is_meta
    assert distance(tmp_path / "g.onnx", module, given("tied")) <= 1e-5


def test_weights_that_are_missing_or_of_another_shape_are_refused(tmp_path: Path) -> None:
    empty = made("deep").to("meta")
    with pytest.raises(ConfigError, match=r"^0\.bias: the module holds its shape alone, and no weights are given for it$"):
        write(empty, "deep", tmp_path / "g.onnx", weights={"0.weight": torch.zeros(800, WIDTH)})
    with pytest.raises(ConfigError, match=r"^0\.weight \(96, 800\): want \(800, 96\)$"):
        write(empty, "deep", tmp_path / "g.onnx", weights={"0.weight": torch.zeros(WIDTH, 800)})
    assert list(tmp_path.iterdir()) == []


def test_a_large_constant_that_is_no_weight_is_refused(tmp_path: Path) -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.rand(300, 300)

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.table

    with pytest.raises(ConfigError, match=r"^g\.onnx: .* \(300, 300\) is no weight of the module; .* has to be one of its buffers$"):
        trace(Plain().eval(), [torch.zeros(1, 300)], tmp_path / "g.onnx", inputs_named=["x"], outputs_named=["y"])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"inputs_named": ["x", "z"]}, "1 inputs and 2 names"),
        ({"dynamic": {"u": {0: "T"}}}, "dynamic axes of u, want some of x"),
    ],
)
def test_names_that_do_not_fit_are_refused(said: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        trace(made("deep"), [given("deep")], tmp_path / "g.onnx", **{"inputs_named": ["x"], "outputs_named": ["y"], **said})


def test_training_mode_is_refused(tmp_path: Path) -> None:
    module = made("remembering")
    module.lstm.train()
    with pytest.raises(ConfigError, match=r"^g\.onnx: lstm is in training mode; want eval\(\) before a trace$"):
        write(module, "remembering", tmp_path / "g.onnx")


@pytest.mark.parametrize("kind", ["tied", "turned", "remembering"])
def test_the_module_is_afterwards_as_it_was(kind: str, tmp_path: Path) -> None:
    module = made(kind, torch.bfloat16)
    before = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers())
    write(module, kind, tmp_path / "g.onnx")
    after = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers())
    assert list(before) == list(after)
    assert all(before[name] is after[name] for name in before)
    if kind == "remembering":
        assert all(weight.dtype is torch.bfloat16 for weight in module.lstm._flat_weights)


def test_the_file_says_nothing_of_this_machine(tmp_path: Path, checkout: Path) -> None:
    for beside in (False, True):
        model = write(made("turned"), "turned", tmp_path / "g.onnx", beside=beside)
        raw = (tmp_path / "g.onnx").read_bytes()
        for word in (str(checkout).encode(), b"site-packages", b".py", b"Positional", b"module."):
            assert word not in raw
    assert {item.domain: item.version for item in model.opset_import} == {"": OPSET}


def test_lengths_have_their_names(tmp_path: Path) -> None:
    model = write(made("deep"), "deep", tmp_path / "g.onnx")
    assert [[d.dim_param or d.dim_value for d in t.type.tensor_type.shape.dim] for t in (*model.graph.input, *model.graph.output)] == [
        [1, "T", WIDTH], [1, "T", WIDTH],
    ]  # fmt: skip


def test_weights_beside_the_graph_are_the_same(tmp_path: Path) -> None:
    module = made("deep")
    inside = write(module, "deep", tmp_path / "in.onnx")
    beside = write(module, "deep", tmp_path / "out.onnx", beside=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.onnx", "out.onnx", "out.onnx.data"]
    assert (tmp_path / "out.onnx").stat().st_size < 20_000
    for name, value in stored(inside).items():
        np.testing.assert_array_equal(stored(beside)[name], value)
    assert Counter(n.op_type for n in inside.graph.node) == Counter(n.op_type for n in beside.graph.node)
    onnx.checker.check_model(str(tmp_path / "out.onnx"), full_check=True)
    onnx.checker.check_model(str(tmp_path / "in.onnx"), full_check=True)
    assert distance(tmp_path / "out.onnx", module, given("deep", 11)) <= 1e-5


# VmHWM is the process's own peak, mapped files included; ru_maxrss would begin with that of the one that started it.
PEAK = """
import sys, torch
from pathlib import Path
from safetensors.torch import load_file
from torch import nn
import export.torch_graphs.tracing
from export.torch_graphs.tracing import trace

def peak(): return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

layers, width, stored, out, half = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), sys.argv[5] == "half"
with torch.device("meta"):
    module = nn.Sequential(*[nn.Linear(width, width) for _ in range(layers)]).eval()
def write(module, inputs, out, **options):
    trace(module, [inputs], out, inputs_named=["x"], outputs_named=["y"], dynamic={"x": {1: "T"}}, **options)
write(nn.Linear(width, 10).eval(), torch.zeros(1, 3, width), out.with_name("warm.onnx"))
before = peak()
module.load_state_dict(load_file(stored), assign=True)
write(module, torch.zeros(1, 3, width), out, half=half)
print(before, peak())
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["single", "half"])
def test_the_peak_is_the_weights_as_they_are_stored(kind: str, tmp_path: Path, checkout: Path) -> None:
    """432 MB of bf16 weights, in float32 864 MB in the file: 1.3 times the weights beside the process itself."""
    from safetensors.torch import save_file

    layers, width = 24, 3000
    weights = {f"{n}.weight": torch.full((width, width), n / 64, dtype=torch.bfloat16) for n in range(layers)}
    save_file(weights | {f"{n}.bias": torch.zeros(width) for n in range(layers)}, tmp_path / "w.safetensors")
    result = subprocess.run(
        [sys.executable, "-c", PEAK, str(layers), str(width), str(tmp_path / "w.safetensors"), str(tmp_path / "g.onnx"), kind],
        cwd=checkout, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    before, peak = map(int, result.stdout.split())
    nbytes = layers * width * width * 2
    written = sum(path.stat().st_size for path in tmp_path.glob("g.onnx*"))
    assert nbytes >= 400e6
    assert written == pytest.approx(nbytes * (1 if kind == "half" else 2), rel=0.01)
    assert peak - before <= 1.3 * nbytes
