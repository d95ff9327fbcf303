"""LLaVA on MPT on disk: where its tower is, what may be stored besides, what is refused, and the public checkpoint's names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.llava import RoboLLaVA
from edge_vla.learn.backbones.llava_mpt import LlavaMpt, disk_key

Configs = Callable[..., dict[str, Any]]
Writer = Callable[..., Path]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def loaded(configs: Configs, folder: Path, **rest: Any) -> RoboLLaVA:
    torch.manual_seed(2)
    model = RoboLLaVA(configs(folder, **rest)).eval()
    torch.nn.init.normal_(model.action_token)
    return model


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return {k: v.float() for file in sorted(folder.glob("*.bin")) for k, v in torch.load(file, weights_only=True).items()}


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """The folder's weights in one file, changed."""
    weights = stored(folder)
    change(weights)
    for file in folder.glob("pytorch_model*"):
        file.unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


def take_tower_in(folder: Path) -> Path:
    """The checkpoint as newer LLaVA code and RoboVLMs save it: tower inside, head written out."""
    tower = load_file(folder.parent / "clip-vit-large-patch14" / "model.safetensors")

    def add(weights: dict[str, torch.Tensor]) -> None:
        weights |= {f"transformer.vision_tower.vision_tower.{k}": v for k, v in tower.items() if k.startswith("vision_model.")}
        weights["lm_head.weight"] = weights["transformer.wte.weight"]

    return rewrite(folder, add)


@torch.no_grad()
def test_a_tower_and_a_tied_head_may_be_stored_with_the_rest(configs: Configs, write_llava_mpt: Writer, tmp_path: Path) -> None:
    folder = write_llava_mpt(tmp_path)
    images = torch.randn(1, 3, 28, 28)
    want = loaded(configs, folder).model_encode_images(images)
    take_tower_in(folder)
    torch.testing.assert_close(loaded(configs, folder).model_encode_images(images), want, **CLOSE)
    for file in (folder.parent / "clip-vit-large-patch14").iterdir():
        file.unlink()
    assert loaded(configs, folder).model_encode_images(images).shape == want.shape, "its sizes are in its weights"

    def untie(weights: dict[str, torch.Tensor]) -> None:
        weights["lm_head.weight"] = weights["transformer.wte.weight"] + 1

    with pytest.raises(ConfigError, match="differs from the word embedding"):
        RoboLLaVA(configs(rewrite(folder, untie)))


def test_the_tower_is_found_where_it_is_or_where_the_configuration_says(configs: Configs, write_llava_mpt: Writer, tmp_path: Path) -> None:
    folder = write_llava_mpt(tmp_path)
    images, beside = torch.randn(1, 3, 28, 28), folder.parent / "clip-vit-large-patch14"
    want = loaded(configs, folder).model_encode_images(images)
    beside.rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="its vision tower openai/clip-vit-large-patch14 is another model"):
        RoboLLaVA(configs(folder))
    named = {"vision_encoder": {"clip_vision_encoder_path": str(tmp_path / "elsewhere")}}
    torch.testing.assert_close(loaded(configs, folder, **named).model_encode_images(images), want, **CLOSE)
    (tmp_path / "elsewhere").rename(folder / "clip-vit-large-patch14")
    torch.testing.assert_close(loaded(configs, folder).model_encode_images(images), want, **CLOSE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"norm_type": "rmsnorm"}, "norm_type"), ({"attn_config": {"alibi": False}}, "learned positions"),
        ({"mm_projector_type": "resampler"}, "want linear or mlp2x_gelu"), ({"mm_vision_select_layer": -7}, "hidden states -4 to 3"),
        ({"mm_vision_select_feature": "cls"}, "want one of patch, cls_patch"), ({"mm_hidden_size": 24}, "its vision tower gives 16"),
        ({"vocab_size": 320}, "316 tokens in its tokenizer|want"), ({"mm_projector_type": "mlp2x_gelu"}, r"missing: mm_projector\.0\.bias"),
        ({"n_layers": 3}, r"missing: transformer\.blocks\.2"), ({"n_layers": 1}, r"unexpected: transformer\.blocks\.1"),
        ({"d_model": 64}, "of another shape"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_cannot_be_read_is_refused(
    changes: dict[str, Any], said: str, configs: Configs, write_llava_mpt: Writer, tmp_path: Path
) -> None:
    folder = write_llava_mpt(tmp_path)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=said):
        RoboLLaVA(configs(folder))


def test_more_tokens_than_embeddings_are_refused(configs: Configs, write_llava_mpt: Writer, tmp_path: Path) -> None:
    folder = write_llava_mpt(tmp_path)
    config = json.loads((folder / "config.json").read_text()) | {"vocab_size": 300}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="316 tokens in its tokenizer, and embeddings for 300"):
        RoboLLaVA(configs(folder))


def test_a_missing_shard_and_one_that_lacks_a_key_are_named(configs: Configs, write_llava_mpt: Writer, tmp_path: Path) -> None:
    folder = write_llava_mpt(tmp_path)
    second = folder / "pytorch_model-00002-of-00002.bin"
    weights = torch.load(second, weights_only=True)
    del weights["transformer.norm_f.weight"]
    torch.save(weights, second)
    with pytest.raises(ConfigError, match=re.escape("its shards lack transformer.norm_f.weight and have besides none")):
        RoboLLaVA(configs(folder))
    second.unlink()
    with pytest.raises(ConfigError, match=r"1 of 2 shards are missing: pytorch_model-00002-of-00002\.bin"):
        RoboLLaVA(configs(folder))


def test_the_public_checkpoints_keys_are_the_ones_read() -> None:
    """LLaVA-Lightning-MPT-7B-preview: names and shapes of its configuration, no memory taken.

    Its index file has 16.2 kB, which these names fill and neither a head nor a tower has room in.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModel

    wide, names = 4096, {"transformer.wte.weight": (50282, 4096), "transformer.norm_f.weight": (4096,)}
    names |= {"transformer.mm_projector.weight": (wide, 1024), "transformer.mm_projector.bias": (wide,)}
    for k in range(32):
        block = {
            "norm_1": (wide,), "norm_2": (wide,), "attn.Wqkv": (3 * wide, wide), "attn.out_proj": (wide, wide),
            "ffn.up_proj": (4 * wide, wide), "ffn.down_proj": (wide, 4 * wide),
        }  # fmt: skip
        names |= {f"transformer.blocks.{k}.{part}.weight": shape for part, shape in block.items()}
    index = {"metadata": {"total_size": 13305741312}, "weight_map": dict.fromkeys(sorted(names), "pytorch_model-00001-of-00002.bin")}
    assert round(len(json.dumps(index, indent=2)) / 1000, 1) == 16.2
    sight = CLIPVisionConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14)
    config = {"attn_config": {"alibi": True}, "d_model": wide, "n_heads": 32, "n_layers": 32, "no_bias": True, "vocab_size": 50282}
    with torch.device("meta"):
        model = LlavaMpt({**config, "mm_hidden_size": 1024, "mm_vision_select_layer": -2}, CLIPVisionModel(sight))
    own = {name: tuple(p.shape) for name, p in model.state_dict().items() if not name.startswith("vision_tower.")}
    assert own == {disk_key(name): shape for name, shape in names.items()}
    assert sum(p.numel() for name, p in model.named_parameters()) == 6_956_050_432
