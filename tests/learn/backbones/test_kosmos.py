"""KosMos-2 against transformers' own forward, processor and generation, on tiny weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edge_vla.errors import ConfigError
from edge_vla.learn import actor
from edge_vla.learn.backbones.kosmos import RoboKosMos
from tests.learn.backbones.lesson import learners, teach, walk

Configs = Callable[..., dict[str, Any]]
Writer = Callable[..., Path]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
RGB = np.random.default_rng(0).integers(0, 256, (40, 52, 3), np.uint8)


def loaded(configs: Configs, folder: Path, **rest: Any) -> RoboKosMos:
    torch.manual_seed(2)
    model = RoboKosMos(configs(folder, **rest)).eval()
    torch.nn.init.normal_(model.action_token)
    return model


@pytest.fixture(scope="module")
def processor(kosmos: Path) -> Any:
    from transformers import AutoTokenizer, CLIPImageProcessorPil, Kosmos2Processor

    size = {"height": 28, "width": 28}
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=size)
    return Kosmos2Processor(pictures, AutoTokenizer.from_pretrained(str(kosmos)))


@torch.no_grad()
def test_images_become_unit_length_patches_and_then_latents(configs: Configs, kosmos: Path) -> None:
    model = loaded(configs, kosmos)
    images = torch.randn(2, 3, 28, 28)
    inside = torch.tensor([[0, 1, 1, 1, 1, 0]] * 2)
    own = model.backbone(pixel_values=images, input_ids=torch.full((2, 6), 5), image_embeds_position_mask=inside)
    features = model.model_encode_images(images)
    assert features.shape == (2, 4, 32)
    torch.testing.assert_close(features, own.image_embeds, **CLOSE)
    other = loaded(configs, kosmos)
    other.vision_tower.model.post_layernorm.weight.mul_(3)
    assert not torch.allclose(other.model_encode_images(images), features, atol=1e-3), "the last norm counts"


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(9, 9), (9, 6)], ids=("equal", "padded"))
def test_logits_are_transformers_own(lengths: tuple[int, ...], configs: Configs, kosmos: Path) -> None:
    model, (rows, n) = loaded(configs, kosmos), (2, 9)
    mask = torch.arange(n)[None] < torch.tensor(lengths)[:, None]
    ids = torch.where(mask, torch.randint(4, 300, (rows, n)), 1)
    images = torch.randn(rows, 3, 28, 28)
    inside = torch.zeros(rows, n)
    inside[:, 1:5] = 1
    want = model.backbone(pixel_values=images, input_ids=ids, attention_mask=mask.long(), image_embeds_position_mask=inside).logits
    embeddings = model.word_embedding(ids)
    embeddings[:, 1:5] = model.model_encode_images(images)
    got = model.logits(model.run_text(embeddings, mask, (mask.long().cumsum(1) - 1).clamp(min=0)).hidden)
    torch.testing.assert_close(got[mask], want[mask], **CLOSE)


@torch.no_grad()
def test_a_pad_in_the_middle_is_as_if_it_were_not_there(configs: Configs, kosmos: Path) -> None:
    model = loaded(configs, kosmos)
    embeddings = torch.randn(1, 6, 32)
    mask = torch.tensor([[True, True, False, True, True, True]])
    got = model.run_text(embeddings, mask, (mask.long().cumsum(1) - 1)).hidden[:, mask[0]]
    alone = model.run_text(embeddings[:, mask[0]], mask[:, mask[0]], torch.arange(5)[None]).hidden
    torch.testing.assert_close(got, alone, **CLOSE)


@torch.no_grad()
def test_step_by_step_is_all_at_once(configs: Configs, kosmos: Path) -> None:
    model = loaded(configs, kosmos)
    embeddings, mask, places = torch.randn(2, 7, 32), torch.ones(2, 7, dtype=torch.bool), torch.arange(7)[None]
    whole = model.run_text(embeddings, mask, places).hidden
    out = model.run_text(embeddings[:, :4], mask[:, :4], places[:, :4], keep=True)
    pieces = [out.hidden]
    for k in range(4, 7):
        out = model.run_text(embeddings[:, k : k + 1], mask[:, : k + 1], places[:, k : k + 1], out.cache, keep=True)
        pieces.append(out.hidden)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, **CLOSE)


@torch.no_grad()
def test_a_policys_images_stand_behind_the_bos_without_brackets(configs: Configs, kosmos: Path) -> None:
    model = loaded(configs, kosmos)
    images, ids = torch.randn(1, 2, 3, 28, 28), torch.tensor([model.instruction_ids(" find the cup ")])
    assert model.tokenizer.convert_ids_to_tokens(ids[0]) == "<s> <grounding> An image of a robot find the cup </s>".split()
    got = actor.read(model, images, ids, None, {})
    for frame in range(2):
        latents = model.encode_images(images[:, frame])[:, 0]
        text = model.word_embedding(ids)
        sequence = torch.cat([text[:, :1], latents, text[:, 1:-1], model.action_token.expand(1, 1, -1), text[:, -1:]], 1)
        own = model.text_tower(inputs_embeds=sequence).last_hidden_state
        torch.testing.assert_close(got[:, frame, 0], own[:, -2], **CLOSE)


def test_a_question_is_laid_out_as_the_processor_does_it(configs: Configs, kosmos: Path, processor: Any) -> None:
    model = loaded(configs, kosmos)
    encoded = processor(images=Image.fromarray(RGB), text="<grounding> find the cup", num_image_tokens=4)
    latents = [k for k, inside in enumerate(encoded["image_embeds_position_mask"]) if inside]
    ids, lead = model.question_ids("find the cup"), model.question_lead()
    assert latents == list(range(lead, lead + 4))
    assert ids == encoded["input_ids"][:lead] + encoded["input_ids"][lead + 4 :]
    assert model.tokenizer.convert_ids_to_tokens(ids[:4]) == ["<s>", "<image>", "</image>", "<grounding>"]
    assert len(model.tokenizer) == len(processor.tokenizer)
    assert model.tokenizer.convert_tokens_to_ids("<patch_index_1023>") == processor.tokenizer.convert_tokens_to_ids("<patch_index_1023>")


@torch.no_grad()
def test_an_answer_is_transformers_greedy_one(configs: Configs, kosmos: Path, processor: Any) -> None:
    model = loaded(configs, kosmos)
    encoded = processor(images=Image.fromarray(RGB), text="<grounding> find the cup", num_image_tokens=4, return_tensors="pt")
    encoded["pixel_values"] = model.preprocess(RGB)[None]
    own = model.backbone.generate(**encoded, max_new_tokens=6, do_sample=False)[0, encoded["input_ids"].shape[1] :]
    told = [int(k) for k in own if int(k) not in model.end_ids()]
    assert model.generate("find the cup", RGB, 6) == model.tokenizer.decode(told).strip()
    assert model.generate("go to", RGB, 6) != model.generate("find the cup", RGB[::-1].copy(), 6)


def test_pictures_are_squashed_bicubic_and_normalised_as_clip_does(configs: Configs, kosmos: Path) -> None:
    got = loaded(configs, kosmos).preprocess(RGB)
    small = np.asarray(Image.fromarray(RGB).resize((28, 28), Image.Resampling.BICUBIC), np.float64)
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    np.testing.assert_allclose(got.numpy(), ((small / 255 - mean) / std).transpose(2, 0, 1), atol=1e-6)


def test_other_weights_say_something_else(configs: Configs, kosmos: Path, write_kosmos: Writer, tmp_path: Path) -> None:
    images, ids = torch.randn(1, 2, 3, 28, 28), torch.randint(4, 40, (1, 5))
    one, other = (loaded(configs, folder).inference(images, ids)["action"][0] for folder in (kosmos, write_kosmos(tmp_path, seed=9)))
    assert (one - other).abs().max() > 1e-4


def test_too_few_embeddings_for_the_grounding_tokens_are_refused(configs: Configs, write_kosmos: Writer, tmp_path: Path) -> None:
    folder = write_kosmos(tmp_path)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    tokenizer.add_tokens([f"more{k}" for k in range(200)])
    tokenizer.save_pretrained(str(folder))
    with pytest.raises(ConfigError, match="embeddings for 1500"):
        RoboKosMos(configs(folder))


def test_another_models_folder_is_refused(configs: Configs, paligemma: Path) -> None:
    with pytest.raises(ConfigError, match="model_type 'paligemma', this backbone reads kosmos-2"):
        RoboKosMos(configs(paligemma))


def test_twenty_steps_lower_the_loss_and_steps_give_what_a_window_gives(configs: Configs, kosmos: Path) -> None:
    model = loaded(configs, kosmos, train_setup={"train_vision": True, "train_text_embedding": True, "gradient_checkpointing": True})
    images, ids = torch.randn(2, 2, 3, 28, 28), torch.randint(4, 40, (2, 5))
    labels = (torch.full((2, 2, 2, 3), 0.4), torch.ones(2, 2, 2))
    model.train()
    seen = teach(model, torch.optim.Adam(learners(model), 2e-3), vision_x=images, lang_x=ids, action_labels=labels)
    assert np.mean(seen[-3:]) < 0.7 * np.mean(seen[:3])
    model.eval()
    window = model.inference(images, ids)["action"][0]
    steps = [arm for arm, _ in walk(model, images, lang_x=ids)]
    torch.testing.assert_close(torch.cat(steps, 1), window, **CLOSE)
