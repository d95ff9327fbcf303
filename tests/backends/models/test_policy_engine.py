"""From a policy's numbers to motion: scaling, layout, window, and what is refused. On one small policy of a mobile base."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_vla.action_scaling import ActionScaling
from edge_vla.backends.backbone_manifest import Scaling
from edge_vla.backends.policy import PAUSE_S, PolicyEngine
from edge_vla.errors import EngineError
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.build import build_policy
from edge_vla.parts import make_host
from edge_vla.types import Frame, Twist, acting
from tests.backends.models.policies import STEP_NS, TASK, frames, host, itself, shaken
from tests.backends.models.torch_graphs import TorchGraphs, policy_bundle
from tests.learn.backbones.test_matrix import at

HEAD = {"type": "MobileVLALSTMDecoder", "hidden_size": 16, "action_dim": 3, "history_type": "post", "down_sample": "none", "num_layers": 1}
SCALING = {
    "norm_action": True,
    "norm_min": -0.4,
    "norm_max": 0.8,
    "regular_action": True,
    "x_mean": [0.1, -0.2, 0.05],
    "x_std": [0.5, 0.25, 2.0],
}
LAYOUT = ["angular_z", "-", "linear_x"]
Mobile = Callable[..., PolicyEngine]


@pytest.fixture(scope="module")
def model(write_paligemma: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> BaseRoboVLM:
    folder = write_paligemma(tmp_path_factory.mktemp("model"))
    told = {"robovlm_name": "RoboPaligemma", "window_size": 3, "fwd_pred_next_n": 2, "act_head": HEAD, **SCALING, **at(folder)}
    return shaken(build_policy(told))


@pytest.fixture
def mobile(model: BaseRoboVLM, tmp_path: Path) -> Mobile:
    return lambda **changes: host(model, tmp_path, layout=LAYOUT, **changes)


def test_numbers_become_motion_as_the_layout_says(model: BaseRoboVLM, mobile: Mobile) -> None:
    engine, (frame,) = mobile(period_s=0.25, execute="chunk"), frames(1)
    want = ActionScaling.from_config(model.configs).decode(itself(model, [frame]))
    reply = engine.ask(frame, f" {TASK} ")
    assert (reply.text, reply.confidence) == ("", 1.0)
    assert reply.chunk is not None
    assert (reply.chunk.period_s, reply.chunk.execute, len(reply.chunk.twists)) == (0.25, "chunk", 2)
    for twist, action in zip(reply.chunk.twists, want, strict=True):
        assert twist.linear_x == pytest.approx(action[2], abs=1e-5)
        assert twist.angular_z == pytest.approx(action[0], abs=1e-5)
        assert twist.linear_y == 0.0
    assert np.abs(want[:, [0, 2]]).min() > 1e-3
    assert engine.moves == {"angular_z", "linear_x"}
    assert acting(engine)
    assert engine.targets is None
    assert [stage for stage, _ in engine.laps.taken] == ["preprocess", "vision", "prefill", "head", "reply"]
    assert reply.latency_s == pytest.approx(sum(took for _, took in engine.laps.taken) * 1e-9)


def test_a_bundle_of_a_policy_makes_such_an_engine(model: BaseRoboVLM, tmp_path: Path) -> None:
    bundle = policy_bundle(model, tmp_path)
    assert type(make_host(bundle, TorchGraphs(model, bundle))) is PolicyEngine


def test_nothing_is_clipped(mobile: Mobile) -> None:
    """The validator and the guard do."""
    engine, (frame,) = mobile(scaling=Scaling(bounds=[-50.0, 50.0], gripper=False)), frames(1)
    chunk = engine.ask(frame, TASK).chunk
    assert chunk is not None
    assert max(abs(number) for twist in chunk.twists for number in (twist.linear_x, twist.angular_z)) > 2


def test_a_motion_that_is_not_finite_is_an_error(mobile: Mobile) -> None:
    engine, (frame,) = mobile(scaling=Scaling(deviation=1.7e308, mean=1.7e308, gripper=False)), frames(1)
    with pytest.raises(EngineError, match="engine 'tiny': its scaling makes no finite motion of"):
        engine.ask(frame, TASK)


def test_an_arms_layout_moves_nothing(tmp_path: Path, model: BaseRoboVLM) -> None:
    engine, (frame,) = host(model, tmp_path), frames(1)
    assert engine.moves == frozenset()
    chunk = engine.ask(frame, TASK).chunk
    assert chunk is not None
    assert chunk.twists == (Twist(), Twist())


@pytest.mark.parametrize(("logits", "middle"), [(True, 0.0), (False, 0.5)])
def test_a_gripper_is_open_above_its_middle(write_paligemma: Callable[..., Path], tmp_path: Path, logits: bool, middle: float) -> None:
    head = HEAD | {"type": "LSTMDecoder", "action_dim": 4, "gripper_probability": not logits}
    told = {
        "robovlm_name": "RoboPaligemma", "window_size": 3, "fwd_pred_next_n": 2, "act_head": head, "norm_action": True, "norm_min": -0.5,
        "norm_max": 0.5, **at(write_paligemma(tmp_path / "model")),
    }  # fmt: skip
    (tmp_path / "bundle").mkdir()
    policy = shaken(build_policy(told))
    last = [module for module in policy.act_head.gripper.modules() if isinstance(module, torch.nn.Linear)][-1]  # type: ignore[union-attr]
    last.weight.data *= 0.02  # near the middle, between 0 and a half
    engine = host(policy, tmp_path / "bundle")
    assert engine.manifest.policy.gripper_logits is logits
    seen = set()
    for frame in frames(12):
        engine.forget()
        said = engine.says(frame, TASK)
        engine.forget()
        actions = engine.actions(frame, TASK)
        np.testing.assert_array_equal(actions[:, -1], np.where(said[:, -1] > middle, 1, -1))
        np.testing.assert_allclose(actions[:, :-1], said[:, :-1] / 2, atol=1e-6)
        seen |= set(said[:, -1].tolist())
    assert min(seen) < middle < max(seen), "one side of the middle only"
    assert any((number > 0) != (number > 0.5) for number in seen), "either middle would do"


# -- the window


def told(engine: PolicyEngine, seen: list[Frame], task: str = TASK) -> list[np.ndarray]:
    return [engine.says(frame, task) for frame in seen]


def at_ns(frame: Frame, t_ns: int) -> Frame:
    return Frame(frame.rgb, t_ns, frame.seq)


def test_what_is_forgotten_is_as_if_it_had_not_been(mobile: Mobile) -> None:
    engine, seen = mobile(), frames(4)
    first = told(engine, seen)
    assert np.abs(told(engine, [at_ns(seen[0], 4 * STEP_NS)])[0] - first[0]).max() > 1e-4, "it has no memory"
    engine.forget()
    np.testing.assert_array_equal(told(engine, seen), first)


@pytest.mark.parametrize(
    ("later_s", "period_s", "forgotten"),
    [(0.0, 0.2, False), (PAUSE_S, 0.2, False), (PAUSE_S + 0.001, 0.2, True), (-0.001, 0.2, True), (4.9, 1.0, False), (5.1, 1.0, True)],
)
def test_frames_far_apart_are_no_window(mobile: Mobile, later_s: float, period_s: float, forgotten: bool) -> None:
    engine, (one, other) = mobile(period_s=period_s), frames(2)
    start = 10**10
    alone = told(engine, [at_ns(other, start)])[0]
    engine.forget()
    told(engine, [at_ns(one, start)])
    got = told(engine, [at_ns(other, start + round(later_s * 1e9))])[0]
    assert np.array_equal(got, alone) is forgotten


def test_another_instruction_begins_a_new_window(mobile: Mobile) -> None:
    engine, seen = mobile(), frames(3)
    alone = told(engine, seen[2:], "go")[0]
    told(engine, seen[:2])
    np.testing.assert_array_equal(told(engine, seen[2:], "go")[0], alone)
    engine.forget()
    assert np.abs(told(engine, seen[2:])[0] - alone).max() > 1e-4, "it does not read the instruction"


def test_warm_up_leaves_nothing_behind(mobile: Mobile) -> None:
    engine, seen = mobile(), frames(2)
    want = told(engine, seen)
    engine.warm_up()
    assert [feed["tokens"].shape[1] for graph, feed in engine.graphs.fed if graph == "head"][-3:] == [1, 2, 3]
    np.testing.assert_array_equal(told(engine, seen), want)
    engine.close()
    assert engine.graphs.closed
    assert engine.providers == ("torch",)


def test_one_pass_of_each_graph_a_frame(mobile: Mobile) -> None:
    engine = mobile()
    told(engine, frames(5))
    assert [graph for graph, _ in engine.graphs.fed] == ["vision", "lm_step", "head"] * 5


@pytest.mark.parametrize(("graph", "history"), [("lm_step", "post"), ("head", "post"), ("lm_step", "pre"), ("head", "pre")])
def test_a_frame_that_fails_leaves_the_window_as_it_was(mobile: Mobile, monkeypatch: pytest.MonkeyPatch, graph: str, history: str) -> None:
    engine, seen = mobile(history=history), frames(3)
    want = told(engine, [seen[0], seen[2]])[1]
    engine.forget()
    told(engine, seen[:1])
    plain = engine.graphs.run

    def broken(name: str, feed: Any) -> Any:
        if name == graph:
            raise EngineError("broken")
        return plain(name, feed)

    with monkeypatch.context() as patch:
        patch.setattr(engine.graphs, "run", broken)
        with pytest.raises(EngineError, match="broken"):
            told(engine, seen[1:2])
    np.testing.assert_array_equal(told(engine, seen[2:])[0], want)
