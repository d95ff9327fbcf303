"""The fork's mobile heads against an LSTM written out here; its golden files are not at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_vla.learn.heads import BasePolicyHead

MakeHead = Callable[..., BasePolicyHead]
WEIGHTS = (1.0, 2.0, 0.5, 1.0, 3.0, 1.0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm_by_hand(weights: dict[str, np.ndarray], x: np.ndarray, layers: int) -> np.ndarray:
    """(b, l, d) to (b, l, h), gate by gate in PyTorch's order: input, forget, cell, output."""
    for layer in range(layers):
        w_x, w_h = weights[f"rnn.weight_ih_l{layer}"], weights[f"rnn.weight_hh_l{layer}"]
        bias = weights[f"rnn.bias_ih_l{layer}"] + weights[f"rnn.bias_hh_l{layer}"]
        h = c = np.zeros((len(x), w_h.shape[1]))
        out = []
        for t in range(x.shape[1]):
            i, f, g, o = np.split(x[:, t] @ w_x.T + h @ w_h.T + bias, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            out.append(h)
        x = np.stack(out, 1)
    return x


def mlp_by_hand(weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    for k in (0, 2, 4, 6):
        x = x @ weights[f"velocities.mlp.{k}.weight"].T + weights[f"velocities.mlp.{k}.bias"]
        x = np.maximum(x, 0) if k < 6 else np.tanh(x)
    return x


def numbers(head: BasePolicyHead) -> dict[str, np.ndarray]:
    return {key: value.double().numpy() for key, value in head.state_dict().items()}


@torch.no_grad()
@pytest.mark.parametrize("latent", [1, 2])
def test_velocities(make_head: MakeHead, latent: int) -> None:
    head = make_head("MobileVLALSTMDecoder", action_dim=2, latent=latent, num_layers=2)
    x = torch.randn(2, 4, latent, 16)
    got, gripper = head(x)
    wanted = mlp_by_hand(numbers(head), lstm_by_hand(numbers(head), x.double().numpy().reshape(2, 4, -1), 2))
    np.testing.assert_allclose(got.numpy(), wanted.reshape(2, 4, 3, 2), rtol=0, atol=1e-5)
    assert gripper is None
    assert torch.equal(head(x.flatten(2))[0], got), "frames that come flattened are the same frames"


@torch.no_grad()
@pytest.mark.parametrize("classes", [6, 8])
def test_classes(make_head: MakeHead, classes: int) -> None:
    head = make_head("MobileVLAClassificationDecoder", num_classes=classes, num_layers=2)
    x = torch.randn(2, 4, 1, 16)
    hidden = lstm_by_hand(numbers(head), x.double().numpy().reshape(2, 4, -1), 2)
    wanted = hidden @ numbers(head)["logits.weight"].T + numbers(head)["logits.bias"]
    np.testing.assert_allclose(head(x)[0].numpy(), wanted.reshape(2, 4, 3, classes), rtol=0, atol=1e-5)
    assert head.num_classes == head.action_dim == classes


def test_the_keys_are_the_forks(make_head: MakeHead) -> None:
    mlp = [f"mlp.{k}.{part}" for k in (0, 2, 4, 6) for part in ("weight", "bias")]
    rnn = [f"rnn.{part}_l0" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    assert set(make_head("MobileVLALSTMDecoder", num_layers=1).state_dict()) == {*rnn, *(f"velocities.{key}" for key in mlp)}
    plain = make_head("MobileVLAClassificationDecoder", num_layers=1)
    assert set(plain.state_dict()) == {*rnn, "logits.weight", "logits.bias"}
    weighted = make_head("MobileVLAClassificationDecoder", num_layers=1, class_weights=WEIGHTS)
    assert set(weighted.state_dict()) - set(plain.state_dict()) == {"class_weights_tensor"}
    assert plain.num_classes == 6, "whatever action_dim says"


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_of_velocities(make_head: MakeHead, masked: bool) -> None:
    head = make_head("MobileVLALSTMDecoder", action_dim=2)
    got, want = head(torch.randn(2, 4, 1, 16)), 2 * torch.randn(2, 4, 3, 2)
    mask = torch.rand(2, 4, 3) > 0.4 if masked else torch.ones(2, 4, 3, dtype=torch.bool)
    off = (got[0] - want).abs()[mask].double().numpy()
    huber = np.where(off < 1, off**2 / 2, off - 0.5).mean()
    losses = head.loss(got, (want, None), mask if masked else None)
    assert float(losses["loss_velocity"]) == pytest.approx(huber, abs=1e-6)
    assert losses["loss_gripper"] is losses["acc_gripper"] is None


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_loss_of_classes(make_head: MakeHead, weights: tuple[float, ...] | None, masked: bool) -> None:
    head = make_head("MobileVLAClassificationDecoder", class_weights=weights)
    got, want = head(torch.randn(2, 4, 1, 16)), torch.randint(0, 6, (2, 4, 3))
    mask = torch.rand(2, 4, 3) > 0.4 if masked else torch.ones(2, 4, 3, dtype=torch.bool)
    rows, true = got[0][mask].double().numpy(), want[mask].numpy()
    chosen = np.log(np.exp(rows).sum(1)) - rows[np.arange(len(rows)), true]
    count = np.asarray(weights or np.ones(6))[true]
    losses = head.loss(got, (want, None), mask if masked else None)
    assert float(losses["loss_velocity"]) == pytest.approx((chosen * count).sum() / count.sum(), abs=1e-5)
    assert losses["acc_velocity"] == pytest.approx((rows.argmax(1) == true).mean())


def labels_for(kind: str) -> Tensor:
    return torch.zeros(2, 4, 3, 4) if kind == "MobileVLALSTMDecoder" else torch.zeros(2, 4, 3, dtype=torch.long)


@pytest.mark.parametrize("kind", ["MobileVLALSTMDecoder", "MobileVLAClassificationDecoder"])
def test_all_masked_is_no_loss_with_a_gradient_and_no_labels_is_none(make_head: MakeHead, kind: str) -> None:
    head = make_head(kind)
    loss = head.loss(head(torch.randn(2, 4, 1, 16)), (labels_for(kind), None), torch.zeros(2, 4, 3))["loss_velocity"]
    assert loss.item() == 0
    loss.backward()
    assert all(p.grad is not None and not p.grad.isnan().any() for p in head.parameters())
    for labels in (None, (None, None)):
        assert head.loss(head(torch.randn(2, 4, 1, 16)), labels)["loss_velocity"] is None


def test_what_does_not_fit_is_refused(make_head: MakeHead) -> None:
    head = make_head("MobileVLAClassificationDecoder")
    for wrong in (-1, 6):
        with pytest.raises(ValueError, match="0 to 5"):
            head.loss(head(torch.randn(2, 4, 1, 16)), (torch.full((2, 4, 3), wrong), None))
    with pytest.raises(ValueError, match="want 6"):
        make_head("MobileVLAClassificationDecoder", class_weights=[1.0, 2.0])
    with pytest.raises(ValueError, match="16 features"):
        make_head("MobileVLALSTMDecoder")(torch.zeros(2, 4, 8))


@torch.no_grad()
def test_the_weights_of_classes_change_the_loss(make_head: MakeHead) -> None:
    plain: Any = make_head("MobileVLAClassificationDecoder")
    weighted: Any = make_head("MobileVLAClassificationDecoder", class_weights=WEIGHTS)
    x, want = torch.randn(2, 4, 1, 16), torch.randint(0, 6, (2, 4, 3))
    assert float(plain.loss(plain(x), (want, None))["loss_velocity"]) != float(weighted.loss(plain(x), (want, None))["loss_velocity"])
