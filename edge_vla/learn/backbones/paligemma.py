"""PaliGemma 1 and 2: SigLIP, one linear projection, Gemma or Gemma 2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PaliGemmaForConditionalGeneration

from edge_vla.errors import ConfigError
from edge_vla.grammars import Spelling
from edge_vla.learn.backbones.base import BaseRoboVLM, TextOutput
from edge_vla.learn.backbones.native import load_native, load_tokenizer
from edge_vla.learn.backbones.reference import hub_name
from edge_vla.learn.checkpoint import read_config
from edge_vla.learn.pictures import HALF
from edge_vla.learn.sequence import attention

EMBEDDING = "language_model.model.embed_tokens.weight"
HIDDEN = 2048  # hidden_size of a config.json that has none, as transformers' PaliGemmaConfig has it
# What reaches the text model as it is, where today's is not scaled any more.
INJECTED = ("action_token", "embed_state.weight", "embed_state.bias", "vision_resampler.norm.bias", "vision_resampler.norm.weight")


class RoboPaligemma(BaseRoboVLM):
    """`vlm` names a folder in the Hub's PaliGemma layout. Embeddings come out of `word_embedding` already scaled by sqrt(hidden)."""

    name = "paligemma"
    grammar = "paligemma"
    spelling = Spelling.PIECES
    image_mean = image_std = HALF
    both_ways = True
    prompt = "{image}<bos>{text}\n"
    instruction = "<eos>{text}\n"
    adds_special = False

    def _init_backbone(self) -> tuple[Any, nn.Module]:
        return load_tokenizer(self.model_path), load_native(PaliGemmaForConditionalGeneration, self.model_path, ("paligemma",))

    @classmethod
    def import_name(cls, name: str, config: Mapping[str, Any]) -> str | None:  # noqa: ARG003 - both generations alike
        found = hub_name(name)
        return EMBEDDING if found == "language_model.lm_head.weight" else found

    @classmethod
    def import_policy(cls, tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
        """What is injected was scaled by sqrt(hidden) inside the text model of the reference's time, and is not in today's."""
        scale = _text_scale(folder)
        return {name: tensor.float() * scale if name in INJECTED else tensor for name, tensor in tensors.items()}

    @classmethod
    def import_backbone(cls, tensors: dict[str, Tensor], folder: Path, policy: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The reference divides projected pictures by the root of config.json's hidden_size; its text model multiplies by that of its own.

        The two cancel where these are one number. Behind a resampler the division has to stay: it is put into the projector, and the
        multiplication into the resampler's last norm.
        """
        projected = _width(read_config(folder).get("hidden_size", HIDDEN), folder) ** 0.5
        scale = (1.0 if INJECTED[-1] in policy else _text_scale(folder)) / projected
        if scale == 1.0:
            return tensors
        return {name: t.float() * scale if name.startswith("multi_modal_projector.") else t for name, t in tensors.items()}

    @property
    def image_size(self) -> int:  # type: ignore[override]
        return int(self.backbone.config.vision_config.image_size)

    @property
    def hidden_size(self) -> int:
        return int(self.backbone.config.text_config.hidden_size)

    @property
    def word_embedding(self) -> Any:
        return self.text_tower.embed_tokens

    @property
    def text_tower(self) -> Any:
        return self.backbone.model.language_model

    @property
    def vision_tower(self) -> Any:
        return self.backbone.model.vision_tower

    def model_encode_images(self, images: Tensor) -> Tensor:
        features: Tensor = self.backbone.model.multi_modal_projector(self.vision_tower(images).last_hidden_state)
        return features

    def run_text(
        self, embeddings: Tensor, mask: Tensor, positions: Tensor, cache: Any = None, *, keep: bool = False, both_ways: bool = False
    ) -> TextOutput:
        allowed = attention(mask, embeddings.shape[1], embeddings.dtype, both_ways=both_ways)
        cache = DynamicCache() if keep and cache is None else cache  # whole: transformers' own would drop what a window has left behind
        masks = self._per_layer(allowed, mask, positions, both_ways=both_ways)
        out = self.text_tower(
            inputs_embeds=embeddings, attention_mask=masks, position_ids=positions + 1, past_key_values=cache, use_cache=cache is not None
        )
        return TextOutput(out.last_hidden_state, cache)

    def _per_layer(self, allowed: Tensor, mask: Tensor, positions: Tensor, *, both_ways: bool) -> Any:
        """Gemma 2 looks at a window of real tokens only in every other layer, and wants a mask for each kind.

        What sees each other both ways does so however far apart. With an additive mask the past is taken to be without pads.
        """
        config = self.text_tower.config
        if config.model_type != "gemma2":
            return allowed
        n = allowed.shape[2]
        if mask.ndim == 4:
            place = torch.cat([torch.arange(allowed.shape[3] - n, device=mask.device)[None], positions], 1)
        else:
            place = mask.long().cumsum(1)
        far = (place[:, -n:, None] - place[:, None, :] >= config.sliding_window)[:, None]
        if both_ways:
            far = torch.cat([far[..., :-n], torch.zeros_like(far[..., -n:])], -1)
        return {"full_attention": allowed, "sliding_attention": allowed.masked_fill(far, torch.finfo(allowed.dtype).min)}

    def logits(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.backbone.lm_head(hidden)
        cap = getattr(self.text_tower.config, "final_logit_softcapping", None)
        return found if cap is None else cap * (found / cap).tanh()


def _text_scale(folder: Path) -> float:
    """What the text model multiplies its embeddings with."""
    text = read_config(folder).get("text_config")
    return _width(text.get("hidden_size") if isinstance(text, dict) else None, folder) ** 0.5


def _width(found: object, folder: Path) -> int:
    if not isinstance(found, int) or found < 1:
        raise ConfigError(f"model {folder}: its config.json has no usable hidden_size, at its top and in text_config; got {found!r}")
    return found
