"""OpenFlamingo: CLIP ViT-L/14, a Perceiver resampler, and a language model that looks at the images from beside the sequence."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from edge_vla.errors import ConfigError
from edge_vla.grammars import Spelling
from edge_vla.learn import trainable
from edge_vla.learn.backbones.base import BaseRoboVLM, TextOutput
from edge_vla.learn.backbones.flamingo_files import FlamingoBackbone, Wanted, load_backbone
from edge_vla.learn.backbones.flamingo_layers import Look
from edge_vla.learn.backbones.native import load_tokenizer
from edge_vla.learn.media import Media
from edge_vla.learn.pictures import CLIP_MEAN, CLIP_STD
from edge_vla.learn.sequence import attention
from edge_vla.pictures import Preparation

TOKENIZER_CONFIG = "tokenizer_config.json"
CHUNK_END, IMAGE_MARK, PAD = "<|endofchunk|>", "<image>", "<PAD>"
LISTED = re.compile(r"(old_decoder_blocks|gated_cross_attn_layers)\.(\d+)\.")  # OpenFlamingo lists its layers' halves once more


@dataclass(frozen=True, slots=True)
class Past:
    """What the next call continues."""

    keys: DynamicCache
    positions: Tensor  # (rows, past)
    media: Media


class RoboFlamingo(BaseRoboVLM):
    """`vlm` names the language model's folder; the tower and `checkpoint.pt` are found as `flamingo_files` says.

    An image is 64 latents, and with the hand camera's 128, which only the text behind its `<image>` sees.
    """

    name = "flamingo"
    grammar = "words"
    spelling = Spelling.BYTES
    image_mean, image_std = CLIP_MEAN, CLIP_STD
    prompt = "<image>Question:{text} Short answer:"
    instruction = "<image>{text}<|endofchunk|><|endoftext|>"
    parts_beside = ("vision_encoder.", "perceiver.")

    backbone: FlamingoBackbone

    def _init_backbone(self) -> tuple[Any, nn.Module]:
        self._refuse()
        vlm, vision = self.configs["vlm"], self.configs.get("vision_encoder") or {}
        tokenizer = self._load_tokenizer()
        wanted = Wanted(
            self.model_path, vlm.get("name"), vlm.get("openflamingo_checkpoint"), vision.get("clip_vision_encoder_pretrained"),
            vision.get("clip_vision_encoder_path"), bool(self.train_setup_configs.get("load_vl_param", True)),
        )  # fmt: skip
        return tokenizer, load_backbone(wanted, self.model_config, len(tokenizer))

    def _refuse(self) -> None:
        """What a configuration may ask of other backbones, and not of this one."""
        self.reference_hidden = bool(self.configs.get("reference_hidden", False))
        if (self.act_head_configs or {}).get("history_type") == "video":
            raise ConfigError("history_type 'video': images beside the sequence have no order within one mark; use post or pre")
        if self.configs["vlm"].get("residual"):
            raise ConfigError("vlm.residual: only in a fork of OpenFlamingo, whose code for it does not run; set it to false")
        if self.reference_hidden and self.model_config.get("model_type") != "mosaic_gpt":
            raise ConfigError("reference_hidden: only mosaic_gpt leaves its last layer out of the hidden states; set it to false")

    def _load_tokenizer(self) -> Any:
        """The folder's, with OpenFlamingo's tokens behind its own, in the order that gives them their published ids."""
        tokenizer = load_tokenizer(self.model_path)
        section = self.configs.get("tokenizer") or {}
        added = list(section.get("additional_special_tokens") or (CHUNK_END, IMAGE_MARK))
        if not {CHUNK_END, IMAGE_MARK} <= set(added):
            raise ConfigError(f"tokenizer.additional_special_tokens {added}: want {CHUNK_END!r} and {IMAGE_MARK!r} among them")
        tokenizer.add_special_tokens({"additional_special_tokens": added})
        if not _names_pad(self.model_path):  # transformers 5 gives GPT-NeoX's a pad that it had not when the embedding was trained
            tokenizer.add_special_tokens({"pad_token": PAD})
        return tokenizer

    @property
    def image_size(self) -> int:  # type: ignore[override]
        size: Any = self.backbone.vision_encoder.config.image_size
        return int(size)

    @property
    def hidden_size(self) -> int:
        return self.backbone.lang_encoder.width

    @property
    def word_embedding(self) -> nn.Module:
        return self.backbone.lang_encoder.word_embedding

    @property
    def text_tower(self) -> nn.Module:
        return self.backbone.lang_encoder.tower

    @property
    def vision_tower(self) -> nn.Module:
        return self.backbone.vision_encoder

    @property
    def perceiver(self) -> nn.Module:
        return self.backbone.perceiver

    @property
    def mark_id(self) -> int:
        return int(self.tokenizer.convert_tokens_to_ids(IMAGE_MARK))

    def end_ids(self) -> set[int]:
        return {int(self.tokenizer.convert_tokens_to_ids(CHUNK_END)), *super().end_ids()}

    def preparation(self, camera: tuple[int, int], *, question: bool = False) -> Preparation:
        """OpenFlamingo learned from the middle square, as open_clip prepares pictures; the policy gets all of it, squashed."""
        squashed = super().preparation(camera)
        return replace(squashed, kind="middle", rounded=True) if question else squashed

    def model_encode_images(self, images: Tensor) -> Tensor:
        """Patches as they leave the tower's last layer, before its last norm and without the class token, to 64 latents as wide."""
        patches = self.vision_tower(images).last_hidden_state[:, 1:]
        latents: Tensor = self.perceiver(patches[:, None, None])[:, 0]
        return latents

    def run_text(  # noqa: PLR0913 - the base's, and the images
        self, embeddings: Tensor, mask: Tensor, positions: Tensor, cache: Past | None = None, *, keep: bool = False,
        both_ways: bool = False, media: Media | None = None,
    ) -> TextOutput:  # fmt: skip
        """`media` are the images; what continues a `cache` looks at the last of its images."""
        if media is None:
            if cache is None:
                raise ConfigError("RoboFlamingo reads no text without an image: media is None and there is no cache")
            media = Media(cache.media.latents, cache.media.seen[:, -1:].expand(-1, embeddings.shape[1]))
        keys = cache.keys if cache is not None else DynamicCache() if keep else None
        everywhere = positions if cache is None else torch.cat([cache.positions, positions], 1)
        allowed = attention(mask, embeddings.shape[1], embeddings.dtype, both_ways=both_ways)
        hidden, before_last = self.text_tower(embeddings, allowed, everywhere, Look.at(media), keys)
        past = Past(keys, everywhere, media) if keep and keys is not None else None
        return TextOutput(hidden, past, before_last if self.reference_hidden else None)

    def logits(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.backbone.lang_encoder(hidden)
        return found

    @classmethod
    def import_name(cls, name: str, config: Mapping[str, Any]) -> str | None:
        """The reference calls `lang_encoder` the backbone and has tower and resampler beside it; its layers are in it twice."""
        if name.startswith(cls.parts_beside):
            return name
        neox = config.get("model_type") == "gpt_neox"
        listed = LISTED.match(name)
        if listed:
            blocks = "gpt_neox.layers" if neox else "transformer.blocks"
            part = "decoder_layer" if listed[1] == "old_decoder_blocks" else "gated_cross_attn_layer"
            name = f"{blocks}.{listed[2]}.{part}.{name[listed.end() :]}"
        tied = name == "lm_head.weight" and not neox
        return "lang_encoder.transformer.wte.weight" if tied else f"lang_encoder.{name}"

    def _trainable_params_setup(self) -> None:
        """As the reference: the gated layers, the resampler and what `train_setup` adds; LoRA and checkpointing as everywhere."""
        if self.vision_resampler is not None:
            raise ConfigError("use_vision_resampler: OpenFlamingo has a resampler of its own; set it to false")
        setup = self.train_setup_configs
        self._freeze(setup)
        if setup.get("lora_enable", False):
            trainable.add_lora(self, setup)
        if setup.get("gradient_checkpointing", False):
            trainable.enable_checkpointing(self)

    def _freeze(self, setup: Mapping[str, Any]) -> None:
        language = self.backbone.lang_encoder
        frozen, layers = bool(setup.get("freeze_backbone", False)), int(setup.get("train_decoder_layers", -1))
        gated = [layer.gated_cross_attn_layer for layer in language.tower.flamingo_layers()]
        gated = [layer for layer in gated if isinstance(layer, nn.Module)]
        if layers > len(gated):
            raise ConfigError(f"train_decoder_layers {layers}: this backbone has {len(gated)} gated layers")
        language.requires_grad_(bool(setup.get("train_full_decoder", False)) and not frozen)
        for layer in gated if layers == -1 else gated[len(gated) - layers :]:
            layer.requires_grad_(not frozen)
        self.vision_tower.requires_grad_(bool(setup.get("train_vision", False)))
        self.perceiver.requires_grad_(bool(setup.get("train_resampler", not setup.get("freeze_resampler", False))))
        self.word_embedding.requires_grad_(bool(setup.get("train_text_embedding", False)))


def _names_pad(folder: Path) -> bool:
    """Whether a tokenizer's own configuration has a pad token."""
    file = folder / TOKENIZER_CONFIG
    try:
        found = json.loads(file.read_text()) if file.is_file() else {}
    except (OSError, ValueError) as err:
        raise ConfigError(f"{file}: not JSON ({err})") from err
    return isinstance(found, dict) and found.get("pad_token") is not None
