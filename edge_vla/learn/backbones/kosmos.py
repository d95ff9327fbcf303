"""KosMos-2: CLIP ViT-L, 64 latent image tokens, a text model with grounding tokens. The best backbone of the RoboVLMs paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import AddedToken, DynamicCache, Kosmos2ForConditionalGeneration

from edge_vla.errors import ConfigError
from edge_vla.grammars import Spelling
from edge_vla.learn.backbones.base import BaseRoboVLM, TextOutput
from edge_vla.learn.backbones.native import load_native, load_tokenizer
from edge_vla.learn.pictures import CLIP_MEAN, CLIP_STD
from edge_vla.learn.sequence import attention

BOI, EOI = "<image>", "</image>"
EMBEDDING = "text_model.model.embed_tokens.weight"
TAGS = (
    "</doc>", BOI, EOI, "</chunk>", "</line>", "<phrase>", "</phrase>", "<object>", "</object>", "</delimiter_of_multi_objects/>",
    "<grounding>",
)  # fmt: skip
PATCHES = 1024  # of the 32 x 32 grid that boxes are told in


class RoboKosMos(BaseRoboVLM):
    """`vlm` names a folder in the Hub's Kosmos-2 layout. The text model scales embeddings and adds positions by itself.

    As in the reference a policy's images stand in no brackets; a question's stand in `<image>` and `</image>`, as the original's do.
    """

    name = "kosmos"
    grammar = "kosmos"
    spelling = Spelling.PIECES
    image_mean, image_std = CLIP_MEAN, CLIP_STD
    image_brackets = False
    prompt = "<grounding>{text}"
    instruction = "<grounding>An image of a robot {text}"

    def _init_backbone(self) -> tuple[Any, nn.Module]:
        model: Any = load_native(Kosmos2ForConditionalGeneration, self.model_path, ("kosmos-2",))
        tokenizer, rows = load_tokenizer(self.model_path), model.config.text_config.vocab_size
        marks = (*TAGS, *(f"<patch_index_{k:04d}>" for k in range(PATCHES)))
        tokenizer.add_tokens([AddedToken(mark, lstrip=True, normalized=False) for mark in marks])  # as Kosmos2Processor does
        if len(tokenizer) > rows:
            raise ConfigError(f"model {self.model_path}: {len(tokenizer)} tokens with those of grounding, and embeddings for {rows}")
        return tokenizer, model

    @classmethod
    def import_name(cls, name: str, config: Mapping[str, Any]) -> str | None:  # noqa: ARG003 - the base's
        """Its head is its word embedding, always."""
        return EMBEDDING if name == "text_model.lm_head.weight" else name

    @property
    def image_size(self) -> int:  # type: ignore[override]
        return int(self.backbone.config.vision_config.image_size)

    @property
    def hidden_size(self) -> int:
        return int(self.backbone.config.text_config.embed_dim)

    @property
    def word_embedding(self) -> Any:
        return self.text_tower.embed_tokens

    @property
    def text_tower(self) -> Any:
        return self.backbone.text_model.model

    @property
    def vision_tower(self) -> Any:
        return self.backbone.vision_model

    def model_encode_images(self, images: Tensor) -> Tensor:
        """All patches through the tower's last norm, each to unit length, then to the latents."""
        seen = self.vision_tower.model.post_layernorm(self.vision_tower(pixel_values=images).last_hidden_state)
        features: Tensor = self.backbone.image_to_text_projection(nn.functional.normalize(seen, dim=-1))[0]
        return features

    def run_text(
        self, embeddings: Tensor, mask: Tensor, positions: Tensor, cache: Any = None, *, keep: bool = False, both_ways: bool = False
    ) -> TextOutput:
        """The text model layer by layer: its own entry takes no mask with holes, and adds two smallest numbers to minus infinity."""
        tower, dropped = self.text_tower, nn.functional.dropout
        allowed = attention(mask, embeddings.shape[1], embeddings.dtype, both_ways=both_ways)
        cache = DynamicCache() if keep and cache is None else cache
        first = tower.embed_positions.padding_idx + 1  # its table of positions begins behind the pad's
        hidden = tower.forward_embedding(None, embeddings, position_ids=positions.expand(len(embeddings), -1) + first)
        hidden = dropped(hidden, p=tower.dropout, training=tower.training)
        for layer in tower.layers:
            hidden = layer(hidden, allowed, past_key_values=cache)
        return TextOutput(tower.layer_norm(hidden), cache)

    def logits(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.backbone.text_model.lm_head(hidden)
        return found

    def question_ids(self, question: str) -> list[int]:
        """Begin, image brackets with nothing in them yet, then the question, and no end."""
        said = f"{self.tokenizer.bos_token}{BOI}{EOI}{self.prompt.format(text=question.strip())}"
        return self.ids(said, special=False)

    def question_lead(self) -> int:
        return 2  # begin and `<image>`
