"""LLaVA 1.5 against transformers' own forward and generation, on tiny weights in llava-hf's layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edge_vla.errors import ConfigError
from edge_vla.learn import actor
from edge_vla.learn.backbones.llava import RoboLLaVA
from tests.learn.backbones.lesson import learners, teach, walk

Configs = Callable[..., dict[str, Any]]
Writer = Callable[..., Path]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
RGB = np.random.default_rng(0).integers(0, 256, (40, 52, 3), np.uint8)


def loaded(configs: Configs, folder: Path, **rest: Any) -> RoboLLaVA:
    torch.manual_seed(2)
    model = RoboLLaVA(configs(folder, **rest)).eval()
    torch.nn.init.normal_(model.action_token)
    return model


def change(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


@torch.no_grad()
@pytest.mark.parametrize("layer", [-2, -1, 1])
@pytest.mark.parametrize("strategy", ["default", "full"])
def test_image_tokens_are_the_hidden_state_that_the_configuration_names(
    layer: int, strategy: str, configs: Configs, write_llava: Writer, tmp_path: Path
) -> None:
    model = loaded(configs, change(write_llava(tmp_path), vision_feature_layer=layer, vision_feature_select_strategy=strategy))
    images = torch.randn(2, 3, 28, 28)
    own = torch.stack(list(model.backbone.get_image_features(images).pooler_output))
    assert own.shape == (2, 4 + (strategy == "full"), 32)
    torch.testing.assert_close(model.model_encode_images(images), own, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(9, 9), (9, 6)], ids=("equal", "padded"))
def test_logits_are_transformers_own(lengths: tuple[int, ...], configs: Configs, llava: Path) -> None:
    model = loaded(configs, llava)
    mark = model.backbone.config.image_token_id
    mask = torch.arange(9)[None] < torch.tensor(lengths)[:, None]
    ids = torch.where(mask, torch.randint(5, 300, (2, 9)), 0)
    ids[:, 1:5] = mark
    images, places = torch.randn(2, 3, 28, 28), (mask.long().cumsum(1) - 1).clamp(min=0)
    want = model.backbone(input_ids=ids, pixel_values=images, attention_mask=mask.long(), position_ids=places).logits
    embeddings = model.word_embedding(ids)
    embeddings[:, 1:5] = model.model_encode_images(images)
    got = model.logits(model.run_text(embeddings, mask, places).hidden)
    torch.testing.assert_close(got[mask], want[mask], **CLOSE)


@torch.no_grad()
def test_step_by_step_is_all_at_once(configs: Configs, llava: Path) -> None:
    model = loaded(configs, llava)
    embeddings, mask, places = torch.randn(2, 7, 32), torch.ones(2, 7, dtype=torch.bool), torch.arange(7)[None]
    mask[1, 2] = False
    whole = model.run_text(embeddings, mask, places).hidden
    out = model.run_text(embeddings[:, :4], mask[:, :4], places[:, :4], keep=True)
    pieces = [out.hidden]
    for k in range(4, 7):
        out = model.run_text(embeddings[:, k : k + 1], mask[:, : k + 1], places[:, k : k + 1], out.cache, keep=True)
        pieces.append(out.hidden)
    torch.testing.assert_close(torch.cat(pieces, 1)[mask], whole[mask], **CLOSE)


@torch.no_grad()
def test_an_answer_is_transformers_greedy_one(configs: Configs, llava: Path) -> None:
    model = loaded(configs, llava)
    ids = model.tokenizer("USER: <image>\nfind the cup ASSISTANT:").input_ids
    mark, place = model.backbone.config.image_token_id, 2
    assert ids[:3] == [2, model.tokenizer.convert_tokens_to_ids("USER:"), mark]
    assert model.question_ids("find the cup") == ids[:place] + ids[place + 1 :]
    assert model.question_lead() == place
    assert mark not in model.question_ids("find the <image> cup"), "a question cannot name another picture"
    spread = torch.tensor([ids[:place] + [mark] * 4 + ids[place + 1 :]])
    given = {"input_ids": spread, "pixel_values": model.question_picture(RGB)[None], "attention_mask": torch.ones_like(spread)}
    own = model.backbone.generate(**given, max_new_tokens=8, do_sample=False, eos_token_id=1, pad_token_id=0)
    told = own[0, spread.shape[1] :].tolist()
    told = told[: told.index(1)] if 1 in told else told
    assert model.generate("find the cup", RGB, 8) == model.tokenizer.decode(told).strip()


@torch.no_grad()
def test_a_policy_reads_its_action_as_in_the_reference(configs: Configs, llava: Path) -> None:
    model = loaded(configs, llava)
    images, ids = torch.randn(1, 2, 3, 28, 28), torch.tensor([model.instruction_ids(" go to the cup ")])
    assert model.tokenizer.convert_ids_to_tokens(ids[0]) == ["<bos>", "go", "to", "the", "cup"]
    got = actor.read(model, images, ids, None, {})
    for frame in range(2):
        text = model.word_embedding(ids)
        latents = model.encode_images(images[:, frame])[:, 0]
        sequence = torch.cat([text[:, :1], latents, text[:, 1:-1], model.action_token.expand(1, 1, -1), text[:, -1:]], 1)
        own = model.text_tower(inputs_embeds=sequence).last_hidden_state
        torch.testing.assert_close(got[:, frame, 0], own[:, -2], **CLOSE)


def test_a_questions_picture_is_padded_and_a_policys_squashed(configs: Configs, llava: Path) -> None:
    model = loaded(configs, llava)
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    square = Image.new("RGB", (52, 52), tuple(int(m * 255) for m in mean))
    square.paste(Image.fromarray(RGB), (0, 6))
    for picture, got in ((square, model.question_picture(RGB)), (Image.fromarray(RGB), model.preprocess(RGB))):
        small = np.asarray(picture.resize((28, 28), Image.Resampling.BICUBIC), np.float64)
        np.testing.assert_allclose(got.numpy(), ((small / 255 - mean) / std).transpose(2, 0, 1), atol=1e-6)


def test_other_weights_say_something_else(configs: Configs, llava: Path, write_llava: Writer, tmp_path: Path) -> None:
    images, ids = torch.randn(1, 2, 3, 28, 28), torch.randint(5, 40, (1, 5))
    one, other = (loaded(configs, place).inference(images, ids)["action"][0] for place in (llava, write_llava(tmp_path, seed=9)))
    assert (one - other).abs().max() > 1e-4


def test_other_llavas_are_refused_by_name(configs: Configs, write_llava: Writer, paligemma: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="model_type 'paligemma', this backbone reads llava, llava_mpt"):
        RoboLLaVA(configs(paligemma))
    folder = write_llava(tmp_path / "a")
    (folder / "config.json").write_text(json.dumps({"model_type": "llava", "mm_vision_tower": "openai/clip-vit-large-patch14-336"}))
    with pytest.raises(ConfigError, match="in its authors' layout; want the Hub's -hf conversion"):
        RoboLLaVA(configs(folder))
    folder = change(write_llava(tmp_path / "b"), vision_feature_layer=[-2, -1])
    with pytest.raises(ConfigError, match=r"1 of another shape: model.multi_modal_projector.linear_1.weight \(32, 16\), want \(32, 32\)"):
        RoboLLaVA(configs(folder))
    model = loaded(configs, change(write_llava(tmp_path / "c"), vision_feature_layer=-9))
    with pytest.raises(ConfigError, match="this tower has hidden states -4 to 3"):
        model.encode_images(torch.zeros(1, 3, 28, 28))
    model = loaded(configs, change(write_llava(tmp_path / "d"), image_token_index=7))
    with pytest.raises(ConfigError, match=r"does not read <image> as config\.json's image token 7"):
        model.generate("find the cup", RGB)


def test_the_public_sizes_give_the_public_shapes() -> None:
    """llava-hf/llava-1.5-7b-hf, no memory taken."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    sight = {
        "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16,
        "num_hidden_layers": 24, "patch_size": 14, "image_size": 336, "projection_dim": 768,
    }  # fmt: skip
    words = {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096}
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(LlavaConfig(vision_config=sight, text_config=words))
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert shapes["model.vision_tower.embeddings.position_embedding.weight"] == (577, 1024)
    assert shapes["model.multi_modal_projector.linear_1.weight"] == (4096, 1024)
    assert shapes["lm_head.weight"] == (32064, 4096)
    assert sum(p.numel() for p in model.parameters()) == 7_063_427_072


def test_twenty_steps_lower_the_loss_and_steps_give_what_a_window_gives(configs: Configs, llava: Path) -> None:
    model = loaded(configs, llava, train_setup={"train_vision": True, "train_text_embedding": True, "gradient_checkpointing": True})
    images, ids = torch.randn(2, 2, 3, 28, 28), torch.randint(5, 40, (2, 5))
    labels = (torch.tensor([0.4, -0.4])[:, None, None, None].expand(2, 2, 2, 3), torch.ones(2, 2, 2))
    model.train()
    seen = teach(model, torch.optim.Adam(learners(model), 2e-3), vision_x=images, lang_x=ids, action_labels=labels)
    assert np.mean(seen[-3:]) < 0.7 * np.mean(seen[:3])
    model.eval()
    window = model.inference(images, ids)["action"][0]
    steps = [arm for arm, _ in walk(model, images, lang_x=ids)]
    torch.testing.assert_close(torch.cat(steps, 1), window, **CLOSE)
