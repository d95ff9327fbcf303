"""Losses of policy heads by hand: masks, weights, nothing left, and the trainer's ratios."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from edge_vla.learn.losses import LossRatios, binary, head_losses, policy_loss, regression, split_action, total_loss

SHAPE = (2, 4, 3)


def drawn(action_dim: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    said = 2 * torch.randn(*SHAPE, action_dim, generator=generator)
    true = 2 * torch.randn(*SHAPE, action_dim, generator=generator)
    true[..., -1] = (true[..., -1] > 0).float()
    return said, true, torch.rand(SHAPE, generator=generator) > 0.4


@pytest.mark.parametrize("action_dim", range(2, 10))
@pytest.mark.parametrize("masked", [False, True])
def test_the_documents_loss(action_dim: int, masked: bool) -> None:
    """The document's formulas, entry by entry; its plain sum is the ratio 1, the reference's trainer weighs the gripper 0.01."""
    said, true, mask = drawn(action_dim)
    arm, gripper = [], []
    for at in torch.cartesian_prod(*(torch.arange(n) for n in SHAPE)).tolist():
        if masked and not mask[tuple(at)]:
            continue
        p, t = said[tuple(at)].tolist(), true[tuple(at)].tolist()
        arm += [0.5 * (a - b) ** 2 if abs(a - b) < 1 else abs(a - b) - 0.5 for a, b in zip(p[:-1], t[:-1], strict=True)]
        gripper.append(math.log1p(math.exp(-p[-1])) + (1 - t[-1]) * p[-1])
    wanted = (sum(arm) / len(arm), sum(gripper) / len(gripper))
    got = policy_loss(said, true, mask if masked else None)
    assert list(got) == ["loss_arm", "loss_gripper", "total_loss"]
    assert (float(got["loss_arm"]), float(got["loss_gripper"])) == pytest.approx(wanted, abs=1e-5)
    assert float(got["total_loss"]) == pytest.approx(wanted[0] + 0.01 * wanted[1], abs=1e-5)
    plain = policy_loss(said, true, mask if masked else None, gripper_ratio=1)
    assert float(plain["total_loss"]) == pytest.approx(sum(wanted), abs=1e-5)


@pytest.mark.parametrize("kind", ["huber", "mse"])
def test_all_masked_is_exactly_nothing_with_a_gradient(kind: Any) -> None:
    said, true, _ = drawn()
    said = said.requires_grad_()
    for mask, weight in ((torch.zeros(SHAPE), None), (None, torch.zeros(SHAPE))):
        said.grad = None
        loss = policy_loss(said, true, mask, kind=kind, weight=weight)
        assert all(value.item() == 0 for value in loss.values())
        loss["total_loss"].backward()
        assert said.grad is not None
        assert torch.equal(said.grad, torch.zeros_like(said))


def test_nan_in_padding_reaches_neither_loss_nor_gradient() -> None:
    said, true, mask = drawn()
    clean = policy_loss(said, true, mask)["total_loss"]
    true[~mask] = math.nan
    said = said.requires_grad_()
    loss = policy_loss(said, true, mask)["total_loss"]
    assert torch.equal(loss.detach(), clean)
    loss.backward()
    assert said.grad is not None
    assert said.grad.isfinite().all()
    assert torch.equal(said.grad[~mask], torch.zeros_like(said.grad[~mask]))


def test_squared_error() -> None:
    said, true, mask = drawn()
    wanted = ((said - true)[..., :-1] ** 2)[mask].mean()
    torch.testing.assert_close(policy_loss(said, true, mask, kind="mse")["loss_arm"], wanted)
    with pytest.raises(ValueError, match="huber or mse"):
        policy_loss(said, true, kind="l1")  # type: ignore[arg-type]


def test_weights_of_one_and_nought_are_a_mask_and_their_size_does_not_matter() -> None:
    said, true, mask = drawn()
    wanted = policy_loss(said, true, mask)
    for scale in (1.0, 7.0):
        got = policy_loss(said, true, weight=scale * mask)
        for key, value in wanted.items():
            torch.testing.assert_close(got[key], value)


def test_weights_are_a_weighted_mean() -> None:
    said, true = torch.tensor([[0.5, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.2, 0.0]])
    got = policy_loss(said, true, weight=torch.tensor([3.0, 1.0]))
    assert float(got["loss_arm"]) == pytest.approx((3 * 0.125 + 0.02) / 4)
    assert float(got["loss_gripper"]) == pytest.approx(math.log(2))


def test_what_weighs_nothing_may_be_nan_and_a_negative_weight_may_not_be() -> None:
    said, true, mask = drawn()
    weight = mask.float()
    want = policy_loss(said, true, weight=weight)
    said[~mask], true[~mask] = math.nan, math.nan
    said = said.requires_grad_()
    got = policy_loss(said, true, weight=weight)
    for key, value in want.items():
        torch.testing.assert_close(got[key].detach(), value)
    got["total_loss"].backward()
    assert said.grad is not None
    assert said.grad.isfinite().all()
    for wrong in (torch.tensor([1.0, 1.0, -0.5]), torch.tensor([1.0, math.nan, 1.0])):
        with pytest.raises(ValueError, match=r"weight: want numbers of at least 0, got (-0\.5|nan)"):
            policy_loss(*drawn()[:2], weight=wrong)


def test_a_mask_of_the_first_dimensions_is_one_of_all() -> None:
    """The reference indexes with its mask, so (b, l) leaves whole chunks out."""
    said, true, _ = drawn()
    frames = torch.tensor([[True, False, True, True], [False, False, True, False]])
    want = policy_loss(said, true, frames[..., None].expand(SHAPE))
    assert policy_loss(said, true, frames) == want
    torch.testing.assert_close(want["loss_arm"], torch.nn.functional.huber_loss(said[..., :-1][frames], true[..., :-1][frames]))
    assert head_losses(said, true, frames) == head_losses(said, true, frames[..., None].expand(SHAPE))
    assert policy_loss(said, true, torch.tensor([True, False])) == policy_loss(said[0], true[0])
    for wrong in (frames.T, frames[0], frames[:, :3], torch.tensor(True)):
        with pytest.raises(ValueError, match=r"mask: want shape \(2, 4, 3\), or its first dimensions, got"):
            policy_loss(said, true, wrong)


def test_an_action_of_one_number_has_no_arm() -> None:
    said = torch.zeros(2, 3, 1)
    for action in (said, (said[..., :0], said[..., 0])):
        with pytest.raises(ValueError, match="actions of 1 number: want an arm of at least 1, and a gripper"):
            policy_loss(action, said)


def test_pairs_and_single_tensors_are_the_same() -> None:
    said, true, mask = drawn()
    wanted = policy_loss(said, true, mask)
    for gripper in (said[..., -1], said[..., -1:]):
        assert policy_loss((said[..., :-1], gripper), (true[..., :-1], true[..., -1]), mask) == wanted


def test_accuracy_counts_what_the_mask_leaves() -> None:
    said = torch.tensor([[0.0, 2.0], [0.0, -2.0], [0.0, 2.0]])
    true = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    assert head_losses(said, true)["acc_gripper"] == pytest.approx(1 / 3)
    assert head_losses(said, true, torch.tensor([1, 1, 0]))["acc_gripper"] == 0.5
    assert head_losses(said, true, torch.tensor([0, 0, 0]))["acc_gripper"] == 0


def test_shapes_that_do_not_fit_are_refused() -> None:
    said, true, mask = drawn()
    for call in (
        lambda: policy_loss(said, true[:, :3]),
        lambda: policy_loss(said, true, mask[:, :3]),
        lambda: policy_loss(said[..., :5], true),
        lambda: regression(said, true[..., :3]),
        lambda: binary(said[..., 0], true[:1, ..., 0]),
        lambda: split_action((said, true)),
        lambda: split_action((said, None)),
    ):
        with pytest.raises(ValueError, match=r"shape|belong|None"):
            call()


ONE = torch.tensor(1.0)


@pytest.mark.parametrize(
    ("key", "ratio"),
    [
        ("loss_arm_act", 1),
        ("loss_arm", 1),
        ("loss_velocity_act", 1),
        ("loss_gripper_act", 0.01),
        ("loss_obs_fwd", 0),
        ("loss_hand_obs_fwd", 0),
        ("loss_cap", 0.05),
        ("loss_kl", 0.05),
        ("text_l1_clip", 0.05),
        ("loss_vl_cotrain", 0.05),
    ],
)
def test_the_trainers_ratios(key: str, ratio: float) -> None:
    parts = {"loss_arm_act": ONE, key: ONE, "acc_gripper_act": 0.5, "action_l1_act": ONE, "loss_other": None}
    wanted = ratio if key == "loss_arm_act" else 1 + ratio
    assert float(total_loss(parts)) == pytest.approx(wanted)


def test_ratios_are_settings_and_discrete_actions_raise_co_training() -> None:
    parts = {"loss_arm_act": ONE, "loss_gripper_act": ONE, "loss_vl_cotrain": ONE}
    assert float(total_loss(parts, LossRatios(arm_gripper_loss_ratio=0.5, vl_cotrain_ratio=0.25))) == pytest.approx(1.75)
    assert float(total_loss(parts, LossRatios(discrete=True))) == pytest.approx(1.51)


def test_ratios_of_a_configuration() -> None:
    assert LossRatios.from_config({}) == LossRatios.from_config({"kl_div_ratio": None, "act_head": None}) == LossRatios()
    names = ("arm_gripper_loss_ratio", "fwd_loss_ratio", "cap_loss_ratio", "kl_div_ratio", "clip_norm_ratio", "vl_cotrain_ratio")
    said = {name: 0.1 * (k + 1) for k, name in enumerate(names)}
    assert LossRatios.from_config(said | {"other": 3}) == LossRatios(**said)
    assert LossRatios.from_config({"act_head": {"action_space": "discrete"}}) == LossRatios(discrete=True)


def test_an_unknown_loss_and_no_loss_are_refused() -> None:
    with pytest.raises(ValueError, match="loss_arms"):
        total_loss({"loss_arms": ONE})
    with pytest.raises(ValueError, match="no loss"):
        total_loss({"loss": None})
