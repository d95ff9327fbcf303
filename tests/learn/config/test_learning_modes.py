"""How a built policy learns and acts: in which precision, what `reinit` throws away, what rests, and what of a step is remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.build import build_policy
from edge_vla.learn.trainable import reinit
from tests.learn.config.acting import build, given, labels

Config = dict[str, Any]
Make = Callable[..., Config]

# -- precision


def dtypes(model: BaseRoboVLM) -> set[torch.dtype]:
    """Of what linear layers give from now on."""
    seen: set[torch.dtype] = set()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda _, __, out: seen.add(out.dtype))
    return seen


@pytest.mark.parametrize("precision", ["bf16", "bf16-mixed", "fp32", "32", 32, None])
@pytest.mark.parametrize("name", ["RoboPaligemma", "RoboFlamingo", "RoboKosMos"])
def test_training_runs_in_the_precision_that_is_said_and_weights_stay(name: str, precision: str | None, make: Make) -> None:
    model, plain = build(make(name, train_setup={"precision": precision})).eval(), build(make(name)).eval()
    seen, batch = dtypes(model), given(model)
    loss = model(**batch, action_labels=labels(model))["loss"]
    loss.backward()
    half = str(precision).startswith("bf16")
    assert seen == {torch.bfloat16 if half else torch.float32}
    assert loss.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert {grad.dtype for grad in gradients} == {torch.float32}
    assert all(grad.isfinite().all() for grad in gradients)
    full = plain(**batch, action_labels=labels(plain))["loss"]
    assert (0 < abs(loss.item() - full.item()) < 0.01) if half else torch.equal(loss, full)
    seen.clear()
    model.inference(**batch)
    assert seen == {torch.float32}, "an engine's precision is its own"


def test_fp32_holds_off_a_callers_autocast_and_fp16_wants_a_gpu(make: Make) -> None:
    model = build(make(train_setup={"precision": "fp32"}))
    seen = dtypes(model)
    with torch.autocast("cpu", torch.bfloat16):
        model(**given(model), action_labels=labels(model))
    assert seen == {torch.float32}
    for precision in ("16", "fp16", "16-mixed", 16):
        model = build(make(train_setup={"precision": precision}))
        with pytest.raises(ConfigError, match=rf"train_setup\.precision '?{precision}'?: a CPU trains in bf16 or fp32"):
            model(**given(model), action_labels=labels(model))


# -- ratios, predict_action, reinit


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.5])
def test_a_configurations_ratio_joins_the_losses(ratio: float, make: Make) -> None:
    model = build(make(arm_gripper_loss_ratio=ratio))
    found = model(**given(model), action_labels=labels(model))
    torch.testing.assert_close(found["loss"], found["loss_arm_act"] + ratio * found["loss_gripper_act"])
    assert found["loss_gripper_act"] > 0.01


def test_a_policy_that_is_not_to_predict_refuses_to_act(make: Make) -> None:
    model = build(make(train_setup={"predict_action": False}))
    with pytest.raises(ConfigError, match=r"train_setup\.predict_action false"):
        model.inference(**given(model))
    found = model(**given(model), action_labels=labels(model))
    assert found["loss"] is None, "as the reference's trainer, which leaves its parts out of the sum"
    assert found["loss_arm_act"] > 0


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.convolution, self.words = nn.Linear(4, 6), nn.Conv2d(3, 4, 2), nn.Embedding(5, 4)
        self.norm, self.attention = nn.LayerNorm(4), nn.MultiheadAttention(4, 2)
        self.plain, self.inner = nn.Linear(4, 4, bias=False), nn.Sequential(nn.ModuleList([nn.Linear(4, 2)]))
        self.queries = nn.Parameter(torch.ones(3, 4))


def test_reinit_touches_what_the_references_does() -> None:
    """Its recursion over children: a `weight` of two and more dimensions, and that module's bias; nothing else."""
    model = Odd()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(9.0)
    reinit(model, ("inner.",))
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, torch.full_like(p, 9.0))}
    both = {f"{name}.{part}" for name in ("linear", "convolution", "attention.out_proj") for part in ("weight", "bias")}
    assert changed == both | {"words.weight", "plain.weight"}
    assert not model.linear.bias.any()
    assert 0.8 * (6 / 10) ** 0.5 < model.linear.weight.abs().max() <= (6 / 10) ** 0.5, "Xavier's bound"
    reinit(model)
    assert model.inner[0][0].weight.max() < 9.0  # type: ignore[index]


