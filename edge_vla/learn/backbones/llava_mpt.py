"""LLaVA on MPT as its authors store it: an MPT with a projector inside, and a CLIP tower that is another model's folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache
from transformers.initialization import no_init_weights

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.clip_tower import load_clip_tower, tower_of, tower_tensors
from edge_vla.learn.backbones.mosaic import MosaicBlock, MosaicConfig, alibi, mosaic_name
from edge_vla.learn.backbones.native import load_tokenizer
from edge_vla.learn.checkpoint import load_strict, read_config, read_weights, rename

PATCH_TOKEN, START_TOKEN, END_TOKEN, STOP_TOKEN = "<im_patch>", "<im_start>", "<im_end>", "<|im_end|>"
TOWER_INSIDE = "transformer.vision_tower.vision_tower."  # where newer LLaVA code and RoboVLMs save the tower with the rest
PROJECTOR = re.compile(r"linear|mlp([1-9])x_gelu")


@dataclass(frozen=True, slots=True)
class Past:
    """What the next call needs: biases go by the distance to each key."""

    positions: Tensor  # (rows, past)
    keys: DynamicCache


class MptTower(nn.Module):
    """Embeddings (rows, n, width) to hidden states after the final norm."""

    def __init__(self, config: MosaicConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(vocabulary, config.d_model)
        self.blocks = nn.ModuleList(MosaicBlock(config, index) for index in range(config.n_layers))
        self.ln_f = nn.LayerNorm(config.d_model, bias=config.bias)
        self.recompute = False

    def activation_checkpointing_enable(self) -> None:
        """Recompute each block's activations in the backward pass."""
        self.recompute = True

    def forward(
        self, x: Tensor, allowed: Tensor, positions: Tensor, past: Past | None = None, *, keep: bool = False
    ) -> tuple[Tensor, Past | None]:
        """`allowed` is additive (rows, 1, n, past + n), `positions` (rows, n) of the newest; `keep` gives what the next call needs too."""
        positions = positions.expand(len(x), -1)
        places = positions if past is None else torch.cat([past.positions, positions], 1)
        bias = (alibi(self.config, places, x.shape[1]) + allowed.float()).clamp(min=torch.finfo(torch.float32).min)
        keys = DynamicCache() if keep and past is None else past.keys if past else None
        again = self.recompute and self.training and keys is None and torch.is_grad_enabled()
        for block in self.blocks:
            x = checkpoint(block, x, bias, use_reentrant=False) if again else block(x, bias, keys)
        return self.ln_f(x), None if keys is None else Past(places, keys)


def patches(tower: nn.Module, images: Tensor, layer: int, *, with_class: bool = False) -> Tensor:
    """(n, tokens, width) of a CLIP's hidden state `layer`, counted as transformers does: 0 before its first block, -1 after its last.

    Before the tower's last norm, which CLIP gives the class token only.
    """
    parts: Any = tower
    depth = depth_of(parts, layer)
    x: Tensor = parts.pre_layrnorm(parts.embeddings(images))
    for block in parts.encoder.layers[:depth]:
        x = block(x, None)
    return x if with_class else x[:, 1:]


def depth_of(tower: Any, layer: int) -> int:
    """How many blocks run for a hidden state. Raises ConfigError for one that there is not."""
    count = len(tower.encoder.layers)
    if not -count - 1 <= layer <= count:
        raise ConfigError(f"vision layer {layer}: this tower has hidden states {-count - 1} to {count}")
    return layer if layer >= 0 else count + 1 + layer


