"""Moondream's loading, language model and policy, against a second derivation from the public tensors."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as fn
from torch import Tensor

from edge_vla.learn.backbones.moondream import RoboMoonDream
from tests.learn.backbones.lesson import learners, teach, walk
from tests.learn.backbones.tiny_moondream import (
    CROP,
    PATCH,
    TINY,
    weights,
    write_moondream,
)

LAYOUTS = ["B", "C", "D"]
PREFIX = 1 + (CROP // PATCH) ** 2
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("moondream")
    for layout in LAYOUTS:
        write_moondream(root / layout, layout)
    return {layout: root / layout for layout in LAYOUTS}


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """copy(layout): a folder that a test may spoil."""
    return lambda layout: Path(shutil.copytree(folders[layout], tmp_path / layout))


def policy(folder: Path, setup: dict[str, Any] | None = None, **vlm: str) -> RoboMoonDream:
    head = {"type": "LSTMDecoder", "hidden_size": 16, "action_dim": 4, "action_space": "continuous", "down_sample": "none"}
    return RoboMoonDream(
        {
            "vlm": {"pretrained_model_name_or_path": str(folder), **vlm}, "window_size": 3, "fwd_pred_next_n": 2, "act_head": head,
            "train_setup": {"train_vision": True, "train_text_embedding": True} | (setup or {}),
        }
    )  # fmt: skip


def load_policy(folder: Path) -> RoboMoonDream:
    return policy(folder).eval()


def phi(tensors: Tensors, x: Tensor, allowed: Tensor, positions: Tensor) -> Tensor:
    """Phi-1.5 before its last norm, from public names: one norm, attention and MLP side by side, half of each head rotated."""
    d = "model.text.wte" in tensors
    block = "model.text.blocks.{}." if d else "text_model.transformer.h.{}."
    qkv, out = ("attn.qkv", "attn.proj") if d else ("mixer.Wqkv", "mixer.out_proj")
    size = TINY["dim"] // TINY["heads"]
    angle = positions[..., None].double() / 10000.0 ** (torch.arange(0, size // 2, 2).double() / (size // 2))
    turn = torch.polar(torch.ones_like(angle), angle)[:, None]

    def linear(name: str, value: Tensor) -> Tensor:
        return value @ tensors[name + ".weight"].double().T + tensors[name + ".bias"].double()

    def rotated(value: Tensor) -> Tensor:
        quarter = size // 4
        pairs = torch.complex(value[..., :quarter].contiguous(), value[..., quarter : 2 * quarter].contiguous()) * turn
        return torch.cat([pairs.real, pairs.imag, value[..., 2 * quarter :]], -1)

    x = x.double()
    for k in range(TINY["layers"]):
        at = block.format(k)
        normed = fn.layer_norm(x, x.shape[-1:], tensors[at + "ln.weight"].double(), tensors[at + "ln.bias"].double(), 1e-5)
        q, key, v = linear(at + qkv, normed).reshape(*x.shape[:2], 3, TINY["heads"], size).permute(2, 0, 3, 1, 4)
        seen = fn.scaled_dot_product_attention(rotated(q), rotated(key), v, allowed[:, None]).transpose(1, 2).flatten(2)
        inner = linear(at + "mlp.fc1", normed)
        inner = 0.5 * inner * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (inner + 0.044715 * inner**3)))
        x = x + linear(at + out, seen) + linear(at + "mlp.fc2", inner)
    return x


def words(tensors: Tensors, hidden: Tensor) -> Tensor:
    d = "model.text.wte" in tensors
    norm, linear = ("model.text.post_ln", "model.text.lm_head") if d else ("text_model.lm_head.ln", "text_model.lm_head.linear")
    t = {name: tensor.double() for name, tensor in tensors.items()}
    normed = fn.layer_norm(hidden, hidden.shape[-1:], t[norm + ".weight"], t[norm + ".bias"], 1e-5)
    return normed @ t[linear + ".weight"].T + t[linear + ".bias"]


def causal(mask: Tensor, prefix: int = 0) -> Tensor:
    """(rows, n, n) what may be seen; a pad sees itself so that its row stays finite."""
    n = mask.shape[1]
    seen = torch.ones(n, n).tril().bool()
    seen[:prefix, :prefix] = True
    return (seen & mask[:, None]) | torch.eye(n).bool()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("padded", [False, True])
def test_logits_and_hidden_states_equal_a_second_derivation(folders: dict[str, Path], layout: str, padded: bool) -> None:
    tensors, model = weights(layout), load_policy(folders[layout])
    torch.manual_seed(1)
    x, mask = torch.randn(2, PREFIX + 7, TINY["dim"]), torch.ones(2, PREFIX + 7).bool()
    if padded:
        mask[0, PREFIX + 3 : PREFIX + 5] = mask[1, -2:] = False  # in the middle and at the end
    positions = mask.long().cumsum(1) - 1
    out = model.run_text(x, mask, positions)
    want = phi(tensors, x, causal(mask, PREFIX if layout == "D" else 0), positions)
    torch.testing.assert_close(out.hidden[mask], want[mask].float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.logits(out.hidden)[mask], words(tensors, want)[mask].float(), atol=1e-5, rtol=1e-5)
    other = phi(weights(layout, seed=1), x, causal(mask, PREFIX if layout == "D" else 0), positions)
    assert (out.hidden - other).abs().max() > 0.1


def test_only_the_release_of_2025_looks_both_ways_over_its_picture(folders: dict[str, Path]) -> None:
    torch.manual_seed(1)
    x, mask = torch.randn(1, PREFIX + 4, TINY["dim"]), torch.ones(1, PREFIX + 4).bool()
    changed = x.clone()
    changed[:, PREFIX - 1] = torch.randn(TINY["dim"])
    positions = torch.arange(PREFIX + 4)[None]
    moved = {}
    for layout in "CD":
        model = load_policy(folders[layout])
        with torch.no_grad():
            before, after = (model.run_text(value, mask, positions).hidden for value in (x, changed))
        moved[layout] = (after - before).abs().amax(-1)[0] > 1e-6
    assert moved["C"].tolist() == [k >= PREFIX - 1 for k in range(PREFIX + 4)]
    assert moved["D"].all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_step_by_step_equals_one_pass(folders: dict[str, Path], layout: str) -> None:
    model = load_policy(folders[layout])
    torch.manual_seed(1)
    n = PREFIX + 6
    x, mask, positions = torch.randn(2, n, TINY["dim"]), torch.ones(2, n).bool(), torch.arange(n).expand(2, -1)
    mask[1, PREFIX + 1] = False
    with torch.no_grad():
        whole = model.run_text(x, mask, positions).hidden
        out = model.run_text(x[:, :PREFIX], mask[:, :PREFIX], positions[:, :PREFIX], keep=True)
        parts = [out.hidden]
        for k in range(PREFIX, n):
            out = model.run_text(x[:, k : k + 1], mask[:, : k + 1], positions[:, k : k + 1], out.cache, keep=True)
            parts.append(out.hidden)
    torch.testing.assert_close(torch.cat(parts, 1)[mask], whole[mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_policy_learns_and_walks_as_it_reads_windows(folders: dict[str, Path], layout: str) -> None:
    torch.manual_seed(0)
    model = policy(folders[layout], {"gradient_checkpointing": True})
    images, ids = torch.randn(2, 3, 3, CROP, CROP), torch.randint(10, 200, (2, 5))
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    labels = torch.rand(2, 3, 2, 3), torch.randint(0, 2, (2, 3, 2)).float()
    given = {"lang_x": ids, "attention_mask": mask}
    losses = teach(model, torch.optim.Adam(learners(model), 1e-3), vision_x=images, action_labels=labels, **given)
    assert losses[-1] < 0.7 * losses[0], losses
    model.eval()
    window = model.inference(images, ids, mask)["action"]
    steps = walk(model, images, **given)
    for whole, last in zip(window, steps[-1], strict=True):
        torch.testing.assert_close(last[:, -1], whole[:, -1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_recomputed_activations_give_the_same_gradients_and_are_recomputed(folders: dict[str, Path], layout: str) -> None:
    found = {}
    images, ids, runs = torch.randn(1, 1, 3, CROP, CROP), torch.tensor([[20, 21]]), []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = policy(folders[layout], {"gradient_checkpointing": recompute}).train()
        calls = [0]
        model.vision_tower.blocks[0].mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.__setitem__(0, calls[0] + 1))
        model.text_tower.layers[0].mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.__setitem__(0, calls[0] + 10))
        model(images, ids, action_labels=(torch.ones(1, 1, 2, 3), torch.ones(1, 1, 2)))["loss"].backward()
        found[recompute] = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        runs.append(calls[0])
    assert runs == [11, 22]
    assert found[False].keys() == found[True].keys()
    for name, gradient in found[False].items():
        torch.testing.assert_close(found[True][name], gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("layout", ["B", "C", "D"])
def test_with_lora_the_output_layer_rests(folders: dict[str, Path], layout: str) -> None:
    adapted = policy(folders[layout], {"lora_enable": True, "lora_r": 2, "train_vision": False})
    names = {name for name, p in adapted.named_parameters() if p.requires_grad and name.startswith("backbone.")}
    assert any("lora_A" in name for name in names)
    assert not any("lm_head" in name or "post_ln" in name for name in names)


def test_switches_reach_layers_and_adapters(folders: dict[str, Path]) -> None:
    last = policy(folders["C"], {"train_decoder_layers": 1, "train_vision": False, "train_text_embedding": False})
    learns = {name.split(".")[3] for name, p in last.backbone.named_parameters(prefix="b") if p.requires_grad and ".layers." in name}
    assert learns == {"1"}
    adapted = policy(folders["C"], {"lora_enable": True, "lora_r": 2, "train_vision": False})
    names = {name for name, p in adapted.named_parameters() if p.requires_grad and name.startswith("backbone.")}
    assert any("q_proj.lora_A" in name for name in names)
    assert all("lora_" in name or "embed_tokens" in name for name in names)
