"""Moondream 2: SigLIP, a two-layer projection, Phi-1.5. Layouts B and C are what RoboVLMs trains on; D is the 2025 release."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import DynamicCache, PhiModel
from transformers.initialization import no_init_weights

from edge_vla.errors import ConfigError
from edge_vla.grammars import Ask, Spelling, Told
from edge_vla.learn import speaker
from edge_vla.learn.backbones.base import BaseRoboVLM, TextOutput
from edge_vla.learn.backbones.moondream_layout import (
    IMAGE_WORDS,
    LOG_SIZES,
    PLAIN_END,
    STARMIE,
    TWO_SUFFIXES,
    Generation,
    Release,
    own_names,
)
from edge_vla.learn.backbones.moondream_region import RegionModel, locate, tell
from edge_vla.learn.backbones.moondream_vision import MoondreamVision, preparation
from edge_vla.learn.backbones.native import load_tokenizer
from edge_vla.learn.checkpoint import load_strict, read_config, read_weights
from edge_vla.learn.pictures import HALF
from edge_vla.learn.sequence import attention
from edge_vla.pictures import Preparation

END = "<|endoftext|>"  # bos and eos alike, in both of its tokenizers
# D's prompts as token ids around the words, in the CodeGen and, since 2025-05-31, the starmie tokenizer.
CODEGEN = {
    "bos_id": 50256, "eos_id": 50256,
    "templates": {
        "query": {"prefix": [198, 198, 24361, 25], "suffix": [198, 198, 33706, 25]},
        "detect": {"prefix": [198, 198, 47504, 25], "suffix": [628]}, "point": {"prefix": [198, 198, 12727, 25], "suffix": [628]},
    },
}  # fmt: skip
STARMIE_TOKENS = {
    "bos_id": 0, "eos_id": 0,
    "templates": {
        "query": {"prefix": [1, 15381, 2], "suffix": [3]}, "detect": {"prefix": [1, 7235, 476, 2], "suffix": [3]},
        "point": {"prefix": [1, 2581, 2], "suffix": [3]},
    },
}  # fmt: skip


class WordHead(nn.Module):
    """The language model's last norm and its vocabulary. Moondream keeps the two together: what a policy reads comes before the norm."""

    def __init__(self, width: int, vocabulary: int, eps: float) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(width, eps=eps)
        self.linear = nn.Linear(width, vocabulary)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.linear(self.ln(hidden))


class Moondream(nn.Module):
    """The parts of a release, under our names."""

    def __init__(self, release: Release) -> None:
        super().__init__()
        self.release = release
        text = release.text
        self.vision_encoder = MoondreamVision(release)
        self.text_model = PhiModel(text)
        setattr(self.text_model, "final_layernorm", nn.Identity())  # noqa: B010 - it is the word head's; mypy sees a LayerNorm
        self.text_model.set_attn_implementation("eager")
        self.lm_head = WordHead(text.hidden_size, text.vocab_size, text.layer_norm_eps)
        modern = release.generation is Generation.D
        self.region_model = RegionModel(release.region, log_sizes=not release.before(LOG_SIZES)) if modern and release.region else None


def load_moondream(folder: Path, revision: str = "") -> Moondream:
    """The model in `folder`, float32. Raises ConfigError."""
    tensors = read_weights(folder)
    release = Release.read(read_config(folder), tensors, folder, revision)
    with no_init_weights():
        model = Moondream(release)
    load_strict(model, own_names(tensors, release), f"model {folder}")
    return model


