"""Weights in 8 and 4 bits: the numbers by hand and by onnxruntime's own quantiser, the file, the memory it takes to write it."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edge_vla.errors import ConfigError
from export.precision.nbits import in_blocks, packed_bytes, quantise_weights, values_of
from tests.export.precision.makers import decoder, feed, node, nodes, run, strayed, weights, write

Array = np.ndarray[Any, Any]
MIB = 2**20


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "bits.onnx"


def product(path: Path, w: Array, kind: str = "MatMul", *, beside: bool = False, **said: Any) -> Path:
    inputs = {"x": ["T", w.shape[1] if said.get("transB") else w.shape[0]]}
    return write(path, [node(kind, "x w", "y", **said)], inputs, ["y"], {"w": w}, beside=beside)


def attributes(path: Path, name: str) -> dict[str, Any]:
    return {said.name: helper.get_attribute_value(said) for said in nodes(path)[name].attribute}


def test_four_bits_by_hand(tmp_path: Path, out: Path) -> None:
    """Of a block the number farthest from 0 becomes -8 levels: 4.0 makes a level -0.5, so 0.26 is -0.52 levels, to -1, stored as 8 - 1."""
    w = np.zeros((32, 2), np.float32)
    w[:4, 0] = [4.0, 0.26, -1.0, 0.24]
    w[:2, 1] = [-1.6, 1.6]
    quantise_weights(product(tmp_path / "p.onnx", w), out, 4)
    found = weights(out)
    np.testing.assert_allclose(found["w.scale"], [[-0.5], [0.2]])
    assert found["w.w4"].shape == (2, 1, 16)
    first, second = found["w.w4"][:, 0]
    assert [first[0] & 15, first[0] >> 4, first[1] & 15, first[1] >> 4] == [0, 7, 10, 8]
    assert [second[0] & 15, second[0] >> 4] == [0, 15]  # 1.6 is 8 levels up, 7 is the last
    assert set(first[2:]) == set(second[1:]) == {0x88}
    want = np.zeros_like(w)
    want[:4, 0], want[:2, 1] = [4.0, 0.5, -1.0, 0.0], [-1.6, 1.4]
    np.testing.assert_allclose(run(out, {"x": np.eye(32, dtype=np.float32)})["y"], want, atol=0.02)  # its products round the input too


def test_eight_bits_by_hand(tmp_path: Path, out: Path) -> None:
    w = np.zeros((32, 1), np.float32)
    w[:3, 0] = [-1.28, 0.014, 1.0]
    quantise_weights(product(tmp_path / "p.onnx", w), out, 8)
    found = weights(out)
    np.testing.assert_allclose(found["w.scale"], [[0.01]])
    assert list(found["w.w8"][0, 0, :4]) == [0, 129, 228, 128]


@pytest.fixture
def quiet() -> Iterator[None]:
    """onnxruntime's quantiser turns on everybody's logging when it is imported."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block", [16, 32, 128])
def test_its_numbers_are_those_of_onnxruntimes_own_quantiser(tmp_path: Path, out: Path, bits: int, block: int) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    w = np.random.default_rng(0).normal(size=(96, 40)).astype(np.float32)
    source = product(tmp_path / "p.onnx", w)
    config = DefaultWeightOnlyQuantConfig(block_size=block, is_symmetric=True, accuracy_level=4, bits=bits)
    theirs = MatMulNBitsQuantizer(onnx.load(str(source)), algo_config=config)
    theirs.process()
    quantise_weights(source, out, bits, block)
    other = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in theirs.model.model.graph.initializer}
    mine = weights(out)
    np.testing.assert_array_equal(mine[f"w.w{bits}"], other[f"w_Q{bits}"].reshape(mine[f"w.w{bits}"].shape))
    np.testing.assert_array_equal(mine["w.scale"].ravel(), other["w_scales"].ravel())
    assert attributes(out, "y") == {"K": 96, "N": 40, "bits": bits, "block_size": block, "accuracy_level": 4}


@pytest.mark.parametrize(("bits", "bound"), [(4, 0.3), (8, 0.02)])
def test_it_says_nearly_the_same_and_another_model_does_not(tmp_path: Path, out: Path, bits: int, bound: float) -> None:
    source = decoder(tmp_path / "step.onnx")
    report = quantise_weights(source, out, bits)
    assert report.counts == {"fp32 (no weight)": 2} | ({"w4": 7, "w8 (logits)": 1} if bits == 4 else {"w8": 8})
    want, got, other = run(source, feed()), run(out, feed()), run(decoder(tmp_path / "other.onnx", 1), feed())
    for name, values in want.items():
        assert 1e-3 < strayed(values, got[name]) < bound
        assert strayed(values, other[name]) > 0.5


