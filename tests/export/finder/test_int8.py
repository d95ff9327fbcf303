"""int8 of Finder's graphs: what becomes int8, what stays, and that a quantiser that passes over something is found out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.finder.int8 import image_of, operators, quantise_products


def nodes(folder: Path, name: str) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(str(folder / f"{name}.onnx")).graph.node)


def test_the_tower_keeps_its_first_convolution_and_its_dense_head_in_float32(int8_folder: Path) -> None:
    graph = onnx.load(str(int8_folder / "vision.onnx")).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    made = {output: node for node in graph.node for output in node.output}
    weights = [
        made[node.input[1]].op_type if node.input[1] in made else kinds[node.input[1]] for node in graph.node if node.op_type == "Conv"
    ]
    assert weights == [TensorProto.FLOAT, *["DequantizeLinear"] * 13]
    assert nodes(int8_folder, "vision")["MatMulInteger"] == 16  # four products of four blocks
    left = {name for node in graph.node if node.op_type == "MatMul" for name in node.input if kinds.get(name) == TensorProto.FLOAT}
    assert all(any(name.startswith(part) for name in left) for part in ("eye.dense.0", "eye.dense.2", "into_tokens"))
    assert not any(name.startswith("blocks.") for name in left)


def test_all_products_of_the_image_s_keys_are_int8(fp32: Path, int8_folder: Path) -> None:
    assert nodes(fp32, "prefix")["Gemm"] == nodes(int8_folder, "prefix")["MatMulInteger"] == 3 * 5 + 1
    assert nodes(int8_folder, "prefix")["Gemm"] == 0


def test_what_reads_the_question_has_int8_weights_alone(int8_folder: Path) -> None:
    found = nodes(int8_folder, "lm_step")
    assert found["MatMulNBits"] == 4 * 5 + 1
    assert not {"MatMulInteger", "DynamicQuantizeLinear", "QuantizeLinear", "Gemm"} & set(found)
    bits = {
        (a.name, a.i)
        for node in onnx.load(str(int8_folder / "lm_step.onnx")).graph.node
        for a in node.attribute
        if a.name in ("bits", "accuracy_level")
    }
    assert bits == {("bits", 8), ("accuracy_level", 4)}


def products(path: Path) -> Path:
    """Two of them, one behind the other."""
    rng, io = np.random.default_rng(0), (TensorProto.FLOAT, [4, 8])
    weights = [numpy_helper.from_array(rng.normal(size=(8, 8)).astype(np.float32), f"{name}.weight") for name in "ab"]
    one = helper.make_node("Gemm", ["x", "a.weight"], ["y"], "one", transB=1)
    two = helper.make_node("Gemm", ["y", "b.weight"], ["z"], "two", transB=1)
    ends = [helper.make_tensor_value_info("x", *io)], [helper.make_tensor_value_info("z", *io)]
    graph = helper.make_graph([one, two], "products", *ends, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


def test_only_chosen_products_become_int8(tmp_path: Path) -> None:
    path = products(tmp_path / "two.onnx")
    assert operators(path, "Gemm") == ["one", "two"]
    assert operators(path, "Gemm", lambda weight: weight.startswith("b.")) == ["two"]
    quantise_products(path, lambda weight: weight.startswith("b."))
    graph = onnx.load(str(path)).graph
    assert sum(node.op_type == "MatMulInteger" for node in graph.node) == 1
    floats = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2}
    assert [name[:8] for name in floats] == ["a.weight"]


def test_a_quantiser_that_passes_over_a_product_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another version of it would that names what it splits differently: nothing would be int8, and nobody would know."""
    path = products(tmp_path / "two.onnx")
    monkeypatch.setattr("export.finder.int8.operators", lambda *_: ["one", "renamed"])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"two\.onnx: want 2 products in int8, onnxruntime made 1"):
        quantise_products(path, lambda _: True)
    assert path.read_bytes() == before


def test_a_picture_is_scaled_as_the_engine_scales_it(engine: object, pictures: list[np.ndarray]) -> None:
    for picture in pictures:
        assert np.abs(image_of(picture).numpy() - engine.preprocess(picture)).max() < 1e-6
