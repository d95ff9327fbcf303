"""Actions as the least used rows of a tokenizer's vocabulary. The arithmetic is `edge_vla.actions.ActionBins`, which needs no torch."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from edge_vla.actions import ActionBins


class Tokenizer(Protocol):
    """What of a `transformers` tokenizer is used, of version 4 or 5."""

    @property
    def vocab_size(self) -> int:
        """Rows without added tokens."""

    @property
    def special_tokens_map(self) -> dict[str, Any]: ...

    def decode(self, token_ids: list[int]) -> str: ...


def count_special_tokens(tokenizer: Tokenizer) -> int:
    """Named special tokens, one each even where two are the same text, and every additional one. Version 5 lists these apart."""
    named = getattr(tokenizer, "special_tokens_map_extended", None)
    if named is None:
        named = {**tokenizer.special_tokens_map, "extra": list(getattr(tokenizer, "extra_special_tokens", None) or [])}
    return sum(len(tokens) if isinstance(tokens, list | tuple) else 1 for tokens in named.values())


class ActionTokenizer:
    """Actions to token ids and back: `bins` edges over [min_action, max_action], higher actions on lower ids.

    `add_action_end_flag` is an argument of the reference's that nothing reads, there or here.
    """

    def __init__(
        self, tokenizer: Tokenizer, bins: int = 256, min_action: float = -1, max_action: float = 1, add_action_end_flag: bool = False,  # noqa: ARG002, FBT001, FBT002 - the reference's
    ) -> None:  # fmt: skip
        self.tokenizer = tokenizer
        self.n_bins = bins
        self.min_action, self.max_action = min_action, max_action
        self.special_tokens_count = count_special_tokens(tokenizer)
        self.numbers = ActionBins(tokenizer.vocab_size, self.special_tokens_count, bins, min_action, max_action)
        self.tokenizer_orig_size = self.numbers.orig_size
        self.action_token_begin_idx = self.numbers.begin_idx  # both outside: begin < id < end
        self.action_token_end_idx = self.numbers.end_idx
        self.bins = self.numbers.edges
        self.bin_centers = self.numbers.centers

    def __call__(self, action: ArrayLike | Tensor) -> str | list[Any]:
        """The text of one action (A,), or a list of those of several (m, A), or lists of them. Raises ValueError for a single number."""
        values = _numpy(action)
        if values.ndim == 0:
            raise ValueError(f"action: want (A,) or (..., A), got the number {values}")
        if values.ndim > 1:
            return [self(row) for row in values]
        return self.tokenizer.decode(self.encode_actions_to_token_ids(values))

    def encode_actions_to_token_ids(self, action: ArrayLike | Tensor) -> Any:
        """Ids of actions of any shape, as nested lists."""
        return self.numbers.encode(_numpy(action)).tolist()

    def decode_token_ids_to_actions(self, action_token_ids: ArrayLike | Tensor) -> NDArray[np.float64]:
        """The middle of each id's bin, at most half a bin from what was encoded."""
        return self.numbers.decode(_numpy(action_token_ids))

    @property
    def vocab_size(self) -> int:
        return self.n_bins


def _numpy(values: ArrayLike | Tensor) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
