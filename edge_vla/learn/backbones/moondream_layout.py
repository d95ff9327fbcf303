"""Moondream on disk: which of its layouts a folder has, its sizes, and public tensor names to ours. Knows no arithmetic of the model.

B (2024-02 to 05) and C (2024-05 to 2025-01) share their names; C's projection is twice as wide at its input. D is the 2025 rewrite.
All of it from the history of github.com/vikhyat/moondream, which tags its releases by date.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PhiConfig

from edge_vla.errors import ConfigError
from edge_vla.learn.checkpoint import rename

# Days on which the code changed what a checkpoint of the same layout means.
IMAGE_WORDS, WITHOUT_TIMM, PLAIN_END = "2024-03-13", "2024-03-25", "2024-04-02"
LOG_SIZES, STARMIE, TWO_SUFFIXES = "2025-03-27", "2025-05-31", "2025-06-14"
INT4_GROUP = 128  # weights that share a scale and a zero point

# Sizes of Phi-1.5 in a B or C config.json, under transformers' names and under those of the first release's code.
PHI_SIZES = {
    "vocab_size": "vocab_size", "hidden_size": "n_embd", "intermediate_size": "n_inner", "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head", "num_key_value_heads": "n_head_kv", "hidden_act": "activation_function",
    "max_position_embeddings": "n_positions", "layer_norm_eps": "layer_norm_epsilon", "rope_theta": "", "partial_rotary_factor": "",
}  # fmt: skip

# Public names to ours: the first pattern that fits, at most one each. What fits none keeps its name and is found to be unexpected.
FROM_BC = (
    (r"^vision_encoder\.encoder\.model\.visual\.patch_embed\.linear\.", "vision_encoder.patch_embed."),
    (r"^vision_encoder\.encoder\.model\.visual\.", "vision_encoder."),
    (r"^vision_encoder\.projection\.mlp\.", "vision_encoder.projection."),
    (r"^text_model\.transformer\.embd\.wte\.", "text_model.embed_tokens."),
    (r"^text_model\.transformer\.h\.(\d+)\.ln\.", r"text_model.layers.\1.input_layernorm."),
    (r"^text_model\.transformer\.h\.(\d+)\.mixer\.Wqkv\.", r"text_model.layers.\1.self_attn.qkv."),
    (r"^text_model\.transformer\.h\.(\d+)\.mixer\.out_proj\.", r"text_model.layers.\1.self_attn.dense."),
    (r"^text_model\.transformer\.h\.(\d+)\.mlp\.", r"text_model.layers.\1.mlp."),
    (r"^text_model\.lm_head\.", "lm_head."),
)
FROM_D = (
    (r"^vision\.patch_emb\.", "vision_encoder.patch_embed."),
    (r"^vision\.pos_emb$", "vision_encoder.pos_embed"),
    (r"^vision\.blocks\.(\d+)\.ln(\d)\.", r"vision_encoder.blocks.\1.norm\2."),
    (r"^vision\.blocks\.", "vision_encoder.blocks."),
    (r"^vision\.post_ln\.", "vision_encoder.norm."),
    (r"^vision\.proj_mlp\.", "vision_encoder.projection."),
    (r"^text\.wte$", "text_model.embed_tokens.weight"),
    (r"^text\.blocks\.(\d+)\.ln\.", r"text_model.layers.\1.input_layernorm."),
    (r"^text\.blocks\.(\d+)\.attn\.qkv\.", r"text_model.layers.\1.self_attn.qkv."),
    (r"^text\.blocks\.(\d+)\.attn\.proj\.", r"text_model.layers.\1.self_attn.dense."),
    (r"^text\.blocks\.(\d+)\.mlp\.", r"text_model.layers.\1.mlp."),
    (r"^text\.post_ln\.", "lm_head.ln."),
    (r"^text\.lm_head\.", "lm_head.linear."),
    (r"^region\.", "region_model."),
)
# Buffers that some files hold, and B and C's region model, which those releases' own `generate` never uses.
LEFT_OUT = re.compile(r"\.kv_cache\.|\.rotary_emb\.|\.freqs_cis$|^attn_mask$|^region_model\.")


class Generation(str, Enum):
    """A layout on disk and the arithmetic that goes with it."""

    B = "B"
    C = "C"
    D = "D"


@dataclass(frozen=True, slots=True)
class VisionShape:
    """Sizes of the image encoder under D's names; B and C have the defaults, only the projection's input differs."""

    enc_dim: int = 1152
    enc_patch_size: int = 14
    enc_n_layers: int = 27
    enc_ff_dim: int = 4304
    enc_n_heads: int = 16
    proj_out_dim: int = 2048
    proj_inner_dim: int = 8192
    crop_size: int = 378  # pixels a side
    in_channels: int = 3
    max_crops: int = 12
    overlap_margin: int = 4  # patches on each side of a crop


@dataclass(frozen=True, slots=True)
class RegionShape:
    """Sizes of D's region model, which reads and writes coordinates."""

    dim: int = 2048
    coord_feat_dim: int = 256
    coord_out_dim: int = 1024
    size_feat_dim: int = 512
    size_out_dim: int = 2048
    inner_dim: int = 8192
    group_size: int | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """What a folder holds. `revision` is the Hub's tag, a date; empty means the newest release of the layout."""

    generation: Generation
    vision: VisionShape
    text: PhiConfig
    region: RegionShape | None
    tokens: Mapping[str, Any]  # D's tokenizer section, empty as a rule
    revision: str = ""

    @classmethod
    def read(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path, revision: str = "") -> Release:
        """From a folder's config.json and its tensors under their public names. Raises ConfigError."""
        kind = config.get("model_type")
        if kind != "moondream1":
            raise ConfigError(f"model {folder}: its config.json says model_type {kind!r}, this backbone reads moondream1")
        if revision and not re.fullmatch(r"\d{4}-\d\d-\d\d", revision):
            raise ConfigError(f"vlm.revision {revision!r}: want a date like 2024-08-26, as Moondream's releases are tagged")
        if any(name.removeprefix("model.").startswith("vision.") for name in tensors):
            sections = config.get("config") or {}
            return cls(
                Generation.D, _section(VisionShape, sections, "vision"), _phi_of_d(sections.get("text") or {}),
                _section(RegionShape, sections, "region"), sections.get("tokenizer") or {}, revision,
            )  # fmt: skip
        vision, text = _section(VisionShape, config, "vision"), _phi_of_bc(config)
        projection = next((t for n, t in tensors.items() if plain(n) == "vision_encoder.projection.mlp.fc1.weight"), None)
        if projection is None or projection.shape[-1] not in {vision.enc_dim, 2 * vision.enc_dim}:
            raise ConfigError(
                f"model {folder}: these weights are not of a Moondream; want vision_encoder.projection.mlp.fc1.weight with "
                f"{vision.enc_dim} or {2 * vision.enc_dim} columns, or model.vision.*"
            )
        generation = Generation.B if projection.shape[-1] == vision.enc_dim else Generation.C
        return cls(generation, vision, text, None, {}, revision)

    def before(self, day: str) -> bool:
        """Whether this is known to be an older release than the one of that day."""
        return bool(self.revision) and self.revision < day

    @property
    def timm(self) -> bool:
        """Its image encoder was timm's: exact GELU, norms with epsilon 1e-6. (The code of 2024-03-25 to 31 was never a release.)"""
        return self.before(WITHOUT_TIMM)


