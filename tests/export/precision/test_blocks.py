"""Blocks: what is quantised together, what a block is alone, and what is decided by its timing. No verdict here depends on a clock."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_vla.errors import ConfigError
from export.files.onnx_file import OnnxFile
from export.precision.block_timing import Timing, load, measure, ratios, save, winners
from export.precision.blocks import cut, find, inputs, outputs
from export.precision.qdq import quantise_qdq, tensors
from export.precision.rounding import Reference
from tests.export.precision.makers import decoder, feed, node, nodes, run, write


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return decoder(tmp_path / "step.onnx")


def stem(path: Path) -> Path:
    """Two convolutions in a row with a way around, a product of what they make, and one convolution apart."""
    rng = np.random.default_rng(0)
    made = [
        node("Conv", "x k1", "c1", pads=[1] * 4), node("Relu", "c1", "r1"), node("Conv", "r1 k2", "c2", pads=[1] * 4),
        node("Add", "c2 r1", "s"), node("Conv", "s k3", "c3"), node("Reshape", "c3 shape", "flat"), node("MatMul", "flat w", "m"),
        node("Reshape", "m back", "again"), node("Conv", "again k3", "c4"), node("Sigmoid", "c4", "y"),
    ]  # fmt: skip
    kept = {
        "k1": rng.normal(size=(4, 3, 3, 3)),
        "k2": rng.normal(size=(4, 4, 3, 3)),
        "k3": rng.normal(size=(4, 4, 1, 1)),
        "w": rng.normal(size=(16, 16)),
    }
    weighed = {name: values.astype(np.float32) / 4 for name, values in kept.items()} | {
        "shape": np.array([16, 16]),
        "back": np.array([1, 4, 8, 8]),
    }
    return write(path, made, {"x": [1, 3, 8, 8]}, ["y"], weighed)


def picture(seed: int = 0) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).normal(size=(1, 3, 8, 8)).astype(np.float32)}


def measured(source: Path, fed: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    spans = Reference(OnnxFile(source), [fed], 1).spans
    return {name: (spans[name].low, spans[name].high) for name in tensors(source)}


def test_products_of_one_tensor_are_one_block(source: Path) -> None:
    assert [block.names for block in find(OnnxFile(source))] == [("q", "k", "v"), ("attended",), ("gate", "up"), ("fed",), ("raw",)]


def test_convolutions_that_hang_together_are_one_block(tmp_path: Path) -> None:
    blocks = {block.names: block.nodes for block in find(OnnxFile(stem(tmp_path / "stem.onnx")))}
    assert blocks == {("c1", "c2", "c3"): ("c1", "r1", "c2", "s", "c3"), ("m",): ("m",), ("c4",): ("c4",)}


def test_a_constant_added_right_behind_a_product_is_part_of_its_block(tmp_path: Path) -> None:
    w, b = np.eye(4, dtype=np.float32), np.ones(4, np.float32)
    made = [node("Transpose", "w", "wt", perm=[1, 0]), node("MatMul", "x wt", "m"), node("Add", "m b", "a"), node("Add", "a a", "y")]
    (block,) = find(OnnxFile(write(tmp_path / "b.onnx", made, {"x": ["T", 4]}, ["y"], {"w": w, "b": b})))
    assert (block.names, block.nodes) == (("m",), ("wt", "m", "a"))


@pytest.mark.parametrize("kind", ["step", "stem"])
def test_a_block_alone_computes_what_it_does_in_its_graph(tmp_path: Path, kind: str) -> None:
    path = decoder(tmp_path / "step.onnx") if kind == "step" else stem(tmp_path / "stem.onnx")
    fed = feed() if kind == "step" else picture()
    file = OnnxFile(path)
    told = write_all(path, tmp_path / "told.onnx", [name for each in file.nodes for name in each.output])
    values = fed | run(told, fed, optimise=False)
    for block in find(file):
        cut(file, block.nodes, tmp_path / "block.onnx")
        assert list(nodes(tmp_path / "block.onnx")) == list(block.nodes)
        read, made = inputs(file, block.nodes), outputs(file, block.nodes)
        got = run(tmp_path / "block.onnx", {name: values[name] for name in read}, optimise=False)
        assert list(got) == made
        for name in made:
            np.testing.assert_array_equal(got[name], values[name])


def write_all(source: Path, out: Path, names: list[str]) -> Path:
    import onnx

    onnx.save(OnnxFile(source).runnable(OnnxFile(source).nodes, names), str(out))
    return out


@pytest.mark.parametrize("kind", ["step", "stem"])
def test_every_block_is_timed_with_and_without(tmp_path: Path, kind: str) -> None:
    path = decoder(tmp_path / "step.onnx") if kind == "step" else stem(tmp_path / "stem.onnx")
    fed = feed() if kind == "step" else picture()
    timings = measure(path, [fed], measured(path, fed), runs=2)
    assert [timing.names for timing in timings] == [block.names for block in find(OnnxFile(path))]
    assert all(timing.fp32_ms > 0 and timing.int8_ms > 0 and timing.ratio > 0 for timing in timings)
    assert set(ratios(timings)) == {layer.name for layer in quantise_qdq(path, tmp_path / "q.onnx", measured(path, fed)).layers} - {
        "scores",
        "mixed",
    }


def test_blocks_that_are_alike_are_timed_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kept = {name: rng.normal(size=(8, 8)).astype(np.float32) for name in "uvw"} | {"n": rng.normal(size=(8, 4)).astype(np.float32)}
    made = [node("MatMul", "x u", "a"), node("MatMul", "a v", "b"), node("MatMul", "b w", "c"), node("MatMul", "c n", "y")]
    path = write(tmp_path / "l.onnx", made, {"x": ["T", 8]}, ["y"], kept)
    fed = {"x": rng.normal(size=(2, 8)).astype(np.float32)}
    timings = measure(path, [fed], measured(path, fed), runs=2)
    assert len({(timing.fp32_ms, timing.int8_ms, timing.ratio) for timing in timings}) == 2
    assert timings[0].ratio == timings[1].ratio == timings[2].ratio


TIMINGS = [
    Timing(("q", "k", "v"), 2.0, 1.0, 0.5),
    Timing(("fed",), 1.0, 0.94, 0.94),
    Timing(("raw",), 1.0, 0.95, 0.95),
    Timing(("up",), 1.0, 2.0, 2.0),
]


def test_only_what_is_clearly_faster_wins() -> None:
    assert winners(TIMINGS) == ["q", "k", "v", "fed"]
    assert ratios(TIMINGS)["raw"] == 0.95


def test_a_decision_is_a_file_that_can_be_edited(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "blocks.json"
    save(path, TIMINGS)
    assert load(path, source) == ["q", "k", "v", "fed"]
    told = json.loads(path.read_text())
    assert told["timings"][0] == {"nodes": ["q", "k", "v"], "fp32_ms": 2.0, "int8_ms": 1.0, "ratio": 0.5}
    path.write_text(json.dumps({"quantise": ["up"]}))
    assert load(path, source) == ["up"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "want JSON with a list"), ("[]", "want JSON with a list"), ('{"quantise": "q"}', '"quantise" is \'q\''),
        ('{"quantise": [1]}', "want a list of node names"), ('{"quantise": ["Q"]}', r"no product 'Q'"),
    ],
)  # fmt: skip
def test_files_that_decide_nothing(source: Path, tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "blocks.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load(path, source)
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.json", source)


def test_a_tensor_without_range_is_refused_before_anything_is_timed(source: Path) -> None:
    with pytest.raises(ConfigError, match="tensor 'n1' has no range"):
        measure(source, [feed()], {})
