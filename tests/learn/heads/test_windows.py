"""What heads do with frames: alone, in windows, one at a time; in training and after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2Model

from edge_vla.learn.heads import HEADS, BasePolicyHead

MakeHead = Callable[..., BasePolicyHead]
WINDOWED = ("LSTMDecoder", "GPTDecoder", "MobileVLALSTMDecoder", "MobileVLAClassificationDecoder")
CONTINUOUS = ("FCDecoder", "LSTMDecoder", "GPTDecoder")
SAMPLINGS = ("none", "pooling", "resampler")
EXACT = {"rtol": 0, "atol": 1e-6}


def frames(count: int, tokens: int = 1, batch: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(batch, count, tokens, 16, generator=torch.Generator().manual_seed(seed))


def tokens_for(down_sample: str, latent: int) -> int:
    return latent if down_sample == "none" else 5


@torch.no_grad()
@pytest.mark.parametrize("down_sample", SAMPLINGS)
@pytest.mark.parametrize("latent", [1, 2])
@pytest.mark.parametrize("kind", WINDOWED)
def test_each_step_is_the_last_of_a_window_run_afresh(make_head: MakeHead, kind: str, latent: int, down_sample: str) -> None:
    head = make_head(kind, latent=latent, down_sample=down_sample)
    seen, history = frames(9, tokens_for(down_sample, latent)), None
    for t in range(9):
        window = seen[:, max(0, t - 3) : t + 1]
        wanted = head.outputs(head.body(head.sample(window)))[0][:, -1:]
        kept = None if history is None else history.clone()
        (pure, _), after = head.step(seen[:, t : t + 1], history)
        assert kept is None or torch.equal(kept, history), "step wrote to its history"
        history = after
        torch.testing.assert_close(pure, wanted, **EXACT)
        torch.testing.assert_close(head(seen[:, t : t + 1])[0], wanted, **EXACT)


@torch.no_grad()
@pytest.mark.parametrize("kind", WINDOWED)
def test_a_window_shows_every_step_and_no_future(make_head: MakeHead, kind: str) -> None:
    head, seen = make_head(kind), frames(4)
    whole = head(seen)[0]
    for t in range(1, 4):
        torch.testing.assert_close(head(seen[:, : t + 1])[0], whole[:, : t + 1], **EXACT)
    later = seen.clone()
    later[:, 3] += 1
    torch.testing.assert_close(head(later)[0][:, :3], whole[:, :3], **EXACT)
    assert not torch.allclose(head(later)[0][:, 3], whole[:, 3])


@torch.no_grad()
@pytest.mark.parametrize("kind", WINDOWED)
def test_reset_forgets_and_a_window_leaves_the_memory_alone(make_head: MakeHead, kind: str) -> None:
    head, seen = make_head(kind), frames(3)
    first = head(seen[:, :1])[0]
    second = head(seen[:, 1:2])[0]
    head(frames(4, seed=5))
    third = head(seen[:, 2:])[0]
    head.reset()
    for t, wanted in enumerate((first, second, third)):
        torch.testing.assert_close(head(seen[:, t : t + 1])[0], wanted, **EXACT)
    assert not torch.allclose(head(seen[:, :1])[0], first), "without a reset the episode before shows"


@pytest.mark.parametrize("kind", WINDOWED)
def test_training_on_single_frames_keeps_nothing(make_head: MakeHead, kind: str) -> None:
    """The reference's memory grows in training with window_size 1: old batches, and their graphs, leak into new ones."""
    head = make_head(kind, window_size=1).train()
    torch.manual_seed(3)
    alone = head(frames(1))[0]
    head(frames(1, batch=5, seed=4))[0].sum().backward()
    torch.manual_seed(3)
    assert torch.equal(head(frames(1))[0], alone)
    assert head.history_memory == []


@pytest.mark.parametrize("kind", WINDOWED)
def test_the_memory_holds_no_graph(make_head: MakeHead, kind: str) -> None:
    head = make_head(kind)
    head(frames(1).requires_grad_())
    assert not any(frame.requires_grad for frame in head.history_memory)


@pytest.mark.parametrize("kind", WINDOWED)
def test_another_batch_needs_a_reset(make_head: MakeHead, kind: str) -> None:
    head = make_head(kind)
    head(frames(1))
    with pytest.raises(ValueError, match=r"reset\(\)"):
        head(frames(1, batch=3))
    head.reset()
    head(frames(1, batch=3))


