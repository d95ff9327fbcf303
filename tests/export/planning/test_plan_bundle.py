"""A bundle's plan against its files: bytes of weights and caches exactly, operations and live memory by the formulas for models."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_vla.backends.bundle import Bundle
from edge_vla.errors import ConfigError
from export.files.graph_cost import GraphCost, graph_cost
from export.files.operators import SUPPORTED, foreign
from export.planning.bundles import Look, cache_bytes, plan_bundle, sizes
from export.planning.decoders import Decoder, gated
from export.planning.footprint import WORKSPACE_BYTES, live_bytes
from export.planning.roofline import Work
from export.planning.workload import Workload

FINDER = Decoder(width=256, inner=768, layers=4, heads=4, kv_heads=1, head_dim=64)  # of edge_vla.learn.finder.model.lm_config
VOCABULARY, IMAGE_TOKENS = 1080, 196

ONE = Look(tokens=0, steps=0, window=1, read=1, pictures=1)  # of a look, where only the given lengths count


@pytest.fixture(scope="module")
def default(checkout: Path) -> Path:
    return checkout / "engines" / "default"


def initialisers(file: Path) -> int:
    """Bytes, asked of numpy."""
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(str(file)).graph.initializer)


@pytest.mark.parametrize("name", ["vision", "lm_step"])
def test_the_default_bundles_weights_are_its_initialisers(default: Path, name: str) -> None:
    found = plan_bundle(Bundle(default), Workload(), WORKSPACE_BYTES).footprint
    file = default / f"{name}.onnx"
    assert found.weights[name] == initialisers(file)
    assert 0.95 * file.stat().st_size < found.weights[name] < file.stat().st_size  # the rest is nodes and names


def test_the_default_bundles_embeddings_and_cache(default: Path) -> None:
    """Keys and values of 196 + 16 + 5 tokens in four layers, one head of 64 float32 numbers, to read and to write."""
    found = plan_bundle(Bundle(default), Workload(), WORKSPACE_BYTES).footprint
    assert found.rows == (default / "embeddings.npy").stat().st_size
    assert found.rows - np.load(default / "embeddings.npy").nbytes == 128  # numpy's header
    language = Bundle(default).manifest.language
    assert found.cache == 2 * 2 * language.layers * language.kv_heads * language.head_dim * (196 + 16 + 5) * 4
    assert found.cache == 2 * 2 * 4 * 1 * 64 * 217 * 4
    assert found.export_bytes is None


def test_the_default_bundle_runs_with_onnx_runtime(default: Path) -> None:
    """Its dynamic int8 has no place in TensorRT's parser."""
    found = plan_bundle(Bundle(default), Workload(), WORKSPACE_BYTES)
    assert (found.precision, found.engine) == ("int8", "ONNX Runtime")
    foreign = "DynamicQuantizeLinear, MatMulInteger, MatMulNBits"
    assert found.notes == (f"TensorRT's parser has no {foreign}: this bundle runs with ONNX Runtime",)


def test_an_fp32_bundle_runs_with_tensorrt(fp32: Path) -> None:
    found = plan_bundle(Bundle(fp32), Workload(), WORKSPACE_BYTES)
    assert (found.precision, found.engine, found.notes) == ("fp32", "TensorRT", ())


@pytest.mark.parametrize("text", [4, 9, 76])
def test_formulas_for_models_are_what_the_graph_has(fp32: Path, text: int) -> None:
    tokens, step = IMAGE_TOKENS + text, Bundle(fp32).manifest.graphs["lm_step"]
    cost = graph_cost(fp32 / "lm_step.onnx", sizes(step, tokens, 0, ONE))
    decoder = gated(FINDER)
    head = 2 * VOCABULARY * FINDER.width
    whole = decoder.weight_flops(tokens) + decoder.attention_flops(tokens) + head
    layers = sum(attention.layers for attention in decoder.attention)
    assert (layers - 1) / layers * whole < sum(cost.operations.values()) < whole  # of the last layer only the last position is finished
    assert cost.weight_bytes == pytest.approx(4 * (decoder.parameters + VOCABULARY * FINDER.width), rel=1e-3)
    predicted = live_bytes(decoder, tokens, 0, 4) + 4 * tokens**2 + 4 * VOCABULARY + cache_bytes(step, tokens) // 2
    assert predicted == pytest.approx(cost.live_bytes, rel=0.2)


def test_a_decode_steps_operations_are_the_formulas(fp32: Path) -> None:
    step = Bundle(fp32).manifest.graphs["lm_step"]
    cost = graph_cost(fp32 / "lm_step.onnx", sizes(step, 1, 210, ONE))
    decoder = gated(FINDER)
    assert cost.operations == {"fp32": decoder.weight_flops(1) + decoder.attention_flops(1, 210) + 2 * VOCABULARY * FINDER.width}


def test_a_longer_prompt_and_a_longer_cache(default: Path) -> None:
    bundle = Bundle(default)
    short, long, spare = (plan_bundle(bundle, load, WORKSPACE_BYTES) for load in (Workload(), Workload(prompt=60), Workload(sequence=400)))
    assert short.footprint.cache < long.footprint.cache < spare.footprint.cache
    assert total(long.stages[1]) > total(short.stages[1])
    assert spare.stages[2].moved_bytes > short.stages[2].moved_bytes
    with pytest.raises(ConfigError, match="sequence 216: 217 tokens go into it, 212 of them before the answer"):
        plan_bundle(bundle, Workload(sequence=216), WORKSPACE_BYTES)


def total(work: Work) -> float:
    return sum(work.operations.values())


@pytest.fixture
def copy(default: Path, tmp_path: Path) -> Path:
    """A bundle that a test may change."""
    return Path(shutil.copytree(default, tmp_path / "copy"))


