"""How a graph is read: bodies, functions, weights that lie beside it, files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from edge_vla.errors import ConfigError
from export.gate import Rule, check
from export.gate.typed_graph import TypedGraph, read_model
from tests.export.gate.cases import model

GIB = 2**30


def saved(folder: Path, graph: ModelProto) -> Path:
    path = folder / "graph.onnx"
    onnx.save(graph, str(path))
    return path


def outside(tensor: TensorProto, location: str, offset: int, length: int) -> TensorProto:
    """The tensor, its bytes moved to a file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def with_weights_beside(folder: Path, zero: int) -> Path:
    """A terabyte of weights, of which only 0.1 and `zero` at its end are on the disk: the scale and the zero point."""
    size = 1024 * GIB
    with (folder / "graph.data").open("wb") as file:
        os.truncate(file.fileno(), size)
        file.seek(size)
        file.write(np.float32(0.1).tobytes() + np.int8(zero).tobytes())
    weights = outside(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1024, size // 4096]), "graph.data", 0, size)
    scale = outside(numpy_helper.from_array(np.float32(0.1), "s"), "graph.data", size, 4)
    point = outside(numpy_helper.from_array(np.int8(0), "z"), "graph.data", size + 4, 1)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["p"]),
        helper.make_node("DequantizeLinear", ["p", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1024])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, size // 4096])
    graph = helper.make_graph(nodes, "g", [x], [y], [weights, scale, point])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (folder / "graph.onnx").write_bytes(made.SerializeToString())
    return folder / "graph.onnx"


@pytest.mark.parametrize(("zero", "rules"), [(0, []), (1, [Rule.SYMMETRIC, Rule.SYMMETRIC])])
def test_of_the_weights_only_scales_and_zero_points_are_read(tmp_path: Path, zero: int, rules: list[Rule]) -> None:
    assert [finding.rule for finding in check(with_weights_beside(tmp_path, zero), "10.3")] == rules


def test_missing_weights(tmp_path: Path) -> None:
    path = with_weights_beside(tmp_path, 0)
    (tmp_path / "graph.data").unlink()
    with pytest.raises(ConfigError, match=r"graph\.onnx: its weights are in graph\.data, which is not beside it"):
        check(path, "10.3")


@pytest.mark.parametrize("data", [b"", b"no graph", b"\x00" * 64])
def test_a_file_that_is_no_graph(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "graph.onnx").write_bytes(data)
    with pytest.raises(ConfigError, match=r"graph\.onnx: not an ONNX graph"):
        check(tmp_path / "graph.onnx", "10.3")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.onnx: No such file"):
        check(tmp_path / "nowhere.onnx", "10.3")


