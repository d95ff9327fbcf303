"""w8a8 by explicit Q and DQ: the numbers by hand, what ONNX Runtime makes of them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from edge_vla.errors import ConfigError
from export.files.onnx_file import OnnxFile
from export.gate import TABLES, check
from export.precision.half import halve
from export.precision.qdq import quantise_qdq, tensors
from export.precision.rounding import Reference
from tests.export.precision.makers import decoder, feed, fused, node, nodes, run, strayed, types, weights, write

Array = np.ndarray[Any, Any]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return decoder(tmp_path / "step.onnx")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "int8.onnx"


def measured(source: Path, *feeds: dict[str, Array]) -> dict[str, tuple[float, float]]:
    """Ranges of what occurs: min-max."""
    spans = Reference(OnnxFile(source), feeds or (feed(),), 1).spans
    return {name: (spans[name].low, spans[name].high) for name in tensors(source)}


def product(path: Path, kind: str = "MatMul", **said: Any) -> Path:
    """x (2, 3) by w (3, 2), whose columns are of very different sizes."""
    w = np.array([[1.27, 100], [-0.5, -254], [0.014, 20]], np.float32)
    turned = said.get("transB")
    return write(path, [node(kind, "x w", "y", **said)], {"x": ["T", 3]}, ["y"], {"w": w.T.copy() if turned else w})


def test_scales_and_levels_by_hand(tmp_path: Path, out: Path) -> None:
    """Column 0: 1.27 / 127 = 0.01 a level. Column 1: 254 / 127 = 2 a level. x: max(|-0.5|, 2.54) / 127 = 0.02 a level."""
    quantise_qdq(product(tmp_path / "p.onnx"), out, {"x": (-0.5, 2.54)})
    found = weights(out)
    np.testing.assert_allclose(found["w.scale"], [0.01, 2.0], rtol=1e-6)
    np.testing.assert_array_equal(found["w.int8"], np.array([[127, 50], [-50, -127], [1, 10]], np.int8))
    np.testing.assert_array_equal(found["w.zero"], np.zeros(2, np.int8))
    assert found["y.input.scale"] == pytest.approx(0.02)
    assert found["y.input.zero"].dtype == np.int8
    assert "w" not in found, "the float weight is still there"
    x = np.array([[0.05, 1, -0.333], [3, -3, 0.011]], np.float32)
    levels = np.clip(np.rint(x / np.float32(0.02)), -128, 127)  # 2.5 to the even 2, -16.65 to -17, 150 cut off at 127, -150 at -128
    np.testing.assert_array_equal(levels, [[2, 50, -17], [127, -128, 1]])
    want = (levels * 0.02) @ np.array([[1.27, 100], [-0.5, -254], [0.01, 20]])
    np.testing.assert_allclose(run(out, {"x": x})["y"], want, rtol=1e-5)


@pytest.mark.parametrize("turned", [False, True])
def test_a_gemm_has_a_scale_for_each_output_however_its_weight_lies(tmp_path: Path, out: Path, turned: bool) -> None:
    quantise_qdq(product(tmp_path / "p.onnx", "Gemm", transB=int(turned)), out, {"x": (-1, 1)})
    found = weights(out)
    np.testing.assert_allclose(found["w.scale"], [0.01, 2.0], rtol=1e-6)
    np.testing.assert_array_equal(found["w.int8"].T if turned else found["w.int8"], [[127, 50], [-50, -127], [1, 10]])
    by = next(made for made in nodes(out).values() if made.op_type == "DequantizeLinear" and made.input[0] == "w.int8")
    assert helper.get_node_attr_value(by, "axis") == (0 if turned else 1)


def test_a_weight_behind_a_transpose_is_turned_once_and_for_all(tmp_path: Path, out: Path) -> None:
    w = np.array([[1.27, -0.5, 0.014], [100, -254, 20]], np.float32)
    path = write(
        tmp_path / "t.onnx", [node("Transpose", "w", "wt", perm=[1, 0]), node("MatMul", "x wt", "y")], {"x": ["T", 3]}, ["y"], {"w": w}
    )
    quantise_qdq(path, out, {"x": (-2, 2)})
    assert "Transpose" not in {made.op_type for made in nodes(out).values()}
    np.testing.assert_array_equal(weights(out)["w.int8"], [[127, 50], [-50, -127], [1, 10]])
    x = np.array([[0.3, 1, -2]], np.float32)
    assert strayed(run(path, {"x": x})["y"], run(out, {"x": x})["y"]) < 0.01


def test_a_convolution_has_a_scale_for_each_output_channel(tmp_path: Path, out: Path) -> None:
    w = np.stack([np.full((2, 3, 3), 0.127), np.full((2, 3, 3), -25.4)]).astype(np.float32)
    path = write(
        tmp_path / "c.onnx", [node("Conv", "x w b", "y", pads=[1] * 4), node("Relu", "y", "z")], {"x": [1, 2, 8, 8]}, ["z"],
        {"w": w, "b": np.array([0.5, 100], np.float32)},
    )  # fmt: skip
    x = np.random.default_rng(0).uniform(-1, 1, (1, 2, 8, 8)).astype(np.float32)
    quantise_qdq(path, out, measured(path, {"x": x}))
    np.testing.assert_allclose(weights(out)["w.scale"], [0.001, 0.2], rtol=1e-6)
    assert strayed(run(path, {"x": x})["z"], run(out, {"x": x})["z"]) < 0.02
    assert {"QLinearConv"} < set(fused(out, tmp_path))
    assert "Conv" not in fused(out, tmp_path)


def test_everything_keeps_to_what_tensorrt_wants_of_q_and_dq(source: Path, out: Path) -> None:
    """int8, zero points 0, positive float32 scales, weights by a DQ alone. Checked against both releases' rules besides."""
    quantise_qdq(source, out, measured(source))
    found, kinds = weights(out), types(out)
    pairs = [made for made in nodes(out).values() if made.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    assert len(pairs) == 8 * 3  # each product's input Q, its DQ, and its weight's DQ
    for made in pairs:
        scale, zero = found[made.input[1]], found[made.input[2]]
        assert (scale.dtype, zero.dtype) == (np.float32, np.int8)
        assert (scale > 0).all()
        assert not zero.any()
        assert kinds[made.input[0]] == ("float32" if made.op_type == "QuantizeLinear" else "")  # int8 has no name there
    for target in TABLES:
        assert check(out, target) == check(source, target)


def test_it_says_nearly_the_same_and_another_model_does_not(source: Path, out: Path, tmp_path: Path) -> None:
    quantise_qdq(source, out, measured(source, feed(9, seed=4)))
    unseen = feed(9, seed=5)
    want, got, other = run(source, unseen), run(out, unseen), run(decoder(tmp_path / "other.onnx", 1), unseen)
    for name, values in want.items():
        assert 1e-3 < strayed(values, got[name]) < 0.15
        assert strayed(values, other[name]) > 0.2


def test_products_of_activations_stay(source: Path, out: Path) -> None:
    report = quantise_qdq(source, out, measured(source))
    left = {layer.name: layer.reason for layer in report.layers if layer.precision == "fp32"}
    assert left == {"scores": "no weight", "mixed": "no weight"}
    assert report.counts == {"fp32 (no weight)": 2, "w8a8": 8}
    assert all(0 < layer.figures["weight_error"] < 0.02 for layer in report.layers if layer.precision == "w8a8")


def test_onnx_runtime_computes_every_one_in_int8(source: Path, out: Path, tmp_path: Path) -> None:
    """Queries, keys and values read one tensor: with one Q for the three they would be float32 or unpacked int8."""
    quantise_qdq(source, out, measured(source))
    kinds = fused(out, tmp_path)
    assert (kinds.count("QGemm"), kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear")) == (8, 8, 0)


@pytest.mark.parametrize(("kind", "said", "axes"), [("Gemm", {"transB": 1}, 2), ("Gemm", {}, 2), ("MatMul", {}, 2), ("MatMul", {}, 3)])
def test_a_bias_is_no_reason_for_float(tmp_path: Path, out: Path, kind: str, said: dict[str, int], axes: int) -> None:
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(16, 16)).astype(np.float32), rng.normal(size=16).astype(np.float32)
    made = [node("Gemm", "x w b", "y", **said)] if kind == "Gemm" else [node("MatMul", "x w", "m"), node("Add", "m b", "y")]
    path = write(tmp_path / "b.onnx", made, {"x": [1, "T", 16][3 - axes :]}, ["y"], {"w": w, "b": b})
    x = rng.normal(size=(1, 4, 16)[3 - axes :]).astype(np.float32)
    quantise_qdq(path, out, measured(path, {"x": x}))
    assert strayed(run(path, {"x": x})["y"], run(out, {"x": x})["y"]) < 0.02
    kinds = fused(out, tmp_path)
    assert not {"Gemm", "MatMul", "DequantizeLinear"} & set(kinds), kinds


def test_its_weights_are_those_of_onnxruntimes_own_quantiser(tmp_path: Path, out: Path) -> None:
    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [{"x": np.array([[1, -1, 0.5]], np.float32)}]

        def get_next(self) -> dict[str, Array] | None:
            return self.left.pop() if self.left else None

    path = product(tmp_path / "p.onnx")
    theirs = tmp_path / "theirs.onnx"
    symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True}
    quantize_static(
        path, theirs, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, weight_type=QuantType.QInt8,
        activation_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax, extra_options=symmetric,
    )  # fmt: skip
    quantise_qdq(path, out, {"x": (-1.0, 1.0)})
    mine, other = weights(out), weights(theirs)
    np.testing.assert_array_equal(mine["w.int8"], other["w_quantized"])
    np.testing.assert_allclose(mine["w.scale"], other["w_scale"], rtol=1e-6)
    assert mine["y.input.scale"] == pytest.approx(other["x_scale"])