class LlavaMpt(nn.Module):
    """`transformer`, `mm_projector` and `vision_tower`; the text head is the word embedding."""

    def __init__(self, config: Mapping[str, Any], tower: Any) -> None:
        super().__init__()
        _choice(config, "norm_type", {"low_precision_layernorm": None, "layernorm": None}, "layernorm")
        self.config = MosaicConfig.read({**config, "model_type": "mpt"})
        self.transformer = MptTower(self.config, int(config["vocab_size"]))
        self.vision_tower = tower
        wide = int(config.get("mm_hidden_size", tower.config.hidden_size))
        if wide != tower.config.hidden_size:
            raise ConfigError(f"mm_hidden_size {wide}: its vision tower gives {tower.config.hidden_size}")
        self.mm_projector = projector(str(config.get("mm_projector_type") or "linear"), wide, self.config.d_model)
        self.layer = int(config.get("mm_vision_select_layer", -1))
        depth_of(tower, self.layer)
        self.with_class = _choice(config, "mm_vision_select_feature", {"patch": False, "cls_patch": True}, "patch")

    def see(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) to (n, patches, width)."""
        found: Tensor = self.mm_projector(patches(self.vision_tower, images, self.layer, with_class=self.with_class))
        return found

    def say(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden, self.transformer.wte.weight) * self.config.logit_scale


def _choice(config: Mapping[str, Any], key: str, allowed: Mapping[str, Any], default: str) -> Any:
    said = config.get(key) or default
    if said not in allowed:
        raise ConfigError(f"{key} {said!r}: want one of {', '.join(allowed)}")
    return allowed[said]


def projector(kind: str, wide: int, width: int) -> nn.Module:
    """What `mm_projector_type` means. Raises ConfigError."""
    found = PROJECTOR.fullmatch(kind)
    if found is None:
        raise ConfigError(f"mm_projector_type {kind!r}: want linear or mlp2x_gelu and the like")
    if found[1] is None:
        return nn.Linear(wide, width)
    layers: list[nn.Module] = [nn.Linear(wide, width)]
    for _ in range(1, int(found[1])):
        layers += [nn.GELU(), nn.Linear(width, width)]
    return nn.Sequential(*layers)


def disk_key(name: str) -> str:
    """A stored key as it is in memory."""
    return name.removeprefix("transformer.") if name.startswith("transformer.mm_projector.") else mosaic_name(name)


def load_llava_mpt(folder: Path, tower: Path | None = None) -> LlavaMpt:
    """The model in `folder`, its CLIP from inside or else from `tower` or the folder that `mm_vision_tower` names. Raises ConfigError."""
    config, tensors = read_config(folder), read_weights(folder)
    head = tensors.pop("lm_head.weight", None)
    if head is not None and not torch.equal(head, tensors.get("transformer.wte.weight", head[:0])):
        raise ConfigError(f"model {folder}: lm_head.weight differs from the word embedding, which MPT ties it to")
    inside = {name.removeprefix(TOWER_INSIDE): tensors.pop(name) for name in list(tensors) if name.startswith(TOWER_INSIDE)}
    named = str(config.get("mm_vision_tower", ""))
    if inside:
        place = tower or next(iter(_towers(folder, named)), None)
        sees = tower_of(tower_tensors(inside), f"model {folder}, its vision tower", config=read_config(place) if place else None)
    else:
        sees = load_clip_tower(tower or find_tower(folder, named))
    try:
        with no_init_weights():
            model = LlavaMpt(config, sees)
    except KeyError as err:
        raise ConfigError(f"model {folder}: config.json has no {err}") from err
    load_strict(model, rename(tensors, disk_key) | {f"vision_tower.{k}": v for k, v in sees.state_dict().items()}, f"model {folder}")
    return model


def find_tower(folder: Path, named: str) -> Path:
    """The folder a `mm_vision_tower` means. Raises ConfigError."""
    found = _towers(folder, named)
    if not found:
        raise ConfigError(
            f"model {folder}: its vision tower {named or '(none named)'} is another model, and none is in"
            f" {', '.join(map(str, _places(folder, named)))}; name its folder as vision_encoder.clip_vision_encoder_path"
        )
    return found[0]


def _places(folder: Path, named: str) -> list[Path]:
    """Where a tower named by a path, or by a Hub name whose last part is a folder in or beside the model, may be."""
    last = Path(named).name
    return [Path(named), folder / last, folder.parent / last, folder.parent / named] if last else []


def _towers(folder: Path, named: str) -> list[Path]:
    return [place for place in _places(folder, named) if (place / "config.json").is_file()]


def load_words(folder: Path, config: Mapping[str, Any]) -> Any:
    """The tokenizer with the tokens around an image that the original's loader adds to it. Raises ConfigError."""
    tokenizer = load_tokenizer(folder)
    wanted = [PATCH_TOKEN] if config.get("mm_use_im_patch_token", True) else []
    wanted += [START_TOKEN, END_TOKEN] if config.get("mm_use_im_start_end", False) else []
    tokenizer.add_tokens(wanted, special_tokens=True)
    if len(tokenizer) > int(config.get("vocab_size", 0)):
        raise ConfigError(f"model {folder}: {len(tokenizer)} tokens in its tokenizer, and embeddings for {config.get('vocab_size')}")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # RoboVLMs gives it one too: special tokens count for action rows
    return tokenizer
