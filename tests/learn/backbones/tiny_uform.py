"""UForm-Gen2's public tensors, names and shapes as published, of any size; and a tiny one on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

Shapes = dict[str, tuple[int, ...]]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPARE = 60  # words that nothing says, so that action bins find room
IMAGE_ID = 256 + SPARE + len(SPECIAL)  # `<image>` comes behind the text model's own tokens
VOCABULARY = IMAGE_ID + 20
# config.json of unum-cloud/uform-gen2-qwen-500m, whole
PUBLIC_CONFIG: dict[str, Any] = {
    "_name_or_path": "../weights/vlm-qwen-big-uform", "architectures": ["VLMForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_uform_gen.VLMConfig", "AutoModel": "modeling_uform_gen.VLMForCausalLM",
        "AutoProcessor": "processing_uform_gen.VLMProcessor",
    },
    "image_encoder_hidden_size": 1280, "image_encoder_name_or_path": "unum-cloud/uform-vl-english-big", "image_encoder_num_heads": 16,
    "image_encoder_num_layers": 32, "image_encoder_patch_size": 14, "image_encoder_pooling": "cls", "image_pooler_intermediate_size": 3200,
    "image_pooler_num_attn_heads": 16, "image_size": 336, "image_token_id": 151646, "initializer_range": 0.02, "model_type": "vlm",
    "num_image_latents": 256, "text_decoder_name_or_path": "Qwen/Qwen1.5-0.5B-Chat", "torch_dtype": "float32",
    "transformers_version": "4.37.2", "use_cache": True,
}  # fmt: skip
TINY_CONFIG: dict[str, Any] = PUBLIC_CONFIG | {
    "image_encoder_hidden_size": 24, "image_encoder_num_heads": 2, "image_encoder_num_layers": 2, "image_encoder_patch_size": 56,
    "image_pooler_intermediate_size": 40, "image_pooler_num_attn_heads": 3, "image_token_id": IMAGE_ID, "num_image_latents": 5,
    "text_decoder_name_or_path": "tiny",
    "text_config": {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "rope_theta": 1e6, "tie_word_embeddings": True,
    },
}  # fmt: skip


def _linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def shapes(config: dict[str, Any], text: dict[str, Any]) -> Shapes:
    """Every tensor of a checkpoint: 894 of the public one, as its index has lines."""
    width, patch, inner = (config[f"image_{key}"] for key in ("encoder_hidden_size", "encoder_patch_size", "pooler_intermediate_size"))
    at = "image_encoder."
    found = {at + "patch_embed.weight": (width, 3, patch, patch), at + "patch_embed.bias": (width,), at + "cls_token": (1, 1, width)}
    found |= {at + "pos_embed": (1, (224 // patch) ** 2, width)} | _norm(at + "norm", width)
    for k in range(config["image_encoder_num_layers"]):
        block = f"{at}blocks.{k}."
        found |= _norm(block + "norm1", width) | _norm(block + "norm2", width)
        for name in ("query", "key", "value", "out"):
            found |= _linear(f"{block}attn.{name}", width, width)
        found |= _linear(block + "mlp.hidden_layer", 4 * width, width) | _linear(block + "mlp.output_layer", width, 4 * width)
        found |= {block + "ls1.weight": (width,), block + "ls2.weight": (width,)}
    at = "image_pooler."
    found |= {at + "image_latents": (1, config["num_image_latents"], width)} | _linear(at + "projection", text["hidden_size"], width)
    for name in ("self_attn", "multihead_attn"):
        found |= {f"{at}pooler.{name}.in_proj_weight": (3 * width, width), f"{at}pooler.{name}.in_proj_bias": (3 * width,)}
        found |= _linear(f"{at}pooler.{name}.out_proj", width, width)
    found |= _linear(at + "pooler.linear1", inner, width) | _linear(at + "pooler.linear2", width, inner)
    for k in (1, 2, 3):
        found |= _norm(f"{at}pooler.norm{k}", width)
    return found | _qwen(text)


def _qwen(text: dict[str, Any]) -> Shapes:
    width, at = text["hidden_size"], "text_decoder.model."
    keys = width // text["num_attention_heads"] * text["num_key_value_heads"]
    found: Shapes = {at + "embed_tokens.weight": (text["vocab_size"], width), at + "norm.weight": (width,)}
    for k in range(text["num_hidden_layers"]):
        layer = f"{at}layers.{k}."
        found |= _linear(layer + "self_attn.q_proj", width, width)
        found |= _linear(layer + "self_attn.k_proj", keys, width) | _linear(layer + "self_attn.v_proj", keys, width)
        found |= {layer + "self_attn.o_proj.weight": (width, width), layer + "mlp.down_proj.weight": (width, text["intermediate_size"])}
        found |= {f"{layer}mlp.{name}_proj.weight": (text["intermediate_size"], width) for name in ("gate", "up")}
        found |= {layer + "input_layernorm.weight": (width,), layer + "post_attention_layernorm.weight": (width,)}
    return found | {"text_decoder.lm_head.weight": (text["vocab_size"], width)}


def weights(seed: int = 0) -> dict[str, Tensor]:
    """Random ones, large enough that every part shows in what comes out; the head is tied, as it is stored."""
    draw = torch.Generator().manual_seed(seed)
    out = {}
    for name, shape in shapes(TINY_CONFIG, TINY_CONFIG["text_config"]).items():
        noise = torch.randn(shape, generator=draw)
        norm = len(shape) == 1 and name.endswith("weight")
        size = torch.Size(shape[1:]).numel() if len(shape) > 1 else 1
        plain = name.endswith(("pos_embed", "cls_token", "image_latents"))
        out[name] = 1 + 0.2 * noise if norm else 0.3 * noise if len(shape) == 1 else noise if plain else noise * (2 / size) ** 0.5
    out["text_decoder.lm_head.weight"] = out["text_decoder.model.embed_tokens.weight"].clone()
    return out


def write_tokenizer(folder: Path) -> None:
    """A byte a token, and Qwen's special ones; `<image>` is not among them, as it is not in Qwen1.5-0.5B-Chat's."""
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(f"spare{k}" for k in range(SPARE))]
    tokenizer = Tokenizer(models.BPE({word: k for k, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>").save_pretrained(folder)


def write_uform(folder: Path, seed: int = 0) -> dict[str, Tensor]:
    """A folder as the Hub has it, in two shards, with the tokenizer put into it. What is in its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(TINY_CONFIG))
    write_tokenizer(folder)
    tensors = weights(seed)
    names = sorted(tensors)
    files = {name: f"model-0000{1 + (k >= len(names) // 2)}-of-00002.safetensors" for k, name in enumerate(names)}
    for file in set(files.values()):
        save_file({n: tensors[n] for n in names if files[n] == file}, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return tensors