@pytest.mark.parametrize(
    ("logits", "kind", "shape"), [(4, "w4", (40, 1, 16)), (8, "w8 (logits)", (40, 1, 32)), (32, "fp32 (logits)", None)]
)
def test_the_matrix_of_logits_keeps_more(tmp_path: Path, out: Path, logits: int, kind: str, shape: tuple[int, ...] | None) -> None:
    source = decoder(tmp_path / "step.onnx")
    report = quantise_weights(source, out, 4, logits_bits=logits)
    counts = {"fp32 (no weight)": 2, "w4": 7}
    assert report.counts == counts | {kind: counts.get(kind, 0) + 1}
    layer = report.layer("raw")
    assert (f"{layer.precision} ({layer.reason})" if layer.reason else layer.precision) == kind
    found = weights(out)
    if shape is None:
        np.testing.assert_array_equal(found["w_head"], weights(source)["w_head"])
        assert layer.figures == {}
        return
    assert found[f"w_head.w{logits}"].shape == shape
    whole = values_of(found[f"w_head.w{logits}"], found["w_head.scale"], logits, 32)
    assert strayed(weights(source)["w_head"], whole) <= 1 / 2 ** (logits - 1)  # a level; the largest number may be the one too many
    assert attributes(out, "raw")["bits"] == logits


def test_a_matrix_read_by_logits_and_by_another_product_is_stored_for_each(tmp_path: Path, out: Path) -> None:
    w = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    source = write(
        tmp_path / "p.onnx", [node("MatMul", "x w", "h"), node("MatMul", "h w", "logits")], {"x": ["T", 64]}, ["logits"], {"w": w}
    )
    quantise_weights(source, out, 4)
    found = weights(out)
    assert {name for name in found if name.startswith("w.w")} == {"w.w4", "w.w8"}
    assert (attributes(out, "h")["bits"], attributes(out, "logits")["bits"]) == (4, 8)


def test_what_no_answer_is_chosen_from_keeps_the_bits_asked_for(tmp_path: Path, out: Path) -> None:
    w = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    assert quantise_weights(product(tmp_path / "p.onnx", w), out, 4).counts == {"w4": 1}


def test_what_an_answer_is_chosen_from_are_logits_under_any_name(tmp_path: Path, out: Path) -> None:
    w = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    made = [
        node("MatMul", "x w", "scores"),
        node("ArgMax", "scores", "best", axis=-1),
        helper.make_node("Cast", ["best"], ["y"], to=TensorProto.FLOAT),
    ]
    assert quantise_weights(write(tmp_path / "p.onnx", made, {"x": ["T", 64]}, ["y"], {"w": w}), out, 4).counts == {"w8 (logits)": 1}


@pytest.mark.parametrize("logits", [0, 2, 16, 33])
def test_bits_for_logits_that_there_are_not(tmp_path: Path, out: Path, logits: int) -> None:
    source = product(tmp_path / "p.onnx", np.ones((64, 64), np.float32))
    with pytest.raises(ConfigError, match=f"{logits} bits for logits: want one of 4, 8, 32"):
        quantise_weights(source, out, 4, logits_bits=logits)
    assert not out.exists()


def test_a_gemm_with_a_bias_and_weights_that_lie_either_way(tmp_path: Path, out: Path) -> None:
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(64, 48)).astype(np.float32), rng.normal(size=48).astype(np.float32)
    x = rng.normal(size=(3, 64)).astype(np.float32)
    graphs = {
        "plain": ([node("MatMul", "x w", "m"), node("Add", "m b", "y")], w),
        "gemm": ([node("Gemm", "x w b", "y")], w),
        "turned gemm": ([node("Gemm", "x w b", "y", transB=1)], w.T.copy()),
        "turned": ([node("Transpose", "w", "wt", perm=[1, 0]), node("MatMul", "x wt", "m"), node("Add", "m b", "y")], w.T.copy()),
    }
    answers = {}
    for name, (made, stored) in graphs.items():
        source = write(tmp_path / "p.onnx", made, {"x": ["T", 64]}, ["y"], {"w": stored, "b": b})
        report = quantise_weights(source, out, 8)
        assert report.counts == {"w8": 1}
        assert {each.op_type for each in nodes(out).values()} == {"MatMulNBits", "Add"}
        answers[name] = run(out, {"x": x})["y"]
        assert strayed(x @ w + b, answers[name]) < 0.02
    for name, answer in answers.items():
        np.testing.assert_allclose(answer, answers["plain"], atol=1e-5, err_msg=name)


