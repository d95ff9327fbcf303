"""Passes replayed as captured CUDA graphs: when they are, when they must not be, and that they answer the same. Under the doubles.

The double of a captured graph replays addresses and shapes as they were; one whose context has moved on answers nan.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_vla.backends.bundle import Bundle
from edge_vla.backends.onnx import OnnxGraphs
from edge_vla.errors import ConfigError, EngineError
from edge_vla.parts import open_bundle
from tests.export.tensorrt.conftest import Nvidia
from tests.export.tensorrt.test_graphs import conversation, feed, picture

Built = Callable[..., Path]


def test_after_the_warm_up_every_pass_has_been_replayed(built: Built, nvidia: Nvidia) -> None:
    """So a plan that cannot be captured is found before the robot moves."""
    graphs = nvidia.graphs(built("--kv", "static"))
    assert graphs.captured == {"vision 0": True, "lm_step 0": True, "lm_step 1": True}
    assert (nvidia.gpu.captured, nvidia.gpu.launched) == (3, 9)  # of each: the first plainly, then three launches
    assert nvidia.gpu.executed == 12


def test_the_picture_is_always_replayed_and_always_the_new_one(tiny: Path, built: Built, nvidia: Nvidia) -> None:
    graphs, theirs = nvidia.graphs(built()), OnnxGraphs(Bundle(tiny))
    before = nvidia.gpu.launched
    for seed in range(5):
        np.testing.assert_array_equal(graphs.run("vision", picture(seed))["tokens"], theirs.run("vision", picture(seed))["tokens"])
    assert nvidia.gpu.launched == before + 5
    assert nvidia.gpu.captured == 3


def test_in_slots_all_later_steps_are_one_captured_graph(built: Built, nvidia: Nvidia) -> None:
    graphs = nvidia.graphs(built("--kv", "static"))
    captured, launched = nvidia.gpu.captured, nvidia.gpu.launched
    conversation(graphs, 11, 6)
    conversation(graphs, 11, 4)
    assert nvidia.gpu.captured == captured
    assert nvidia.gpu.launched - launched == 2 + 6 + 4


def test_steps_that_grow_are_not_replayed(tiny: Path, built: Built, nvidia: Nvidia) -> None:
    graphs = nvidia.graphs(built("--kv", "dynamic"))
    captured, launched = nvidia.gpu.captured, nvidia.gpu.launched
    got, want = conversation(graphs, 5, 6), conversation(OnnxGraphs(Bundle(tiny)), 5, 6)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (nvidia.gpu.captured, nvidia.gpu.launched) == (captured, launched)
    assert not graphs.captured["lm_step 1"]


def test_another_length_makes_a_captured_prefill_void(tiny: Path, built: Built, nvidia: Nvidia) -> None:
    """The same question again is captured at its second time; another one in between starts afresh."""
    graphs, theirs = nvidia.graphs(built()), OnnxGraphs(Bundle(tiny))
    seen = []
    for new in (5, 5, 5, 7, 5, 7, 7):
        launched = nvidia.gpu.launched
        for each in (graphs, theirs):
            each.begin()
        np.testing.assert_array_equal(graphs.step(feed(new, 0))["logits"], theirs.step(feed(new, 0))["logits"])
        seen.append(nvidia.gpu.launched - launched)
    assert seen == [0, 1, 1, 0, 0, 0, 1]


def test_without_graphs_nothing_is_captured(built: Built, nvidia: Nvidia) -> None:
    for graphs in (nvidia.graphs(built("--no-cuda-graphs")), nvidia.graphs(built(), cuda_graphs=False)):
        conversation(graphs, 5, 2)
        assert not any(graphs.captured.values())
    assert (nvidia.gpu.captured, nvidia.gpu.launched) == (0, 0)


def test_a_pass_that_cannot_be_captured_is_an_error_that_says_what_to_do(built: Built, nvidia: Nvidia) -> None:
    nvidia.gpu.capture_fails = True
    with pytest.raises(
        EngineError, match=r"vision.plan failed: it cannot be captured .*cudaErrorStreamCaptureInvalidated.*--no-cuda-graphs"
    ):
        nvidia.graphs(built())
    assert not nvidia.memory.device
    assert not nvidia.memory.host


def test_such_plans_are_not_written(tiny: Path, nvidia: Nvidia, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nvidia.gpu.capture_fails = True
    assert nvidia.export(tiny, "--out", tmp_path / "out") == 2
    assert "--no-cuda-graphs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert nvidia.export(tiny, "--out", tmp_path / "out", "--no-cuda-graphs") == 0


def test_a_host_asks_the_same_question_many_times(built: Built, nvidia: Nvidia, paint: Callable[..., object]) -> None:
    engine = open_bundle(Bundle(built("--kv", "static")))
    replies = [engine.ask(paint((255, 0, 0)), "detect cup") for _ in range(4)]
    assert {(reply.text, reply.confidence) for reply in replies} == {(replies[0].text, replies[0].confidence)}
    plainly = nvidia.gpu.executed
    launched = nvidia.gpu.launched
    engine.ask(paint((255, 0, 0)), "detect cup")
    assert nvidia.gpu.executed - plainly == nvidia.gpu.launched - launched == 5  # picture, prefill, three corners: all of it replayed


def test_there_is_no_such_thing_as_plans_for_onnx_runtime(tiny: Path, nvidia: Nvidia) -> None:
    with pytest.raises(ConfigError, match="holds no plans: it runs with ONNX Runtime"):
        nvidia.graphs(tiny)
