"""UForm-Gen2 (uform-gen2-qwen-500m and -dpo): a ViT-H, a one-layer pooler to 256 latents, Qwen1.5-0.5B-Chat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AddedToken, DynamicCache, Qwen2Config, Qwen2ForCausalLM
from transformers.initialization import no_init_weights

from edge_vla.errors import ConfigError
from edge_vla.grammars import Spelling
from edge_vla.learn.backbones.base import BaseRoboVLM, TextOutput
from edge_vla.learn.backbones.native import load_tokenizer
from edge_vla.learn.backbones.uform_vision import UformPooler, UformVision
from edge_vla.learn.checkpoint import load_strict, read_config, read_weights
from edge_vla.learn.pictures import CLIP_MEAN, CLIP_STD
from edge_vla.learn.sequence import attention
from edge_vla.pictures import Preparation

IMAGE, TURN_END = "<image>", "<|im_end|>"
HEAD, EMBEDDING = "text_decoder.lm_head.weight", "text_decoder.model.embed_tokens.weight"
# config.json names the language model and has none of its sizes; these are Qwen1.5-0.5B's and its Chat's.
QWEN_05B = {
    "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24, "num_attention_heads": 16,
    "num_key_value_heads": 16, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": True,
}  # fmt: skip
TEXT_MODELS = {"Qwen/Qwen1.5-0.5B-Chat": QWEN_05B, "Qwen/Qwen1.5-0.5B": QWEN_05B}
# Sizes that config.json leaves out are those of its configuration class.
SIZES = {
    "image_size": 336, "image_pooler_num_attn_heads": 16, "image_pooler_intermediate_size": 3200, "image_token_id": 151646,
    "image_encoder_hidden_size": 1280, "image_encoder_patch_size": 14, "image_encoder_num_layers": 32, "image_encoder_num_heads": 16,
    "num_image_latents": 256,
}  # fmt: skip


class Uform(nn.Module):
    """The three parts under the names they have on disk."""

    def __init__(self, sizes: Mapping[str, int], text: Qwen2Config) -> None:
        super().__init__()
        self.sizes = dict(sizes)
        width = sizes["image_encoder_hidden_size"]
        self.image_encoder = UformVision(
            dim=width, patch=sizes["image_encoder_patch_size"], layers=sizes["image_encoder_num_layers"],
            heads=sizes["image_encoder_num_heads"],
        )  # fmt: skip
        self.image_pooler = UformPooler(
            dim=width, heads=sizes["image_pooler_num_attn_heads"], inner=sizes["image_pooler_intermediate_size"],
            latents=sizes["num_image_latents"], out=text.hidden_size,
        )  # fmt: skip
        self.text_decoder = Qwen2ForCausalLM(text)
        self.text_decoder.set_attn_implementation("eager")
        self.text_decoder.tie_weights()  # which comes with the initialisation that loading skips


def shape_of(config: Mapping[str, Any], folder: Path) -> tuple[dict[str, int], Qwen2Config]:
    """Sizes of the parts from a config.json. Raises ConfigError for another kind of model."""
    if config.get("model_type") != "vlm" or "image_pooler_num_latents" in config:
        which = "of the first UForm-Gen, which pools otherwise" if "image_pooler_num_latents" in config else config.get("model_type")
        raise ConfigError(f"model {folder}: its config.json says model_type {which!r}, this backbone reads UForm-Gen2's 'vlm'")
    name = config.get("text_decoder_name_or_path")
    text = config.get("text_config") or TEXT_MODELS.get(str(name))
    if text is None:
        raise ConfigError(f"model {folder}: text_decoder_name_or_path {name!r}: want {', '.join(TEXT_MODELS)}, or a text_config")
    return {key: int(config.get(key, default)) for key, default in SIZES.items()}, Qwen2Config(**text)


def load_uform(folder: Path) -> Uform:
    """The model in `folder`, float32. Raises ConfigError."""
    sizes, text = shape_of(read_config(folder), folder)
    tensors = read_weights(folder)
    with no_init_weights():
        model = Uform(sizes, text)
    load_strict(model, tensors, f"model {folder}", optional={HEAD} if text.tie_word_embeddings else ())
    if text.tie_word_embeddings and HEAD in tensors and not torch.equal(tensors[HEAD], tensors[EMBEDDING]):
        raise ConfigError(f"model {folder}: {HEAD!r} and {EMBEDDING!r} are one weight in this model, and differ here")
    return model


class RoboUform(BaseRoboVLM):
    """`vlm` names a folder in the Hub's UForm-Gen2 layout, with the tokenizer files of Qwen1.5-0.5B-Chat, which the Hub keeps apart."""

    name = "uform"
    import_inside = "text_decoder."
    grammar = "words"
    spelling = Spelling.BYTES
    image_mean, image_std = CLIP_MEAN, CLIP_STD
    prompt = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n {image} {text}<|im_end|>\n<|im_start|>assistant\n"
    )
    instruction = IMAGE + " {text}"

    def _init_backbone(self) -> tuple[Any, nn.Module]:
        model = load_uform(self.model_path)
        if not any((self.model_path / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
            text = self.model_config.get("text_decoder_name_or_path")
            raise ConfigError(f"model {self.model_path}: no tokenizer; copy tokenizer.json and tokenizer_config.json of {text} into it")
        tokenizer = load_tokenizer(self.model_path)
        if IMAGE not in tokenizer.get_vocab():
            tokenizer.add_tokens([AddedToken(IMAGE, special=True, normalized=False)], special_tokens=True)
        found, want = tokenizer.convert_tokens_to_ids(IMAGE), model.sizes["image_token_id"]
        if found != want:
            raise ConfigError(f"model {self.model_path}: its tokenizer has {IMAGE!r} as token {found}, config.json as {want}")
        return tokenizer, model

    @classmethod
    def import_name(cls, name: str, config: Mapping[str, Any]) -> str | None:
        """Layer scales are `gamma` in one version of its library; the head is the word embedding where the text model ties them."""
        text = config.get("text_config") or TEXT_MODELS.get(str(config.get("text_decoder_name_or_path"))) or {}
        if name == HEAD and text.get("tie_word_embeddings"):
            return EMBEDDING
        return re.sub(r"^(image_encoder\.blocks\.\d+\.ls\d)\.gamma$", r"\1.weight", name)

    @property
    def image_size(self) -> int:  # type: ignore[override]
        return int(self.backbone.sizes["image_size"])

    @property
    def hidden_size(self) -> int:
        return int(self.backbone.text_decoder.config.hidden_size)

    @property
    def word_embedding(self) -> nn.Module:
        found: nn.Module = self.text_tower.embed_tokens
        return found

    @property
    def text_tower(self) -> Any:
        return self.backbone.text_decoder.model

    @property
    def vision_tower(self) -> nn.Module:
        return self.backbone.image_encoder

    def preparation(self, camera: tuple[int, int], *, question: bool = False) -> Preparation:  # noqa: ARG002 - alike for all
        """Padded to a square with CLIP's mean colour, then bilinear to the size."""
        return Preparation("pad", self.image_size, self.image_size, "bilinear", CLIP_MEAN, CLIP_STD, fill=CLIP_MEAN)

    def model_encode_images(self, images: Tensor) -> Tensor:
        features: Tensor = self.backbone.image_pooler(self.vision_tower(images))
        return features

    def run_text(
        self, embeddings: Tensor, mask: Tensor, positions: Tensor, cache: Any = None, *, keep: bool = False, both_ways: bool = False
    ) -> TextOutput:
        allowed = attention(mask, embeddings.shape[1], embeddings.dtype, both_ways=both_ways)
        cache = DynamicCache() if keep and cache is None else cache
        out = self.text_tower(
            inputs_embeds=embeddings, attention_mask=allowed, position_ids=positions, past_key_values=cache, use_cache=cache is not None
        )
        return TextOutput(out.last_hidden_state, cache)

    def logits(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.backbone.text_decoder.lm_head(hidden)
        return found

    def end_ids(self) -> set[int]:
        return super().end_ids() | {self.tokenizer.convert_tokens_to_ids(TURN_END)} - {None, self.tokenizer.unk_token_id}
