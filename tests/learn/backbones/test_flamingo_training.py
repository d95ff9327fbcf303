"""What learns in RoboFlamingo, and that it does: switches, LoRA, recomputation, a falling loss, steps that equal windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edge_vla.learn.backbones.flamingo import RoboFlamingo
from edge_vla.learn.backbones.flamingo_layers import Look
from edge_vla.learn.media import Media
from edge_vla.learn.sequence import attention
from tests.learn.backbones.lesson import learners, teach, walk
from tests.learn.backbones.tiny_flamingo import KINDS, PIXELS, write_flamingo

HEAD = {
    "type": "LSTMDecoder",
    "hidden_size": 16,
    "action_dim": 4,
    "down_sample": "none",
    "action_space": "continuous",
    "history_type": "post",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return {kind: write_flamingo(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


def build(configs: dict[str, Any], setup: dict[str, Any], **keys: Any) -> RoboFlamingo:
    torch.manual_seed(0)
    return RoboFlamingo(configs | {"window_size": 2, "fwd_pred_next_n": 2, "act_head": HEAD, "train_setup": setup} | keys)


def batch(model: RoboFlamingo) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(5)
    text = model.tokenizer([model.instruction.format(text=t) for t in ("go to a cup", "go")], padding=True, return_tensors="pt")
    return {
        "vision_x": torch.randn(2, 2, 3, PIXELS, PIXELS, generator=draw), "lang_x": text.input_ids,
        "attention_mask": text.attention_mask.bool(),
        "action_labels": (torch.tensor([0.6, -0.6, 0.3]).expand(2, 2, 2, 3), torch.tensor([0.0, 1.0]).expand(2, 2, 2)),
    }  # fmt: skip


def learning(model: RoboFlamingo) -> set[str]:
    """Parts of the backbone that learn: the tower, the resampler, gates by layer, decoders by layer, embeddings."""
    out = set()
    for name, parameter in model.backbone.named_parameters():
        if parameter.requires_grad:
            pieces = name.split(".")
            layer = pieces[3] if "_layer." in name and name.startswith("lang_encoder") else ""
            inside = "gate" if "gated_cross_attn_layer" in name else "decoder" if "decoder_layer" in name else pieces[-2]
            out.add(pieces[0] if pieces[0] != "lang_encoder" else f"{inside} {layer}".strip())
    return out


ALL = {"gate 1", "gate 3", *(f"decoder {k}" for k in range(4)), "final_layer_norm", "embed_out"}


@pytest.mark.parametrize(
    ("setup", "wanted"),
    [
        ({}, {"perceiver", "gate 1", "gate 3"}),
        ({"train_decoder_layers": 1}, {"perceiver", "gate 3"}),
        ({"train_decoder_layers": 0}, {"perceiver"}),
        ({"train_resampler": False, "train_text_embedding": True}, {"gate 1", "gate 3", "embed_in"}),
        ({"train_vision": True, "freeze_resampler": True}, {"vision_encoder", "gate 1", "gate 3"}),
        ({"train_full_decoder": True}, {"perceiver", *ALL}),
        ({"train_full_decoder": True, "freeze_backbone": True}, {"perceiver"}),
    ],
)
def test_what_learns(folders: dict[str, dict[str, Any]], setup: dict[str, Any], wanted: set[str]) -> None:
    model = build(folders["gpt_neox"], setup)
    assert learning(model) == wanted
    assert model.action_token.requires_grad
    assert all(p.requires_grad for p in model.act_head.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls_and_steps_equal_windows(folders: dict[str, dict[str, Any]], kind: str) -> None:
    model = build(folders[kind], {"train_text_embedding": True}).train()
    given = batch(model)
    gates = [p.detach().clone() for name, p in model.named_parameters() if name.endswith("_gate")]
    found = teach(model, torch.optim.Adam(learners(model), 3e-3), **given)
    assert found[-1] < 0.5 * found[0]
    assert all((a - b).abs() > 0 for a, b in zip(gates, (p for n, p in model.named_parameters() if n.endswith("_gate")), strict=True))
    model.eval()
    window = model.inference(given["vision_x"], given["lang_x"], given["attention_mask"])["action"]
    text = {key: given[key] for key in ("lang_x", "attention_mask")}
    for t, step in enumerate(walk(model, given["vision_x"], **text)):
        for one, whole in zip(step, window, strict=True):
            torch.testing.assert_close(one[:, 0], whole[:, t], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_recomputation_runs_each_layer_twice_and_changes_no_gradient(folders: dict[str, dict[str, Any]], kind: str) -> None:
    gradients, runs = [], []
    for on in (False, True):
        model = build(folders[kind], {"gradient_checkpointing": on}).train()
        count: list[int] = []
        model.text_tower.flamingo_layers()[-1].register_forward_pre_hook(lambda *_, count=count: count.append(1))
        model(**batch(model))["loss"].backward()
        runs.append(len(count))
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert runs == [1, 2]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_lora_adapts_the_language_model_only(folders: dict[str, dict[str, Any]]) -> None:
    model = build(folders["mpt"], {"lora_enable": True, "lora_r": 2})
    adapted = {name.split(".lora_")[0] for name, p in model.named_parameters() if "lora_" in name and p.requires_grad}
    assert "backbone.lang_encoder.transformer.blocks.0.decoder_layer.attn.Wqkv" in adapted
    assert "backbone.lang_encoder.transformer.blocks.3.gated_cross_attn_layer.attn.to_q" in adapted
    assert all(name.startswith("backbone.lang_encoder.") for name in adapted)
    stored = [id(t) for t in model.state_dict(keep_vars=True).values()]
    assert len(stored) == len(set(stored))
    model(**batch(model))["loss"].backward()


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_near(folders: dict[str, dict[str, Any]], kind: str) -> None:
    model = build(folders[kind], {}).eval()
    given = {name: batch(model)[name] for name in ("vision_x", "lang_x", "attention_mask")}
    full = model.inference(**given)["action"]
    half = model.to(torch.bfloat16).inference(given["vision_x"].bfloat16(), given["lang_x"], given["attention_mask"])["action"]
    for one, other in zip(full, half, strict=True):
        torch.testing.assert_close(one, other.float(), atol=0.05, rtol=0.1)


def test_the_configuration_of_the_reference_builds(folders: dict[str, dict[str, Any]]) -> None:
    """The keys of its finetune_flamingo file that are about the model."""
    setup = {
        "predict_action": True, "train_vision": False, "train_resampler": True, "train_text_embedding": True, "train_full_decoder": False,
        "train_decoder_layers": -1,
    }  # fmt: skip
    head = HEAD | {"action_space": "down_sample", "down_sample": "pooling", "latent": 1, "with_history": True}
    tokenizer = {"tokenizer_type": "flamingo", "max_text_len": 32, "additional_special_tokens": ["<|endofchunk|>", "<image>"]}
    with pytest.warns(UserWarning, match="image_size 224: RoboFlamingo takes pictures of 28 px"):
        model = build(folders["mosaic_gpt"], setup, act_head=head, tokenizer=tokenizer, window_size=8, image_size=224)
    assert learning(model) == {"perceiver", "gate 0", "gate 1", "wte"}
    assert model(**batch(model))["loss"].isfinite()


def test_a_checkpoint_written_by_the_test_is_no_blind_one(tmp_path: Path) -> None:
    """Every gate of the tiny checkpoint is open, or nothing above would see an image."""
    model = RoboFlamingo(write_flamingo(tmp_path))
    gates = torch.stack([p for name, p in model.named_parameters() if name.endswith("_gate")])
    assert (gates.abs() > 0.5).all()


class Step(torch.nn.Module):
    """The language model on raw tensors: what an engine's graph is made of."""

    def __init__(self, model: RoboFlamingo) -> None:
        super().__init__()
        self.tower, self.head = model.text_tower, model.backbone.lang_encoder

    def forward(self, x: Tensor, allowed: Tensor, places: Tensor, latents: Tensor, seen: Tensor) -> Tensor:
        return self.head(self.tower(x, allowed, places, Look.at(Media(latents, seen)), None)[0])


@pytest.mark.parametrize("kind", ["mosaic_gpt", "gpt_neox"])  # mpt's arithmetic is mosaic_gpt's
@torch.no_grad()
def test_the_step_exports_to_a_graph_that_serves_another_length(folders: dict[str, dict[str, Any]], kind: str) -> None:
    step, length = Step(RoboFlamingo(folders[kind]).eval()), torch.export.Dim.DYNAMIC

    def example(n: int) -> tuple[Tensor, ...]:
        allowed = attention(torch.ones(1, n, dtype=torch.bool), n, torch.float32)
        return torch.randn(1, n, 48), allowed, torch.arange(n)[None], torch.randn(1, 1, 64, 64), (torch.arange(n)[None] > 0).long()

    shapes = ({1: length}, {2: length, 3: length}, {1: length}, None, {1: length})
    program = torch.export.export(step, example(6), dynamic_shapes=shapes)
    for n in (6, 9):
        given = example(n)
        torch.testing.assert_close(program.module()(*given), step(*given), atol=1e-4, rtol=1e-5)
