"""Shapes derived without torch are those of the models: every published size, and every backbone's tiny checkpoint as stored."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.flamingo_files import PUBLISHED
from edge_vla.learn.backbones.moondream_layout import RegionShape, VisionShape
from edge_vla.learn.backbones.uform import QWEN_05B, SIZES
from edge_vla.learn.card_facts import CARDS, Card
from edge_vla.learn.heads import HEADS
from export.planning import layouts
from export.planning.layouts import Beyond, derive
from export.planning.policy_shapes import Policy
from export.planning.published import CONFIGS, published, shapes_of
from export.planning.shapes import Attention, Matrix, Part
from export.planning.subject import find_subject
from tests.learn.backbones.conftest import (  # noqa: F401 - fixtures
    write_kosmos,
    write_llava,
    write_llava_mpt,
    write_paligemma,
)
from tests.learn.backbones.tiny_flamingo import WORDS, parts, write_flamingo
from tests.learn.backbones.tiny_moondream import write_moondream
from tests.learn.backbones.tiny_qwen import write_qwen25, write_qwen_v1
from tests.learn.backbones.tiny_uform import write_uform

MEASURES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim")
MEASURES += ("image_size", "patch_size", "embed_dim", "layers", "ffn_dim", "attention_heads", "depth", "num_heads", "spatial_merge_size")
MEASURES += ("temporal_patch_size", "window_size")


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.model)
def test_every_published_model_has_the_parameters_of_its_card(card: Card) -> None:
    """OpenFlamingo's cards have three figures."""
    model = shapes_of(card)
    digits = 3 - 1 - math.floor(math.log10(model.parameters)) if card.backbone == "RoboFlamingo" else 0
    assert round(model.parameters, digits) == card.parameters
    assert (model.backbone, model.image_tokens, model.image_px) == (card.backbone, card.image_tokens, card.image_px)


def test_every_card_has_a_configuration_and_every_configuration_a_card() -> None:
    assert sorted(CONFIGS) == sorted(card.model for card in CARDS)


@pytest.mark.parametrize("kind", ["mosaic_gpt", "gpt_neox", "mpt"])
def test_openflamingo_to_the_last_weight(kind: str) -> None:
    """The published names and shapes as the backbone's own test has them."""
    from tests.learn.backbones.test_flamingo_files import PUBLISHED as SIZES_OF
    from tests.learn.backbones.test_flamingo_files import ROWS
    from tests.learn.backbones.tiny_flamingo import checkpoint_shapes, language_shapes, tower_shapes

    _, width, layers, inner, every = SIZES_OF[kind]
    language = {f"lang_encoder.{k}": v for k, v in language_shapes(kind, width, layers, ROWS, inner).items()}
    trained = checkpoint_shapes(kind, width, layers, every, ROWS, 1024)
    tower = {k: v for k, v in tower_shapes(1024, 24, 14, 224).items() if k != "visual.proj"}
    name = {"mosaic_gpt": "OpenFlamingo 3B", "gpt_neox": "OpenFlamingo 4B", "mpt": "OpenFlamingo 9B"}[kind]
    assert published(name).parameters == sum(prod(shape) for shape in (language | trained | tower).values())


