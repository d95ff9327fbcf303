"""OpenFlamingo on disk: a CLIP tower, a language model's folder, a `checkpoint.pt` of what was trained between them; or one folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPVisionModel, GPTNeoXConfig
from transformers.initialization import no_init_weights

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.clip_tower import load_clip_tower, tower_of, tower_tensors
from edge_vla.learn.backbones.flamingo_layers import MosaicLM, NeoXLM
from edge_vla.learn.backbones.mosaic import MODEL_TYPES, MosaicConfig, mosaic_name
from edge_vla.learn.checkpoint import load_strict, read_weights, rename
from edge_vla.learn.resampler import PerceiverResampler

# `vlm.name` of RoboVLMs to the published model's folder name and its n.
PUBLISHED = {
    "mpt_1b": ("OpenFlamingo-3B-vitl-mpt1b", 1), "mpt_1b_ift": ("OpenFlamingo-3B-vitl-mpt1b-langinstruct", 1),
    "mpt_3b": ("OpenFlamingo-4B-vitl-rpj3b", 2), "mpt_3b_ift": ("OpenFlamingo-4B-vitl-rpj3b-langinstruct", 2),
    "mpt_7b": ("OpenFlamingo-9B-vitl-mpt7b", 4),
}  # fmt: skip
TOWERS = ("clip-vit-large-patch14", "vit_large_patch14_clip_224.openai")  # the Hub's folder names, transformers' layout and open_clip's
CHECKPOINT = "checkpoint.pt"
EMBEDDINGS = ("transformer.wte.weight", "gpt_neox.embed_in.weight", "embed_out.weight")
LAYER = re.compile(r"(transformer\.blocks|gpt_neox\.layers)\.(\d+)\.(?!decoder_layer\.|gated_cross_attn_layer\.)")
GATED = re.compile(r"(?:transformer\.blocks|gpt_neox\.layers)\.(\d+)\.gated_cross_attn_layer\.")
BUFFERS = re.compile(r".*\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)")  # GPT-NeoX once stored its masks and angles


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a configuration says of the files."""

    folder: Path  # the language model's, with its tokenizer
    name: str | None  # a key of PUBLISHED
    checkpoint: str | None  # a path
    tower: str | None  # a path, or "openai" for one of TOWERS beside the folder
    tower_name: str | None  # open_clip's
    pretrained: bool  # whether to read the checkpoint at all


class FlamingoBackbone(nn.Module):
    """The three parts under OpenFlamingo's names."""

    def __init__(self, vision: CLIPVisionModel, language: MosaicLM | NeoXLM) -> None:
        super().__init__()
        self.vision_encoder = vision
        self.perceiver = PerceiverResampler(dim=vision.config.hidden_size)
        self.lang_encoder = language


def load_backbone(wanted: Wanted, config: Mapping[str, Any], tokens: int) -> FlamingoBackbone:
    """The model, float32, its embedding wide enough for `tokens` ids. Raises ConfigError naming the file and the keys that do not fit."""
    published = _published(wanted)
    stored = read_weights(wanted.folder)
    if any(name.startswith("lang_encoder.") for name in stored):
        return _load_whole(wanted, config, stored, tokens)
    language = rename(stored, lambda name: language_name(name, config))
    trained = _read_checkpoint(wanted, published[0]) if wanted.pretrained else None
    if trained is None and published[1] is None:
        raise ConfigError(f"vlm.name {wanted.name!r}: without {CHECKPOINT} it has to be one of {', '.join(PUBLISHED)}")
    every = published[1] if trained is None else _every(trained, wanted, published[1])
    rows = tokens if trained is None else _rows(trained, tokens, wanted)
    vision = load_clip_tower(_tower_path(wanted), wanted.tower_name)
    with no_init_weights() if trained is not None else nullcontext():  # what no file has is left as it is made
        backbone = FlamingoBackbone(vision, build_language(config, rows, vision.config.hidden_size, every or 1))
    fitted = {name: _fit(tensor, rows) if name in EMBEDDINGS else tensor for name, tensor in language.items()}
    gated = [name for name in backbone.lang_encoder.state_dict() if GATED.match(name)]
    load_strict(backbone.lang_encoder, fitted, f"language model {wanted.folder}", optional=gated)
    if trained is not None:
        own = {n for n in backbone.state_dict() if not n.startswith(("perceiver.", "lang_encoder."))}
        own |= {f"lang_encoder.{n}" for n in backbone.lang_encoder.state_dict() if n not in EMBEDDINGS and n not in gated}
        load_strict(backbone, trained, str(_checkpoint_path(wanted, published[0])), optional=own)
    return backbone


def build_language(config: Mapping[str, Any], rows: int, dim_visual: int, every: int) -> MosaicLM | NeoXLM:
    """An empty language model of the kind and size a config.json says. Raises ConfigError for a kind OpenFlamingo did not publish."""
    kind = config.get("model_type")
    if kind in MODEL_TYPES:
        return MosaicLM(MosaicConfig.read(config), rows, dim_visual, every)
    if kind != "gpt_neox":
        raise ConfigError(f"language model of model_type {kind!r}: this backbone reads {', '.join((*MODEL_TYPES, 'gpt_neox'))}")
    if config.get("tie_word_embeddings"):
        raise ConfigError("config.json of a gpt_neox: no code for tied embeddings, which OpenFlamingo's has not")
    return NeoXLM(GPTNeoXConfig.from_dict(dict(config)), rows, dim_visual, every)