class RoboMoonDream(BaseRoboVLM):
    """`vlm` names a folder in the Hub's Moondream 2 layout; `vlm.revision`, its tag, settles what differs within a layout."""

    name = "moondream"
    import_inside = "text_model."
    image_mean = image_std = HALF
    spelling = Spelling.BYTES
    instruction = END + "{text}"

    def _init_backbone(self) -> tuple[Any, nn.Module]:
        model = load_moondream(self.model_path, str(self.configs["vlm"].get("revision") or ""))
        self.release = model.release
        tokenizer = load_tokenizer(self.model_path)
        self.tokens = self._d_tokens(tokenizer) if self.release.generation is Generation.D else {}
        if END not in tokenizer.get_vocab():
            raise ConfigError(f"model {self.model_path}: its tokenizer has no {END!r}, with which every Moondream prompt begins")
        tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token = END, END, tokenizer.pad_token or END
        return tokenizer, model

    @classmethod
    def import_name(cls, name: str, config: Mapping[str, Any]) -> str | None:  # noqa: ARG003 - the base's
        """Releases between 2024-08 and 2024-12 hold a region model beside what the reference uses."""
        return None if name.startswith("region_model.") else name

    def _d_tokens(self, tokenizer: Any) -> dict[str, Any]:
        """D's special ids and prompts: what config.json says, else those of the tokenizer in the folder. Raises ConfigError."""
        end = tokenizer.convert_tokens_to_ids(END)
        known = {CODEGEN["bos_id"]: CODEGEN, STARMIE_TOKENS["bos_id"]: STARMIE_TOKENS}.get(end, {})
        old = known is CODEGEN and self.release.revision >= STARMIE
        missing = {"bos_id", "eos_id", "templates"} - set(known) - set(self.release.tokens)
        if old or missing:
            raise ConfigError(
                f"model {self.model_path}: its tokenizer has {END!r} as token {end}; Moondream's releases until 2025-04 want CodeGen's "
                f"(50256), those from {STARMIE} the tokenizer.json of moondream/starmie-v1 (0)"
            )
        return {**known, **self.release.tokens}

    @property
    def image_size(self) -> int:  # type: ignore[override]
        return self.release.vision.crop_size

    @property
    def hidden_size(self) -> int:
        return int(self.release.text.hidden_size)

    @property
    def word_embedding(self) -> nn.Module:
        found: nn.Module = self.text_tower.embed_tokens
        return found

    @property
    def text_tower(self) -> Any:
        return self.backbone.text_model

    @property
    def vision_tower(self) -> Any:
        return self.backbone.vision_encoder

    def preparation(self, camera: tuple[int, int], *, question: bool = False) -> Preparation:  # noqa: ARG002 - alike for all
        """A square, or a multiple of it each way for a large picture on layouts C and D, which cut it into crops."""
        return preparation(camera, self.release)

    def model_encode_images(self, images: Tensor) -> Tensor:
        features: Tensor = self.vision_tower(images)
        return features

    @property
    def prefix(self) -> int:
        """How many first positions attend both ways: on layout D the bos and one picture, else none."""
        if self.release.generation is not Generation.D:
            return 0
        return 1 + (int(self.vision_tower.grid) ** 2 if self.vision_resampler is None else len(self.vision_resampler.latents))

    def run_text(
        self, embeddings: Tensor, mask: Tensor, positions: Tensor, cache: Any = None, *, keep: bool = False, both_ways: bool = False
    ) -> TextOutput:
        """Hidden states are those before the last norm, as RoboVLMs' heads and Moondream's own coordinates read them."""
        allowed = attention(mask, embeddings.shape[1], embeddings.dtype, both_ways=both_ways)
        if self.prefix and cache is None and mask.ndim == 2:  # an additive mask says it already
            first = positions < self.prefix
            allowed = allowed.masked_fill((first[:, :, None] & (first & mask)[:, None])[:, None], 0.0)
        cache = DynamicCache() if keep and cache is None else cache
        out = self.text_tower(
            inputs_embeds=embeddings, attention_mask=allowed, position_ids=positions, past_key_values=cache, use_cache=cache is not None
        )
        return TextOutput(out.last_hidden_state, cache)

    def logits(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.backbone.lm_head(hidden)
        return found

    # -- questions in words, and places

    @property
    def grammar(self) -> str:  # type: ignore[override]
        """Layouts B and C have no coordinates."""
        return "moondream" if self.backbone.region_model is not None else "words"

    @property
    def prompt(self) -> str:  # type: ignore[override]
        """Of B and C, from the bos on; D's are token ids in its configuration."""
        if self.release.before(IMAGE_WORDS):
            return END + "<image>{image}</image>\n\nQuestion: {text}\n\nAnswer: "
        return END + "{image}\n\nQuestion: {text}\n\nAnswer:"

    def question_ids(self, question: str) -> list[int]:
        if self.release.generation is not Generation.D:
            return super().question_ids(question)
        spaced = self.tokens["bos_id"] == CODEGEN["bos_id"] and not self.release.before(LOG_SIZES)
        ids = self._around("query", " " + question if spaced else question)
        # The code of June 2025 puts the suffix twice, so that is what its answers begin from.
        starmie = self.tokens["bos_id"] == STARMIE_TOKENS["bos_id"] and not self.release.before(TWO_SUFFIXES)
        return ids + self.tokens["templates"]["query"]["suffix"] if starmie else ids

    def question_lead(self) -> int:
        return 1 if self.release.generation is Generation.D else super().question_lead()

    def place_ids(self, kind: str, thing: str) -> list[int]:
        """A question for places, `kind` "detect" or "point", from the bos on; the picture comes second."""
        return self._around(kind, thing if self.release.before(LOG_SIZES) else " " + thing)

    def _around(self, kind: str, words: str) -> list[int]:
        template = self.tokens["templates"].get(kind)
        if template is None:
            raise ConfigError(f"model {self.model_path}: its config.json has no template for {kind!r}")
        said = self.tokenizer(words, add_special_tokens=False).input_ids
        return [self.tokens["bos_id"], *template["prefix"], *said, *template["suffix"]]

    def end_ids(self) -> set[int]:
        """Releases before 2024-04-02 end on any token of their own end mark."""
        marks = self.tokenizer("<END>", add_special_tokens=False).input_ids if self.release.before(PLAIN_END) else []
        return super().end_ids() | set(marks) | ({self.tokens["eos_id"]} if self.tokens else set())

    def detect(self, thing: str, rgb: NDArray[np.uint8]) -> list[dict[str, float]]:
        """Boxes in fractions of the picture, which they may leave a little, as Moondream's own `detect` gives them. Layout D only."""
        return [spot.box for spot in locate(self, "detect", thing, speaker.see(self, rgb)).spots]

    def point(self, thing: str, rgb: NDArray[np.uint8]) -> list[dict[str, float]]:
        """Points in fractions of the picture, as Moondream's own `point` gives them. Layout D only."""
        return [{"x": x, "y": y} for x, y in (spot.values for spot in locate(self, "point", thing, speaker.see(self, rgb)).spots)]

    def tell(self, asked: Ask, features: Tensor, most: int) -> Told:
        """On layout D as `detect` finds places, their numbers beside the rows."""
        return super().tell(asked, features, most) if self.backbone.region_model is None else tell(self, asked.text, features, most)
