"""Pages of weights given back, and nothing else about a model changed."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from edge_vla.learn.checkpoint import as_stored, load_strict, read_weights
from export.torch_graphs.releasing import release

WIDTH = 3000


def held() -> int:
    """Bytes of files that this process has in memory."""
    return next(1024 * int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssFile"))


def test_a_mapped_model_gives_its_pages_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)).to(torch.bfloat16)
    save_file(given.state_dict(), tmp_path / "model.safetensors")
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH))
    with as_stored():
        load_strict(model, read_weights(tmp_path), "it")
    with torch.no_grad():
        model[1].weight[5, 7] = 3.0  # in memory alone
    want = copy.deepcopy(model.state_dict())
    nbytes = sum(p.nbytes for p in model.parameters())
    before = held()
    release(model)
    assert before - held() > 0.9 * nbytes
    assert all(torch.equal(value, want[name]) for name, value in model.state_dict().items())
    assert model[1].weight[5, 7] == 3.0


def test_a_model_that_is_no_file_stays(tmp_path: Path) -> None:
    model = nn.Linear(WIDTH, WIDTH)
    want = model.weight.detach().clone()
    release(model)
    assert torch.equal(model.weight, want)
