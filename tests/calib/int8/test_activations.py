"""What flows through an engine's graphs while it answers: which tensors, in which phase, the same values that the runtime computes."""

from __future__ import annotations

import contextlib
import hashlib
import io
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

from calib.activations import watch
from calib.graph import Watched, fingerprint, products
from calib.histogram import Span
from edge_vla.backends.bundle import Bundle
from edge_vla.errors import ConfigError, EngineError
from edge_vla.parts import open_bundle


def small_graph(path: Path, *, external: bool = False, scale: float = 2.0) -> Path:
    """y = relu(x @ w) @ w, then a sum that is no product; x (1, n, 3)."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["c"]),
        helper.make_node("Add", ["c", "c"], ["y"]),
    ]
    weight = numpy_helper.from_array(scale * np.eye(3, dtype=np.float32), "w")
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "n", 3])], [weight],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path), save_as_external_data=external, location="weights.data", size_threshold=0)
    return path


def spans_of(path: Path, feeds: list[dict]) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    graph = Watched(path, 1, lambda _phase, name, values: spans.setdefault(name, Span()).widen(values))
    for feed in feeds:
        graph.run(None, feed)
    return spans


# -- one graph


def test_tensors_in_and_out_of_products_are_watched(tmp_path: Path) -> None:
    path = small_graph(tmp_path / "small.onnx")
    assert products(onnx.load(str(path))) == {"x": "MatMul", "a": "MatMul", "b": "MatMul", "c": "MatMul"}
    spans = spans_of(path, [{"x": np.array([[[1.0, -3.0, 2.0]]], np.float32)}, {"x": np.array([[[0.5, 0.0, 0.0]]], np.float32)}])
    assert {name: (span.low, span.high, span.count) for name, span in spans.items()} == {
        "x": (-3.0, 2.0, 6), "a": (-6.0, 4.0, 6), "b": (0.0, 4.0, 6), "c": (0.0, 8.0, 6),
    }  # fmt: skip


def test_a_weight_is_no_activation_wherever_it_is_kept() -> None:
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(np.eye(3, dtype=np.float32)))
    bias = numpy_helper.from_array(np.zeros(3, np.float32), "b")
    value = helper.make_tensor_value_info
    nodes = [constant, helper.make_node("Gemm", ["x", "w", "b"], ["y"])]
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, [1, 3])], [value("y", TensorProto.FLOAT, [1, 3])], [bias])
    assert products(helper.make_model(graph)) == {"x": "Gemm", "y": "Gemm"}


def test_a_watched_graph_answers_as_the_graph_does(tiny: Path) -> None:
    path = tiny / "vision.onnx"
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 16, 32)).astype(np.float32)
    watched = Watched(path, 1, lambda *_: None)
    plain = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [value.name for value in watched.get_outputs()] == [value.name for value in plain.get_outputs()]
    for got, want in zip(watched.run(None, {"image": image}), plain.run(None, {"image": image}), strict=True):
        assert got == pytest.approx(want, abs=1e-6)


def test_spans_are_onnx_runtimes(tiny: Path, tmp_path: Path) -> None:
    """Its min-max calibrator over the same feeds: every tensor it knows, to the bit."""
    path = Path(tmp_path / "lm_step.onnx")
    path.write_bytes((tiny / "lm_step.onnx").read_bytes())  # it writes beside what it reads
    rng = np.random.default_rng(1)
    hidden = onnx.load(str(path)).graph.input[0].type.tensor_type.shape.dim[2].dim_value

    def feed(new: int, past: int) -> dict[str, np.ndarray]:
        shape = {"embeddings": (1, new, hidden), "mask": (1, 1, new, past + new), "past_keys": (1, 1, past, hidden)}
        values = {name: rng.normal(size=size).astype(np.float32) for name, size in shape.items()}
        return {**values, "past_values": values["past_keys"], "positions": np.arange(past, past + new)[None]}

    feeds = [feed(7, 0), feed(1, 7), feed(1, 8)]

    class Reader:
        def __init__(self) -> None:
            self._left = iter(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._left, None)

    calibrator = create_calibrator(path, ["MatMul", "Gemm", "Conv"], str(tmp_path / "more.onnx"), CalibrationMethod.MinMax)
    with contextlib.redirect_stdout(io.StringIO()):
        calibrator.collect_data(Reader())
        want = calibrator.compute_data().data
    spans = spans_of(path, feeds)
    assert set(spans) == set(want)
    assert {name: (span.low, span.high) for name, span in spans.items()} == {
        name: tuple(float(np.ravel(end)[0]) for end in ends.range_value) for name, ends in want.items()
    }


def test_weights_in_another_file_are_found_and_signed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = small_graph(tmp_path / "a" / "small.onnx", external=True)
    two = small_graph(tmp_path / "b" / "small.onnx", external=True, scale=3.0)
    assert one.read_bytes() == two.read_bytes()
    assert fingerprint(one) != fingerprint(two)
    feed = {"x": np.ones((1, 1, 3), np.float32)}
    assert (spans_of(one, [feed])["c"].high, spans_of(two, [feed])["c"].high) == (4.0, 9.0)
    (tmp_path / "b" / "weights.data").unlink()
    with pytest.raises(ConfigError, match=r"weights\.data: No such file"):
        fingerprint(two)
    with pytest.raises(EngineError, match=r"small\.onnx"):
        Watched(two, 1, lambda *_: None)


def test_a_graph_that_keeps_its_weights_is_signed_as_its_file_is(tmp_path: Path) -> None:
    path = small_graph(tmp_path / "small.onnx")
    assert fingerprint(path) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_has_no_range(tmp_path: Path, bad: float) -> None:
    graph = Watched(small_graph(tmp_path / "small.onnx"), 1, lambda *_: None)
    with pytest.raises(EngineError, match=r"small\.onnx: tensor 'x' is not finite in a whole run"):
        graph.run(None, {"x": np.full((1, 1, 3), bad, np.float32)})


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match=r"x\.onnx: "):
        Watched(tmp_path / "x.onnx", 1, lambda *_: None)
    with pytest.raises(ConfigError, match=r"y\.onnx: No such file"):
        fingerprint(tmp_path / "y.onnx")


# -- an engine


def test_every_phase_of_an_engine_is_watched(tiny: Path, small_set) -> None:
    """Boxes take three steps after the first, sentences one a word: the tiny engine's answers are known."""
    found = watch(Bundle(tiny), small_set)
    assert found.runs == {"vision": {"whole": 5}, "lm_step": {"prefill": 5, "decode": 3 + 3 + 3}}
    assert found.answers == 5
    keys = {key[:2] for key in found.histograms}
    assert keys == {("vision", "whole"), ("lm_step", "prefill"), ("lm_step", "decode")}


