"""UForm-Gen2: its eyes against a second derivation, its language model against transformers', what is on disk, the policy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as fn
from PIL import Image
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from edge_vla.learn.backbones.uform import RoboUform
from edge_vla.learn.backbones.uform_vision import stretching
from edge_vla.learn.speaker import answer_ids
from tests.learn.backbones.lesson import learners, teach, walk
from tests.learn.backbones.tiny_uform import IMAGE_ID, TINY_CONFIG, weights, write_uform

Tensors = dict[str, Tensor]
WIDTH, HIDDEN, LATENTS = (
    TINY_CONFIG["image_encoder_hidden_size"],
    TINY_CONFIG["text_config"]["hidden_size"],
    TINY_CONFIG["num_image_latents"],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("uform")
    write_uform(found)
    return found


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A folder that a test may spoil."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def policy(folder: Path, setup: dict[str, Any] | None = None) -> RoboUform:
    head = {"type": "LSTMDecoder", "hidden_size": 16, "action_dim": 4, "action_space": "continuous", "down_sample": "none"}
    return RoboUform(
        {
            "vlm": {"pretrained_model_name_or_path": str(folder)}, "window_size": 3, "fwd_pred_next_n": 2, "act_head": head,
            "train_setup": {"train_vision": True, "train_text_embedding": True} | (setup or {}),
        }
    )  # fmt: skip


def attend(t: Tensors, name: str, x: Tensor, context: Tensor, heads: int) -> Tensor:
    """torch's MultiheadAttention from its packed weights."""
    q, k, v = t[name + ".in_proj_weight"].chunk(3)
    a, b, c = t[name + ".in_proj_bias"].chunk(3)
    parts = (fn.linear(x, q, a), fn.linear(context, k, b), fn.linear(context, v, c))
    seen = fn.scaled_dot_product_attention(*(part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts))
    return fn.linear(seen.transpose(1, 2).flatten(2), t[name + ".out_proj.weight"], t[name + ".out_proj.bias"])


