"""What a model answers with narrow weights, widened where they are used, against the same model widened as a whole."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import export.torch_graphs.widening
from export.torch_graphs.widening import AT_ONCE, widened
from tests.learn.backbones import engines
from tests.learn.backbones.conftest import (  # noqa: F401 - fixtures
    write_kosmos,
    write_llava,
    write_llava_mpt,
    write_paligemma,
)  # fmt: skip
from tests.learn.backbones.test_as_stored import both, written  # noqa: F401


@pytest.mark.parametrize("name", engines.NAMES)
def test_every_backbone_answers_as_if_it_were_wide(name: str, written: Callable[..., engines.Config]) -> None:  # noqa: F811
    kept, wide = both(written(name, torch.bfloat16))
    rgb = engines.camera(90, 60)
    picture = wide.preprocess(rgb)[None]
    ids = torch.tensor([wide.ids("go to")])
    with torch.no_grad():
        want = wide.encode_images(picture), wide.word_embedding(ids)
    with widened(kept):
        got = kept.encode_images(picture), kept.word_embedding(ids)
        said = kept.generate("go", rgb, 4)
    for ours, theirs in zip(got, want, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert said == wide.generate("go", rgb, 4)
    assert {p.dtype for p in kept.backbone.parameters()} == {torch.bfloat16}


def test_without_it_answers_are_rounded(written: Callable[..., engines.Config]) -> None:  # noqa: F811
    kept, wide = both(written("paligemma", torch.bfloat16))
    picture = wide.preprocess(engines.camera(90, 60))[None]
    with torch.no_grad():
        assert (kept.encode_images(picture).float() - wide.encode_images(picture)).abs().max() > 1e-3


class Everything(nn.Module):
    """What backbones do with types, and heads."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 8, 2, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.token = nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.token.dtype) + self.token
        x = self.lstm(x)[0].type_as(self.norm.weight)
        mask = torch.zeros(x.shape[1], x.shape[1], dtype=self.norm.weight.dtype).masked_fill(torch.eye(x.shape[1]) > 0, -1.0)
        return self.norm(self.attention(x, x, x, attn_mask=mask)[0]) @ nn.functional.normalize(self.norm.weight[None].T)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_types_that_code_asks_for_are_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = Everything().eval().to(dtype)
    before = dict(module.named_parameters())
    x = torch.randn(1, 5, 8)
    with widened(module):
        got = module(x)
    with torch.no_grad():
        want = copy.deepcopy(module).float()(x)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    assert all(before[name] is value for name, value in module.named_parameters())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("positions", [slice(None), slice(-1, None)])
def test_a_wide_head_is_widened_in_parts(bias: bool, positions: slice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that do not divide it, and a part that is one column; of all positions and of the last, which torch multiplies as a batch."""
    torch.manual_seed(0)
    head, x = nn.Linear(10, 103, bias=bias).half().requires_grad_(requires_grad=False), torch.randn(2, 3, 10)[:, positions]
    want = copy.deepcopy(head).float()(x)
    for most in (AT_ONCE, 10 * 102, 10 * 7, 10, 3):
        monkeypatch.setattr(export.torch_graphs.widening, "AT_ONCE", most)
        with widened(head):
            torch.testing.assert_close(head(x), want, rtol=1e-5, atol=1e-6)


# VmHWM is the process's own peak; ru_maxrss would begin with that of the one that started it.
PEAK = """
import torch
from torch import nn
from export.torch_graphs.widening import widened

def peak(): return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

with widened(warm := nn.Sequential(nn.Embedding(9, 64), nn.Linear(64, 64)).half()):
    warm(torch.arange(3))
torch.set_default_dtype(torch.half)  # never wider, or that would be the peak
model = nn.Sequential(nn.Embedding(100_000, 1500), *[nn.Linear(1500, 1500) for _ in range(9)], nn.Linear(1500, 100_000, bias=False))
torch.set_default_dtype(torch.float32)
with torch.no_grad():
    for parameter in model.requires_grad_(False).parameters():
        parameter.zero_()
torch.cuda.is_available()
before = peak()
with widened(model):
    model(torch.arange(5))
    model[-1](torch.zeros(1, 5, 1500)[:, -1:])
print(peak() - before)
"""


def test_no_two_weights_are_wide_together(checkout: Path) -> None:
    """The table and the head would be 600 MB each."""
    result = subprocess.run([sys.executable, "-c", PEAK], cwd=checkout, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert int(result.stdout) < 60e6
