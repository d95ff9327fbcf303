"""The head without memory: each frame on its own."""

from typing import Any

from torch import Tensor, nn

from edge_vla.learn.heads.base import BasePolicyHead, Output, initialize_param


class FCDecoder(BasePolicyHead):
    """Takes (b, l, n, d), (b, n, d) or (b, d); of the last the outputs stay flat, (b, C * (A - 1)) and (b, C)."""

    def __init__(  # noqa: PLR0913 - the reference's constructor
        self,
        in_features: int,
        hidden_size: int,
        action_dim: int,
        down_sample: str,
        latent: int,
        fwd_pred_next_n: int,
        *,
        gripper_probability: bool = False,
        **layout: Any,
    ) -> None:
        super().__init__(hidden_size, action_dim, down_sample=down_sample, latent=latent, **layout)
        self.fwd_pred_next_n = fwd_pred_next_n
        self._init_sampler(in_features)
        self._init_outputs(gripper_probability=gripper_probability)
        width = in_features * latent
        self.mlp = nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, hidden_size * latent))
        initialize_param(self)

    def forward(self, tok_seq: Tensor, **_: object) -> Output:
        if tok_seq.dim() not in {2, 3, 4}:
            raise ValueError(f"FCDecoder wants (b, l, n, d), (b, n, d) or (b, d), got shape {tuple(tok_seq.shape)}")
        tokens = tok_seq[:, None] if tok_seq.dim() == 2 else tok_seq
        x = self.mlp(self._sample(tokens.flatten(0, -3)))
        actions, gripper = self.actions(x), self.gripper(x)
        if tok_seq.dim() == 2:
            return actions, gripper
        frames = tok_seq.shape[:-2]
        return self._chunks(actions).unflatten(0, frames), self._chunks(gripper).unflatten(0, frames)