def image_latents(tensors: Tensors, images: Tensor) -> Tensor:
    """(n, 3, H, W) to (n, latents, width of the language model), in double precision."""
    t = {name.removeprefix("image_"): tensor.double() for name, tensor in tensors.items() if name.startswith("image_")}
    patch, heads = TINY_CONFIG["image_encoder_patch_size"], TINY_CONFIG["image_encoder_num_heads"]
    grid = images.shape[-1] // patch

    def norm(name: str, x: Tensor, eps: float = 1e-6) -> Tensor:
        return fn.layer_norm(x, x.shape[-1:], t[name + ".weight"], t[name + ".bias"], eps)

    def linear(name: str, x: Tensor) -> Tensor:
        return fn.linear(x, t[name + ".weight"], t[name + ".bias"])

    learned = t["encoder.pos_embed"].mT.unflatten(2, (224 // patch, 224 // patch))
    scale = (grid + 0.1) / (224 // patch)
    positions = learned if grid == 224 // patch else fn.interpolate(learned, scale_factor=(scale, scale), mode="bicubic")
    x = fn.conv2d(images.double(), t["encoder.patch_embed.weight"], t["encoder.patch_embed.bias"], patch)
    x = torch.cat([t["encoder.cls_token"].expand(len(x), -1, -1), (x + positions).flatten(2).mT], 1)
    for k in range(TINY_CONFIG["image_encoder_num_layers"]):
        at = f"encoder.blocks.{k}."
        parts = (linear(f"{at}attn.{n}", norm(at + "norm1", x)) for n in ("query", "key", "value"))
        seen = fn.scaled_dot_product_attention(*(part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts))
        x = x + t[at + "ls1.weight"] * linear(at + "attn.out", seen.transpose(1, 2).flatten(2))
        inner = linear(at + "mlp.hidden_layer", norm(at + "norm2", x))
        x = x + t[at + "ls2.weight"] * linear(at + "mlp.output_layer", inner * 0.5 * (1 + torch.erf(inner / 2**0.5)))
    x, heads = norm("encoder.norm", x), TINY_CONFIG["image_pooler_num_attn_heads"]
    y = t["pooler.image_latents"].expand(len(x), -1, -1)
    normed = norm("pooler.pooler.norm1", y, 1e-5)
    y = y + attend(t, "pooler.pooler.self_attn", normed, normed, heads)
    y = y + attend(t, "pooler.pooler.multihead_attn", norm("pooler.pooler.norm2", y, 1e-5), x, heads)
    inner = linear("pooler.pooler.linear1", norm("pooler.pooler.norm3", y, 1e-5))
    return linear("pooler.projection", y + linear("pooler.pooler.linear2", inner * torch.sigmoid(inner)))


@pytest.mark.parametrize("size", [224, 336])
def test_image_latents_equal_a_second_derivation(folder: Path, size: int) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, size, size)
    found = policy(folder).eval().model_encode_images(images)
    assert found.shape == (2, LATENTS, HIDDEN)
    torch.testing.assert_close(found, image_latents(weights(), images).float(), atol=1e-5, rtol=1e-5)
    assert (found[0] - found[1]).abs().max() > 0.01
    assert (found - image_latents(weights(1), images)).abs().max() > 0.1


def test_positions_are_stretched_by_a_matrix_with_the_originals_offset() -> None:
    learned = torch.randn(1, 256, 7, generator=torch.Generator().manual_seed(0))
    grid = learned.mT.unflatten(2, (16, 16))
    want = fn.interpolate(grid, scale_factor=(24.1 / 16, 24.1 / 16), mode="bicubic").flatten(2).mT
    torch.testing.assert_close(stretching(16, 24, 24) @ learned, want, atol=1e-5, rtol=1e-5)
    plain = fn.interpolate(grid, size=(24, 24), mode="bicubic").flatten(2).mT
    assert (want - plain).abs().max() > 1e-3


@pytest.mark.parametrize("padded", [False, True])
def test_logits_and_hidden_states_equal_transformers_own(folder: Path, padded: bool) -> None:
    model = policy(folder).eval()
    own = Qwen2ForCausalLM(Qwen2Config(**TINY_CONFIG["text_config"], attn_implementation="eager")).eval()
    own.load_state_dict({n.removeprefix("text_decoder."): t for n, t in weights().items() if n.startswith("text_decoder.")})
    torch.manual_seed(1)
    before, after = torch.tensor([[5, 6], [7, 8]]), torch.randint(0, 200, (2, 6))
    image = model.encode_images(torch.randn(2, 3, 336, 336))[:, 0]
    x = torch.cat([model.word_embedding(before), image, model.word_embedding(after)], 1)
    mask = torch.ones(x.shape[:2]).bool()
    if padded:
        mask[0, -3:] = False
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        want = own(inputs_embeds=x, attention_mask=mask.long(), position_ids=positions, output_hidden_states=True)
        out = model.run_text(x, mask, positions)
    torch.testing.assert_close(out.hidden[mask], want.hidden_states[-1][mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.logits(out.hidden)[mask], want.logits[mask], atol=1e-5, rtol=1e-5)


def test_step_by_step_equals_one_pass(folder: Path) -> None:
    model = policy(folder).eval()
    torch.manual_seed(1)
    x, mask, positions = torch.randn(2, 12, HIDDEN), torch.ones(2, 12).bool(), torch.arange(12).expand(2, -1)
    mask[1, 6] = False
    with torch.no_grad():
        whole = model.run_text(x, mask, positions).hidden
        out = model.run_text(x[:, :5], mask[:, :5], positions[:, :5], keep=True)
        parts = [out.hidden]
        for k in range(5, 12):
            out = model.run_text(x[:, k : k + 1], mask[:, : k + 1], positions[:, k : k + 1], out.cache, keep=True)
            parts.append(out.hidden)
    torch.testing.assert_close(torch.cat(parts, 1)[mask], whole[mask], atol=1e-5, rtol=1e-5)


def test_a_policy_learns_and_walks_as_it_reads_windows(folder: Path) -> None:
    torch.manual_seed(0)
    model = policy(folder, {"gradient_checkpointing": True})
    images, ids = torch.randn(2, 3, 3, 336, 336), torch.randint(0, 200, (2, 5))
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


def test_recomputed_activations_give_the_same_gradients_and_are_recomputed(folder: Path) -> None:
    found, runs, images = {}, [], torch.randn(1, 1, 3, 336, 336)
    for recompute in (False, True):
        torch.manual_seed(0)  # the pooler drops out as the original's does
        model = policy(folder, {"gradient_checkpointing": recompute}).train()
        calls = [0]
        model.vision_tower.blocks[0].mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.__setitem__(0, calls[0] + 1))
        model.text_tower.layers[0].mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.__setitem__(0, calls[0] + 10))
        model(images, torch.tensor([[20, 21]]), action_labels=(torch.ones(1, 1, 2, 3), torch.ones(1, 1, 2)))["loss"].backward()
        found[recompute] = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        runs.append(calls[0])
    assert runs == [11, 22]
    assert found[False].keys() == found[True].keys()
    for name, gradient in found[False].items():
        torch.testing.assert_close(found[True][name], gradient, atol=1e-6, rtol=1e-5)


# -- pictures and words


@pytest.mark.parametrize("size", [(100, 150), (150, 100), (80, 80), (701, 400)])
def test_pictures_are_padded_with_clips_mean_and_scaled_bilinearly(folder: Path, size: tuple[int, int]) -> None:
    height, width = size
    y, x = np.mgrid[:height, :width]
    rgb = (127 + 120 * np.stack([np.sin(x / 9 + k) * np.cos(y / (7 + k)) for k in range(3)], -1)).astype(np.uint8)
    square = Image.new("RGB", (max(size), max(size)), (122, 116, 104))
    square.paste(Image.fromarray(rgb), ((max(size) - width) // 2, (max(size) - height) // 2))
    scaled = np.asarray(square.resize((336, 336), Image.Resampling.BILINEAR)).astype(np.float64) / 255
    want = (scaled - [0.48145466, 0.4578275, 0.40821073]) / [0.26862954, 0.26130258, 0.27577711]
    found = policy(folder).preprocess(rgb)
    np.testing.assert_allclose(found.permute(1, 2, 0).numpy(), want, atol=1e-5)


def test_questions_are_a_chat_with_the_picture_inside(folder: Path) -> None:
    model = policy(folder)
    ids, lead = model.question_ids("what is it?"), model.question_lead()
    assert [model.tokenizer.decode(part) for part in (ids[:lead], ids[lead:])] == [
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n ",
        " what is it?<|im_end|>\n<|im_start|>assistant\n",
    ]
    assert ids[0] == IMAGE_ID - 2
    assert model.end_ids() == {IMAGE_ID - 1}
    robot = model.tokenizer(model.instruction.format(text="go")).input_ids
    assert robot[0] == IMAGE_ID
    assert model.tokenizer.decode(robot[1:]) == " go"
    assert model.tokenizer.padding_side == "right"


def test_answers_are_the_greedy_ones(folder: Path) -> None:
    """As the original runs: the image token's place taken by the latents, the whole sequence every time."""
    model = policy(folder).eval()
    rgb = (np.random.default_rng(0).random((60, 70, 3)) * 255).astype(np.uint8)
    text = model.prompt.format(image="<image>", text="find the cup")
    ids = model.tokenizer(text).input_ids
    place = ids.index(IMAGE_ID)
    words = model.word_embedding(torch.tensor(ids))
    latents = model.model_encode_images(model.preprocess(rgb)[None])[0]
    sequence = torch.cat([words[:place], latents, words[place + 1 :]])[None]
    said: list[int] = []
    with torch.no_grad():
        while len(said) < 6:
            token = int(model.backbone.text_decoder(inputs_embeds=sequence).logits[0, -1].argmax())
            if token in model.end_ids():
                break
            said.append(token)
            sequence = torch.cat([sequence, model.word_embedding(torch.tensor([[token]]))], 1)
    assert said
    assert answer_ids(model, "find the cup", rgb, len(said)) == said
    assert model.generate("find the cup", rgb, len(said)) == model.decode(said)


def test_the_encoder_traces_without_a_branch_on_data(folder: Path) -> None:
    model = policy(folder).eval().backbone
    torch.manual_seed(0)
    both = torch.nn.Sequential(model.image_encoder, model.image_pooler).eval()
    with torch.no_grad():
        traced = torch.export.export(both, (torch.randn(1, 3, 336, 336),)).module()
        images = torch.randn(1, 3, 336, 336)
        torch.testing.assert_close(traced(images), both(images), atol=1e-6, rtol=1e-5)
