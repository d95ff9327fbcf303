"""Bytes of weights in files: what stands where, in which type, and what is left when writing ends early."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor

from edge_vla.errors import ConfigError
from export.files.streaming import Weight, converted, pieces, save
from export.files.weight_store import INSIDE_BYTES, LINE, PAGE

ROWS, COLUMNS = 300, 70


def model(names: list[str]) -> ModelProto:
    """x through one product after another, their weights still to come."""
    nodes = [helper.make_node("MatMul", ["x" if not i else f"y{i - 1}", name], [f"y{i}"]) for i, name in enumerate(names)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "m"]) for name in ("x", f"y{len(names) - 1}")]
    return helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 20)])


def weights(dtype: torch.dtype = torch.float32) -> list[Weight]:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(ROWS, COLUMNS, generator=generator), torch.randn(ROWS, COLUMNS, generator=generator)
    return [Weight("a", "layers.a", a.to(dtype)), Weight("b", "layers.b", b.to(dtype).t())]


def held(path: Path) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_read_back_is_what_was_stored(dtype: torch.dtype, beside: bool, tmp_path: Path) -> None:
    given = weights(dtype)
    save(model(["a", "b"]), given, tmp_path / "g.onnx", beside=beside)
    found = held(tmp_path / "g.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == (["g.onnx", "g.onnx.data"] if beside else ["g.onnx"])
    for weight in given:
        assert found[weight.name].dtype == np.float32
        np.testing.assert_array_equal(found[weight.name], weight.values.float().numpy())
    onnx.checker.check_model(str(tmp_path / "g.onnx"))


def test_what_is_not_floating_keeps_its_type(tmp_path: Path) -> None:
    given = [Weight("a", "a", torch.arange(1000), half=True), Weight("b", "b", torch.arange(1000) % 3 == 0)]
    save(model(["a", "b"]), given, tmp_path / "g.onnx")
    found = held(tmp_path / "g.onnx")
    assert (found["a"].dtype, found["b"].dtype) == (np.int64, np.bool_)
    np.testing.assert_array_equal(found["a"], np.arange(1000))
    np.testing.assert_array_equal(found["b"], np.arange(1000) % 3 == 0)


def test_beside_the_graph_every_weight_begins_on_a_page(tmp_path: Path) -> None:
    save(model(["a", "b"]), weights(), tmp_path / "g.onnx", beside=True)
    graph = onnx.load(str(tmp_path / "g.onnx"), load_external_data=False).graph
    said = [{entry.key: entry.value for entry in t.external_data} for t in graph.initializer]
    size = ROWS * COLUMNS * 4
    step = PAGE if size > PAGE * LINE else LINE
    second = -(-size // step) * step
    assert said == [
        {"location": "g.onnx.data", "offset": "0", "length": str(size)},
        {"location": "g.onnx.data", "offset": str(second), "length": str(size)},
    ]
    assert (tmp_path / "g.onnx.data").stat().st_size == second + size


def test_many_weights_are_beside_the_graph_unasked(tmp_path: Path) -> None:
    shape = INSIDE_BYTES // 4 // 2**10, 2**10
    for name, rows in (("at", shape[0]), ("above", shape[0] + 1)):
        save(model(["a"]), [Weight("a", "a", torch.ones(()).expand(rows, shape[1]))], tmp_path / f"{name}.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["above.onnx", "above.onnx.data", "at.onnx"]


@pytest.mark.parametrize("shape", [(7,), (1, 9), (5, 4), (2, 3, 4), (3, 1, 50), (1, 1, 1), ()])
@pytest.mark.parametrize("most", [1, 3, 8, 1000])
def test_pieces_are_small_and_follow_one_another(shape: tuple[int, ...], most: int) -> None:
    values = torch.arange(int(np.prod(shape))).reshape(shape)
    found = list(pieces(values, most))
    assert max(piece.numel() for piece in found) <= most
    assert torch.cat([piece.flatten() for piece in found]).tolist() == values.flatten().tolist()


def test_pieces_of_a_transposed_weight_follow_the_new_order() -> None:
    values = torch.arange(12).reshape(3, 4).t()
    assert torch.cat([piece.flatten() for piece in pieces(values, 5)]).tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_not_finite_is_refused_by_its_name(value: float, tmp_path: Path) -> None:
    given = weights(torch.bfloat16)
    given[1].values[5, 6] = value
    with pytest.raises(ConfigError, match=r"^layers\.b: it holds nan or inf$"):
        save(model(["a", "b"]), given, tmp_path / "g.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("value", "fits"), [(65504.0, True), (65519.0, True), (65520.0, False), (-65520.0, False)])
def test_float16_ends_where_it_ends(value: float, fits: bool) -> None:
    """Up to halfway to the number that is not there any more it is rounded down, as everywhere."""
    weight = Weight("a", "layers.a", torch.tensor([1.0, value]), half=True)
    if fits:
        assert converted(weight.values, weight).tolist() == [1.0, 65504.0]
    else:
        with pytest.raises(ConfigError, match=r"^layers\.a: it holds 65520, float16 ends at 65504$"):
            converted(weight.values, weight)


class Interrupted(Tensor):
    """A weight that takes so long that somebody presses Ctrl-C."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is Tensor.to:
            raise KeyboardInterrupt
        return super().__torch_function__(func, types, args, kwargs)