def test_another_version(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tensorrt '8\.6': want 10\.3 or 11"):
        check(tmp_path / "graph.onnx", "8.6")


NESTED = """(bool c, float[1,4] x, int64[1] a) => (y) <int64[1] k = {{0}}> """
INNER = """y = If (c) <
  then_branch = one () => (p) {{ p = Squeeze(x, {axes}) }},
  else_branch = two () => (q) {{ r = If (c) <
    then_branch = three () => (s) {{ s = ReduceMean <keepdims = 0> (x, {axes}) }},
    else_branch = four () => (t) {{ t = ReduceMax <keepdims = 0> (x, {axes}) }}> q = Neg(r) }}>"""


def test_bodies_within_bodies_are_judged_with_what_is_outside(tmp_path: Path) -> None:
    signature = NESTED.format()
    assert check(saved(tmp_path, model(signature, INNER.format(axes="k"))), "10.3") == []
    found = check(saved(tmp_path, model(signature, INNER.format(axes="a"))), "10.3")
    assert [(finding.op, finding.rule) for finding in found] == [
        ("Squeeze", Rule.CONSTANT), ("ReduceMean", Rule.CONSTANT), ("ReduceMax", Rule.CONSTANT),
    ]  # fmt: skip
    assert found[0].found == "axes a is an input of the graph"


def test_a_constant_outside_is_one_inside(tmp_path: Path) -> None:
    body = "k = Constant <value_ints = [0]> () " + INNER.format(axes="k")
    assert check(saved(tmp_path, model("(bool c, float[1,4] x) => (y)", body)), "10.3") == []
    body = "k = Add(a, a) " + INNER.format(axes="k")
    found = check(saved(tmp_path, model(NESTED.format().split("<", maxsplit=1)[0], body)), "10.3")
    assert [finding.found for finding in found] == ["axes k comes from Add"] * 3


def test_an_inner_name_hides_an_outer_one(tmp_path: Path) -> None:
    """As in ONNX's own scoping, `k` is the Constant outside and the sum inside."""
    body = """y = If (c) <then_branch = one () => (p) { p = Squeeze(x, k) },
              else_branch = two () => (q) { k = Add(a, a) q = Squeeze(x, k) }>"""
    found = check(saved(tmp_path, model("(bool c, float[1,4] x, int64[1] a) => (y) <int64[1] k = {0}>", body)), "10.3")
    assert [(finding.node, finding.rule) for finding in found if finding.rule is Rule.CONSTANT] == [("q", Rule.CONSTANT)]


def test_functions_are_unfolded(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 20, "own" : 1]>
    g (float[4] x) => (y) { y = own.twist(x) }
    <domain: "own", opset_import: ["" : 20]> twist (a) => (b) { c = NonZero(a) b = BODY(c) }"""
    good, bad = (parser.parse_model(text.replace("BODY", name)) for name in ("Neg", "BitwiseNot"))
    assert check(saved(tmp_path, good), "10.3") == []
    (finding,) = check(saved(tmp_path, bad), "10.3")
    assert (finding.op, finding.rule) == ("BitwiseNot", Rule.OPERATOR)


def test_types_and_sizes_are_those_onnx_infers(tmp_path: Path) -> None:
    path = saved(tmp_path, model("(float16[N,4] x) => (y)", "s = Shape(x) z = Cast <to = 1> (x) y = Reshape(z, s)"))
    inferred, unsound = read_model(path)
    graph = TypedGraph(inferred.graph, tmp_path)
    assert unsound is None
    assert [(name, graph.dtype(name), graph.shape(name)) for name in "xszy"] == [
        ("x", "FP16", (None, 4)), ("s", "INT64", (2,)), ("z", "FP32", (None, 4)), ("y", "FP32", (None, 4)),
    ]  # fmt: skip
    assert graph.maker("z") == inferred.graph.node[1]
    assert [node.op_type for node in graph.takers("x")] == ["Shape", "Cast"]
    assert graph.dtype("nothing") is None
    assert graph.shape("nothing") is None


def test_an_unsound_graph_is_told_of_and_still_judged(tmp_path: Path) -> None:
    path = saved(tmp_path, model("(float[2] x, float[3] z, int64[1] a) => (y)", "s = Add(x, z) y = ReduceSum(s, a)"))
    found = check(path, "10.3")
    assert [finding.rule for finding in found] == [Rule.ONNX, Rule.UNTYPED, Rule.CONSTANT]
    assert "Add" in found[0].found


def test_a_graph_without_an_opset_is_told_of_and_still_judged(tmp_path: Path) -> None:
    graph = model("(float[2] x, int64[1] a) => (y)", "y = ReduceSum(x, a)")
    del graph.opset_import[:]
    found = check(saved(tmp_path, graph), "10.3")
    assert [finding.rule for finding in found] == [Rule.OPSET, Rule.ONNX, Rule.UNTYPED, Rule.CONSTANT]


def test_a_name_given_twice_is_unsound(tmp_path: Path) -> None:
    """Types could be inferred; which of the two is meant could not."""
    (finding,) = check(saved(tmp_path, model("(float[2] x) => (y)", "y = Neg(x) y = Abs(x)")), "10.3")
    assert (finding.rule, finding.found) == (Rule.ONNX, "y is given twice")


@pytest.mark.parametrize("constant", ["value_ints = [4000]", "value = int64[1] {4000}", "value_int = 4000"])
def test_what_a_constant_node_says_is_read_from_a_body_too(tmp_path: Path, constant: str) -> None:
    body = f"""k = Constant <{constant}> () y = If (c) <then_branch = one () => (p) {{ p, i = TopK(x, k) }},
               else_branch = two () => (q) {{ q = Neg(x) }}>"""
    (finding,) = check(saved(tmp_path, model("(bool c, float[5000] x) => (y)", body)), "10.3")
    assert (finding.op, finding.rule, finding.found) == ("TopK", Rule.TOPK, "K=4000")


def test_a_finding_says_node_operator_rule_what_and_what_instead(tmp_path: Path) -> None:
    (finding,) = check(saved(tmp_path, model("(float[9] x) => (y) <int64[1] k = {5}>", "y, i = TopK <sorted = 0> (x, k)")), "10.3")
    assert str(finding) == "TopK 'y': sorted=0; want sorted 1 (attribute, onnx-tensorrt docs/operators.md)"
    assert finding.as_json() == {
        "node": "y", "op": "TopK", "rule": "attribute", "found": "sorted=0", "allowed": "sorted 1",
        "basis": "onnx-tensorrt docs/operators.md",
    }  # fmt: skip
