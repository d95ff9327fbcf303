"""The head of discrete actions: the language model's own logits, read as action rows."""

from typing import Any

from torch import Tensor

from edge_vla.learn.action_tokenizer import ActionTokenizer, Tokenizer
from edge_vla.learn.heads.base import BasePolicyHead, Losses
from edge_vla.learn.losses import discrete_losses


class DiscreteDecoder(BasePolicyHead):
    """Gives logits (b, sequence, vocabulary) back as they are; `decode` reads the likeliest rows as action values."""

    def __init__(  # noqa: PLR0913 - the reference's constructor
        self,
        hidden_size: int,
        action_dim: int,
        action_space: str = "continuous",
        down_sample: str = "pooling",
        latent: int = 1,
        cont_token_nun: int = 1,
        n_bin: int = 256,
        min_action: float = -1,
        max_action: float = 1,
        tokenizer: Tokenizer | None = None,
        **layout: Any,
    ) -> None:
        super().__init__(hidden_size, action_dim, action_space, down_sample, latent, **layout)
        if tokenizer is None:
            raise ValueError("DiscreteDecoder: want the backbone's tokenizer, got None")
        self.cont_token_num = cont_token_nun
        self.n_bin = n_bin
        self.min_action = min_action
        self.max_action = max_action
        self.action_tokenizer = ActionTokenizer(tokenizer, n_bin, min_action, max_action)

    def forward(self, tok_seq: Tensor, **_: object) -> Tensor:
        return tok_seq

    def decode(self, logits: Tensor) -> Tensor:
        """(..., vocabulary) to the action value (...) of the likeliest action row."""
        bins = self.action_tokenizer.numbers
        first = bins.begin_idx + 1
        rows = logits[..., first : bins.end_idx].argmax(-1) + first
        values = logits.new_tensor(bins.centers)
        return values[(bins.end_idx - rows - 1).clamp(0, len(values) - 1)]

    def loss(self, pred_action: Any, labels: Any, attention_mask: Tensor | None = None) -> Losses:  # noqa: ARG002 - False on the very tokens that are learned (robovlms.md §5.1)
        """Next-token cross-entropy of labels (b, sequence), -100 ignored, with metrics over the action rows. {"loss": None} without."""
        if labels is None:
            return {"loss": None}
        return discrete_losses(pred_action, labels, self.action_tokenizer.numbers, self.action_dim)
