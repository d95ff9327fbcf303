"""UForm-Gen2 on disk: published sizes, the tied head, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.uform import QWEN_05B, RoboUform, Uform, load_uform, shape_of
from edge_vla.learn.backbones.uform_vision import UformVision
from tests.learn.backbones.tiny_uform import IMAGE_ID, PUBLIC_CONFIG, TINY_CONFIG, VOCABULARY, shapes, write_uform

Tensors = dict[str, Tensor]
WIDTH = TINY_CONFIG["image_encoder_hidden_size"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("uform")
    write_uform(found)
    return found


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A folder that a test may spoil."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def policy(folder: Path) -> RoboUform:
    return RoboUform({"vlm": {"pretrained_model_name_or_path": str(folder)}})


def test_the_published_sizes_fit_name_by_name() -> None:
    """On the meta device: no memory. The public index has 894 tensors."""
    wanted = shapes(PUBLIC_CONFIG, QWEN_05B)
    with torch.device("meta"):
        model = Uform(*shape_of(PUBLIC_CONFIG, Path("folder")))
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == wanted
    assert len(wanted) == 894
    assert wanted["image_encoder.pos_embed"] == (1, 256, 1280)
    assert sum(p.numel() for p in model.parameters()) // 10**6 == 1117
    assert isinstance(model.image_encoder, UformVision)


def test_a_tied_head_may_be_left_out(copy: Path) -> None:
    whole = load_uform(copy)
    save_file({n: t for f in copy.glob("model-*") for n, t in load_file(f).items() if "lm_head" not in n}, copy / "model.safetensors")
    (copy / "model.safetensors.index.json").unlink()
    tied = load_uform(copy)
    assert tied.text_decoder.lm_head.weight is tied.text_decoder.model.embed_tokens.weight
    assert torch.equal(tied.text_decoder.lm_head.weight, whole.text_decoder.lm_head.weight)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("image_encoder.blocks.1.ls2.weight"), r"1 missing: image_encoder\.blocks\.1\.ls2\.weight"),
        (lambda t: t.update({"image_encoder.reg_token": torch.ones(1)}), r"1 unexpected: image_encoder\.reg_token"),
        (
            lambda t: t.update({"image_encoder.pos_embed": torch.ones(1, 36, WIDTH)}),
            r"image_encoder\.pos_embed \(1, 36, 24\), want \(1, 16, 24\)",
        ),
        (lambda t: t["text_decoder.lm_head.weight"].add_(1), r"lm_head\.weight' and '.*embed_tokens\.weight' are one weight in this model"),
        (lambda t: t["image_pooler.projection.bias"].fill_(torch.inf), r"1 tensors hold nan or inf: image_pooler\.projection\.bias"),
    ],
)
def test_other_weights_are_one_clear_error(copy: Path, change: Callable[[Tensors], object], said: str) -> None:
    tensors = {n: t for file in copy.glob("model-*") for n, t in load_file(file).items()}
    change(tensors)
    (copy / "model.safetensors.index.json").unlink()
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(ConfigError, match=said):
        load_uform(copy)


def test_missing_and_truncated_shards_are_one_clear_error(copy: Path) -> None:
    second = copy / "model-00002-of-00002.safetensors"
    second.write_bytes(second.read_bytes()[:-50])
    with pytest.raises(ConfigError, match="not a whole safetensors file"):
        load_uform(copy)
    second.unlink()
    with pytest.raises(ConfigError, match="1 of 2 shards are missing: model-00002"):
        load_uform(copy)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "qwen2"}, "model_type 'qwen2', this backbone reads UForm-Gen2's 'vlm'"),
        ({"image_pooler_num_latents": 196}, "of the first UForm-Gen"),
        ({"text_config": None}, "text_decoder_name_or_path 'tiny': want Qwen/Qwen1.5-0.5B-Chat"),
        ({"image_token_id": 7}, f"'<image>' as token {IMAGE_ID}, config.json as 7"),
    ],
)
def test_other_configurations_are_one_clear_error(copy: Path, config: dict[str, Any], said: str) -> None:
    (copy / "config.json").write_text(json.dumps(TINY_CONFIG | config))
    with pytest.raises(ConfigError, match=said):
        policy(copy)


def test_a_folder_as_downloaded_says_which_tokenizer_it_needs(copy: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    with pytest.raises(ConfigError, match=r"no tokenizer; copy tokenizer\.json and tokenizer_config\.json of tiny into it"):
        policy(copy)
    assert VOCABULARY > IMAGE_ID