def sign(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest["sha256"]}
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


def test_a_graph_that_is_none(copy: Path) -> None:
    (copy / "lm_step.onnx").write_bytes(b"\x00no graph")
    sign(copy)
    with pytest.raises(ConfigError, match=r"lm_step\.onnx: not an ONNX graph"):
        plan_bundle(Bundle(copy), Workload(), WORKSPACE_BYTES)


# -- single graphs, by hand


def graph(folder: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], *, outputs: tuple[str, ...] = ("y",)) -> GraphCost:
    made = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "n", 6])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )  # fmt: skip
    file = folder / "g.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)]), str(file))
    return graph_cost(file, {("x", 1): 5})


def test_a_product_its_weights_and_its_moment(tmp_path: Path) -> None:
    """(5, 6) by (6, 4), then a sum with itself: while y is made h, and before it x and h, are alive."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "h"], ["y"])]
    cost = graph(tmp_path, nodes, {"w": np.zeros((6, 4), np.float32)})
    assert cost.weight_bytes == 96
    assert cost.operations == {"fp32": 2 * 5 * 6 * 4}
    assert cost.live_bytes == 4 * (5 * 6 + 5 * 4)


def test_a_view_is_the_memory_it_looks_at(tmp_path: Path) -> None:
    """h and y come out; what lies between them takes nothing."""
    relus = (helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Relu", ["v"], ["y"]))
    cost = graph(
        tmp_path, [relus[0], helper.make_node("Reshape", ["h", "shape"], ["v"]), relus[1]], {"shape": np.array([30], np.int64)},
        outputs=("y", "h"),
    )  # fmt: skip
    assert cost.live_bytes == 2 * 30 * 4


def test_a_gemm_and_a_convolution(tmp_path: Path) -> None:
    """x as one picture of (1, 5, 6): 3 kernels of 1 * 2 * 2 on 4 * 5 places; flat, (1, 30) by (30, 7)."""
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axis"], ["picture"]), helper.make_node("Conv", ["picture", "k"], ["c"]),
        helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("Gemm", ["flat", "w"], ["y"], transB=1),
    ]  # fmt: skip
    weights = {"axis": np.array([0], np.int64), "k": np.zeros((3, 1, 2, 2), np.float32), "w": np.zeros((7, 30), np.float32)}
    cost = graph(tmp_path, nodes, weights, outputs=("y", "c"))
    assert cost.operations == {"fp32": 2 * 3 * 20 * 4 + 2 * 30 * 7}


def test_between_two_dequantisers_products_are_int8(tmp_path: Path) -> None:
    """As TensorRT fuses them; with only the weights quantised they are float."""
    scale, zero = np.float32(0.1), np.int8(0)
    weights = {"w": np.zeros((6, 4), np.int8), "s": np.array(scale), "z": np.array(zero)}
    dequantised = helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wf"])
    quantised = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    both = [quantised, helper.make_node("DequantizeLinear", ["q", "s", "z"], ["xf"]), dequantised]
    assert graph(tmp_path, [*both, helper.make_node("MatMul", ["xf", "wf"], ["y"])], weights).operations == {"int8": 240}
    assert graph(tmp_path, [dequantised, helper.make_node("MatMul", ["x", "wf"], ["y"])], weights).operations == {"fp32": 240}


def test_packed_weights_and_fused_operators_of_onnx_runtime(tmp_path: Path) -> None:
    """(5, 64) by packed (64, 3), then an activation that only ONNX Runtime has; 3 rows of 2 groups of 16 bytes, and 6 scales."""
    nodes = [
        helper.make_node("Concat", ["x"] * 10 + ["tail"], ["wide"], axis=2),
        helper.make_node("MatMulNBits", ["wide", "q", "s"], ["h"], domain="com.microsoft", K=64, N=3, bits=4, block_size=32),
        helper.make_node("QuickGelu", ["h"], ["y"], domain="com.microsoft"),
    ]
    weights = {"q": np.zeros((3, 2, 16), np.uint8), "s": np.zeros(6, np.float16), "tail": np.zeros((1, 5, 4), np.float32)}
    cost = graph(tmp_path, nodes, weights)
    assert cost.operations == {"fp32": 2 * 5 * 64 * 3}
    assert cost.weight_bytes == 96 + 12 + 80
    assert cost.foreign == ("MatMulNBits", "QuickGelu")
    assert cost.live_bytes == 4 * (5 * 6 + 5 * 64)  # x and what is made of it


def test_what_is_not_counted_is_said(tmp_path: Path) -> None:
    cost = graph(tmp_path, [helper.make_node("Einsum", ["x", "w"], ["y"], equation="bnd,de->bne")], {"w": np.zeros((6, 4), np.float32)})
    assert cost.uncounted == ("Einsum",)
    assert not cost.operations


def test_a_size_that_nothing_says(tmp_path: Path) -> None:
    graph(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], {})
    with pytest.raises(ConfigError, match=r"graph input 'x': no size is known for its axis 1 \(n\)"):
        graph_cost(tmp_path / "g.onnx", {})


def test_operators_of_other_domains_are_foreign() -> None:
    assert foreign([("", "MatMul"), ("com.microsoft", "MatMulNBits"), ("com.microsoft", "Gelu"), ("", "STFT")]) == (
        "Gelu",
        "MatMulNBits",
        "STFT",
    )
    assert {"MatMul", "QuantizeLinear", "LSTM", "LayerNormalization"} <= SUPPORTED
    assert not {"MatMulInteger", "DynamicQuantizeLinear", "Attention", "RMSNormalization", "RotaryEmbedding"} & SUPPORTED
