"""Policy heads: features of the backbone's action tokens to chunks of actions. Names, arguments and keys are RoboVLMs' own."""

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
