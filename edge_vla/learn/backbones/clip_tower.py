"""CLIP image towers on disk, in open_clip's names or transformers', to `CLIPVisionModel`. Knows nothing of who looks through them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.initialization import no_init_weights

from edge_vla.errors import ConfigError
from edge_vla.learn.checkpoint import load_strict, read_config, read_weights, rename

HEAD_DIM = 64  # of every CLIP that OpenAI published; its own loader derives the number of heads so
SIZES = {"ViT-B-32": (768, 12, 32, 224), "ViT-B-16": (768, 12, 16, 224), "ViT-L-14": (1024, 24, 14, 224)}  # width, layers, patch, image
# The text half of a whole CLIP, and buffers of older versions.
NOT_THE_TOWER = re.compile(
    r"(text_model|transformer|token_embedding|ln_final|text_projection|visual_projection)[.].*|text_projection|positional_embedding"
    r"|logit_scale|visual[.]proj|input_resolution|context_length|vocab_size|(vision_model[.])?embeddings[.]position_ids"
)
OPEN_CLIP = (  # parts of names, open_clip's to transformers'
    ("visual.class_embedding", "embeddings.class_embedding"), ("visual.conv1.", "embeddings.patch_embedding."),
    ("visual.positional_embedding", "embeddings.position_embedding.weight"), ("visual.ln_pre.", "pre_layrnorm."),
    ("visual.ln_post.", "post_layernorm."), ("visual.transformer.resblocks.", "encoder.layers."), (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."), (".attn.out_proj.", ".self_attn.out_proj."), (".mlp.c_fc.", ".mlp.fc1."), (".mlp.c_proj.", ".mlp.fc2."),
)  # fmt: skip


def load_clip_tower(path: Path, model: str | None = None) -> CLIPVisionModel:
    """The image tower in a file or folder, float32. `model` is open_clip's name for it, checked. Raises ConfigError."""
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("constants.pkl") for name in archive.namelist()):
                raise ConfigError(f"{path}: a TorchScript program, which is code; want the same weights from the Hub, safetensors or .bin")
    tensors = tower_tensors(read_weights(path))
    has_config = path.is_dir() and (path / "config.json").is_file()
    return tower_of(tensors, str(path), model, read_config(path) if has_config else {})


def tower_of(
    tensors: Mapping[str, Tensor], what: str, model: str | None = None, config: Mapping[str, object] | None = None
) -> CLIPVisionModel:
    """A tower of the size its weights (as from `tower_tensors`) say, filled with them. Raises ConfigError."""
    sizes = config_of(tensors, what, config or {})
    if model is not None:
        if model not in SIZES:
            raise ConfigError(f"clip_vision_encoder_path {model!r}: want one of {', '.join(SIZES)}")
        found = (sizes.hidden_size, sizes.num_hidden_layers, sizes.patch_size, sizes.image_size)
        if found != SIZES[model]:
            raise ConfigError(f"{what}: width, layers, patch and image are {found}, a {model} has {SIZES[model]}")
    with no_init_weights():
        tower = CLIPVisionModel(sizes)
    tower.set_attn_implementation("eager")  # the arithmetic that exports alike everywhere
    load_strict(tower, tensors, what)
    return tower


def config_of(tensors: Mapping[str, Tensor], what: str, config: Mapping[str, object]) -> CLIPVisionConfig:
    """Sizes from the weights' shapes. What shapes do not say comes from a transformers `config`, else is as in OpenAI's models."""
    try:
        width = tensors["embeddings.class_embedding"].shape[0]
        patch = tensors["embeddings.patch_embedding.weight"].shape[-1]
        grid = round((tensors["embeddings.position_embedding.weight"].shape[0] - 1) ** 0.5)
        inner = tensors["encoder.layers.0.mlp.fc1.weight"].shape[0]
    except (KeyError, IndexError) as err:
        raise ConfigError(f"{what}: not the weights of a CLIP image tower, lacks {err.args[0]!r}") from err
    layers = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("encoder.layers."))
    own = config.get("vision_config", config)
    own = own if isinstance(own, Mapping) else {}
    return CLIPVisionConfig(
        hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, image_size=grid * patch, patch_size=patch,
        num_attention_heads=int(own.get("num_attention_heads", max(width // HEAD_DIM, 1))),
        hidden_act=str(own.get("hidden_act", "quick_gelu")), layer_norm_eps=float(own.get("layer_norm_eps", 1e-5)),
    )  # fmt: skip


def tower_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image tower of a whole CLIP or of a tower alone, under `CLIPVisionModel`'s names. Names it does not know stay as they are."""
    if not any(name.startswith("visual.") for name in tensors):
        return rename(tensors, lambda name: None if NOT_THE_TOWER.fullmatch(name) else name.removeprefix("vision_model."))
    out: dict[str, Tensor] = {}
    for name, tensor in rename(tensors, _from_open_clip).items():
        stem, joined, kind = name.partition(".attn.in_proj_")
        if not joined:
            out[name] = tensor
            continue
        for letter, part in zip("qkv", torch.chunk(tensor, 3), strict=True):
            out[f"{stem}.self_attn.{letter}_proj.{kind}"] = part
    return out


def _from_open_clip(name: str) -> str | None:
    if NOT_THE_TOWER.fullmatch(name):
        return None
    for theirs, ours in OPEN_CLIP:
        name = name.replace(theirs, ours)
    return name