def plain(name: str) -> str:
    """Without what torch.compile leaves in names."""
    return name.replace("._orig_mod", "")


def own_names(tensors: Mapping[str, Tensor], release: Release) -> dict[str, Tensor]:
    """Public names and packings to ours: int4 unpacked, the fused projection split. Raises ConfigError."""
    modern = release.generation is Generation.D
    table = FROM_D if modern else FROM_BC
    tensors = rename(tensors, lambda name: plain(name).removeprefix("model.") if modern else plain(name))
    named = rename(_unpack_int4(tensors), lambda name: None if LEFT_OUT.search(name) else _renamed(name, table))
    return _split_qkv(named, release.text)


def _renamed(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, target in table:
        new, found = re.subn(pattern, target, name)
        if found:
            return new
    return name


def _split_qkv(tensors: dict[str, Tensor], text: PhiConfig) -> dict[str, Tensor]:
    """One fused projection, queries first, to the three that transformers' Phi has."""
    head = text.hidden_size // text.num_attention_heads
    ours, theirs = head * text.num_attention_heads, head * (text.num_key_value_heads or text.num_attention_heads)
    sizes = [ours, theirs, theirs]
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".self_attn.qkv." not in name:
            out[name] = tensor
        elif len(tensor) != sum(sizes):
            raise ConfigError(f"{name} {tuple(tensor.shape)}: want {sum(sizes)} rows")
        else:
            out |= {name.replace(".qkv.", f".{which}_proj."): part for which, part in zip("qkv", tensor.split(sizes), strict=True)}
    return out


def _unpack_int4(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights packed two to a byte, the first half of the rows in the high nibbles, to float. Raises ConfigError."""
    out = dict(tensors)
    for name in [name for name in tensors if name.endswith(".weight.packed")]:
        stem = name.removesuffix(".packed")
        try:
            packed, scale, zero, bias = (tensors[key] for key in (name, f"{stem}.scale", f"{stem}.zero_point", stem[:-6] + "bias"))
        except KeyError as err:
            raise ConfigError(f"{name}: packed int4 without its {err.args[0]!r}") from err
        if packed.shape[-1] != INT4_GROUP or len(scale) != 2 * len(packed):
            raise ConfigError(f"{name} {tuple(packed.shape)}: want rows of {INT4_GROUP}, and two scales for each")
        rows = torch.cat([packed >> 4, packed & 15]).float()
        for key in (name, f"{stem}.scale", f"{stem}.zero_point"):
            del out[key]
        out[stem] = ((rows - zero.float()) * scale.float()).reshape(len(bias), -1)
    return out


def _section(kind: type[Any], config: Mapping[str, Any], name: str) -> Any:
    """A section of a config.json to sizes; absent ones are the public model's. Raises ConfigError for unknown keys."""
    found = config.get(name) or {}
    unknown = set(found) - {field.name for field in fields(kind)}
    if unknown:
        raise ConfigError(f"config.json: {name} has unknown {', '.join(sorted(unknown))}")
    return kind(**found)


def _phi_of_bc(config: Mapping[str, Any]) -> PhiConfig:
    given = config.get("text_config") or config.get("phi_config") or {}
    sizes = {ours: given.get(ours, given.get(early)) for ours, early in PHI_SIZES.items()}
    return PhiConfig(**{name: value for name, value in sizes.items() if value is not None})


def _phi_of_d(given: Mapping[str, Any]) -> PhiConfig:
    names = {
        "dim": "hidden_size", "ff_dim": "intermediate_size", "n_layers": "num_hidden_layers", "vocab_size": "vocab_size",
        "max_context": "max_position_embeddings", "n_heads": "num_attention_heads", "n_kv_heads": "num_key_value_heads",
    }  # fmt: skip
    unknown = set(given) - set(names) - {"prefix_attn", "group_size"}  # the original reads the first of these nowhere
    if unknown:
        raise ConfigError(f"config.json: text has unknown {', '.join(sorted(unknown))}")
    return PhiConfig(**{names[key]: value for key, value in given.items() if key in names})
