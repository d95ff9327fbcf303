"""The discrete head: the reference's losses, any action size, and nothing where there is nothing to learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge_vla.learn.heads import DiscreteDecoder

Golden = Callable[[str], tuple[dict[str, Any], dict[str, np.ndarray]]]


def build(vocabulary: Any, action_dim: int = 7) -> DiscreteDecoder:
    return DiscreteDecoder(16, action_dim, action_space="discrete", n_bin=32, tokenizer=vocabulary)


def test_losses_are_the_references(golden: Golden, vocabulary: Any) -> None:
    case, arrays = golden("discrete_decoder")
    head = build(vocabulary)
    logits, labels = torch.from_numpy(arrays["logits"]), torch.from_numpy(arrays["labels"])
    assert head(logits) is logits
    assert head.action_tokenizer.tokenizer_orig_size == case["tokenizer"]["orig"]
    assert {k: float(v) for k, v in head.loss(logits, labels).items()} == pytest.approx(case["loss"], abs=1e-5)
    assert float(head.loss(logits.roll(1, 0), labels)["loss_arm"]) != pytest.approx(case["loss"]["loss_arm"], abs=1e-3)


def test_rows_are_the_references(golden: Golden, vocabulary: Any) -> None:
    _, arrays = golden("discrete_decoder")
    assert build(vocabulary).action_tokenizer.encode_actions_to_token_ids(arrays["actions"]) == arrays["action_ids"].tolist()


@pytest.mark.parametrize("action_dim", range(2, 10))
def test_the_last_of_every_action_is_the_gripper(vocabulary: Any, action_dim: int) -> None:
    """Two actions a row after three words; the model is right about arms only."""
    head = build(vocabulary, action_dim)
    ids = torch.tensor(head.action_tokenizer.encode_actions_to_token_ids(np.linspace(-1, 1, 4 * action_dim).reshape(2, -1)))
    labels = nn.functional.pad(ids, (3, 0), value=-100)
    believed = labels.clone()
    believed[:, 3 + action_dim - 1 :: action_dim] = 5
    logits = nn.functional.pad(nn.functional.one_hot(believed.clamp(min=0), 400).float()[:, 1:], (0, 0, 0, 1))
    losses = head.loss(logits, labels)
    assert float(losses["acc_arm"]) == 1
    assert float(losses["acc_gripper"]) == 0
    assert float(losses["action_l1"]) > 0


def test_nothing_to_learn_is_no_loss(vocabulary: Any) -> None:
    logits = torch.randn(2, 6, 400, requires_grad=True)
    losses = build(vocabulary).loss(logits, torch.full((2, 6), -100))
    assert all(value.item() == 0 for value in losses.values())
    losses["loss_arm"].backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    assert build(vocabulary).loss(logits, None) == {"loss": None}


def test_the_loss_is_pytorchs_and_only_it_has_a_gradient(vocabulary: Any) -> None:
    logits, labels = torch.randn(2, 6, 400, requires_grad=True), torch.randint(0, 400, (2, 6))
    labels[0, :3] = -100
    losses = build(vocabulary).loss(logits, labels)
    wanted = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(losses["loss_arm"], wanted)
    assert [key for key, value in losses.items() if value.requires_grad] == ["loss_arm"]


def test_the_text_mask_is_no_loss_mask(vocabulary: Any) -> None:
    """It is False on the action tokens, which are the ones to learn."""
    head, logits, labels = build(vocabulary), torch.randn(1, 6, 400), torch.randint(360, 388, (1, 6))
    assert head.loss(logits, labels, torch.zeros(1, 6)) == head.loss(logits, labels)


def test_decode_reads_action_rows_only(vocabulary: Any) -> None:
    head = build(vocabulary)
    wanted = np.array([-1.0, 0.1, 1.0])
    ids = head.action_tokenizer.encode_actions_to_token_ids(wanted)
    logits = torch.zeros(3, 400)
    logits[torch.arange(3), torch.tensor(ids)] = 1
    logits[:, [5, 388, 399]] = 9
    got: Tensor = head.decode(logits)
    np.testing.assert_allclose(got.numpy(), head.action_tokenizer.decode_token_ids_to_actions(ids), atol=1e-6)


def test_shapes_and_missing_tokenizers_are_refused(vocabulary: Any) -> None:
    with pytest.raises(ValueError, match="tokenizer"):
        DiscreteDecoder(16, 7)
    with pytest.raises(ValueError, match="vocabulary"):
        build(vocabulary).loss(torch.zeros(2, 6, 400), torch.zeros(2, 5, dtype=torch.long))