@pytest.mark.parametrize("name", ["RoboPaligemma", "RoboFlamingo"])
def test_a_reinitialised_backbone_keeps_its_norms_and_what_stands_beside_it(name: str, make: Make) -> None:
    model, plain = build_policy(make(name, train_setup={"reinit": True})), build_policy(make(name))
    pairs = zip(model.backbone.named_parameters(), plain.backbone.parameters(), strict=True)
    kept = {name for (name, one), other in pairs if torch.equal(one, other)}
    want = {n for n, p in model.backbone.named_parameters() if p.ndim == 1 and not n.endswith("bias")}
    assert want <= kept
    beside = {n for n, _ in model.backbone.named_parameters() if n.startswith(("vision_encoder.", "perceiver."))}
    assert bool(beside) is (name == "RoboFlamingo")
    assert beside <= kept, "the reference's backbone is the language model there"
    anew = {n for n, p in model.backbone.named_parameters() if p.ndim > 1 and n.endswith("weight")} - beside
    assert anew
    assert not anew & kept


# -- rest and memory


def stepped(model: BaseRoboVLM, batch: Config) -> Tensor:
    assert model.act_head is not None
    model.act_head.reset()
    steps = [model.inference(batch["vision_x"][:, k : k + 1], batch["lang_x"])["action"][0] for k in range(batch["vision_x"].shape[1])]
    return torch.cat(steps, 1)


@pytest.mark.parametrize("head", ["LSTMDecoder", "GPTDecoder", "MobileVLALSTMDecoder"])
def test_it_steps_alike_in_whatever_mode_it_is(head: str, make: Make) -> None:
    section = {"type": head} | ({"num_layers": None} if head == "GPTDecoder" else {})
    model = build(make("RoboKosMos", act_head=section))
    batch = given(model)
    model.eval()
    want = stepped(model, batch)
    torch.testing.assert_close(want, model.inference(**batch)["action"][0], atol=1e-5, rtol=1e-5)
    assert (want[:, 1:] - model.act_head.whole(torch.zeros(2, 2, 1, 32))[0][:, 1:]).abs().max() > 1e-4  # type: ignore[union-attr]
    model.train()
    assert torch.equal(stepped(model, batch), want), "dropout rests and the first frame is remembered"
    assert model.training
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("head", ["LSTMDecoder", "GPTDecoder"])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_loss_reads_no_memory_and_leaves_none(head: str, mode: str, make: Make) -> None:
    model = build(make(act_head={"type": head} | ({"num_layers": None} if head == "GPTDecoder" else {}), window_size=4))
    model.train(mode == "train")
    assert model.act_head is not None
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    batch, want = given(model, 2, 1), labels(model, 2, 1)
    losses = [float(model(**batch, action_labels=want)["loss"].detach()) for _ in range(3)]
    assert losses[0] == losses[1] == losses[2]
    assert model.act_head.history_memory == []
    model.inference(given(model, 2, 1)["vision_x"] * 2, batch["lang_x"])
    kept = [frame.clone() for frame in model.act_head.history_memory]  # type: ignore[union-attr]
    assert len(kept) == 1
    assert float(model(**batch, action_labels=want)["loss"].detach()) == losses[0]
    model(**given(model, 3, 1), action_labels=labels(model, 3, 1))  # another batch size, and no error
    assert all(torch.equal(a, b) for a, b in zip(model.act_head.history_memory, kept, strict=True))  # type: ignore[arg-type]
