"""Smaller weights: what shrinks, what stays, and that the graph still says the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.precision import halve_convolutions

WEIGHT = np.random.default_rng(3).normal(size=(8, 3, 3, 3)).astype(np.float32)
BIAS = np.linspace(-1, 1, 8, dtype=np.float32)


def convolution(path: Path, weight: np.ndarray) -> Path:
    """One convolution with a bias, as the exporter writes it."""
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"])], "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 9, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 7, 7])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(BIAS, "b")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def run(path: Path, x: np.ndarray) -> np.ndarray:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def test_the_weights_are_halves_and_the_answer_is_that_of_the_rounded_weights(tmp_path: Path) -> None:
    x = np.random.default_rng(4).normal(size=(1, 3, 9, 9)).astype(np.float32)
    rounded = WEIGHT.astype(np.float16).astype(np.float32)
    want, exact = run(convolution(tmp_path / "want.onnx", rounded), x), run(convolution(tmp_path / "exact.onnx", WEIGHT), x)
    path = convolution(tmp_path / "half.onnx", WEIGHT)
    halve_convolutions(path)
    got = run(path, x)
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert np.abs(got - exact).max() > 1e-5, "nothing was rounded"
    kinds = {t.name: (t.data_type, len(t.raw_data)) for t in onnx.load(str(path)).graph.initializer}
    assert kinds == {"w.half": (TensorProto.FLOAT16, WEIGHT.nbytes // 2), "b": (TensorProto.FLOAT, BIAS.nbytes)}


def test_a_weight_that_float16_cannot_hold_is_refused_and_the_graph_stays(tmp_path: Path) -> None:
    weight = WEIGHT.copy()
    weight[0, 0, 0, 0] = 7e4
    path = convolution(tmp_path / "big.onnx", weight)
    before = path.read_bytes()
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="w has weights beyond 65504"):
        halve_convolutions(path)
    assert path.read_bytes() == before