def test_only_the_blocks_that_are_named(source: Path, out: Path) -> None:
    ranges = measured(source)
    report = quantise_qdq(source, out, {name: ranges[name] for name in ("n2",)}, ["gate", "up"], {"gate": 0.5, "q": 2.0})
    assert [layer.name for layer in report.layers if layer.precision == "w8a8"] == ["gate", "up"]
    assert report.layer("q").reason == "not chosen"
    assert (report.layer("gate").figures["ratio"], report.layer("q").figures["ratio"]) == (0.5, 2.0)
    assert weights(out)["w_q"].dtype == np.float32
    quantise_qdq(source, out, {}, [])
    assert {made.op_type for made in nodes(out).values()} == {made.op_type for made in nodes(source).values()}
    np.testing.assert_array_equal(run(out, feed())["logits"], run(source, feed())["logits"])


def test_a_weight_that_two_read_is_stored_once(tmp_path: Path, out: Path) -> None:
    w = np.eye(4, dtype=np.float32)
    path = write(tmp_path / "s.onnx", [node("MatMul", "x w", "a"), node("MatMul", "a w", "b")], {"x": ["T", 4]}, ["b"], {"w": w})
    quantise_qdq(path, out, {"x": (-1, 1), "a": (-1, 1)})
    assert [name for name, values in weights(out).items() if values.size == 16] == ["w.int8"]


