"""Bundles of RoboVLMs-style models as plans: policies with every kind of head, and backbones that speak. Under the doubles.

The models are tiny and random; their bundles bring probes and answers of torch, which the plans are held against.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_vla.backends.bundle import Bundle
from edge_vla.parts import open_bundle
from edge_vla.types import Frame
from export.bundle.answering import SENTENCES
from export.bundle.bundling import Wanted, export_model
from tests.export.onnx.conftest import (  # noqa: F401 - fixtures
    kosmos,
    llava,
    llava_mpt,
    paligemma,
    speaking,
    write_kosmos,
    write_llava,
    write_llava_mpt,
    write_paligemma,
)
from tests.export.tensorrt.conftest import Nvidia, pretended
from tests.learn.backbones.test_matrix import make, tiny  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow
Config = dict[str, Any]
# A head on action tokens, one that reads what a picture and a text have, one on latents beside the sequence, one that decodes.
POLICIES = [
    ("RoboPaligemma", "LSTMDecoder", "post"), ("RoboPaligemma", "FCDecoder", "video"), ("RoboUform", "LSTMDecoder", "post"),
    ("RoboFlamingo", "LSTMDecoder", "pre"), ("RoboPaligemma", "DiscreteDecoder", "post"),
]  # fmt: skip


def drives(engine: Any, frames: list[Frame]) -> list[Any]:
    """What a policy's head says, frame by frame."""
    engine.forget()
    return [engine.says(frame, "go to the cup").copy() for frame in frames]


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    rng = np.random.default_rng(3)
    return [Frame(rng.integers(0, 255, (480, 640, 3), dtype=np.uint8), k * 200_000_000, k) for k in range(4)]


@pytest.mark.parametrize(("name", "head", "history"), POLICIES)
def test_a_policy_on_plans_says_what_it_says_on_onnx(
    tiny: Callable[[str], Config], tmp_path: Path, frames: list[Frame], name: str, head: str, history: str  # noqa: F811
) -> None:  # fmt: skip
    export_model(make(tiny(name), name, head, history).eval(), Wanted(tmp_path / "onnx", policy=True))
    want = drives(open_bundle(Bundle(tmp_path / "onnx")), frames)
    assert float(np.abs(want[0] - want[-1]).max()) > 1e-4  # other frames, other motion
    with pretended(integrated=False) as machine:
        assert machine.export(tmp_path / "onnx", "--out", tmp_path / "plans") == 0
        found = Bundle(tmp_path / "plans").manifest.verified
        assert found is not None
        assert found.passed
        assert found.runtime == "TensorRT 10.3.0"
        got = drives(open_bundle(Bundle(tmp_path / "plans")), frames)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_a_policys_prefill_is_replayed_while_its_instruction_stays(
    tiny: Callable[[str], Config], tmp_path: Path, frames: list[Frame]  # noqa: F811
) -> None:  # fmt: skip
    export_model(make(tiny("RoboPaligemma"), "RoboPaligemma", "LSTMDecoder", "post").eval(), Wanted(tmp_path / "onnx", policy=True))
    with pretended() as machine:
        assert machine.export(tmp_path / "onnx", "--out", tmp_path / "plans") == 0
        engine = open_bundle(Bundle(tmp_path / "plans"))
        drives(engine, frames[:2])
        before = machine.gpu.launched
        for frame in frames[2:]:
            engine.says(frame, "go to the cup")
        assert engine.graphs.captured["vision 0"]
        assert engine.graphs.captured["lm_step 0"]
        assert machine.gpu.launched - before >= 4  # picture and prefill of both; the head's window grew meanwhile