@pytest.mark.parametrize("beside", [False, True])
def test_an_interruption_leaves_what_was_there_before(beside: bool, tmp_path: Path) -> None:
    given, out = weights(), tmp_path / "g.onnx"
    save(model(["a", "b"]), given, out, beside=beside)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    slow = Weight("b", "layers.b", torch.ones(ROWS, COLUMNS).as_subclass(Interrupted))
    with pytest.raises(KeyboardInterrupt):
        save(model(["a", "b"]), [given[0], slow], out, beside=beside)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_data_of_an_older_graph_does_not_stay(tmp_path: Path) -> None:
    out = tmp_path / "g.onnx"
    save(model(["a", "b"]), weights(), out, beside=True)
    save(model(["a", "b"]), weights(), out)
    assert [path.name for path in tmp_path.iterdir()] == ["g.onnx"]


def test_an_old_graph_is_never_beside_new_weights(tmp_path: Path) -> None:
    """Between the two renames: here the second file cannot get its name."""
    out = tmp_path / "g.onnx"
    save(model(["a", "b"]), weights(), out)
    (tmp_path / "g.onnx.data").mkdir()
    with pytest.raises(ConfigError, match=r"g\.onnx: not written, Is a directory$"):
        save(model(["a", "b"]), weights(), out, beside=True)
    assert [path.name for path in tmp_path.iterdir()] == ["g.onnx.data"]


def test_more_than_the_disk_has_is_refused_before_a_byte(tmp_path: Path) -> None:
    wide = torch.zeros(()).expand(2**10, 2 ** (shutil.disk_usage(tmp_path).total.bit_length() - 10)).as_subclass(Interrupted)
    with pytest.raises(ConfigError, match=r"g\.onnx: its weights take \d+\.\d\d GB, the disk has \d+\.\d\d GB left$"):
        save(model(["a"]), [Weight("a", "a", wide)], tmp_path / "g.onnx")
    assert list(tmp_path.iterdir()) == []


# A disk that ends in the middle, as far as the process can tell.
FULL = """
import resource, signal, sys
from pathlib import Path
from tests.export.files.test_streaming import ConfigError, model, save, weights

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    save(model(["a", "b"]), weights(), Path(sys.argv[1]), beside=sys.argv[2] == "True")
except ConfigError as err:
    print(err)
"""


@pytest.mark.parametrize("beside", [False, True])
def test_a_disk_that_fills_up_leaves_nothing(beside: bool, tmp_path: Path, checkout: Path) -> None:
    out = tmp_path / "g.onnx"
    result = subprocess.run([sys.executable, "-c", FULL, str(out), str(beside)], cwd=checkout, capture_output=True, text=True, check=False)
    assert result.stdout == f"{out}: not written, File too large\n", result.stderr[-2000:]
    assert list(tmp_path.iterdir()) == []