def test_an_input_that_was_always_zero_leaves_its_product_alone(tmp_path: Path, out: Path) -> None:
    report = quantise_qdq(product(tmp_path / "p.onnx"), out, {"x": (0.0, 0.0)})
    assert report.counts == {"fp32 (input is always 0)": 1}
    assert run(out, {"x": np.ones((1, 3), np.float32)})["y"][0, 0] == pytest.approx(0.784)


def test_an_output_of_next_to_nothing_has_a_scale_all_the_same(tmp_path: Path, out: Path) -> None:
    w = np.array([[1, 0, 1e-40], [2, 0, 1e-44]], np.float32)
    path = write(tmp_path / "z.onnx", [node("MatMul", "x w", "y")], {"x": ["T", 2]}, ["y"], {"w": w})
    quantise_qdq(path, out, {"x": (-1, 1)})
    assert weights(out)["w.scale"][1:].tolist() == [1, 1]
    np.testing.assert_allclose(run(out, {"x": np.ones((1, 2), np.float32)})["y"], [[3, 0, 0]], rtol=0.02)


def test_half_precision_around_int8(source: Path, out: Path, tmp_path: Path) -> None:
    """For an engine that has both: what is between the int8 products goes to float16, they and their Q and DQ stay as they are."""
    quantise_qdq(source, out, measured(source))
    both = tmp_path / "both.onnx"
    report = halve(out, both, [feed()], 0.05)
    assert {layer.name for layer in report.layers if layer.reason == "quantised"} >= {"q", "gate", "fed"}
    one, two = weights(out), weights(both)
    np.testing.assert_array_equal(one["w_q.int8"], two["w_q.int8"])
    assert two["w_q.scale"].dtype == np.float32
    assert types(both)["silu"] == "float16"
    assert strayed(run(out, feed())["hidden"], run(both, feed())["hidden"]) < 0.05
    for target in TABLES:
        assert check(both, target) == check(source, target)


