"""Which head an act_head section makes, and the sections that contradict themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edge_vla.errors import ConfigError
from edge_vla.learn.heads import HEADS, MobileVLAClassificationDecoder, make_head

SECTION = {"hidden_size": 8, "action_dim": 4}
RECURRENT = [name for name in HEADS if "LSTM" in name or "Classification" in name]


def settled(vocabulary: Any = None) -> dict[str, Any]:
    return {"in_features": 16, "window_size": 4, "fwd_pred_next_n": 3, "tokenizer": vocabulary}


@pytest.mark.parametrize("kind", [name for name in HEADS if name != "DiscreteDecoder"])
def test_any_other_head_says_no_words_and_discrete_does_only_that(kind: str, vocabulary: Any) -> None:
    with pytest.raises(ConfigError, match=f"act_head.type '{kind}' and act_head.action_space 'discrete'"):
        make_head(SECTION | {"type": kind, "action_space": "discrete"}, settled())
    for space in ("continuous", "down_sample"):
        with pytest.raises(ConfigError, match=f"act_head.type 'DiscreteDecoder' and act_head.action_space '{space}'"):
            make_head(SECTION | {"type": "DiscreteDecoder", "action_space": space, "down_sample": "pooling"}, settled(vocabulary))
    with pytest.raises(ConfigError, match=r"'DiscreteDecoder' and act_head\.action_space 'continuous'"):
        make_head(SECTION | {"type": "DiscreteDecoder"}, settled(vocabulary))
    head = make_head(SECTION | {"type": "DiscreteDecoder", "action_space": "discrete", "n_bin": 32}, settled(vocabulary))
    assert type(head).__name__ == "DiscreteDecoder"
    assert type(make_head(SECTION | {"type": kind}, settled())).__name__ == kind


@pytest.mark.parametrize("kind", HEADS)
def test_a_video_is_for_a_head_without_history(kind: str, vocabulary: Any) -> None:
    section = SECTION | {"type": kind, "history_type": "video", "action_space": "discrete" if kind == "DiscreteDecoder" else "continuous"}
    if kind == "FCDecoder":
        make_head(section, settled(vocabulary))
        return
    with pytest.raises(ConfigError, match=f"act_head.type '{kind}' and act_head.history_type 'video'"):
        make_head(section, settled(vocabulary))


@pytest.mark.parametrize("sample", [{}, {"down_sample": "none"}])
def test_many_tokens_want_to_be_made_one(sample: dict[str, str]) -> None:
    section = SECTION | {"type": "FCDecoder", "action_space": "down_sample"}
    with pytest.raises(ConfigError, match=r"act_head\.action_space 'down_sample' and act_head\.down_sample 'none'"):
        make_head(section | sample, settled())
    assert make_head(section | {"down_sample": "pooling"}, settled()).down_sample == "pooling"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": None}, "act_head.type None: want one of FCDecoder"),
        ({"type": "LSTM"}, "act_head.type 'LSTM': want one of FCDecoder"),
        ({"action_dim": 1}, "act_head: action_dim: want an arm and a gripper, at least 2, got 1"),
        ({"hidden_size": 12, "type": "GPTDecoder"}, "act_head: latent . hidden_size: want a multiple of 8"),
    ],
)
def test_a_section_that_makes_no_head(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_head(SECTION | {"type": "LSTMDecoder"} | change, settled())


def test_every_head_but_one_wants_the_length_of_an_action(vocabulary: Any) -> None:
    for kind in HEADS:
        section = {"type": kind, "hidden_size": 8} | ({"action_space": "discrete", "n_bin": 32} if kind == "DiscreteDecoder" else {})
        if kind == "MobileVLAClassificationDecoder":
            assert make_head(section, settled()).action_dim == 6
            continue
        with pytest.raises(ConfigError, match=rf"act_head\.action_dim None: a {kind} wants"):
            make_head(section, settled(vocabulary))


def test_classes_and_their_weights_are_settings() -> None:
    section = {"type": "MobileVLAClassificationDecoder", "hidden_size": 8, "num_classes": 8, "class_weights": [1, 2, 3, 4, 5, 6, 7, 8]}
    head = make_head(section, settled())
    assert isinstance(head, MobileVLAClassificationDecoder)
    assert head.num_classes == 8
    logits, _ = head(torch.randn(2, 4, 1, 16))
    assert logits.shape == (2, 4, 3, 8)
    labels = torch.zeros(2, 4, 3).long()
    labels[..., 0] = 7
    values = torch.nn.functional.cross_entropy(logits.flatten(0, 2), labels.flatten(), torch.arange(1.0, 9.0))
    torch.testing.assert_close(head.loss(logits, (labels, None))["loss_velocity"], values)
    for wrong, message in (([1.0] * 7, "want 8, one a class, got 7"), ([1.0] * 7 + [-1.0], "want numbers of at least 0")):
        with pytest.raises(ConfigError, match=f"act_head: class_weights: {message}"):
            make_head(section | {"class_weights": wrong}, settled())


@pytest.mark.parametrize(
    ("key", "value", "heads"),
    [
        ("num_layers", 2, RECURRENT), ("policy_rnn_dropout_p", 0.0, RECURRENT), ("n_bin", 32, ["DiscreteDecoder"]),
        ("gripper_probability", False, ["FCDecoder", "LSTMDecoder", "GPTDecoder"]),
        ("num_classes", 8, ["MobileVLAClassificationDecoder"]), ("min_action", -1, ["DiscreteDecoder"]),
    ],
)  # fmt: skip
def test_what_a_head_does_not_take_is_told(key: str, value: Any, heads: list[str], vocabulary: Any) -> None:
    for kind in HEADS:
        section = SECTION | {"type": kind, key: value}
        section |= {"action_space": "discrete", "n_bin": 32} if kind == "DiscreteDecoder" else {}
        if kind in heads:
            make_head(section, settled(vocabulary))
            continue
        with pytest.warns(UserWarning, match=f"without effect in a {kind}: act_head.{key}"):
            make_head(section, settled(vocabulary))