def test_the_engine_sees_what_the_runtime_shows_it(tiny: Path, small_set) -> None:
    """The vision graph's patches are what they are in a session of its own, fed by the engine's own preprocessing."""
    found = watch(Bundle(tiny), small_set).histograms["vision", "whole", "patches"]
    engine = open_bundle(Bundle(tiny))
    images = [engine.preprocess(small_set.frame(item, 0).rgb) for item in small_set.listed.pictures]
    means = np.concatenate([image.reshape(3, 2, 8, 2, 16).mean((2, 4)).ravel() for image in images])
    assert found.min_max == pytest.approx((means.min(), means.max()), abs=1e-6)
    assert found.counts.sum() == found.span.count == sum(len(item.prompts) for item in small_set.listed.pictures) * 12


def test_watching_changes_no_answer(tiny: Path, small_set) -> None:
    plain = open_bundle(Bundle(tiny))
    wanted = {plain.ask(small_set.frame(item, 0), p).text for item in small_set.listed.pictures for p in item.prompts}
    assert watch(Bundle(tiny), small_set).answers == len(wanted)


def test_decoding_sees_other_values_than_prefill(tiny: Path, small_set) -> None:
    found = watch(Bundle(tiny), small_set).histograms
    assert found["lm_step", "decode", "word_flat"].span.count < found["lm_step", "prefill", "values"].span.count
    assert found["lm_step", "decode", "from_word"].span.high == 200.0  # one word follows from the other
    assert found["lm_step", "prefill", "from_word"].span.high == 20.0


def test_a_set_that_never_decodes_is_refused(tiny: Path, make_set) -> None:
    mute = make_set([((127, 127, 127), ["detect cup", "is there a cup?"])])
    with pytest.raises(ConfigError, match=r"made lm_step decode a word after its first: collect with --prompt"):
        watch(Bundle(tiny), mute)


def test_a_question_the_engine_does_not_answer_is_told(tiny: Path, make_set) -> None:
    with pytest.raises(ConfigError, match=r"was not trained on 'sing'"):
        watch(Bundle(tiny), make_set([((127, 127, 127), ["sing"])]))


def test_a_quantised_bundle_is_refused(copy_bundle, small_set) -> None:
    folder = copy_bundle(lambda manifest: manifest.update(precision="int8"))
    with pytest.raises(ConfigError, match=r"bundle is int8: want fp32"):
        watch(Bundle(folder), small_set)


def test_progress_is_told(tiny: Path, small_set) -> None:
    told: list[str] = []
    watch(Bundle(tiny), small_set, say=told.append)
    assert (told[0], told[4], told[-1]) == (
        "spans: 1 of 5 questions", "spans: 5 of 5 questions", "histograms: 5 of 5 questions",
    )  # fmt: skip
