"""Heads built as the reference's were, with its weights; and small heads of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from edge_vla.learn.heads import BasePolicyHead

HERE = Path(__file__).resolve().parents[2] / "golden" / "robovlms"
SMALL = {"in_features": 16, "action_dim": 4, "latent": 1, "fwd_pred_next_n": 3, "window_size": 4, "hidden_size": 8, "down_sample": "none"}


@pytest.fixture(scope="session")
def golden() -> Callable[[str], tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """golden("fc_latent1"): what is said of the case, and its arrays."""
    said = {case.get("file"): case for case in json.loads((HERE / "golden.json").read_text())["cases"]}

    def load(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        with np.load(HERE / f"{name}.npz") as arrays:
            return said[f"{name}.npz"], dict(arrays)

    return load


@pytest.fixture
def make_head() -> Callable[..., BasePolicyHead]:
    """make_head("LSTMDecoder", latent=2): a small head in evaluation mode, seeded, its weights wide enough to matter."""
    import torch

    from edge_vla.learn.heads import HEADS

    def make(kind: str, seed: int = 0, **changes: Any) -> BasePolicyHead:
        torch.manual_seed(seed)
        head = HEADS[kind](**{**SMALL, **changes})
        with torch.no_grad():
            for weight in head.parameters():
                weight.normal_(0, 0.08 if weight.dim() > 1 else 0.3)
        return head.eval()

    return make


@pytest.fixture(scope="session")
def vocabulary() -> Any:
    """A tokenizer of 400 words and two special tokens, so 388 rows below which actions lie."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(400)}, unk_token="w0"))
    return PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w1", eos_token="w2")
