"""Qwen-VL and Qwen-VL-Chat of 2023, which transformers does not have: 448-pixel pictures as 256 tokens, a 7B language model."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.base import TextOutput
from edge_vla.learn.backbones.qwen.robo import CHATML, RoboQwen
from edge_vla.learn.backbones.qwen.tokenizer import END, END_TURN, IMAGE_END, IMAGE_START, START_TURN, load_qwen_tokenizer
from edge_vla.learn.backbones.qwen.v1_text import Past, QwenVLModel, TextConfig, Transformer, log_stretch, ntk_alpha
from edge_vla.learn.backbones.qwen.v1_vision import VisionTransformer
from edge_vla.learn.checkpoint import load_strict, read_weights, rename
from edge_vla.learn.sequence import attention

PICTURE = "Picture 1: {image}\n"
# Tables that transformers of 2023 stored with the weights; they are made anew.
DERIVED = re.compile(r"transformer\.(rotary_emb\.inv_freq|h\.\d+\.attn\.(masked_bias|bias|rotary_emb\.inv_freq))")


@dataclass(frozen=True, slots=True)
class Cache:
    """Keys and values so far, and the rotary base they were made with."""

    past: Past
    ntk_alpha: float


class QwenVL(RoboQwen):
    """A folder of the Hub's with `model_type: qwen`: config.json, weights, qwen.tiktoken. Chat or not, as generation_config.json says."""

    grammar = "qwen_vl"
    instruction = "{text}"

    def _init_backbone(self) -> tuple[Any, nn.Module]:
        config = TextConfig.read(self.model_config, f"model {self.model_path}")
        tokenizer = load_qwen_tokenizer(self.model_path)
        start, ours = self.model_config["visual"].get("image_start_id"), tokenizer.convert_tokens_to_ids(IMAGE_START)
        if start != ours or len(tokenizer) > config.vocab_size:
            raise ConfigError(
                f"model {self.model_path}: config.json has visual.image_start_id {start!r} and vocab_size {config.vocab_size}, "
                f"its tokenizer {IMAGE_START} at {ours} of {len(tokenizer)}"
            )
        self.chat = _chat_format(self.model_path) == "chatml"
        tensors = rename(read_weights(self.model_path), lambda name: None if DERIVED.fullmatch(name) else name)
        model = allocate(config)
        load_strict(model, tensors, f"model {self.model_path}")
        return tokenizer, model

    @property
    def prompt(self) -> str:  # type: ignore[override]
        return CHATML.format(picture=PICTURE) if self.chat else PICTURE + "{text}"

    @property
    def image_size(self) -> int:  # type: ignore[override]
        return self.vision_tower.image_size

    @property
    def hidden_size(self) -> int:
        return self.text_tower.config.hidden_size

    @property
    def word_embedding(self) -> nn.Module:
        return self.text_tower.wte

    @property
    def text_tower(self) -> Transformer:
        """It holds the vision tower, as in the checkpoint and in the reference."""
        tower: Transformer = self.backbone.transformer
        return tower

    @property
    def vision_tower(self) -> VisionTransformer:
        return self.text_tower.visual

    def bracket_ids(self) -> tuple[int, int]:
        start, end = self.tokenizer.convert_tokens_to_ids([IMAGE_START, IMAGE_END])
        return start, end

    def end_ids(self) -> set[int]:
        return set(self.tokenizer.convert_tokens_to_ids([END, START_TURN, END_TURN] if self.chat else [END]))

    def model_encode_images(self, images: Tensor) -> Tensor:
        features: Tensor = self.vision_tower(images)
        return features

    def run_text(
        self,
        embeddings: Tensor,
        mask: Tensor,
        positions: Tensor,
        cache: Cache | None = None,
        *,
        keep: bool = False,
        both_ways: bool = False,
    ) -> TextOutput:
        config, length = self.text_tower.config, mask.shape[1] if mask.ndim == 2 else 0  # an exported graph is for the trained length
        alpha, stretch = 1.0 if cache is None else cache.ntk_alpha, None
        if not self.training and length > config.seq_length:
            if cache is None and config.use_dynamic_ntk:
                alpha = ntk_alpha(length, config.seq_length)
            stretch = log_stretch(positions, config.seq_length) if config.use_logn_attn else None
        allowed = attention(mask, embeddings.shape[1], embeddings.dtype, both_ways=both_ways)
        past = None if cache is None else cache.past
        hidden, present = self.text_tower(embeddings, allowed, positions, past, ntk_alpha=alpha, stretch=stretch)
        return TextOutput(hidden, Cache(present, alpha) if keep else None)

    def logits(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.backbone.lm_head(hidden)
        return found


def allocate(config: TextConfig) -> QwenVLModel:
    """The model with memory for its weights and nothing in it: at 9.6 billion, filling them at random would take minutes."""
    with torch.device("meta"):
        model = QwenVLModel(config)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            module.register_parameter(name, nn.Parameter(torch.empty_like(parameter, device="cpu")))
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                setattr(module, name, torch.empty_like(buffer, device="cpu"))
    return model


def _chat_format(folder: Path) -> str:
    """Of generation_config.json: `chatml` or, also without the file, `raw`. Raises ConfigError."""
    file = folder / "generation_config.json"
    if not file.is_file():
        return "raw"
    try:
        found = json.loads(file.read_text()).get("chat_format", "raw")
    except (ValueError, AttributeError) as err:
        raise ConfigError(f"{file}: not a JSON object ({err})") from err
    if found not in ("raw", "chatml"):
        raise ConfigError(f"{file}: chat_format {found!r}: want raw or chatml")
    return str(found)
