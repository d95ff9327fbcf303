"""The Perceiver resampler against its formulas in numpy, and its keys against OpenFlamingo's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from edge_vla.learn.resampler import PerceiverResampler

Weights = dict[str, np.ndarray]


def norm(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def by_hand(w: Weights, x: np.ndarray, depth: int, heads: int, width: int) -> np.ndarray:
    """One batch row and one medium: (F * v, d) to (n, d)."""
    latents, erf = w["latents"], np.vectorize(math.erf)
    for k in range(depth):
        at = f"layers.{k}.0"
        asking = norm(w, f"{at}.norm_latents", latents)
        known = np.concatenate([norm(w, f"{at}.norm_media", x), asking])
        q, kv = asking @ w[f"{at}.to_q.weight"].T, known @ w[f"{at}.to_kv.weight"].T
        key, value = np.split(kv, 2, axis=1)
        out = []
        for h in range(heads):
            cut = slice(h * width, (h + 1) * width)
            score = np.exp(q[:, cut] @ key[:, cut].T / math.sqrt(width))
            out.append(score / score.sum(1, keepdims=True) @ value[:, cut])
        latents = latents + np.concatenate(out, 1) @ w[f"{at}.to_out.weight"].T
        inner = norm(w, f"layers.{k}.1.0", latents) @ w[f"layers.{k}.1.1.weight"].T
        latents = latents + 0.5 * inner * (1 + erf(inner / math.sqrt(2))) @ w[f"layers.{k}.1.3.weight"].T
    return norm(w, "norm", latents)


def seeded(**changes: Any) -> PerceiverResampler:
    torch.manual_seed(0)
    own = PerceiverResampler(**{"dim": 24, "depth": 2, "dim_head": 8, "heads": 4, "num_latents": 5, **changes})
    with torch.no_grad():
        for weight in own.parameters():
            weight.normal_(0, 0.3)
    return own.eval()


@torch.no_grad()
@pytest.mark.parametrize("embeddings", [{}, {"max_num_frames": 3}, {"max_num_media": 4}, {"max_num_frames": 2, "max_num_media": 3}])
def test_the_formulas(embeddings: dict[str, int]) -> None:
    own = seeded(**embeddings)
    w = {key: value.double().numpy() for key, value in own.state_dict().items()}
    x = torch.randn(2, 3, 2, 7, 24)
    got = own(x).numpy()
    assert got.shape == (2, 3, 5, 24)
    for b in range(2):
        for medium in range(3):
            seen = x[b, medium].double().numpy()
            if "frame_embs" in w:
                seen = seen + w["frame_embs"][:2, None]
            seen = seen.reshape(14, 24)
            if "media_time_embs" in w:
                seen = seen + w["media_time_embs"][medium]
            np.testing.assert_allclose(got[b, medium], by_hand(w, seen, 2, 4, 8), rtol=0, atol=1e-5)


def test_the_keys_and_defaults_are_open_flamingos() -> None:
    own = {key: tuple(value.shape) for key, value in PerceiverResampler(dim=128).state_dict().items()}
    layer = {
        "0.norm_media.weight": (128,),
        "0.norm_media.bias": (128,),
        "0.norm_latents.weight": (128,),
        "0.norm_latents.bias": (128,),
        "0.to_q.weight": (512, 128),
        "0.to_kv.weight": (1024, 128),
        "0.to_out.weight": (128, 512),
        "1.0.weight": (128,),
        "1.0.bias": (128,),
        "1.1.weight": (512, 128),
        "1.3.weight": (128, 512),
    }
    wanted = {f"layers.{k}.{name}": shape for k in range(6) for name, shape in layer.items()}
    assert own == {**wanted, "latents": (64, 128), "norm.weight": (128,), "norm.bias": (128,)}


@torch.no_grad()
def test_media_do_not_see_each_other() -> None:
    own, x = seeded(), torch.randn(2, 3, 2, 7, 24)
    torch.testing.assert_close(own(x)[:, 1:2], own(x[:, 1:2]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "said"),
    [((2, 7, 24), "media"), ((2, 3, 2, 7, 25), "24"), ((1, 3, 4, 7, 24), "3 frames"), ((1, 5, 3, 7, 24), "4 media")],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        seeded(max_num_frames=3, max_num_media=4)(torch.zeros(shape))
