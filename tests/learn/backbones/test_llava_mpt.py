"""LLaVA on MPT in its authors' layout, against transformers' MPT and CLIP on the same weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edge_vla.learn import actor
from edge_vla.learn.action_tokenizer import count_special_tokens
from edge_vla.learn.backbones.llava import RoboLLaVA
from edge_vla.learn.backbones.llava_mpt import load_words
from edge_vla.learn.checkpoint import read_config
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


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return {k: v.float() for file in sorted(folder.glob("*.bin")) for k, v in torch.load(file, weights_only=True).items()}


def own_text(folder: Path) -> Any:
    """transformers' MPT with the folder's weights."""
    from transformers import MptConfig, MptForCausalLM

    config = json.loads((folder / "config.json").read_text())
    model = MptForCausalLM(MptConfig(**{k: config[k] for k in ("d_model", "n_heads", "n_layers", "max_seq_len", "vocab_size")})).eval()
    weights = {k: v for k, v in stored(folder).items() if "mm_projector" not in k}
    model.load_state_dict(weights | {"lm_head.weight": weights["transformer.wte.weight"]})
    return model


def own_features(folder: Path, images: torch.Tensor, layer: int = -2) -> torch.Tensor:
    """transformers' CLIP and the projector by hand."""
    from transformers import CLIPVisionModel

    tower = CLIPVisionModel.from_pretrained(str(folder.parent / "clip-vit-large-patch14")).eval()
    seen = tower(images, output_hidden_states=True).hidden_states[layer][:, 1:]
    weights = stored(folder)
    return seen @ weights["transformer.mm_projector.weight"].T + weights["transformer.mm_projector.bias"]


@torch.no_grad()
def test_image_tokens_are_the_last_but_one_hidden_state_projected(configs: Configs, llava_mpt: Path) -> None:
    images = torch.randn(2, 3, 28, 28)
    got = loaded(configs, llava_mpt).model_encode_images(images)
    assert got.shape == (2, 4, 32)
    torch.testing.assert_close(got, own_features(llava_mpt, images), **CLOSE)
    assert not torch.allclose(got, own_features(llava_mpt, images, -1), atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(9, 9), (9, 6)], ids=("equal", "padded"))
def test_logits_are_transformers_own(lengths: tuple[int, ...], configs: Configs, llava_mpt: Path) -> None:
    model = loaded(configs, llava_mpt)
    mask = torch.arange(9)[None] < torch.tensor(lengths)[:, None]
    embeddings = torch.randn(2, 9, 32)
    want = own_text(llava_mpt)(inputs_embeds=embeddings, attention_mask=mask.long()).logits
    got = model.logits(model.run_text(embeddings, mask, (mask.long().cumsum(1) - 1).clamp(min=0)).hidden)
    torch.testing.assert_close(got[mask], want[mask], **CLOSE)


@torch.no_grad()
def test_a_pad_in_the_middle_is_no_distance(configs: Configs, llava_mpt: Path) -> None:
    model = loaded(configs, llava_mpt)
    embeddings, mask = torch.randn(1, 8, 32), torch.tensor([[True, True, True, False, False, True, True, True]])
    got = model.run_text(embeddings, mask, mask.long().cumsum(1) - 1).hidden[:, mask[0]]
    want = own_text(llava_mpt).transformer(inputs_embeds=embeddings[:, mask[0]]).last_hidden_state
    torch.testing.assert_close(got, want, **CLOSE)


@torch.no_grad()
def test_step_by_step_is_all_at_once(configs: Configs, llava_mpt: Path) -> None:
    model = loaded(configs, llava_mpt)
    embeddings, mask = torch.randn(2, 7, 32), torch.ones(2, 7, dtype=torch.bool)
    mask[1, 2] = False
    places = mask.long().cumsum(1) - 1
    whole = model.run_text(embeddings, mask, places).hidden
    out = model.run_text(embeddings[:, :4], mask[:, :4], places[:, :4], keep=True)
    pieces = [out.hidden]
    for k in range(4, 7):
        out = model.run_text(embeddings[:, k : k + 1], mask[:, : k + 1], places[:, k : k + 1], out.cache, keep=True)
        pieces.append(out.hidden)
    torch.testing.assert_close(torch.cat(pieces, 1)[mask], whole[mask], **CLOSE)


@torch.no_grad()
def test_an_answer_is_transformers_greedy_one_to_the_authors_prompt(configs: Configs, llava_mpt: Path) -> None:
    model = loaded(configs, llava_mpt)
    ids, lead = model.question_ids("find the cup"), model.question_lead()
    said = "A conversation between a user and an LLM-based AI assistant. The assistant gives helpful and honest answers."
    before, after = (
        f"<|im_start|>system\n{said}<|im_end|><|im_start|>user\n<im_start>",
        "<im_end>\nfind the cup<|im_end|><|im_start|>assistant\n",
    )
    assert ids[:lead] == model.tokenizer(before).input_ids
    assert ids[lead:] == model.tokenizer(after).input_ids
    assert model.tokenizer.convert_ids_to_tokens(ids[lead - 1 : lead + 3]) == ["<im_start>", "<im_end>", "\n", "find"]
    assert model.tokenizer.convert_ids_to_tokens(sorted(model.end_ids())) == ["<eos>", "<|im_end|>"]
    text = own_text(llava_mpt)
    words = text.transformer.wte(torch.tensor(ids))
    sequence = torch.cat([words[:lead], own_features(llava_mpt, model.question_picture(RGB)[None])[0], words[lead:]])
    told: list[int] = []
    for _ in range(8):
        whole = torch.cat([sequence, text.transformer.wte(torch.tensor(told, dtype=torch.long))])
        told.append(int(text(inputs_embeds=whole[None]).logits[0, -1].argmax()))
    ends = [k for k, token in enumerate(told) if token in model.end_ids()]
    assert model.generate("find the cup", RGB, 8) == model.tokenizer.decode(told[: ends[0]] if ends else told).strip()