def test_a_weight_that_is_stored_as_float16(tmp_path: Path, out: Path) -> None:
    w = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float16)
    made = [helper.make_node("Cast", ["h"], ["w"], "c", to=TensorProto.FLOAT), node("MatMul", "x w", "y")]
    quantise_weights(write(tmp_path / "p.onnx", made, {"x": ["T", 64]}, ["y"], {"h": w}), out, 4)
    assert list(nodes(out)) == ["y"]
    levels, scales = in_blocks(w.T.astype(np.float32), 4, 32)
    np.testing.assert_array_equal(weights(out)["w.w4"], levels)
    np.testing.assert_array_equal(weights(out)["w.scale"], scales)


def test_what_would_not_shrink_and_what_is_no_product_stays(tmp_path: Path, out: Path) -> None:
    """A block is stored whole: one input of 2 outputs would take 40 bytes instead of 8."""
    rng = np.random.default_rng(0)
    made = [
        node("Conv", "x k", "c"), node("Reshape", "c shape", "r"), node("MatMul", "r w", "y"), node("MatMul", "z thin", "t"),
        node("MatMul", "y batch", "s"), node("MatMul", "y y", "u"), node("Gemm", "y w", "v", alpha=0.5),
    ]  # fmt: skip
    kept = {
        "k": rng.normal(size=(64, 64, 1, 1)), "w": rng.normal(size=(64, 64)), "thin": rng.normal(size=(1, 2)),
        "batch": rng.normal(size=(2, 64, 64)),
    }  # fmt: skip
    weighed = {name: values.astype(np.float32) for name, values in kept.items()} | {"shape": np.array([64, 64])}
    source = write(tmp_path / "p.onnx", made, {"x": [1, 64, 8, 8], "z": [3, 1]}, ["t", "s", "u", "v"], weighed)
    report = quantise_weights(source, out, 4)
    assert {layer.name: layer.reason or layer.precision for layer in report.layers} == {
        "c": "convolution", "y": "w4", "t": "not smaller", "s": "weight of 3 axes", "u": "no weight", "v": "scaled or turned",
    }  # fmt: skip
    after = weights(out)
    for name in ("k", "w", "thin", "batch"):  # w is read as it is by the Gemm
        np.testing.assert_array_equal(after[name], weighed[name])


def test_weights_beside_the_graph_stay_there_in_pages(tmp_path: Path, out: Path) -> None:
    rng = np.random.default_rng(0)
    made = [node("MatMul", "x w", "h"), node("MatMul", "h v", "y"), node("Add", "y b", "z")]
    kept = {"w": rng.normal(size=(512, 2048)), "v": rng.normal(size=(2048, 512)), "b": rng.normal(size=512)}
    weighed = {name: values.astype(np.float32) for name, values in kept.items()}
    inside = write(tmp_path / "inside.onnx", made, {"x": ["T", 512]}, ["z"], weighed)
    beside = write(tmp_path / "beside.onnx", made, {"x": ["T", 512]}, ["z"], weighed, beside=True)
    quantise_weights(beside, out, 4)
    quantise_weights(inside, tmp_path / "other.onnx", 4)
    assert not (tmp_path / "other.onnx.data").exists()
    graph = onnx.load(str(out), load_external_data=False).graph
    places = {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
    }
    assert set(places) == {"w.w4", "w.scale", "v.w4", "v.scale", "b"}
    assert {place["location"] for place in places.values()} == {"bits.onnx.data"}
    assert int(places["w.w4"]["offset"]) % 4096 == int(places["v.w4"]["offset"]) % 4096 == 0
    size = out.with_name("bits.onnx.data").stat().st_size
    assert packed_bytes(2048, 512, 4, 32) * 2 + 2048 <= size <= packed_bytes(2048, 512, 4, 32) * 2 + 2048 + 4 * 4096
    x = rng.normal(size=(2, 512)).astype(np.float32)
    np.testing.assert_array_equal(run(out, {"x": x})["z"], run(tmp_path / "other.onnx", {"x": x})["z"])


WRITING = """
import sys
from pathlib import Path
from export.precision.nbits import quantise_weights
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
before = peak()
quantise_weights(Path(sys.argv[1]), Path(sys.argv[2]), 4)
print(peak() - before)
"""


