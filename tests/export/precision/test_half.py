"""float16 with float32 islands: what stays wide, why, and that the bound holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edge_vla.errors import ConfigError, EngineError
from export.precision.half import halve
from export.precision.layer_report import Report
from tests.export.precision.makers import (
    NORMS,
    WIDTH,
    decoder,
    feed,
    node,
    nodes,
    run,
    run_truly,
    strayed,
    types,
    weights,
    write,
)  # fmt: skip

BOUND = 1e-2
Array = np.ndarray[Any, Any]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return decoder(tmp_path / "step.onnx")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "half.onnx"


def reasons(report: Report) -> dict[str, str]:
    return {layer.name: layer.reason for layer in report.layers}


def test_it_says_the_same_within_the_bound_and_another_model_does_not(source: Path, out: Path, tmp_path: Path) -> None:
    report = halve(source, out, [feed(), feed(1)], BOUND)
    unseen = feed(9, seed=5)
    want, half, truly = run(source, unseen), run(out, unseen), run_truly(out, unseen)
    other = run(decoder(tmp_path / "other.onnx", seed=1), unseen)
    for name, values in want.items():
        assert strayed(values, half[name]) < BOUND
        assert strayed(values, truly[name]) < BOUND
        assert strayed(values, half[name]) > 1e-5, "nothing was rounded"
        assert strayed(values, other[name]) > 0.2
    assert 1e-5 < report.figures["error"] <= BOUND


def test_inputs_and_outputs_are_still_float32(source: Path, out: Path) -> None:
    halve(source, out, [feed()], BOUND)
    found = types(out)
    assert [found[name] for name in ("embeddings", "mask", "logits", "hidden")] == ["float32"] * 4
    assert {name: values.dtype for name, values in run(out, feed()).items()} == {"logits": np.float32, "hidden": np.float32}


def test_norms_softmax_angles_and_logits_compute_in_float32_and_products_do_not(source: Path, out: Path) -> None:
    report = halve(source, out, [feed()], BOUND)
    found, made, why = types(out), nodes(out), reasons(report)
    islands = {
        "softmax": ["scaled", "masked", "weights"],
        "angle": ["column", "angle", "cos"],
        "logits": ["raw", "small", "bent", "logits"],
    }
    for reason, names in {"norm": NORMS, **islands}.items():
        for name in names:
            assert why[name] == reason, name
            floats = [found[each] for each in (*made[name].input, *made[name].output) if found[each] != "int64"]
            assert set(floats) == {"float32"}, name
    for name in ("q", "k", "v", "scores", "mixed", "attended", "gate", "up", "fed", "turned_q"):
        assert why[name] == "", name
        assert {found[each] for each in (*made[name].input, *made[name].output)} == {"float16"}, name


def test_each_weight_is_stored_once_matrices_as_float16(source: Path, out: Path) -> None:
    report = halve(source, out, [feed()], BOUND)
    before, after = weights(source), weights(out)
    for name in ("w_q", "w_o", "w_gate", "w_down"):
        np.testing.assert_array_equal(after[name], before[name].astype(np.float16))
    np.testing.assert_array_equal(after["w_head.half"], before["w_head"].astype(np.float16))
    assert after["norm1"].dtype == after["frequency"].dtype == np.float32
    matrices = [name for name, values in after.items() if values.size > WIDTH]
    assert sorted(matrices) == sorted([name for name in before if name.startswith("w_") and name != "w_head"] + ["w_head.half"])
    assert report.figures["weight_bytes"] == sum(values.nbytes for values in after.values())


@pytest.mark.parametrize("low", [float(np.finfo(np.float32).min), -1e9, float("-inf")])
def test_a_mask_hides_and_makes_no_nan(source: Path, out: Path, low: float) -> None:
    halve(source, out, [feed(low=low)], BOUND)
    hidden = feed(low=low)
    other = feed(low=low)
    other["embeddings"][-1] = 9  # the last position is hidden from all before it
    for runner in (run, run_truly):
        one, two = runner(out, hidden)["hidden"], runner(out, other)["hidden"]
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one[:-1], two[:-1])
        assert np.abs(one[-1] - two[-1]).max() > 0.1


def test_a_row_that_sees_nothing_is_no_nan(source: Path, out: Path) -> None:
    blind = feed(low=-1e9)
    blind["mask"][2] = -1e9
    halve(source, out, [blind], BOUND)
    for runner in (run, run_truly):
        assert np.isfinite(runner(out, blind)["hidden"]).all()


def soft(path: Path) -> Path:
    """A softmax spelt out: nothing says that its argument is masked but the numbers."""
    made = [
        node("Add", "x mask", "sum"), node("Exp", "sum", "e"), node("ReduceSum", "e last", "total"), node("Div", "e total", "p"),
        node("Exp", "mask", "open"), node("MatMul", "open w", "y"),
    ]  # fmt: skip
    return write(path, made, {"x": [4, 4], "mask": [4, 4]}, ["p", "y"], {"last": np.array([-1]), "w": np.eye(4, dtype=np.float32)})


def test_a_mask_that_has_to_be_half_ends_at_the_lowest_half(tmp_path: Path, out: Path) -> None:
    fed = {"x": np.linspace(-2, 2, 16, dtype=np.float32).reshape(4, 4), "mask": np.where(np.tri(4, dtype=bool), 0, -1e9).astype(np.float32)}
    report = halve(soft(tmp_path / "soft.onnx"), out, [fed], BOUND)
    why = reasons(report)
    assert (why["sum"], why["open"]) == ("mask", "")
    made = nodes(out)
    clips = [each for each in made.values() if each.op_type == "Clip"]
    assert {each.input[0] for each in clips} == {"mask", "sum"}
    assert {float(weights(out)[each.input[1]]) for each in clips} == {-65504.0}
    for values in run_truly(out, fed).values():
        assert np.isfinite(values).all()
        assert (values[~np.tri(4, dtype=bool)] == 0).all()


def test_a_constant_that_masks_ends_there_as_well(tmp_path: Path, out: Path) -> None:
    made = [
        node("Greater", "x zero", "seen"),
        node("Where", "seen x low", "chosen"),
        node("Exp", "chosen", "e"),
        node("MatMul", "e w", "y"),
    ]
    path = write(
        tmp_path / "where.onnx", made, {"x": [2, 4]}, ["y"],
        {"zero": np.float32(0), "low": np.full((2, 4), -1e9, np.float32), "w": np.eye(4, dtype=np.float32)},
    )  # fmt: skip
    fed = {"x": np.array([[1, -1, 2, -2], [0.5, 3, -4, -1]], np.float32)}
    report = halve(path, out, [fed], BOUND)
    assert reasons(report)["chosen"] == "mask"
    np.testing.assert_allclose(run_truly(out, fed)["y"], np.where(fed["x"] > 0, np.exp(fed["x"]), 0), rtol=2e-3)


def test_what_overflows_becomes_an_island(tmp_path: Path, out: Path) -> None:
    source = decoder(tmp_path / "loud.onnx", gain=3e4)
    report = halve(source, out, [feed()], BOUND)
    assert report.figures["error_without_islands"] == np.inf
    why, found = reasons(report), types(out)
    assert (why["large"], why["fed"], why["added"]) == ("overflow",) * 3
    assert found["large"] == found["fed"] == "float32"
    assert weights(out)["w_down.half"].dtype == np.float16, "an island for its result is none for its weight"
    for runner in (run, run_truly):
        got = runner(out, feed(seed=3))
        assert all(np.isfinite(values).all() for values in got.values())
        assert strayed(run(source, feed(seed=3))["hidden"], got["hidden"]) < BOUND


def test_an_activation_has_room_for_twice_what_was_seen(tmp_path: Path, out: Path) -> None:
    for peak, wide in ((32_700, False), (32_800, True)):
        path = write(tmp_path / "x.onnx", [node("Mul", "x k", "y"), node("Neg", "y", "z")], {"x": [1]}, ["z"], {"k": np.float32(1)})
        report = halve(path, out, [{"x": np.array([peak], np.float32)}], BOUND)
        assert (reasons(report)["y"] == "overflow") is wide


def test_a_weight_that_float16_cannot_hold_stays_float32(tmp_path: Path, out: Path) -> None:
    w = np.eye(4, dtype=np.float32)
    w[0, 0] = 7e4
    path = write(
        tmp_path / "big.onnx", [node("MatMul", "x w", "y"), node("MatMul", "y v", "z")], {"x": [1, 4]}, ["z"], {"w": w, "v": w.T / 8e4}
    )
    report = halve(path, out, [{"x": np.array([[1e-3, 1, 2, 3]], np.float32)}], BOUND)
    assert reasons(report) == {"y": "weight", "z": ""}
    assert (weights(out)["w"].dtype, weights(out)["v"].dtype) == (np.float32, np.float16)


def test_angles_of_far_positions_are_right(source: Path, out: Path) -> None:
    """float16 knows no 4099; and an angle that is off by one is another one."""
    halve(source, out, [feed()], BOUND)
    far = feed(start=4097)
    assert strayed(run(source, far)["hidden"], run(out, far)["hidden"]) < BOUND


def test_a_tighter_bound_makes_more_islands_until_it_holds(source: Path, out: Path) -> None:
    loose, tight = (halve(source, out, [feed()], bound) for bound in (BOUND, 3e-4))
    assert "fp32 (error)" not in loose.counts
    assert tight.counts["fp32 (error)"] > 0
    assert tight.figures["error"] <= 3e-4 < loose.figures["error"]
    exact = halve(source, out, [feed()], 1e-12)
    assert exact.figures["error"] == 0.0
    np.testing.assert_array_equal(run(out, feed(), optimise=False)["hidden"], run(source, feed(), optimise=False)["hidden"])


def test_the_report_says_of_each_node_what_it_would_lose_and_what_it_loses(source: Path, out: Path, tmp_path: Path) -> None:
    report = halve(source, out, [feed()], BOUND)
    report.save(tmp_path / "report.json")
    told = json.loads((tmp_path / "report.json").read_text())
    layers = {layer["name"]: layer for layer in told["layers"]}
    assert layers["weights"] | {"figures": None} == {
        "name": "weights", "kind": "Softmax", "precision": "fp32", "reason": "softmax", "figures": None,
    }  # fmt: skip
    assert layers["q"]["precision"] == "fp16"
    assert layers["angle"]["figures"]["error"] == 0 < layers["angle"]["figures"]["error_without_islands"]
    assert told["precision"] == "fp16"
    assert sum(told["counts"].values()) == len(layers) == len(nodes(source))


def test_what_the_report_measures_is_what_true_half_precision_gives(tmp_path: Path, out: Path) -> None:
    """Elementwise arithmetic has one right answer in float16, so the measured error is that of the file, to the last bit."""
    made = [node("Mul", "x k", "a"), node("Add", "a x", "b"), node("Sub", "b k", "c"), node("Mul", "c b", "y")]
    path = write(tmp_path / "x.onnx", made, {"x": [64]}, ["y"], {"k": np.float32(1 / 3)})
    fed = {"x": np.random.default_rng(0).normal(size=64).astype(np.float32)}
    report = halve(path, out, [fed], BOUND)
    assert report.counts == {"fp16": 4}
    assert report.figures["error"] == pytest.approx(strayed(run(path, fed)["y"], run_truly(out, fed)["y"]), rel=1e-6)


def test_a_cache_may_be_narrow(tmp_path: Path, out: Path) -> None:
    made = [node("MatMul", "x w", "new"), node("Concat", "past new", "keys", axis=0), node("Softmax", "keys", "y"), node("Neg", "y", "z")]
    path = write(tmp_path / "cache.onnx", made, {"x": [1, 8], "past": ["P", 8]}, ["keys", "z"], {"w": np.eye(8, dtype=np.float32) * 1.1})
    rng = np.random.default_rng(0)
    fed = {"x": rng.normal(size=(1, 8)).astype(np.float32), "past": rng.normal(size=(3, 8)).astype(np.float32)}
    halve(path, out, [fed], BOUND, narrow=("past", "keys"))
    found = types(out)
    assert [found[name] for name in ("x", "past", "keys", "z")] == ["float32", "float16", "float16", "float32"]
    got = run(out, fed | {"past": fed["past"].astype(np.float16)})
    assert got["keys"].dtype == np.float16
    assert strayed(run(path, fed)["keys"], got["keys"]) < 1e-3


def test_an_output_that_an_island_makes_may_be_narrow(tmp_path: Path, out: Path) -> None:
    path = write(tmp_path / "x.onnx", [node("Softmax", "x", "y"), node("Neg", "y", "z")], {"x": [2, 4]}, ["y", "z"], {})
    fed = {"x": np.arange(8, dtype=np.float32).reshape(2, 4) / 7}
    report = halve(path, out, [fed], BOUND, narrow=("y",))
    assert (types(out)["y"], types(out)["z"]) == ("float16", "float32")
    got = run_truly(out, fed)
    np.testing.assert_array_equal(got["y"], run(path, fed)["y"].astype(np.float16))
    assert 0 < report.figures["error"] < 1e-3


def test_weights_beside_the_graph_stay_there(tmp_path: Path, out: Path) -> None:
    source = decoder(tmp_path / "step.onnx", beside=True)
    halve(source, out, [feed()], BOUND)
    assert out.with_name("half.onnx.data").stat().st_size < source.with_name("step.onnx.data").stat().st_size
    assert strayed(run(source, feed())["hidden"], run(out, feed())["hidden"]) < BOUND


def test_twice_is_the_same_file(source: Path, out: Path, tmp_path: Path) -> None:
    for path in (out, tmp_path / "again.onnx"):
        halve(source, path, [feed()], 1e-3)
    assert out.read_bytes() == (tmp_path / "again.onnx").read_bytes()


def test_half_of_a_half_is_the_same_graph(source: Path, out: Path, tmp_path: Path) -> None:
    """A file whose weights are halves already, with a Cast behind each, as an exporter that saves disk writes it."""
    halve(source, out, [feed()], BOUND)
    graph = onnx.load(str(source))
    casts = []
    for tensor in graph.graph.initializer:
        if tensor.name.startswith("w_"):
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            casts.append(helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=TensorProto.FLOAT))
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, f"{tensor.name}.half"))
    for cast in casts:
        graph.graph.node.insert(0, cast)
    stored = tmp_path / "stored.onnx"
    onnx.save(graph, str(stored))
    again = tmp_path / "again.onnx"
    halve(stored, again, [feed()], BOUND)
    one, two = weights(out), weights(again)
    assert {name: values.dtype for name, values in one.items()} == {name.rstrip("_"): values.dtype for name, values in two.items()}
    np.testing.assert_array_equal(run(out, feed())["hidden"], run(again, feed())["hidden"])


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), length=st.integers(1, 9), scale=st.floats(1e-3, 1e4), bound=st.sampled_from([1e-2, 2e-3, 5e-4]))
def test_whatever_the_numbers_the_bound_holds(
    tmp_path_factory: pytest.TempPathFactory, seed: int, length: int, scale: float, bound: float
) -> None:
    folder = tmp_path_factory.mktemp("half")
    source, out = decoder(folder / "step.onnx", seed, gain=scale), folder / "half.onnx"
    fed = feed(length, seed)
    report = halve(source, out, [fed], bound)
    assert report.figures["error"] <= bound
    want, got = run(source, fed), run(out, fed)
    assert all(strayed(want[name], got[name]) <= 2 * bound for name in want)  # the runtime adds in another order


class TestRefusals:
    def test_weights_that_are_not_finite_by_name(self, tmp_path: Path, out: Path) -> None:
        for bad in (np.nan, np.inf):
            w = np.full((4, 4), bad, np.float32)
            path = write(tmp_path / "bad.onnx", [node("MatMul", "x w", "y")], {"x": [1, 4]}, ["y"], {"w": w})
            with pytest.raises(ConfigError, match="weight w holds nan or inf"):
                halve(path, out, [{"x": np.zeros((1, 4), np.float32)}], BOUND)
            assert not out.exists()

    @pytest.mark.parametrize("bound", [0, -1, np.nan, np.inf])
    def test_bounds_that_are_none(self, source: Path, out: Path, bound: float) -> None:
        with pytest.raises(ConfigError, match="bound"):
            halve(source, out, [feed()], bound)

    def test_feeds_that_do_not_fit(self, source: Path, out: Path) -> None:
        with pytest.raises(ConfigError, match="no feeds"):
            halve(source, out, [], BOUND)
        with pytest.raises(ConfigError, match="a feed of embeddings, positions; its inputs are embeddings, mask, positions"):
            halve(source, out, [{name: values for name, values in feed().items() if name != "mask"}], BOUND)
        with pytest.raises(EngineError, match=r"step\.onnx"):
            halve(source, out, [feed() | {"embeddings": np.zeros((7, 3), np.float32)}], BOUND)

    def test_a_graph_that_is_not_finite_itself(self, source: Path, out: Path) -> None:
        with pytest.raises(EngineError, match="is nan in float32 already"):
            halve(source, out, [feed() | {"embeddings": np.full((7, WIDTH), np.nan, np.float32)}], BOUND)

    def test_operators_of_others(self, tmp_path: Path, out: Path) -> None:
        path = write(tmp_path / "x.onnx", [helper.make_node("Gelu", ["x"], ["y"], "g", domain="com.microsoft")], {"x": [4]}, ["y"], {})
        with pytest.raises(ConfigError, match=r"Gelu 'g' is of com\.microsoft"):
            halve(path, out, [{"x": np.zeros(4, np.float32)}], BOUND)

    def test_names_that_cannot_be_narrow(self, source: Path, out: Path) -> None:
        with pytest.raises(ConfigError, match="no float32 input or output positions, there; it has embeddings, mask, logits, hidden"):
            halve(source, out, [feed()], BOUND, narrow=("there", "positions", "mask"))

    def test_a_bound_that_what_is_narrow_breaks(self, tmp_path: Path, out: Path) -> None:
        path = write(tmp_path / "x.onnx", [node("Neg", "x", "y")], {"x": [3]}, ["y"], {})
        with pytest.raises(ConfigError, match=r"all in float32 it strays by .*, more than 1e-05, by what is narrow: x"):
            halve(path, out, [{"x": np.array([1 / 3, 1, 2], np.float32)}], 1e-5, narrow=("x",))

    def test_graphs_without_floats(self, tmp_path: Path, out: Path) -> None:
        graph = helper.make_graph(
            [node("Neg", "x", "y")], "g", [helper.make_tensor_value_info("x", TensorProto.INT64, [1])],
            [helper.make_tensor_value_info("y", TensorProto.INT64, [1])],
        )  # fmt: skip
        path = tmp_path / "whole.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), str(path))
        with pytest.raises(ConfigError, match="nothing in it is float32"):
            halve(path, out, [{"x": np.array([1])}], BOUND)