@torch.no_grad()
def test_a_pad_counts_as_a_special_token_whether_or_not_the_tokenizer_brings_one(llava_mpt: Path, tmp_path: Path) -> None:
    """RoboVLMs adds one before it counts, and an action's row lies as many below the vocabulary's end."""
    folder = Path(shutil.copytree(llava_mpt, tmp_path / "without"))
    told = json.loads((folder / "tokenizer_config.json").read_text())
    assert told.pop("pad_token") == "<pad>"
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    brought, given = load_words(llava_mpt, read_config(llava_mpt)), load_words(folder, read_config(folder))
    assert (brought.pad_token, given.pad_token) == ("<pad>", "<eos>")
    assert count_special_tokens(given) == count_special_tokens(brought)


def test_a_policy_reads_its_action_as_in_the_reference(configs: Configs, llava_mpt: Path) -> None:
    """No brackets; images second, though this tokenizer's bos is never written."""
    model = loaded(configs, llava_mpt)
    images, ids = torch.randn(1, 2, 3, 28, 28), torch.tensor([model.instruction_ids(" go to the cup ")])
    assert model.tokenizer.convert_ids_to_tokens(ids[0]) == ["go", "to", "the", "cup"]
    got, text = actor.read(model, images, ids, None, {}), own_text(llava_mpt)
    for frame in range(2):
        words = text.transformer.wte(ids)
        act, seen = model.action_token.expand(1, 1, -1), own_features(llava_mpt, images[:, frame])
        parts = [words[:, :1], seen, words[:, 1:-1], act, words[:, -1:]]
        own = text.transformer(inputs_embeds=torch.cat(parts, 1)).last_hidden_state
        torch.testing.assert_close(got[:, frame, 0], own[:, -2], **CLOSE)


def test_a_questions_picture_is_what_clips_processor_gives_and_a_policys_is_squashed(configs: Configs, llava_mpt: Path) -> None:
    from transformers import CLIPImageProcessorPil

    model = loaded(configs, llava_mpt)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    for rgb in (RGB, np.ascontiguousarray(RGB.transpose(1, 0, 2)), np.ascontiguousarray(RGB[:7, :45])):
        want = processor(Image.fromarray(rgb), return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close(model.question_picture(rgb), want, atol=1e-5, rtol=0)
    small = np.asarray(Image.fromarray(RGB).resize((28, 28), Image.Resampling.BICUBIC), np.float64)
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    np.testing.assert_allclose(model.preprocess(RGB).numpy(), ((small / 255 - mean) / std).transpose(2, 0, 1), atol=1e-6)


def test_other_weights_say_something_else(configs: Configs, llava_mpt: Path, write_llava_mpt: Writer, tmp_path: Path) -> None:
    images, ids = torch.randn(1, 2, 3, 28, 28), torch.randint(5, 40, (1, 5))
    one, other = (loaded(configs, place).inference(images, ids)["action"][0] for place in (llava_mpt, write_llava_mpt(tmp_path, seed=9)))
    assert (one - other).abs().max() > 1e-4


def test_twenty_steps_lower_the_loss_and_steps_give_what_a_window_gives(configs: Configs, llava_mpt: Path) -> None:
    model = loaded(configs, llava_mpt, train_setup={"train_vision": True, "train_text_embedding": True, "gradient_checkpointing": True})
    images, ids = torch.randn(2, 2, 3, 28, 28), torch.randint(5, 40, (2, 5))
    labels = (torch.tensor([0.4, -0.4])[:, None, None, None].expand(2, 2, 2, 3), torch.ones(2, 2, 2))
    model.train()
    seen = teach(model, torch.optim.Adam(learners(model), 2e-3), vision_x=images, lang_x=ids, action_labels=labels)
    assert np.mean(seen[-3:]) < 0.7 * np.mean(seen[:3])
    model.eval()
    window = model.inference(images, ids)["action"][0]
    steps = [arm for arm, _ in walk(model, images, lang_x=ids)]
    torch.testing.assert_close(torch.cat(steps, 1), window, **CLOSE)


@torch.no_grad()
def test_the_step_exports_to_a_graph_that_serves_another_length(configs: Configs, llava_mpt: Path) -> None:
    """torch.export of the text tower with a dynamic length: no branch on data, no cache object."""
    tower = loaded(configs, llava_mpt).text_tower
    length = torch.export.Dim.DYNAMIC

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = tower

        def forward(self, x: torch.Tensor, allowed: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
            return self.tower(x, allowed, places)[0]

    def example(n: int) -> tuple[torch.Tensor, ...]:
        return torch.randn(1, n, 32), torch.zeros(1, 1, n, n).masked_fill(torch.ones(n, n).triu(1).bool(), -1e30), torch.arange(n)[None]

    shapes = ({1: length}, {2: length, 3: length}, {1: length})
    program = torch.export.export(Step(), example(6), dynamic_shapes=shapes)
    for n in (6, 9):
        given = example(n)
        torch.testing.assert_close(program.module()(*given), tower(*given)[0], **CLOSE)