def language_name(name: str, config: Mapping[str, Any]) -> str | None:
    """A weight's name in the language model's own folder as it is below `lang_encoder`; None for what is no weight."""
    if BUFFERS.fullmatch(name) and config.get("model_type") == "gpt_neox":
        return None
    name = re.sub(r"^lm_head\.", "embed_out.", LAYER.sub(r"\1.\2.decoder_layer.", name))
    return mosaic_name(name) if config.get("model_type") == "mpt" else name


def whole_names(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Names as OpenFlamingo and the reference have them to ours; every weight once."""

    def new_name(name: str) -> str | None:
        name = name.removeprefix("module.")
        part, _, rest = name.partition(".")
        if part != "lang_encoder":
            return name
        if rest.startswith(("old_decoder_blocks.", "gated_cross_attn_layers.")):
            return None  # the layers once more, as the original's module lists them
        found = language_name(rest, config)
        return None if found is None else f"lang_encoder.{found}"

    return rename(tensors, new_name)


def _load_whole(wanted: Wanted, config: Mapping[str, Any], stored: Mapping[str, Tensor], tokens: int) -> FlamingoBackbone:
    tensors = whole_names(stored, config)
    what = f"model {wanted.folder}"
    prefix = "vision_encoder."
    vision = tower_tensors({name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)})
    tower = tower_of(vision, what, wanted.tower_name)
    published = _published(wanted)[1]
    rows, every = _rows(tensors, tokens, wanted), _every(tensors, wanted, published)
    with no_init_weights():
        backbone = FlamingoBackbone(tower, build_language(config, rows, tower.config.hidden_size, every))
    rest = {name: t for name, t in tensors.items() if not name.startswith(prefix)}
    load_strict(backbone, rest, what, optional=[f"{prefix}{name}" for name in vision])
    return backbone


def _published(wanted: Wanted) -> tuple[str | None, int | None]:
    if wanted.name in (None, "flamingo"):
        return None, None
    if wanted.name not in PUBLISHED:
        raise ConfigError(f"vlm.name {wanted.name!r}: want one of {', '.join(PUBLISHED)}")
    return PUBLISHED[wanted.name]


def _checkpoint_path(wanted: Wanted, published: str | None) -> Path:
    """What the configuration names, or else the checkpoint in the folder, or in the published model's folder beside it."""
    if wanted.checkpoint is not None:
        return Path(wanted.checkpoint)
    inside = wanted.folder / CHECKPOINT
    return inside if inside.is_file() or published is None else wanted.folder.parent / published / CHECKPOINT


def _read_checkpoint(wanted: Wanted, published: str | None) -> dict[str, Tensor]:
    path = _checkpoint_path(wanted, published)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; vlm.openflamingo_checkpoint is to name OpenFlamingo's {CHECKPOINT}")
    return whole_names(read_weights(path), {"model_type": "gpt_neox"})


def _tower_path(wanted: Wanted) -> Path:
    if wanted.tower not in (None, "openai"):
        return Path(str(wanted.tower))
    beside = [wanted.folder.parent / name for name in TOWERS]
    for path in beside:
        if path.is_dir():
            return path
    raise ConfigError(
        f"CLIP tower: neither {' nor '.join(str(path) for path in beside)} is there; "
        "vision_encoder.clip_vision_encoder_pretrained may name a file or folder"
    )


def _every(trained: Mapping[str, Tensor], wanted: Wanted, published: int | None) -> int:
    """n, from the layers that have a gate. Raises ConfigError when it is not what the configuration's `vlm.name` says."""
    found = {int(m[1]) for name in trained if (m := GATED.match(name.removeprefix("lang_encoder.")))}
    if not found:
        raise ConfigError(f"{wanted.folder}: no gated_cross_attn_layer in OpenFlamingo's weights")
    every = min(found) + 1
    if published is not None and every != published:
        raise ConfigError(f"vlm.name {wanted.name!r}: its gates are at every {published}. layer, these weights have them at every {every}.")
    return every


def _rows(trained: Mapping[str, Tensor], tokens: int, wanted: Wanted) -> int:
    """Rows of the trained embedding."""
    tables = [t for name, t in trained.items() if name.removeprefix("lang_encoder.") in EMBEDDINGS[:2]]
    if not tables:
        raise ConfigError(f"{wanted.folder}: no word embedding in OpenFlamingo's weights")
    if len(tables[0]) < tokens:
        raise ConfigError(f"{wanted.folder}: its tokenizer has {tokens} tokens with OpenFlamingo's, the embedding {len(tables[0])} rows")
    return len(tables[0])


def _fit(table: Tensor, rows: int) -> Tensor:
    """The first rows; those that are missing are the mean, until OpenFlamingo's replace them."""
    if len(table) >= rows:
        return table[:rows]
    return torch.cat([table, table.float().mean(0, keepdim=True).to(table.dtype).expand(rows - len(table), -1)])