@pytest.mark.parametrize("kind", list(HEADS))
def test_every_head_can_be_reset(kind: str, make_head: MakeHead, vocabulary: Any) -> None:
    make_head(kind, tokenizer=vocabulary).reset()


@torch.no_grad()
@pytest.mark.parametrize("action_dim", range(2, 10))
@pytest.mark.parametrize("kind", CONTINUOUS)
def test_any_action_size(make_head: MakeHead, kind: str, action_dim: int) -> None:
    head = make_head(kind, action_dim=action_dim, fwd_pred_next_n=2)
    arm, gripper = head(frames(4))
    assert arm.shape == (2, 4, 2, action_dim - 1)
    assert gripper.shape == (2, 4, 2, 1)
    losses = head.loss((arm, gripper), (torch.zeros(2, 4, 2, action_dim - 1), torch.ones(2, 4, 2)))
    wanted = torch.nn.functional.huber_loss(arm, torch.zeros_like(arm))
    assert float(losses["loss_arm"]) == pytest.approx(float(wanted), abs=1e-6)


@pytest.mark.parametrize("latent", [1, 2, 3])
@pytest.mark.parametrize("down_sample", SAMPLINGS)
@pytest.mark.parametrize("kind", CONTINUOUS)
def test_any_number_of_latents(make_head: MakeHead, kind: str, down_sample: str, latent: int) -> None:
    """GPTDecoder with a hidden size of its own too, where the reference fails."""
    head = make_head(kind, latent=latent, down_sample=down_sample)
    seen = frames(4, tokens_for(down_sample, latent))
    arm, gripper = head(seen)
    assert arm.shape == (2, 4, 3, 3)
    (arm.sum() + gripper.sum()).backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in head.parameters())


@torch.no_grad()
def test_flattened_latents_are_slow_and_features_fast(make_head: MakeHead) -> None:
    head, seen = make_head("FCDecoder", latent=2, down_sample="pooling"), frames(1, 2)
    torch.testing.assert_close(head._sample(seen[:, 0]), seen[:, 0].reshape(2, 32), rtol=0, atol=0)
    assert torch.equal(head(seen)[0][:, 0], head(seen[:, 0])[0])


@torch.no_grad()
@pytest.mark.parametrize("latent", range(1, 8))
@pytest.mark.parametrize("tokens", range(1, 12))
def test_pooling_is_adaptive_max_pooling(latent: int, tokens: int) -> None:
    seen = frames(1, tokens)[:, 0]
    wanted = torch.nn.AdaptiveMaxPool1d(latent)(seen.transpose(1, 2)).transpose(1, 2).flatten(1)
    head = BasePolicyHead(8, 4, latent=latent)
    head._init_sampler(16)
    assert torch.equal(head._sample(seen), wanted)


