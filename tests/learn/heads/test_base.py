"""How heads are built: names, layers, starting weights, and the act_head sections they are given whole."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from edge_vla.learn.heads import HEADS, BasePolicyHead, GPTDecoder, LSTMDecoder, MLPSigmoidHead, MLPTanhHead, initialize_param

# A shipped KosMos-2 section with everything it says, and what a model adds
SECTION = {
    "hidden_size": 32, "action_dim": 7, "down_sample": "none", "latent": 1, "fwd_pred_next_n": 2, "window_size": 3, "in_features": 16,
    "action_space": "continuous", "history_type": "post", "with_history": True, "token_source": "all", "n_bin": 32, "min_action": -1,
    "max_action": 1, "fill_zero": False,
}  # fmt: skip


@pytest.mark.parametrize("name", list(HEADS))
def test_every_head_takes_a_whole_section(name: str, vocabulary: Any) -> None:
    head = HEADS[name](**SECTION, tokenizer=vocabulary)
    assert type(head).__name__ == name
    assert isinstance(head, BasePolicyHead)
    assert head.action_space == "continuous"


@torch.no_grad()
def test_the_sigmoid_head_gives_logits_unless_asked() -> None:
    torch.manual_seed(0)
    plain, likely, tanh = MLPSigmoidHead(8, 3), MLPSigmoidHead(8, 3, probability=True), MLPTanhHead(8, 3)
    assert [type(layer) for layer in plain.mlp] == [nn.Linear, nn.ReLU] * 3 + [nn.Linear]
    assert [layer.out_features for layer in plain.mlp if isinstance(layer, nn.Linear)] == [1024, 512, 256, 3]
    for head in (likely, tanh):
        head.load_state_dict(plain.state_dict())
    plain.mlp[-1].bias += 3
    x = torch.randn(5, 8)
    logits = plain(x)
    assert (logits > 1).all()
    torch.testing.assert_close(likely(x), torch.sigmoid(logits - 3))
    torch.testing.assert_close(tanh(x), torch.tanh(logits - 3))


def test_linear_layers_start_xavier_and_recurrent_ones_do_not() -> None:
    torch.manual_seed(0)
    head = LSTMDecoder(**{**SECTION, "hidden_size": 256})
    for layer in head.modules():
        if isinstance(layer, nn.Linear):
            bound = math.sqrt(6 / (layer.in_features + layer.out_features))
            assert float(layer.weight.detach().abs().max()) == pytest.approx(bound, rel=0.05)
            assert torch.equal(layer.bias, torch.zeros_like(layer.bias))
    for weight in head.rnn.parameters():
        assert float(weight.detach().abs().max()) <= 1 / math.sqrt(256)
        assert float(weight.detach().abs().max()) > 0
    norm = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4, bias=False))
    initialize_param(norm)
    assert torch.equal(norm[0].weight, torch.ones(4))


def test_the_gpt_body_starts_as_gpt_2_does() -> None:
    torch.manual_seed(0)
    head = GPTDecoder(**{**SECTION, "hidden_size": 64})
    for name, weight in head.gpt.named_parameters():
        if weight.dim() == 2:
            assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.15), name
        elif name.endswith("bias"):
            assert not weight.any(), name


@pytest.mark.parametrize("name", ["FCDecoder", "LSTMDecoder", "GPTDecoder"])
def test_a_saved_head_loads_where_it_came_from(name: str) -> None:
    one, other = HEADS[name](**SECTION).eval(), HEADS[name](**SECTION).eval()
    other.load_state_dict(one.state_dict(), strict=True)
    x = torch.randn(2, 3, 1, 16)
    assert torch.equal(one(x)[0], other(x)[0])
