"""Qwen2.5-VL, by transformers' classes; pictures of one configured size, a square of whole attention windows."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.base import TextOutput
from edge_vla.learn.backbones.native import load_native, load_tokenizer
from edge_vla.learn.backbones.qwen.robo import CHATML, RoboQwen
from edge_vla.learn.backbones.qwen.v2_5_vision import encode
from edge_vla.learn.sequence import attention

DEFAULT_SIZE = 448  # px; 256 tokens, as many as Qwen-VL's
ENDS = ("<|im_end|>", "<|endoftext|>")


class Qwen25VL(RoboQwen):
    """A folder of the Hub's with `model_type: qwen2_5_vl`. `image_size` of the configuration is a side in pixels, DEFAULT_SIZE without."""

    grammar = "qwen2_5_vl"
    prompt = CHATML.format(picture="{image}")
    # RoboVLMs never had this model: the task as it has it for Qwen-VL, then the tokenizer's eos, before which ACT goes.
    instruction = "{text}<|im_end|>"

    def _init_backbone(self) -> tuple[Any, nn.Module]:
        backbone: Any = load_native(Qwen2_5_VLForConditionalGeneration, self.model_path, ("qwen2_5_vl",))
        window, size = int(backbone.config.vision_config.window_size), self.image_size
        if size % window:
            raise ConfigError(f"image_size {size}: want a multiple of {window}, the side of this model's attention windows")
        return load_tokenizer(self.model_path), backbone

    @property
    def image_size(self) -> int:  # type: ignore[override]
        return int(self.configs.get("image_size") or DEFAULT_SIZE)

    @property
    def position_grid(self) -> tuple[int, int] | None:
        """None behind a resampler, whose latents have no places."""
        vision = self.backbone.config.vision_config
        side = self.image_size // (vision.patch_size * vision.spatial_merge_size)
        return (side, side) if self.vision_resampler is None else None

    @property
    def hidden_size(self) -> int:
        return int(self.backbone.config.text_config.hidden_size)

    @property
    def word_embedding(self) -> nn.Module:
        table: nn.Module = self.text_tower.embed_tokens
        return table

    @property
    def text_tower(self) -> Any:
        return self.backbone.model.language_model

    @property
    def vision_tower(self) -> Any:
        return self.backbone.model.visual

    def bracket_ids(self) -> tuple[int, int]:
        return int(self.backbone.config.vision_start_token_id), int(self.backbone.config.vision_end_token_id)

    def end_ids(self) -> set[int]:
        return set(self.tokenizer.convert_tokens_to_ids(list(ENDS))) - {None, self.tokenizer.unk_token_id}

    def model_encode_images(self, images: Tensor) -> Tensor:
        return encode(self.vision_tower, images)

    def run_text(
        self, embeddings: Tensor, mask: Tensor, positions: Tensor, cache: Any = None, *, keep: bool = False, both_ways: bool = False
    ) -> TextOutput:
        allowed = attention(mask, embeddings.shape[1], embeddings.dtype, both_ways=both_ways)
        places = positions if positions.ndim == 3 else positions.expand(3, -1, -1)
        out = self.text_tower(inputs_embeds=embeddings, attention_mask=allowed, position_ids=places, past_key_values=cache, use_cache=keep)
        return TextOutput(out.last_hidden_state, out.past_key_values)

    def logits(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.backbone.lm_head(hidden)
        return found
