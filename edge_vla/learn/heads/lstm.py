"""The recurrent head: the paper's best."""

from typing import Any

from torch import Tensor, nn

from edge_vla.learn.heads.base import WindowedHead, initialize_param


class LSTMDecoder(WindowedHead):
    """A stacked LSTM over the window; `h_0` is where a window starts, zeros if not given."""

    def __init__(  # noqa: PLR0913 - the reference's constructor
        self,
        in_features: int,
        action_dim: int,
        down_sample: str,
        latent: int,
        fwd_pred_next_n: int,
        window_size: int,
        hidden_size: int = 1024,
        num_layers: int = 4,
        policy_rnn_dropout_p: float = 0.0,
        *,
        gripper_probability: bool = False,
        **layout: Any,
    ) -> None:
        super().__init__(hidden_size, action_dim, down_sample=down_sample, latent=latent, **layout)
        self.fwd_pred_next_n = fwd_pred_next_n
        self._init_memory(window_size)
        self._init_sampler(in_features)
        self.rnn = lstm(in_features * latent, hidden_size * latent, num_layers, policy_rnn_dropout_p)
        self._init_outputs(gripper_probability=gripper_probability)
        initialize_param(self)

    def body(self, features: Tensor, h_0: tuple[Tensor, Tensor] | None = None) -> Tensor:
        return self.rnn(features, h_0)[0]


def lstm(in_features: int, hidden_size: int, num_layers: int, dropout: float) -> nn.LSTM:
    return nn.LSTM(in_features, hidden_size, num_layers, batch_first=True, dropout=dropout)