def test_weights_beside_the_graph_stay_there(tmp_path: Path, out: Path) -> None:
    source = decoder(tmp_path / "step.onnx", beside=True)
    quantise_qdq(source, out, measured(source))
    assert out.with_name("int8.onnx.data").is_file()
    inside = decoder(tmp_path / "inside.onnx")
    other = tmp_path / "other.onnx"
    quantise_qdq(inside, other, measured(inside))
    np.testing.assert_array_equal(run(out, feed())["hidden"], run(other, feed())["hidden"])


def test_twice_is_the_same_file(source: Path, out: Path, tmp_path: Path) -> None:
    for path in (out, tmp_path / "again.onnx"):
        quantise_qdq(source, path, measured(source))
    assert out.read_bytes() == (tmp_path / "again.onnx").read_bytes()


SIZES = st.floats(-1e4, 1e4, width=32).map(lambda size: size if abs(size) > 1e-20 else 0.0)


@given(w=arrays(np.float32, (5, 3), elements=SIZES), axis=st.sampled_from([0, 1]))
def test_no_weight_is_off_by_more_than_half_a_level(tmp_path_factory: pytest.TempPathFactory, w: Array, axis: int) -> None:
    folder = tmp_path_factory.mktemp("qdq")
    stored = w if axis == 1 else np.ascontiguousarray(w.T)
    path = write(folder / "w.onnx", [node("Gemm", "x w", "y", transB=1 - axis)], {"x": ["T", 5]}, ["y"], {"w": stored})
    report = quantise_qdq(path, folder / "q.onnx", {"x": (-1, 1)})
    found = weights(folder / "q.onnx")
    steps = found["w.scale"] if axis == 1 else found["w.scale"][:, None]
    back = found["w.int8"].astype(np.float32) * steps
    assert (np.abs(back - stored) <= steps * 0.5001).all()
    assert (np.abs(found["w.int8"].astype(int)) <= 127).all()
    size = np.linalg.norm(stored.astype(np.float64))
    assert report.layer("y").figures["weight_error"] == pytest.approx(
        np.linalg.norm(back - stored) / size if size else 0, rel=1e-3, abs=1e-9
    )


class TestRefusals:
    def test_a_tensor_without_range_names_the_nearest(self, source: Path, out: Path) -> None:
        ranges = measured(source)
        ranges["n3"] = ranges.pop("n1")
        with pytest.raises(ConfigError, match=r"tensor 'n1' has no range; did you mean 'n\d'\?; calibrate this graph"):
            quantise_qdq(source, out, ranges)
        assert not out.exists()

    @pytest.mark.parametrize("ends", [(1.0, -1.0), (np.nan, 1.0), (-1.0, np.inf)])
    def test_ranges_that_are_none(self, tmp_path: Path, out: Path, ends: tuple[float, float]) -> None:
        with pytest.raises(ConfigError, match="tensor 'x': range"):
            quantise_qdq(product(tmp_path / "p.onnx"), out, {"x": ends})

    def test_nodes_there_are_not(self, source: Path, out: Path) -> None:
        with pytest.raises(ConfigError, match=r"no product 'gates'; did you mean 'gate'\?"):
            quantise_qdq(source, out, measured(source), ["gates"])

    def test_graphs_without_products(self, tmp_path: Path, out: Path) -> None:
        path = write(tmp_path / "x.onnx", [node("Neg", "x", "y")], {"x": [1]}, ["y"], {})
        with pytest.raises(ConfigError, match="no product by a weight"):
            quantise_qdq(path, out, {})

    @pytest.mark.parametrize("bad", ["w", "b"])
    def test_weights_that_are_not_finite_by_name(self, tmp_path: Path, out: Path, bad: str) -> None:
        held = {"w": np.ones((2, 2), np.float32), "b": np.ones(2, np.float32)}
        held[bad][..., 1] = np.nan
        path = write(tmp_path / "n.onnx", [node("Gemm", "x w b", "y")], {"x": ["T", 2]}, ["y"], held)
        with pytest.raises(ConfigError, match=f"weight {bad} holds nan or inf"):
            quantise_qdq(path, out, {"x": (-1, 1)})
        assert list(tmp_path.glob("*int8*")) == []

    def test_a_scaled_product_is_left_and_told(self, tmp_path: Path, out: Path) -> None:
        made = [node("Gemm", "x w", "y", alpha=2.0), node("MatMul", "y w", "z")]
        path = write(tmp_path / "a.onnx", made, {"x": ["T", 2]}, ["z"], {"w": np.ones((2, 2), np.float32)})
        report = quantise_qdq(path, out, {"y": (-1, 1)})
        assert report.layer("y").reason == "scaled or turned"
        assert onnx.load(str(out)).opset_import[0].version == 20