def test_writing_takes_the_memory_of_one_weight_not_of_the_graph(tmp_path: Path, out: Path, checkout: Path) -> None:
    """128 MiB of weights, the largest 16 MiB, some lying across: at most that one, looked at, and 32 MiB to work in."""
    rng = np.random.default_rng(0)
    kept = {name: rng.standard_normal((1024, 4096)[:: 1 - 2 * (k % 2)], np.float32) for k, name in enumerate("abcdefgh")}
    made = [node("MatMul", f"{'x' if k == 0 else f'y{k - 1}'} {name}", f"y{k}") for k, name in enumerate(kept)]
    source = write(tmp_path / "big.onnx", made, {"x": ["T", 1024]}, ["y7"], kept, beside=True)
    asked = subprocess.run([sys.executable, "-c", WRITING, str(source), str(out)], cwd=checkout, capture_output=True, text=True, check=True)
    assert int(asked.stdout) < (16 + 32) * MIB
    assert out.with_name("bits.onnx.data").stat().st_size == pytest.approx(8 * packed_bytes(4096, 1024, 4, 32), rel=0.01)


def test_twice_is_the_same_file(tmp_path: Path, out: Path) -> None:
    source = decoder(tmp_path / "step.onnx")
    for path in (out, tmp_path / "again.onnx"):
        quantise_weights(source, path, 4)
    assert out.read_bytes() == (tmp_path / "again.onnx").read_bytes()


def test_in_place(tmp_path: Path, out: Path) -> None:
    source = decoder(tmp_path / "step.onnx", beside=True)
    quantise_weights(source, out, 8)
    want = run(out, feed())
    quantise_weights(source, source, 8)
    np.testing.assert_array_equal(run(source, feed())["hidden"], want["hidden"])


@given(
    outputs=st.integers(1, 9), inputs=st.integers(1, 100), bits=st.sampled_from([4, 8]), block=st.sampled_from([16, 32, 64]),
    seed=st.integers(0, 999), size=st.floats(1e-6, 1e6),
)  # fmt: skip
def test_no_weight_is_off_by_more_than_half_a_level_but_what_is_opposite_the_largest(
    outputs: int, inputs: int, bits: int, block: int, seed: int, size: float
) -> None:
    """Levels go from -2^(b-1) to 2^(b-1) - 1: what would be at the missing end is off by one whole level at most."""
    w = (np.random.default_rng(seed).normal(size=(outputs, inputs)) * size).astype(np.float32)
    levels, scales = in_blocks(w, bits, block)
    assert levels.nbytes + scales.nbytes == packed_bytes(outputs, inputs, bits, block)
    back = values_of(levels, scales, bits, inputs)
    assert back.shape == w.shape
    step = np.repeat(scales, block, 1)[:, :inputs]
    clipped = (np.sign(w) == np.sign(step)) & (np.abs(w) > (2 ** (bits - 1) - 1) * np.abs(step))
    assert (np.abs(back - w) <= np.where(clipped, 1.001, 0.501) * np.abs(step)).all()


class TestRefusals:
    @pytest.mark.parametrize(("bits", "block", "told"), [(3, 32, "3 bits: want one of 4, 8"), (4, 48, "blocks of 48: want one of 16, 32")])
    def test_numbers_there_are_not(self, tmp_path: Path, out: Path, bits: int, block: int, told: str) -> None:
        with pytest.raises(ConfigError, match=told):
            quantise_weights(product(tmp_path / "p.onnx", np.ones((32, 4), np.float32)), out, bits, block)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("beside", [False, True])
    def test_weights_that_are_not_finite_by_name(self, tmp_path: Path, out: Path, bad: float, beside: bool) -> None:
        w = np.ones((64, 8), np.float32)
        w[40, 3] = bad
        with pytest.raises(ConfigError, match="weight w holds nan or inf"):
            quantise_weights(product(tmp_path / "p.onnx", w, beside=beside), out, 4)
        assert list(tmp_path.glob("*bits*")) == []

    def test_a_bias_that_is_not_finite_by_name(self, tmp_path: Path, out: Path) -> None:
        kept = {"w": np.ones((64, 8), np.float32), "b": np.full(8, np.nan, np.float32)}
        source = write(tmp_path / "p.onnx", [node("Gemm", "x w b", "y")], {"x": ["T", 64]}, ["y"], kept)
        with pytest.raises(ConfigError, match="weight b holds nan or inf"):
            quantise_weights(source, out, 4)

    def test_graphs_with_nothing_to_shrink(self, tmp_path: Path, out: Path) -> None:
        with pytest.raises(ConfigError, match="no matrix product whose weight 4 bits would make smaller"):
            quantise_weights(product(tmp_path / "p.onnx", np.ones((2, 2), np.float32)), out, 4)
