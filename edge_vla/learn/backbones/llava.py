"""LLaVA 1.5 in the Hub's layout, and the LLaVA on MPT-7B that RoboVLMs uses. CLIP patches, a projector, a text model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import DynamicCache, LlavaForConditionalGeneration

from edge_vla.errors import ConfigError
from edge_vla.grammars import Spelling
from edge_vla.learn.backbones.base import BaseRoboVLM, TextOutput
from edge_vla.learn.backbones.llava_mpt import (
    END_TOKEN,
    START_TOKEN,
    STOP_TOKEN,
    TOWER_INSIDE,
    LlavaMpt,
    find_tower,
    load_llava_mpt,
    load_words,
    patches,
)
from edge_vla.learn.backbones.native import load_native, load_tokenizer
from edge_vla.learn.backbones.reference import hub_name
from edge_vla.learn.checkpoint import read_config
from edge_vla.learn.pictures import CLIP_MEAN, CLIP_STD
from edge_vla.learn.sequence import attention
from edge_vla.pictures import Preparation

IMAGE = "<image>"
MPT_PROMPT = (
    "<|im_start|>system\nA conversation between a user and an LLM-based AI assistant. The assistant gives helpful and honest answers."
    "<|im_end|><|im_start|>user\n{image}\n{text}<|im_end|><|im_start|>assistant\n"
)


class RoboLLaVA(BaseRoboVLM):
    """`vlm` names a folder in either layout; its config.json's model_type says which, `llava` or `llava_mpt`."""

    name = "llava"
    grammar = "words"
    image_mean, image_std = CLIP_MEAN, CLIP_STD
    instruction = "{text}"

    def _init_backbone(self) -> tuple[Any, nn.Module]:
        if self.model_config.get("model_type") == "llava_mpt":
            tower = (self.configs.get("vision_encoder") or {}).get("clip_vision_encoder_path")
            return load_words(self.model_path, self.model_config), load_llava_mpt(self.model_path, Path(tower) if tower else None)
        if self.model_config.get("model_type") == "llava" and "text_config" not in self.model_config:
            raise ConfigError(f"model {self.model_path}: LLaVA in its authors' layout; want the Hub's -hf conversion, or LLaVA on MPT")
        model: Any = load_native(LlavaForConditionalGeneration, self.model_path, ("llava", "llava_mpt"))
        kind, layer = model.config.vision_config.model_type, model.config.vision_feature_layer
        if kind != "clip_vision_model" or not isinstance(layer, int):
            raise ConfigError(f"model {self.model_path}: want a CLIP tower and one vision_feature_layer, got {kind} and {layer}")
        return load_tokenizer(self.model_path), model

    @classmethod
    def import_name(cls, name: str, config: Mapping[str, Any]) -> str | None:
        """LLaVA on MPT has its word embedding for a head."""
        if config.get("model_type") == "llava_mpt":
            return "transformer.wte.weight" if name == "lm_head.weight" else name
        return hub_name(name)

    @classmethod
    def import_backbone(cls, tensors: dict[str, Tensor], folder: Path, policy: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG003 - the base's
        """On MPT the reference saves the tower with the rest; a tower from elsewhere would not be the one that was trained."""
        if read_config(folder).get("model_type") == "llava_mpt" and not any(name.startswith(TOWER_INSIDE) for name in tensors):
            raise ConfigError(f"1 missing: {TOWER_INSIDE}*, the vision tower, which RoboVLMs saves with the rest")
        return tensors

    @classmethod
    def import_files(cls, folder: Path, configs: Mapping[str, Any]) -> dict[str, Path]:
        """Of LLaVA on MPT the tower's config.json, which tells what the shapes of its weights do not."""
        config = read_config(folder)
        if config.get("model_type") != "llava_mpt":
            return {}
        named = str(config.get("mm_vision_tower", ""))
        given = (configs.get("vision_encoder") or {}).get("clip_vision_encoder_path")
        try:
            tower = Path(given) if given else find_tower(folder, named)
        except ConfigError:  # then its weights' shapes and OpenAI's habits are all there is, here as in any such folder
            return {}
        return {f"{Path(named).name}/config.json": tower / "config.json"}

    @property
    def mpt(self) -> LlavaMpt | None:
        """The backbone, where it is the one on MPT."""
        return self.backbone if isinstance(self.backbone, LlavaMpt) else None

    @property
    def image_size(self) -> int:  # type: ignore[override]
        return int(self.vision_tower.config.image_size)

    @property
    def hidden_size(self) -> int:
        return self.mpt.config.d_model if self.mpt else int(self.backbone.config.text_config.hidden_size)

    @property
    def word_embedding(self) -> Any:
        return self.text_tower.wte if self.mpt else self.text_tower.embed_tokens

    @property
    def text_tower(self) -> Any:
        return self.mpt.transformer if self.mpt else self.backbone.model.language_model

    @property
    def vision_tower(self) -> Any:
        return self.mpt.vision_tower if self.mpt else self.backbone.model.vision_tower

    def model_encode_images(self, images: Tensor) -> Tensor:
        if self.mpt:
            return self.mpt.see(images)
        config = self.backbone.config
        whole = config.vision_feature_select_strategy == "full"
        seen = patches(self.vision_tower, images, config.vision_feature_layer, with_class=whole)
        features: Tensor = self.backbone.model.multi_modal_projector(seen)
        return features

    def run_text(
        self, embeddings: Tensor, mask: Tensor, positions: Tensor, cache: Any = None, *, keep: bool = False, both_ways: bool = False
    ) -> TextOutput:
        allowed = attention(mask, embeddings.shape[1], embeddings.dtype, both_ways=both_ways)
        if self.mpt:
            return TextOutput(*self.mpt.transformer(embeddings, allowed, positions, cache, keep=keep))
        cache = DynamicCache() if keep and cache is None else cache
        out = self.text_tower(
            inputs_embeds=embeddings, attention_mask=allowed, position_ids=positions, past_key_values=cache, use_cache=cache is not None
        )
        return TextOutput(out.last_hidden_state, cache)

    def logits(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.mpt.say(hidden) if self.mpt else self.backbone.lm_head(hidden)
        return found

    # -- questions in words

    @property
    def spelling(self) -> Spelling:  # type: ignore[override]
        return Spelling.BYTES if self.mpt else Spelling.PIECES

    @property
    def prompt(self) -> str:  # type: ignore[override]
        if not self.mpt:
            return "USER: {image}\n{text} ASSISTANT:"
        around = (START_TOKEN, END_TOKEN) if self.model_config.get("mm_use_im_start_end", False) else ("", "")
        return MPT_PROMPT.replace("{image}", "{image}".join(around))

    def question_ids(self, question: str) -> list[int]:
        """On MPT the halves are tokenised apart, as the original does; the Hub's tokenizer knows the image token by itself."""
        return super().question_ids(question) if self.mpt else [i for i in self._marked(question) if i != self._mark]

    def question_lead(self) -> int:
        return super().question_lead() if self.mpt else self._marked("").index(self._mark)

    @property
    def _mark(self) -> int:
        return int(self.backbone.config.image_token_id)

    def _marked(self, question: str) -> list[int]:
        ids = self.ids(self.prompt.format(image=IMAGE, text=question))
        if self._mark not in ids:
            raise ConfigError(f"model {self.model_path}: its tokenizer does not read {IMAGE} as config.json's image token {self._mark}")
        return ids

    def end_ids(self) -> set[int]:
        ends = super().end_ids()
        return ends | {self.tokenizer.convert_tokens_to_ids(STOP_TOKEN)} if self.mpt else ends

    def preparation(self, camera: tuple[int, int], *, question: bool = False) -> Preparation:
        """1.5 learned from pictures padded to a square, the one on MPT from the middle square; the policy gets all of it, squashed."""
        squashed = super().preparation(camera)
        if not question:
            return squashed
        return replace(squashed, kind="middle") if self.mpt else replace(squashed, kind="pad", fill=CLIP_MEAN)
