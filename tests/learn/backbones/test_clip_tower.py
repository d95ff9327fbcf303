"""CLIP image towers: open_clip's layout and transformers' are one tower, equal to PyTorch's own attention on the stored weights."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.clip_tower import config_of, load_clip_tower, tower_tensors
from tests.learn.backbones.tiny_flamingo import PATCH, PIXELS, SEES, TEXT_HALF, fill, to_transformers, tower_shapes

LAYERS = 2


@pytest.fixture(scope="module")
def stored() -> dict[str, Tensor]:
    return fill(tower_shapes(SEES, LAYERS, PATCH, PIXELS), 5)


def residual_attention(w: dict[str, Tensor], images: Tensor) -> Tensor:
    """What open_clip does up to 2.20: patches leave before ln_post."""

    def norm(x: Tensor, name: str) -> Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:], w[f"visual.{name}.weight"], w[f"visual.{name}.bias"])

    x = nn.functional.conv2d(images, w["visual.conv1.weight"], stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([w["visual.class_embedding"].expand(len(x), 1, -1), x], 1) + w["visual.positional_embedding"]
    x = norm(x, "ln_pre")
    for k in range(LAYERS):
        at = f"transformer.resblocks.{k}"
        attention = nn.MultiheadAttention(SEES, 1, batch_first=True)
        attention.load_state_dict({name: w[f"visual.{at}.attn.{name}"] for name in attention.state_dict()})
        h = norm(x, f"{at}.ln_1")
        x = x + attention(h, h, h)[0]
        up = nn.functional.linear(norm(x, f"{at}.ln_2"), w[f"visual.{at}.mlp.c_fc.weight"], w[f"visual.{at}.mlp.c_fc.bias"])
        x = x + nn.functional.linear(up * torch.sigmoid(1.702 * up), w[f"visual.{at}.mlp.c_proj.weight"], w[f"visual.{at}.mlp.c_proj.bias"])
    return x


@pytest.mark.parametrize("layout", ["open_clip .bin", "open_clip .safetensors", "transformers", "transformers, tower alone"])
def test_every_layout_is_the_tower(tmp_path: Path, stored: dict[str, Tensor], layout: str) -> None:
    path = tmp_path / "tower"
    if layout == "open_clip .bin":
        torch.save(stored | fill(TEXT_HALF, 1), path)
    elif layout == "open_clip .safetensors":
        path = tmp_path / "open_clip_model.safetensors"
        save_file(stored | fill(TEXT_HALF, 1), path, {"format": "pt"})
    else:
        path.mkdir()
        tensors, vision = to_transformers(stored), {"num_attention_heads": 1, "hidden_act": "quick_gelu"}
        tensors["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
        if layout != "transformers":
            tensors = {name.removeprefix("vision_model."): t for name, t in tensors.items() if name.startswith("vision_model.")}
        save_file(tensors, path / "model.safetensors", {"format": "pt"})
        config = {"model_type": "clip", "vision_config": vision} if layout == "transformers" else vision
        (path / "config.json").write_text(json.dumps(config))
    tower, images = load_clip_tower(path).eval(), torch.randn(2, 3, PIXELS, PIXELS)
    with torch.no_grad():
        torch.testing.assert_close(tower(images).last_hidden_state, residual_attention(stored, images), atol=1e-5, rtol=1e-5)
        assert (
            tower(images).last_hidden_state - residual_attention(fill(tower_shapes(SEES, LAYERS, PATCH, PIXELS), 6), images)
        ).abs().max() > 1


def test_the_published_sizes_are_found_by_name() -> None:
    with torch.device("meta"):
        tower = {name: torch.empty(shape) for name, shape in tower_shapes(1024, 24, 14, 224).items()}
    config = config_of(tower_tensors(tower), "tower", {})
    assert (config.image_size, config.patch_size, config.num_attention_heads, config.intermediate_size) == (224, 14, 16, 4096)
    assert (config.hidden_act, config.num_hidden_layers) == ("quick_gelu", 24)


def test_a_wrong_tower_is_one_error(tmp_path: Path, stored: dict[str, Tensor]) -> None:
    file = tmp_path / "tower.bin"

    def load(tensors: dict[str, Tensor], model: str | None = None) -> str:
        torch.save(tensors, file)
        with pytest.raises(ConfigError) as said:
            load_clip_tower(file, model)
        return str(said.value)

    assert "not the weights of a CLIP image tower" in load({"a": torch.ones(1)})
    assert "1 missing: post_layernorm.bias" in load({k: v for k, v in stored.items() if k != "visual.ln_post.bias"})
    assert "1 unexpected: visual.odd" in load(stored | {"visual.odd": torch.ones(1)})
    assert "hold nan or inf" in load(stored | {"visual.class_embedding": torch.full((SEES,), torch.nan)})
    assert "are (64, 2, 7, 28), a ViT-L-14 has (1024, 24, 14, 224)" in load(stored, "ViT-L-14")
    assert "clip_vision_encoder_path 'ViT-X': want one of" in load(stored, "ViT-X")


def test_openais_own_file_is_a_program(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ViT-L-14.pt", "w") as archive:
        for part in ("data.pkl", "constants.pkl", "code/__torch__.py", "version"):  # as torch.jit.save lays it out
            archive.writestr(f"ViT-L-14/{part}", b"")
    with pytest.raises(ConfigError, match="a TorchScript program, which is code"):
        load_clip_tower(tmp_path / "ViT-L-14.pt")