@torch.no_grad()
@pytest.mark.parametrize("latent", [1, 2])
def test_the_gpt_body_is_gpt_2(make_head: MakeHead, latent: int) -> None:
    """`transformers`' own GPT-2 with the same weights; nothing of ours between the frames and the last layer norm."""
    head = make_head("GPTDecoder", in_features=32, hidden_size=32, latent=latent)
    config = GPT2Config(
        n_embd=32 * latent, n_layer=8, n_head=8, n_positions=4, vocab_size=1, bos_token_id=0, eos_token_id=0, activation_function="gelu_new"
    )
    other = GPT2Model(config).eval()
    weights = {key: value for key, value in head.gpt.state_dict().items() if not key.endswith((".attn.bias", ".attn.masked_bias"))}
    loaded = other.load_state_dict(weights, strict=False)
    assert not loaded.unexpected_keys
    assert {key for key in loaded.missing_keys if "attn" not in key} == {"wte.weight"}
    seen = torch.randn(2, 4, latent, 32)
    wanted = other(inputs_embeds=seen.flatten(-2)).last_hidden_state
    torch.testing.assert_close(head.body(head.sample(seen)), wanted, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_window_longer_than_the_width_is_still_causal(make_head: MakeHead) -> None:
    head, seen = make_head("GPTDecoder", window_size=12), frames(12)
    torch.testing.assert_close(head(seen)[0][:, :5], head(seen[:, :5])[0], **EXACT)


@torch.no_grad()
@pytest.mark.parametrize("kind", CONTINUOUS)
def test_the_gripper_as_a_probability(make_head: MakeHead, kind: str) -> None:
    logits, chances = make_head(kind), make_head(kind, gripper_probability=True)
    assert list(logits.state_dict()) == list(chances.state_dict())
    seen, labels = 3 * frames(4), (torch.zeros(2, 4, 3, 3), torch.ones(2, 4, 3))
    plain, likely = logits(seen), chances(seen)
    torch.testing.assert_close(likely[1], plain[1].sigmoid())
    assert torch.equal(likely[0], plain[0])
    for key, value in logits.loss(plain, labels).items():
        assert float(chances.loss(likely, labels)[key]) == pytest.approx(float(value), abs=1e-5)


@torch.no_grad()
def test_a_state_starts_a_window(make_head: MakeHead) -> None:
    head, seen = make_head("LSTMDecoder"), frames(4)
    _, state = head.rnn(head.sample(seen[:, :3]))
    torch.testing.assert_close(head(seen[:, 3:], state)[0], head(seen)[0][:, 3:], **EXACT)
    assert head.history_memory == []
    with pytest.raises(ValueError, match="recurrent"):
        make_head("GPTDecoder")(seen, state)


@pytest.mark.parametrize("kind", ["LSTMDecoder", "GPTDecoder"])
@pytest.mark.parametrize("shape", [(2, 16), (2, 4, 16)])
def test_only_frames_of_tokens_are_windows(make_head: MakeHead, kind: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="batch, frames, tokens, features"):
        make_head(kind)(torch.zeros(shape))


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_features_that_do_not_fit_are_refused(make_head: MakeHead, kind: str) -> None:
    with pytest.raises(ValueError, match="none wants 1 token"):
        make_head(kind)(torch.zeros(2, 4, 2, 16))
    with pytest.raises(ValueError, match="tokens of 16 features"):
        make_head(kind, down_sample="pooling")(torch.zeros(2, 4, 2, 8))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"action_dim": 1}, "action_dim"),
        ({"action_dim": 0}, "action_dim"),
        ({"latent": 0}, "latent"),
        ({"fwd_pred_next_n": 0}, "fwd_pred_next_n"),
        ({"in_features": 0}, "in_features"),
        ({"down_sample": "mean"}, "none, pooling or resampler"),
    ],
)
@pytest.mark.parametrize("kind", CONTINUOUS)
def test_arguments_that_cannot_be_are_refused(make_head: MakeHead, kind: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_head(kind, **change)


def test_more_of_what_cannot_be(make_head: MakeHead) -> None:
    for kind in WINDOWED:
        with pytest.raises(ValueError, match="window_size"):
            make_head(kind, window_size=0)
        with pytest.raises(ValueError, match="one frame"):
            make_head(kind).step(frames(2))
    with pytest.raises(ValueError, match="attention heads"):
        make_head("GPTDecoder", hidden_size=12)
    with pytest.raises(ValueError, match="at most 4 frames"):
        make_head("GPTDecoder")(frames(5))
    with pytest.raises(ValueError, match="no history"):
        make_head("FCDecoder").step(frames(1), torch.zeros(2, 1, 16))
    with pytest.raises(ValueError, match=r"b, l, n, d"):
        make_head("FCDecoder")(torch.zeros(16))


@torch.no_grad()
def test_a_head_without_history_steps_too(make_head: MakeHead) -> None:
    head, seen = make_head("FCDecoder"), frames(1)
    (arm, _), history = head.step(seen)
    assert torch.equal(arm, head(seen)[0])
    assert history is None


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_no_labels_no_loss(make_head: MakeHead, kind: str) -> None:
    head = make_head(kind)
    assert head.loss(head(frames(4)), None) == {"loss": None}
    assert head.loss(head(frames(4)), (None, None)) == {"loss": None}


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_loss_falls_on_one_batch(make_head: MakeHead, kind: str) -> None:
    head = make_head(kind).train()
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3)
    labels = (0.5 * torch.ones(2, 4, 3, 3), torch.ones(2, 4, 3))
    values = []
    for _ in range(20):
        losses = head.loss(head(frames(4)), labels)
        total = losses["loss_arm"] + 0.01 * losses["loss_gripper"]
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        values.append(float(total.detach()))
    assert values[-1] < 0.5 * values[0]
