"""PaliGemma 1 and 2 against transformers' own forward and generation, on tiny weights in the Hub's layout."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edge_vla.errors import ConfigError
from edge_vla.learn import actor
from edge_vla.learn.backbones.paligemma import RoboPaligemma
from tests.learn.backbones.lesson import learners, teach, walk

Configs = Callable[..., dict[str, Any]]
Writer = Callable[..., Path]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
RGB = np.random.default_rng(0).integers(0, 256, (40, 52, 3), np.uint8)
IMAGE = 399
SECOND = {  # PaliGemma 2: caps that bite, a window shorter than a question, and both kinds of layer
    "model_type": "gemma2", "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0, "sliding_window": 4, "query_pre_attn_scalar": 8,
    "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"],
}  # fmt: skip


@pytest.fixture(scope="module")
def second(write_paligemma: Writer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_paligemma(tmp_path_factory.mktemp("paligemma2"), **SECOND)


@pytest.fixture(params=("paligemma", "second"))
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def loaded(configs: Configs, folder: Path, **rest: Any) -> RoboPaligemma:
    torch.manual_seed(2)
    model = RoboPaligemma(configs(folder, **rest)).eval()
    torch.nn.init.normal_(model.action_token)
    return model


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(9, 9), (9, 6)], ids=("equal", "padded"))
def test_logits_are_transformers_own(lengths: tuple[int, ...], configs: Configs, folder: Path) -> None:
    model = loaded(configs, folder)
    mask = torch.arange(9)[None] < torch.tensor(lengths)[:, None]
    ids = torch.where(mask, torch.randint(5, 300, (2, 9)), 0)
    ids[:, 1:5] = IMAGE
    images = torch.randn(2, 3, 28, 28)
    places = (mask.long().cumsum(1) - 1).clamp(min=0)
    want = model.backbone(input_ids=ids, pixel_values=images, attention_mask=mask.long(), position_ids=places + 1).logits
    embeddings = model.word_embedding(ids.clamp(max=398))
    embeddings[:, 1:5] = model.model_encode_images(images)
    got = model.logits(model.run_text(embeddings, mask, places).hidden)
    torch.testing.assert_close(got[mask], want[mask], **CLOSE)


@torch.no_grad()
def test_what_a_question_says_is_seen_both_ways_as_with_token_type_ids(configs: Configs, folder: Path) -> None:
    model = loaded(configs, folder)
    ids = torch.randint(5, 300, (1, 9))
    ids[:, :4] = IMAGE
    images, mask = torch.randn(1, 3, 28, 28), torch.ones(1, 9, dtype=torch.bool)
    kinds = {"input_ids": ids, "pixel_values": images, "attention_mask": mask.long()}
    want = model.backbone(**kinds, token_type_ids=torch.zeros_like(ids)).logits
    one_way = model.backbone(**kinds).logits
    embeddings = model.word_embedding(ids.clamp(max=398))
    embeddings[:, :4] = model.model_encode_images(images)
    got = model.logits(model.run_text(embeddings, mask, torch.arange(9)[None], both_ways=True).hidden)
    torch.testing.assert_close(got, want, **CLOSE)
    assert not torch.allclose(got[:, :-1], one_way[:, :-1], atol=1e-3)


@torch.no_grad()
def test_step_by_step_is_all_at_once_beyond_the_window_too(configs: Configs, folder: Path) -> None:
    model = loaded(configs, folder)
    embeddings, mask, places = torch.randn(2, 11, 32), torch.ones(2, 11, dtype=torch.bool), torch.arange(11)[None]
    mask[1, 2] = False
    whole = model.run_text(embeddings, mask, places).hidden
    out = model.run_text(embeddings[:, :6], mask[:, :6], places[:, :6], keep=True)
    pieces = [out.hidden]
    for k in range(6, 11):
        out = model.run_text(embeddings[:, k : k + 1], mask[:, : k + 1], places[:, k : k + 1], out.cache, keep=True)
        pieces.append(out.hidden)
    torch.testing.assert_close(torch.cat(pieces, 1)[mask], whole[mask], **CLOSE)


@torch.no_grad()
def test_a_pad_in_the_middle_is_as_if_it_were_not_there(configs: Configs, folder: Path) -> None:
    model = loaded(configs, folder)
    embeddings, mask = torch.randn(1, 8, 32), torch.tensor([[True, True, True, False, False, True, True, True]])
    got = model.run_text(embeddings, mask, mask.long().cumsum(1) - 1).hidden[:, mask[0]]
    alone = model.run_text(embeddings[:, mask[0]], mask[:, mask[0]], torch.arange(6)[None]).hidden
    torch.testing.assert_close(got, alone, **CLOSE)


@torch.no_grad()
def test_an_answer_is_transformers_greedy_one(configs: Configs, folder: Path) -> None:
    """Laid out as PaliGemmaProcessor does it: images, begin, question, line end; no second begin from the tokenizer."""
    model = loaded(configs, folder)
    ids = [IMAGE] * 4 + model.tokenizer.convert_tokens_to_ids(["<bos>", "find", "the", "cup", "\n"])
    given = {"input_ids": torch.tensor([ids]), "pixel_values": model.preprocess(RGB)[None], "attention_mask": torch.ones(1, 9).long()}
    kinds = torch.zeros(1, 9, dtype=torch.long)
    own = model.backbone.generate(**given, token_type_ids=kinds, max_new_tokens=8, do_sample=False, eos_token_id=1)
    told = own[0, 9:].tolist()
    told = told[: told.index(1)] if 1 in told else told
    assert model.question_ids("find the cup") == ids[4:]
    assert model.question_lead() == 0
    assert model.generate("find the cup", RGB, 8) == model.tokenizer.decode(told).strip()
    assert model.generate("find the cup", RGB, 8) != model.generate("go to the cup", RGB[::-1].copy(), 8)


@torch.no_grad()
def test_a_policy_reads_its_action_as_in_the_reference(configs: Configs, folder: Path) -> None:
    """Images second, behind an end token; attention one way; the action token unscaled, unlike the words."""
    model = loaded(configs, folder)
    images, ids = torch.randn(1, 2, 3, 28, 28), torch.tensor([model.instruction_ids(" go to the cup ")])
    assert model.tokenizer.convert_ids_to_tokens(ids[0]) == ["<eos>", "go", "to", "the", "cup", "\n"]
    got = actor.read(model, images, ids, None, {})
    for frame in range(2):
        text = model.word_embedding(ids)
        torch.testing.assert_close(text[0, 0], model.word_embedding.weight[1] * 32**0.5, **CLOSE)
        act, seen = model.action_token.expand(1, 1, -1), model.encode_images(images[:, frame])[:, 0]
        sequence = torch.cat([text[:, :1], seen, text[:, 1:-1], act, text[:, -1:]], 1)
        own = model.text_tower(inputs_embeds=sequence, position_ids=1 + torch.arange(11)[None]).last_hidden_state
        torch.testing.assert_close(got[:, frame, 0], own[:, -2], **CLOSE)


def test_pictures_are_prepared_as_siglip_does(configs: Configs, paligemma: Path) -> None:
    small = np.asarray(Image.fromarray(RGB).resize((28, 28), Image.Resampling.BICUBIC), np.float64)
    np.testing.assert_allclose(loaded(configs, paligemma).preprocess(RGB).numpy(), (small / 127.5 - 1).transpose(2, 0, 1), atol=1e-6)


def test_the_towers_keys_are_read_with_and_without_vision_model(configs: Configs, write_paligemma: Writer, tmp_path: Path) -> None:
    both = [loaded(configs, write_paligemma(tmp_path / str(hub), hub=hub)) for hub in (True, False)]
    for name, tensor in both[0].backbone.state_dict().items():
        assert torch.equal(tensor, both[1].backbone.state_dict()[name]), name


def test_other_weights_say_something_else(configs: Configs, paligemma: Path, write_paligemma: Writer, tmp_path: Path) -> None:
    images, ids = torch.randn(1, 2, 3, 28, 28), torch.randint(5, 40, (1, 5))
    one, other = (loaded(configs, place).inference(images, ids)["action"][0] for place in (paligemma, write_paligemma(tmp_path, seed=9)))
    assert (one - other).abs().max() > 1e-4


def test_imported_action_tokens_are_scaled_as_the_text_model_of_their_time_did(paligemma: Path) -> None:
    found = RoboPaligemma.import_policy({"action_token": torch.ones(32), "act_head.x": torch.ones(2)}, paligemma)
    assert found["action_token"][0] == pytest.approx(32**0.5)
    assert found["act_head.x"][0] == 1


def test_another_models_folder_is_refused(configs: Configs, kosmos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="model_type 'kosmos-2', this backbone reads paligemma"):
        RoboPaligemma(configs(kosmos))
    (tmp_path / "config.json").write_text(json.dumps([1]))
    with pytest.raises(ConfigError, match="holds a list"):
        RoboPaligemma(configs(tmp_path))


def test_a_folder_without_a_tokenizer_is_refused(configs: Configs, write_paligemma: Writer, tmp_path: Path) -> None:
    folder = write_paligemma(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    with pytest.raises(ConfigError, match="no usable tokenizer"):
        RoboPaligemma(configs(folder))


def test_the_public_sizes_give_the_public_shapes() -> None:
    """google/paligemma-3b-pt-224, no memory taken."""
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

    sight = {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16,
        "num_hidden_layers": 27, "patch_size": 14, "image_size": 224, "projection_dim": 2048, "vision_use_head": False,
    }  # fmt: skip
    words = {
        "model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_attention_heads": 8, "num_hidden_layers": 18,
        "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 257216,
    }  # fmt: skip
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with torch.device("meta"):
        model = PaliGemmaForConditionalGeneration(PaliGemmaConfig(vision_config=sight, text_config=words, projection_dim=2048))
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert shapes["model.vision_tower.embeddings.position_embedding.weight"] == (256, 1152)
    assert shapes["model.multi_modal_projector.linear.weight"] == (2048, 1152)
    assert shapes["model.language_model.layers.17.self_attn.k_proj.weight"] == (256, 2048)
    assert sum(p.numel() for p in model.parameters()) == 2_923_466_480


def test_twenty_steps_lower_the_loss_and_steps_give_what_a_window_gives(configs: Configs, folder: Path) -> None:
    model = loaded(configs, folder, train_setup={"train_vision": True, "train_text_embedding": True, "gradient_checkpointing": True})
    images, ids = torch.randn(2, 2, 3, 28, 28), torch.randint(5, 40, (2, 5))
    labels = (torch.tensor([0.4, -0.4])[:, None, None, None].expand(2, 2, 2, 3), torch.ones(2, 2, 2))
    model.train()
    seen = teach(model, torch.optim.Adam(learners(model), 2e-3), vision_x=images, lang_x=ids, action_labels=labels)
    assert np.mean(seen[-3:]) < 0.7 * np.mean(seen[:3])
    model.eval()
    window = model.inference(images, ids)["action"][0]
    steps = [arm for arm, _ in walk(model, images, lang_x=ids)]
    torch.testing.assert_close(torch.cat(steps, 1), window, **CLOSE)
