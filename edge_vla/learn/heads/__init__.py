"""Policy heads: features of the backbone's action tokens to chunks of actions. Names, arguments and keys are RoboVLMs' own."""

import warnings
from collections.abc import Mapping
from typing import Any

from edge_vla.errors import ConfigError
from edge_vla.learn.heads.base import BasePolicyHead, MLPSigmoidHead, MLPTanhHead, WindowedHead, initialize_param
from edge_vla.learn.heads.discrete import DiscreteDecoder
from edge_vla.learn.heads.fc import FCDecoder
from edge_vla.learn.heads.gpt import GPTDecoder
from edge_vla.learn.heads.lstm import LSTMDecoder
from edge_vla.learn.heads.mobile import MobileVLAClassificationDecoder, MobileVLALSTMDecoder

__all__ = [
    "HEADS",
    "BasePolicyHead",
    "DiscreteDecoder",
    "FCDecoder",
    "GPTDecoder",
    "LSTMDecoder",
    "MLPSigmoidHead",
    "MLPTanhHead",
    "MobileVLAClassificationDecoder",
    "MobileVLALSTMDecoder",
    "WindowedHead",
    "initialize_param",
    "make_head",
]

# `type` of an act_head section to its class
HEADS: dict[str, type[BasePolicyHead]] = {
    "FCDecoder": FCDecoder,
    "LSTMDecoder": LSTMDecoder,
    "GPTDecoder": GPTDecoder,
    "DiscreteDecoder": DiscreteDecoder,
    "MobileVLALSTMDecoder": MobileVLALSTMDecoder,
    "MobileVLAClassificationDecoder": MobileVLAClassificationDecoder,
}

RECURRENT = {"LSTMDecoder", "MobileVLALSTMDecoder", "MobileVLAClassificationDecoder"}
WITH_GRIPPER = {"FCDecoder", "LSTMDecoder", "GPTDecoder"}
CLASSES = "MobileVLAClassificationDecoder"  # its actions are classes, so that `action_dim` says nothing of them
# Keys of an act_head section that not every head takes.
TAKEN_BY: dict[str, set[str]] = {
    "num_layers": RECURRENT, "policy_rnn_dropout_p": RECURRENT, "gripper_probability": WITH_GRIPPER,
    "num_classes": {CLASSES}, "class_weights": {CLASSES},
    "n_bin": {"DiscreteDecoder"}, "min_action": {"DiscreteDecoder"}, "max_action": {"DiscreteDecoder"},
}  # fmt: skip


def make_head(section: Mapping[str, Any], model: Mapping[str, Any]) -> BasePolicyHead:
    """The head that an `act_head` section names; `model` has what the model settles: in_features, window_size, tokenizer...

    Raises ConfigError for a section that contradicts itself; warns of keys that the head does not take.
    """
    kind = section.get("type")
    if kind not in HEADS:
        raise ConfigError(f"act_head.type {kind!r}: want one of {', '.join(HEADS)}")
    _refuse(kind, section)
    useless = [f"act_head.{key}" for key, heads in TAKEN_BY.items() if key in section and kind not in heads]
    if useless:
        warnings.warn(f"without effect in a {kind}: {', '.join(useless)}", stacklevel=4)
    given: dict[str, Any] = {"hidden_size": 1024, "latent": 1, "down_sample": "none"} | dict(section) | dict(model)
    del given["type"]
    if kind == CLASSES:
        given.setdefault("action_dim", 1)
    elif "action_dim" not in given:
        raise ConfigError(f"act_head.action_dim None: a {kind} wants the length of an action")
    try:
        return HEADS[kind](**given)
    except (TypeError, ValueError) as err:
        raise ConfigError(f"act_head: {err}") from err


def _refuse(kind: str, section: Mapping[str, Any]) -> None:
    """Combinations that no policy can be of."""
    space, history = section.get("action_space", "continuous"), section.get("history_type", "post")
    discrete, sample = kind == "DiscreteDecoder", section.get("down_sample", "none")
    if discrete is not (space == "discrete"):
        raise ConfigError(f"act_head.type {kind!r} and act_head.action_space {space!r}: DiscreteDecoder and discrete go together only")
    if history == "video" and kind != "FCDecoder":
        raise ConfigError(f"act_head.type {kind!r} and act_head.history_type 'video': a video is one frame to a head; want FCDecoder")
    if space == "down_sample" and sample == "none":
        raise ConfigError("act_head.action_space 'down_sample' and act_head.down_sample 'none': want pooling or resampler")