@pytest.fixture(scope="module")
def exported(speaking: Callable[[str], tuple[Config, Any]], tmp_path_factory: pytest.TempPathFactory) -> Callable[[int | None], Path]:  # noqa: F811
    """exported(160): a tiny PaliGemma that speaks, with caches of that length; None: with caches that grow."""
    known: dict[int | None, Path] = {}

    def get(static: int | None) -> Path:
        if static not in known:
            known[static] = tmp_path_factory.mktemp("speaker") / "onnx"
            export_model(speaking("paligemma")[1], Wanted(known[static], policy=False, static=static, max_new_tokens=6))
        return known[static]

    return get


@pytest.mark.parametrize(("static", "kv"), [(None, "dynamic"), (None, "static"), (160, None)])
def test_a_speaker_on_plans_says_what_it_says_on_onnx(
    exported: Callable[[int | None], Path], tmp_path: Path, frames: list[Frame], static: int | None, kv: str | None
) -> None:
    """With caches that grow, with ours of one length, and with the graph's own of one length, which change sides and are captured."""
    source = exported(static)
    questions = ("detect cup", SENTENCES[0])
    plain = open_bundle(Bundle(source))
    want = [plain.ask(frame, prompt) for frame in frames[:2] for prompt in questions]
    with pretended() as machine:
        assert machine.export(source, "--out", tmp_path / "plans", *([] if kv is None else ["--kv", kv])) == 0
        engine = open_bundle(Bundle(tmp_path / "plans"))
        got = [engine.ask(frame, prompt) for frame in frames[:2] for prompt in questions]
        assert [reply.text for reply in got] == [reply.text for reply in want]
        assert [reply.confidence for reply in got] == pytest.approx([reply.confidence for reply in want], abs=1e-5)
        if static:
            assert engine.graphs.captured["lm_step 1"]
            assert engine.graphs.captured["lm_step 2"]
            _require_two_sides(machine, engine.graphs)


def test_caches_of_a_fixed_length_are_the_graphs_own(
    exported: Callable[[int | None], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pretended() as machine:
        for words, why in ((("--kv", "static"), "kv 'static': the step of"), (("--max-past", "99"), "have a length of 160")):
            assert machine.export(exported(160), "--out", tmp_path / "plans", *words) == 2
            assert why in capsys.readouterr().err


def _require_two_sides(machine: Nvidia, graphs: Any) -> None:
    """Of a graph that writes its own slots: nothing is captured again, nothing is copied from side to side."""
    captured = machine.gpu.captured
    width = graphs.plans["lm_step"].graph.inputs[0].shape[2]
    rng = np.random.default_rng(0)
    graphs.begin()
    for past, new in ((0, 11), *((11 + k, 1) for k in range(5))):  # no question is as long
        mask = np.zeros((1, 1, new, past + new), np.float32)
        positions = np.arange(past, past + new, dtype=np.int64)[None]
        graphs.step({"embeddings": rng.standard_normal((1, new, width), np.float32), "positions": positions, "mask": mask})
    assert graphs.past == 16
    assert machine.gpu.captured == captured


def test_plans_that_differ_from_their_model_are_not_kept(
    tiny: Callable[[str], Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]  # noqa: F811
) -> None:  # fmt: skip
    """The probes are of other weights than the graphs."""
    from tests.bundles import copied

    for seed, folder in enumerate(("one", "other")):
        model = make(tiny("RoboPaligemma"), "RoboPaligemma", "FCDecoder", "post").eval()
        for parameter in model.act_head.parameters():  # type: ignore[union-attr]
            parameter.data += 0.05 * seed
        export_model(model, Wanted(tmp_path / folder, policy=True))
    mixed = copied(tmp_path / "one", tmp_path / "mixed", lambda _: None, {"probes.npz": (tmp_path / "other" / "probes.npz").read_bytes()})
    with pretended() as machine:
        assert machine.export(mixed, "--out", tmp_path / "plans") == 2
        assert "differs from its model: head." in capsys.readouterr().err
        assert not (tmp_path / "plans").exists()
        assert machine.export(mixed, "--out", tmp_path / "plans", "--force") == 0
    assert Bundle(tmp_path / "plans").manifest.doubt.startswith("differs from its model")