def elements(*folders: Path) -> tuple[int, int]:
    """(weights, bytes) of all safetensors in folders, asked of the library that reads them."""
    count = nbytes = 0
    for file in (file for folder in folders for file in folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a dict
                tensor = opened.get_tensor(name)
                count, nbytes = count + tensor.numel(), nbytes + tensor.numel() * tensor.itemsize
    return count, nbytes


def check(folder: Path, *, twice: bool = False) -> None:
    """The shapes of config.json against the weights beside it; a tied head may be stored a second time."""
    subject = find_subject(str(folder))
    assert subject.model is not None
    count, nbytes = elements(folder)
    assert subject.model.parameters + (subject.model.table.parameters if twice else 0) == count
    assert subject.checkpoint_bytes == nbytes


def test_a_tiny_paligemma(write_paligemma: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    check(write_paligemma(tmp_path / "one"))
    check(write_paligemma(tmp_path / "two", model_type="gemma2"))


def test_a_tiny_kosmos(write_kosmos: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    check(write_kosmos(tmp_path / "kosmos"))


def test_a_tiny_llava(write_llava: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    check(write_llava(tmp_path / "llava"))


def test_a_tiny_llava_on_mpt_with_the_tower_beside_it(write_llava_mpt: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    """Its weights are torch's, which nothing without torch reads: counted from the files by torch, the tower's without its text half."""
    import torch

    folder = write_llava_mpt(tmp_path)
    stored = sum(t.numel() for file in folder.glob("*.bin") for t in torch.load(file, weights_only=True).values())
    beside = tmp_path / "clip-vit-large-patch14" / "model.safetensors"
    with safe_open(beside, framework="pt") as opened:
        names = [n for n in opened.keys() if n.startswith("vision_model.") and "position_ids" not in n]  # noqa: SIM118
        tower = sum(opened.get_tensor(name).numel() for name in names)
    subject = find_subject(str(folder))
    assert subject.model is not None
    assert subject.checkpoint_bytes is None
    assert subject.model.parameters == stored + tower


def test_a_tiny_qwen_vl_from_its_configuration(tmp_path: Path) -> None:
    import torch

    folder = write_qwen_v1(tmp_path)
    stored = [t for file in folder.glob("*.bin") for t in torch.load(file, weights_only=True).values()]
    subject = find_subject(str(folder))
    assert subject.model is not None
    assert subject.model.parameters == sum(t.numel() for t in stored)
    assert subject.model.image_tokens == 16 + 2


def test_a_tiny_qwen_2_5_vl(tmp_path: Path) -> None:
    """Its sizes are 48 px, which is what its windows divide; 448 is refused as the backbone refuses it."""
    folder = write_qwen25(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    model = derive(config, "tiny", Beyond(image_px=48))
    assert model.parameters == elements(folder)[0]
    assert model.image_tokens == 36 + 2
    with pytest.raises(ConfigError, match="image_size 50: want a multiple of 16"):
        derive(config, "tiny", Beyond(image_px=50))


@pytest.mark.parametrize("layout", ["B", "C", "D"])
def test_a_tiny_moondream_in_each_layout(layout: str, tmp_path: Path) -> None:
    write_moondream(tmp_path, layout)
    check(tmp_path)


def test_a_tiny_uform_whose_head_is_stored_too(tmp_path: Path) -> None:
    write_uform(tmp_path)
    check(tmp_path, twice=True)


@pytest.mark.parametrize("kind", ["mosaic_gpt", "gpt_neox", "mpt"])
def test_a_tiny_flamingo_with_its_tower_beside_it(kind: str, tmp_path: Path) -> None:
    """The table that counts is the checkpoint's, cut to its tokenizer; the language model's own is what config.json tells."""
    config = write_flamingo(tmp_path, kind)
    subject = find_subject(config["vlm"]["pretrained_model_name_or_path"])
    assert subject.model is not None
    language, trained, tower = parts(kind)
    table = {f"lang_encoder.{name}" for name in language} & set(trained)
    everything = {f"lang_encoder.{k}": v for k, v in language.items()} | {k: v for k, v in trained.items() if k not in table} | tower
    assert subject.model.parameters == sum(t.numel() for name, t in everything.items() if name != "visual.proj")
    assert subject.model.vocabulary == len(WORDS) + 9


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("LLAMA", "LlamaConfig"), ("MISTRAL", "MistralConfig"), ("CLIP", "CLIPVisionConfig"), ("SIGLIP", "SiglipVisionConfig"),
        ("GEMMA", "GemmaConfig"), ("GEMMA_2", "Gemma2Config"), ("PHI", "PhiConfig"),
    ],
)  # fmt: skip
def test_what_a_configuration_leaves_out_is_what_transformers_fills_in(ours: str, theirs: str) -> None:
    import transformers

    known = getattr(layouts, ours)
    filled = getattr(transformers, theirs)()
    assert known == {key: getattr(filled, key) for key in known}
    unsaid = {key for key in MEASURES if hasattr(filled, key)} - set(known)
    assert unsaid <= {"num_key_value_heads", "head_dim"}, "sizes that a config.json may leave out and nothing fills in"


def test_kosmos_and_qwen_2_5_leave_out_what_transformers_fills_in() -> None:
    from transformers.models.kosmos2.configuration_kosmos2 import Kosmos2Config
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig

    kosmos, eyes = Kosmos2Config(), Qwen2_5_VLConfig().vision_config
    assert {key: getattr(kosmos.text_config, key) for key in layouts.KOSMOS_TEXT} == layouts.KOSMOS_TEXT
    assert {key: getattr(kosmos.vision_config, key) for key in layouts.KOSMOS_VISION} == layouts.KOSMOS_VISION
    assert {key: getattr(eyes, key) for key in layouts.QWEN_2_5_VISION} == layouts.QWEN_2_5_VISION


def test_sizes_that_no_config_json_has_are_those_of_the_backbones() -> None:
    assert {key: QWEN_05B[key] for key in layouts.QWEN_05B} == layouts.QWEN_05B
    assert {key: SIZES[key] for key in layouts.UFORM} == layouts.UFORM
    assert {key: getattr(VisionShape(), key) for key in layouts.MOONDREAM_EYES} == layouts.MOONDREAM_EYES
    assert {key: getattr(RegionShape(), key) for key in layouts.REGION} == layouts.REGION
    assert set(layouts.GATES.values()) == {every for _, every in PUBLISHED.values()}


@pytest.mark.parametrize("kind", ["mosaic_gpt", "mpt"])
def test_mpt_with_every_option(kind: str) -> None:
    """Biases and norms of queries and keys, which no published one has together, against the blocks themselves."""
    import torch

    from edge_vla.learn.backbones.llava_mpt import MptTower
    from edge_vla.learn.backbones.mosaic import MosaicConfig

    config = {"model_type": kind, "d_model": 32, "n_heads": 4, "n_layers": 2, "no_bias": False, "vocab_size": 50}
    config |= {"attn_config": {"alibi": True, "qk_ln": True}} if kind == "mpt" else {"alibi": True, "attn_qk_ln": True}
    with torch.device("meta"):
        tower = MptTower(MosaicConfig.read(config), 50)
    decoder = derive(config, "tiny", Beyond()).text[0]
    assert decoder.parameters + 50 * 32 == sum(p.numel() for p in tower.parameters())


@pytest.mark.parametrize("features", [16, 40])
@pytest.mark.parametrize("latent", [1, 3])
@pytest.mark.parametrize("kind", ["FCDecoder", "LSTMDecoder", "GPTDecoder", "MobileVLALSTMDecoder", "MobileVLAClassificationDecoder"])
@pytest.mark.parametrize("sampling", ["pooling", "resampler"])
def test_policy_heads_have_the_parameters_of_the_heads(kind: str, latent: int, sampling: str, features: int) -> None:
    sizes: dict[str, Any] = {"in_features": features, "hidden_size": 16, "action_dim": 4, "down_sample": sampling, "latent": latent}
    sizes |= {"fwd_pred_next_n": 5} | ({} if kind == "FCDecoder" else {"window_size": 6})
    head = HEADS[kind](**sizes)
    policy = Policy(kind, features, 16, 4, latent, 6, 5, 4, sampling)
    assert sum(part.parameters for part in policy.parts(9)) == sum(p.numel() for p in head.parameters())


def test_a_recurrent_layers_weights_are_read_once_a_step() -> None:
    """Two layers of 8 wide on 4: what comes in is (32, 4) and (32, 8), what recurs (32, 8) twice, six times over."""
    inputs, recurrence = Policy("LSTMDecoder", 4, 8, 2, 1, 6, 1, 4).parts(0)[:2]
    assert [m.parameters for m in inputs.matrices] == [128, 256]
    assert [m.parameters for m in recurrence.matrices] == [512]
    assert (inputs.reads, recurrence.reads) == (1, 6)


def test_operations_of_a_part_by_hand() -> None:
    """3 tokens through a (5, 7) twice: 2 * 3 * 70. Two heads of 4 over 3 + 2 keys in one layer: 4 * 2 * 4 * 3 * 5."""
    part = Part("p", 0, 7, 5, (Matrix(5, 7, 2),), 11, (Attention(1, 2, 4, 1),))
    assert part.parameters == 81
    assert part.weight_flops(3) == 420
    assert part.attention_flops(3, 2) == 480


def test_a_part_with_tokens_of_its_own_does_not_grow_with_the_sequence() -> None:
    """OpenFlamingo's keys of 64 latents, whatever the words; what looks at them sees 64 keys."""
    part = Part("p", 4, 7, 5, (Matrix(5, 7),), 0, (Attention(1, 2, 4, 1), Attention(1, 2, 4, 1, keys=9)))
    assert part.weight_flops(1000) == 2 * 4 * 35
    assert part.attention_flops(1000, 500) == 4 * 2 * 4 * 4 * (4 + 9)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "bert"}, "model_type 'bert'; the backbones read .*paligemma"),
        ({"model_type": "paligema"}, "did you mean 'paligemma'"),
        ({"model_type": "qwen2_5_vl"}, "text_config has no hidden_size"),
        ({"model_type": "kosmos-2", "text_config": {"layers": 0}}, r"text_config\.layers 0: want a whole number of at least 1"),
        ({"model_type": "kosmos-2", "text_config": {"layers": True}}, r"text_config\.layers True: want a whole number"),
        ({"model_type": "kosmos-2", "text_config": {"layers": 2.0}}, r"text_config\.layers 2\.0: want a whole number"),
        ({"model_type": "kosmos-2", "text_config": [1]}, "text_config is a list, want a section"),
        ({"model_type": "kosmos-2", "vision_config": {"image_size": 13}}, "somewhere: an image of 13 px in patches of 14.*: no tower"),
        ({**CONFIGS["Qwen2.5-VL 7B"], "num_attention_heads": 4000}, r"somewhere: config\.json: text_config\.head_dim 0"),
        ({"model_type": "llava"}, "in its authors' layout"),
        ({"model_type": "llava", "text_config": {"model_type": "opt"}}, "'opt': want llama or mistral"),
        ({**CONFIGS["LLaVA 1.5 7B (llava-hf)"], "vision_feature_layer": -26}, "vision_feature_layer -26: want one of .* -25 to 24"),
        ({**CONFIGS["LLaVA 1.5 7B (llava-hf)"], "vision_feature_layer": [-2]}, r"vision_feature_layer \[-2\]"),
        ({"model_type": "llava_mpt", "mm_vision_tower": "google/owl"}, "mm_vision_tower 'owl': want its folder beside the model"),
        ({**CONFIGS["LLaVA-Lightning-MPT-7B-preview"], "mm_projector_type": "conv"}, "mm_projector_type 'conv'"),
        ({"model_type": "moondream1"}, "only its safetensors tell"),
        ({"model_type": "vlm", "image_pooler_num_latents": 4}, "of the first UForm-Gen"),
        ({**CONFIGS["Qwen-VL, Qwen-VL-Chat"], "visual": {"width": 8}}, r"visual\.mlp_ratio None"),
    ],
)
def test_what_no_backbone_reads_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        derive(config, "somewhere", Beyond())
