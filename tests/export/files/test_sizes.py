"""Sizes that a graph computes of its inputs' sizes, known before it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_vla.errors import ConfigError
from export.files.graph_cost import BoundGraph
from export.files.sizes import fold_sizes


def ranged(of: str = "x") -> onnx.ModelProto:
    """y = range(1, 2 n + 1) of x (1, n); with `of` another tensor, that one's numbers are the end."""
    nodes = [
        helper.make_node("Shape", ["x"], ["n"], start=1, end=2),
        helper.make_node("Squeeze", ["n"], ["size"]),
        helper.make_node("Mul", ["size", "two"], ["twice"]),
        helper.make_node("Add", ["twice", "one"], ["end"]),
        helper.make_node("Range", ["one", "end" if of == "x" else of, "one"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "n"]), helper.make_tensor_value_info("z", TensorProto.INT64, [])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT64, [None])]
    numbers = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in (("one", 1), ("two", 2))]
    return helper.make_model(helper.make_graph(nodes, "sizes", inputs, outputs, numbers), opset_imports=[helper.make_opsetid("", 20)])


def test_what_follows_from_an_inputs_size_is_a_number() -> None:
    model = ranged()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
    found = fold_sizes(model)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in found.initializer}
    assert values["y"].tolist() == list(range(1, 11))
    assert (values["size"], values["end"]) == (5, 11)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_its_shape_is_known(n: int, tmp_path: Path) -> None:
    onnx.save(ranged(), str(tmp_path / "y.onnx"))
    graph = BoundGraph(tmp_path / "y.onnx", {("x", 1): n})
    assert graph.shape("y") == (2 * n,)
    assert graph.nbytes("y") == 16 * n
    assert graph.shape("end") == ()


def test_what_depends_on_an_inputs_numbers_is_said_to(tmp_path: Path) -> None:
    onnx.save(ranged("z"), str(tmp_path / "y.onnx"))
    with pytest.raises(ConfigError, match="the size of 'y' does not follow from the sizes of the inputs"):
        BoundGraph(tmp_path / "y.onnx", {("x", 1): 3}).shape("y")
