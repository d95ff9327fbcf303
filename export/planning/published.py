"""The published models by the names docs/backbones.md gives them: what of their config.json shapes depend on. Data only."""

from __future__ import annotations

from typing import Any

from edge_vla.errors import ConfigError, did_you_mean
from edge_vla.learn.card_facts import CARDS, Card
from export.planning.layouts import Beyond, derive
from export.planning.shapes import Model

CLIP_L14_336 = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
}  # fmt: skip
SO400M = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16, "image_size": 224, "patch_size": 14,
}  # fmt: skip
GEMMA_2B = {
    "model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18, "num_attention_heads": 8,
    "num_key_value_heads": 1, "vocab_size": 257216,
}  # fmt: skip
MPT_7B = {"d_model": 4096, "n_heads": 32, "n_layers": 32, "expansion_ratio": 4, "no_bias": True}
QWEN_VL_EYES = {
    "heads": 16, "image_size": 448, "layers": 48, "mlp_ratio": 4.9231, "output_dim": 4096, "patch_size": 14, "width": 1664,
}  # fmt: skip
QWEN_2_5 = {"model_type": "qwen2_5_vl"}
ROWS = 50280  # of OpenFlamingo's embeddings: GPT-NeoX's words and its own
MOONDREAM = {"model_type": "moondream1", "text_config": {"model_type": "phi"}}
HALF_BILLION = {
    "text": {"dim": 1024, "ff_dim": 4096, "n_heads": 16}, "region": {"dim": 1024},
    "vision": {"enc_dim": 720, "enc_ff_dim": 2690, "enc_n_heads": 10, "proj_out_dim": 1024},
}  # fmt: skip

CONFIGS: dict[str, dict[str, Any]] = {
    "PaliGemma 3B pt-224": {"model_type": "paligemma", "projection_dim": 2048, "text_config": GEMMA_2B, "vision_config": SO400M},
    "PaliGemma 2 3B": {
        "model_type": "paligemma", "projection_dim": 2304, "text_config": {"model_type": "gemma2", "vocab_size": 257216},
        "vision_config": SO400M,
    },
    "KosMos-2": {"model_type": "kosmos-2"},
    "LLaVA 1.5 7B (llava-hf)": {
        "model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064}, "vision_config": CLIP_L14_336,
    },
    "LLaVA-Lightning-MPT-7B-preview": {
        **MPT_7B, "model_type": "llava_mpt", "vocab_size": 50282, "mm_vision_tower": "openai/clip-vit-large-patch14",
    },
    "Qwen-VL, Qwen-VL-Chat": {
        "model_type": "qwen", "hidden_size": 4096, "intermediate_size": 22016, "num_attention_heads": 32, "num_hidden_layers": 32,
        "vocab_size": 151936, "visual": QWEN_VL_EYES,
    },
    "Qwen2.5-VL 3B": {
        **QWEN_2_5, "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
        "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True, "vision_config": {"hidden_size": 1280},
    },
    "Qwen2.5-VL 7B": {
        **QWEN_2_5, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064, "vision_config": {"hidden_size": 1280},
    },
    "OpenFlamingo 3B": {
        "model_type": "mosaic_gpt", "d_model": 2048, "n_heads": 16, "n_layers": 24, "attn_qk_ln": True, "no_bias": True, "vocab_size": ROWS,
    },
    "OpenFlamingo 4B": {
        "model_type": "gpt_neox", "hidden_size": 2560, "num_attention_heads": 32, "num_hidden_layers": 32, "intermediate_size": 10240,
        "vocab_size": ROWS,
    },
    "OpenFlamingo 9B": {**MPT_7B, "model_type": "mpt", "vocab_size": ROWS},
    "Moondream 2, layout B (to May 2024)": MOONDREAM,
    "Moondream 2, layout C (to January 2025)": MOONDREAM,
    "Moondream 2, layout D (2025)": {"model_type": "moondream1", "config": {}},
    "Moondream 0.5B, layout D": {"model_type": "moondream1", "config": HALF_BILLION},
    "uform-gen2-qwen-500m, -dpo": {"model_type": "vlm"},
}  # fmt: skip


def published(name: str) -> Model:
    """A model by its name in docs/backbones.md, in any case, or by a beginning that only one has. Raises ConfigError otherwise."""
    wanted = name.strip().casefold()
    found = [card for card in CARDS if card.model.casefold() == wanted] or [c for c in CARDS if c.model.casefold().startswith(wanted)]
    if len(found) == 1 and wanted:
        return shapes_of(found[0])
    if found and wanted:
        raise ConfigError(f"model {name!r}: which of {'; '.join(card.model for card in found)}?")
    names = [card.model for card in CARDS]
    raise ConfigError(f"model {name!r}: no such folder, and none of {'; '.join(names)}{did_you_mean(name, names, cutoff=0.4)}")


def shapes_of(card: Card) -> Model:
    """The shapes of a published model."""
    marker = card.model.partition("layout ")[2][:1] or None
    return derive(CONFIGS[card.model], card.model, Beyond(moondream=marker))
