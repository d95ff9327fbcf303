"""Moondream's public tensors, names and shapes as published, of any size; and a tiny one on disk in each layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

Shapes = dict[str, tuple[int, ...]]
END = "<|endoftext|>"
RESERVED = 10  # token ids below are special in the starmie tokenizer
# Sizes of the release of 2024-08-26 and of 2025 (moondream/config/config_md2.json), and of the half-billion one (config_md05.json).
FULL = {
    "dim": 2048,
    "ff": 8192,
    "layers": 24,
    "heads": 32,
    "vocabulary": 51200,
    "eyes": 1152,
    "eyes_ff": 4304,
    "eyes_layers": 27,
    "inner": 8192,
}
HALF_BILLION = FULL | {"dim": 1024, "ff": 4096, "heads": 16, "eyes": 720, "eyes_ff": 2690}
TINY = {"dim": 32, "ff": 48, "layers": 2, "heads": 2, "vocabulary": 15400, "eyes": 24, "eyes_ff": 40, "eyes_layers": 2, "inner": 40}
PATCH, CROP, MARGIN = 14, 56, 1
VISION = {
    "enc_dim": TINY["eyes"], "enc_patch_size": PATCH, "enc_n_layers": TINY["eyes_layers"], "enc_ff_dim": TINY["eyes_ff"], "enc_n_heads": 2,
    "proj_out_dim": TINY["dim"], "proj_inner_dim": TINY["inner"], "crop_size": CROP, "overlap_margin": MARGIN,
}  # fmt: skip
REGION = {"dim": TINY["dim"], "coord_feat_dim": 16, "coord_out_dim": 64, "size_feat_dim": 24, "size_out_dim": 128, "inner_dim": 40}
TINY_CONFIG: dict[str, dict[str, Any]] = {  # config.json; the public ones lack the sizes
    layout: {
        "architectures": ["Moondream"], "model_type": "moondream1", "vision": VISION, "torch_dtype": "float16",
        "auto_map": {"AutoConfig": "configuration_moondream.MoondreamConfig", "AutoModelForCausalLM": "moondream.Moondream"},
        "text_config": {
            "model_type": "phi", "vocab_size": TINY["vocabulary"], "hidden_size": TINY["dim"], "intermediate_size": TINY["ff"],
            "num_hidden_layers": TINY["layers"], "num_attention_heads": TINY["heads"],
        },
    }
    for layout in "BC"
} | {
    "D": {
        "architectures": ["HfMoondream"], "model_type": "moondream1", "torch_dtype": "bfloat16",
        "auto_map": {"AutoConfig": "hf_moondream.HfConfig", "AutoModelForCausalLM": "hf_moondream.HfMoondream"},
        "config": {
            "vision": VISION, "region": REGION,
            "text": {
                "dim": TINY["dim"], "ff_dim": TINY["ff"], "n_layers": TINY["layers"], "n_heads": TINY["heads"],
                "vocab_size": TINY["vocabulary"], "prefix_attn": 17,
            },
        },
    },
}  # fmt: skip


def _linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def shapes(layout: str, s: dict[str, int], *, tokens: int = 729, patch: int = 14, region: dict[str, int] | None = None) -> Shapes:
    """Every tensor of a checkpoint. The names of D are those of moondream/torch, under the `model.` of its Hugging Face wrapper."""
    d = layout == "D"
    eyes = "model.vision." if d else "vision_encoder.encoder.model.visual."
    text = "model.text.blocks." if d else "text_model.transformer.h."
    attention, out = ("attn.qkv", "attn.proj") if d else ("mixer.Wqkv", "mixer.out_proj")
    first, second = ("ln1", "ln2") if d else ("norm1", "norm2")
    found = _linear(eyes + ("patch_emb" if d else "patch_embed.linear"), s["eyes"], 3 * patch * patch)
    found |= {eyes + ("pos_emb" if d else "pos_embed"): (1, tokens, s["eyes"])}
    for k in range(s["eyes_layers"]):
        block = f"{eyes}blocks.{k}."
        found |= _norm(block + first, s["eyes"]) | _norm(block + second, s["eyes"])
        found |= _linear(block + "attn.qkv", 3 * s["eyes"], s["eyes"]) | _linear(block + "attn.proj", s["eyes"], s["eyes"])
        found |= _linear(block + "mlp.fc1", s["eyes_ff"], s["eyes"]) | _linear(block + "mlp.fc2", s["eyes"], s["eyes_ff"])
    found |= _norm(eyes + ("post_ln" if d else "norm"), s["eyes"])
    projection = "model.vision.proj_mlp" if d else "vision_encoder.projection.mlp"
    found |= _linear(projection + ".fc1", s["inner"], s["eyes"] * (1 if layout == "B" else 2)) | _linear(
        projection + ".fc2", s["dim"], s["inner"]
    )
    found |= {"model.text.wte" if d else "text_model.transformer.embd.wte.weight": (s["vocabulary"], s["dim"])}
    for k in range(s["layers"]):
        block = f"{text}{k}."
        found |= _norm(block + "ln", s["dim"])
        found |= _linear(block + attention, 3 * s["dim"], s["dim"]) | _linear(block + out, s["dim"], s["dim"])
        found |= _linear(block + "mlp.fc1", s["ff"], s["dim"]) | _linear(block + "mlp.fc2", s["dim"], s["ff"])
    head, words = ("model.text.post_ln", "model.text.lm_head") if d else ("text_model.lm_head.ln", "text_model.lm_head.linear")
    found |= _norm(head, s["dim"]) | _linear(words, s["vocabulary"], s["dim"])
    return found | (_region(region) if d and region else {})


def _region(r: dict[str, int]) -> Shapes:
    at = "model.region."
    return (
        _linear(at + "coord_encoder", r["dim"], r["coord_feat_dim"])
        | _linear(at + "coord_decoder.fc1", r["inner_dim"], r["dim"])
        | _linear(at + "coord_decoder.fc2", r["coord_out_dim"], r["inner_dim"])
        | _linear(at + "size_encoder", r["dim"], r["size_feat_dim"])
        | _linear(at + "size_decoder.fc1", r["inner_dim"], r["dim"])
        | _linear(at + "size_decoder.fc2", r["size_out_dim"], r["inner_dim"])
        | {at + "coord_features": (1, r["coord_feat_dim"] // 2), at + "size_features": (2, r["size_feat_dim"] // 2)}
    )


def weights(layout: str, seed: int = 0) -> dict[str, Tensor]:
    """Random ones, large enough that every part shows in what comes out."""
    draw = torch.Generator().manual_seed(seed)
    out = {}
    for name, shape in shapes(layout, TINY, tokens=(CROP // PATCH) ** 2, region=REGION).items():
        noise = torch.randn(shape, generator=draw)
        norm = len(shape) == 1 and name.endswith("weight")
        out[name] = (1 + 0.2 * noise if norm else 0.3 * noise if len(shape) == 1 else noise * (2 / shape[-1]) ** 0.5).half()
    return out


def write_tokenizer(folder: Path) -> None:
    """A byte a token, so that a prompt can be read off its ids; `<|endoftext|>` is 0 as in moondream/starmie-v1."""
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(f"spare{k}" for k in range(60))]  # room for action bins
    vocabulary = {END: 0, **{f"<|{k}|>": k for k in range(1, RESERVED)}, **{c: RESERVED + k for k, c in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END, unk_token=END).save_pretrained(folder)


def write_moondream(folder: Path, layout: str = "C", seed: int = 0) -> dict[str, Tensor]:
    """A folder as the Hub has it, B in two shards. What is in its weights, under their public names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(TINY_CONFIG[layout]))
    write_tokenizer(folder)
    tensors = weights(layout, seed)
    if layout != "B":
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return tensors
    names = sorted(tensors)
    files = {name: f"model-0000{1 + (k >= len(names) // 2)}-of-00002.safetensors" for k, name in enumerate(names)}
    for file in set(files.values()):
        save_file({n: tensors[n] for n in names if files[n] == file}, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return tensors
