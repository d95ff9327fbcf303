"""Tiny random Qwen-VL and Qwen2.5-VL folders in the layouts of the Hub, with its names for keys and files, written by hand."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

WORDS = (" go", " to", " the", " cup", " find", "What", " action", "Picture", "user", "system", "assistant", " red", " cone", "ing", "击")
SPECIAL_COUNT = 217  # <|endoftext|>, two of chat, 205 extras, nine of grounding and images

V1: dict[str, Any] = {
    "architectures": ["QWenLMHeadModel"], "model_type": "qwen", "attn_dropout_prob": 0.0, "emb_dropout_prob": 0.0, "hidden_size": 256,
    "intermediate_size": 320, "kv_channels": 64, "layer_norm_epsilon": 1e-6, "no_bias": True, "num_attention_heads": 4,
    "num_hidden_layers": 2, "rotary_emb_base": 10000, "rotary_pct": 1.0, "scale_attn_weights": True, "seq_length": 2048,
    "tie_word_embeddings": False, "use_dynamic_ntk": True, "use_logn_attn": True, "vocab_size": 640,
    "visual": {
        "heads": 4, "image_size": 56, "layers": 2, "mlp_ratio": 2.3, "output_dim": 256, "patch_size": 14, "width": 64, "n_queries": 16,
    },
}  # fmt: skip
PUBLIC_V1: dict[str, Any] = V1 | {
    "hidden_size": 4096, "intermediate_size": 22016, "kv_channels": 128, "num_attention_heads": 32, "num_hidden_layers": 32,
    "vocab_size": 151936,
    "visual": {
        "heads": 16, "image_size": 448, "image_start_id": 151857, "layers": 48, "mlp_ratio": 4.9231, "output_dim": 4096,
        "patch_size": 14, "width": 1664,
    },
}  # fmt: skip
V2_5: dict[str, Any] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl", "attention_dropout": 0.0,
    "eos_token_id": 558, "bos_token_id": 556, "vision_start_token_id": 559, "vision_end_token_id": 560, "image_token_id": 561,
    "video_token_id": 562, "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96, "max_position_embeddings": 4096,
    "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
    "sliding_window": 4096, "tie_word_embeddings": False, "use_sliding_window": False, "vocab_size": 576, "max_window_layers": 2,
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    "vision_config": {
        "depth": 3, "hidden_act": "silu", "hidden_size": 32, "intermediate_size": 44, "num_heads": 2, "in_chans": 3,
        "out_hidden_size": 64, "patch_size": 4, "spatial_merge_size": 2, "spatial_patch_size": 4, "window_size": 16,
        "fullatt_block_indexes": [1], "tokens_per_second": 2, "temporal_patch_size": 2,
    },
}  # fmt: skip
V2_5_SIZE = 48  # px: 12 x 12 patches, 6 x 6 tokens, 3 x 3 windows


def ranks() -> dict[bytes, int]:
    """All bytes, then what WORDS are merged from, from their left end on."""
    found = {bytes([byte]): byte for byte in range(256)}
    for word in (text.encode() for text in WORDS):
        for end in range(2, len(word) + 1):
            found.setdefault(word[:end], len(found))
    return found


def v1_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of the public checkpoint by name, from config.json."""
    d, inner, vision = config["hidden_size"], config["intermediate_size"] // 2, config["visual"]
    w, out, f = vision["width"], vision["output_dim"], int(vision["width"] * vision["mlp_ratio"])
    queries = vision.get("n_queries", 256)
    shapes: dict[str, tuple[int, ...]] = {"lm_head.weight": (config["vocab_size"], d)}
    shapes |= {"transformer.wte.weight": (config["vocab_size"], d), "transformer.ln_f.weight": (d,)}
    for n in range(config["num_hidden_layers"]):
        at = f"transformer.h.{n}."
        shapes |= {
            f"{at}ln_1.weight": (d,),
            f"{at}ln_2.weight": (d,),
            f"{at}attn.c_attn.weight": (3 * d, d),
            f"{at}attn.c_attn.bias": (3 * d,),
        }
        shapes |= {f"{at}attn.c_proj.weight": (d, d), f"{at}mlp.w1.weight": (inner, d), f"{at}mlp.w2.weight": (inner, d)}
        shapes |= {f"{at}mlp.c_proj.weight": (d, inner)}
    seen = "transformer.visual."
    shapes |= {f"{seen}conv1.weight": (w, 3, vision["patch_size"], vision["patch_size"]), f"{seen}positional_embedding": (256, w)}
    shapes |= {f"{seen}proj": (out, out), f"{seen}attn_pool.query": (queries, out), f"{seen}attn_pool.pos_embed": (queries, out)}
    shapes |= {f"{seen}attn_pool.kv_proj.weight": (out, w), f"{seen}attn_pool.attn.in_proj_weight": (3 * out, out)}
    shapes |= {f"{seen}attn_pool.attn.in_proj_bias": (3 * out,), f"{seen}attn_pool.attn.out_proj.weight": (out, out)}
    shapes |= {f"{seen}attn_pool.attn.out_proj.bias": (out,)}
    norms = {"ln_pre": w, "ln_post": out, "attn_pool.ln_q": out, "attn_pool.ln_kv": out}
    for n in range(vision["layers"]):
        at = f"transformer.resblocks.{n}."
        norms |= {f"{at}ln_1": w, f"{at}ln_2": w}
        layers = {"attn.in_proj": (3 * w, w), "attn.out_proj": (w, w), "mlp.c_fc": (f, w), "mlp.c_proj": (w, f)}
        for name, shape in layers.items():
            shapes |= {f"{seen}{at}{name}.weight": shape, f"{seen}{at}{name}.bias": shape[:1]}
    for name, width in norms.items():
        shapes |= {f"{seen}{name}.weight": (width,), f"{seen}{name}.bias": (width,)}
    return shapes


def random_weights(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Wide enough that every part matters; norms round 1."""
    generator = torch.Generator().manual_seed(seed)
    found = {name: 0.06 * torch.randn(shape, generator=generator) for name, shape in sorted(shapes.items())}
    return {name: t + 1 if "ln_" in name and name.endswith("weight") else t for name, t in found.items()}


def v1_config(**changes: Any) -> dict[str, Any]:
    visual = V1["visual"] | {"image_start_id": len(ranks()) + SPECIAL_COUNT - 3}
    return V1 | {"visual": visual} | changes


def write_qwen_v1(folder: Path, *, seed: int = 0, chat: bool = False, shards: int = 2, **changes: Any) -> Path:
    """Torch shards with an index, as Qwen/Qwen-VL has them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = v1_config(**changes)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"chat_format": "chatml" if chat else "raw", "eos_token_id": 151643}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 8192, "tokenizer_class": "QWenTokenizer"}))
    lines = [base64.b64encode(token) + f" {rank}\n".encode() for token, rank in ranks().items()]
    (folder / "qwen.tiktoken").write_bytes(b"".join(lines))
    write_shards(folder, random_weights(v1_shapes(config), seed), shards)
    return folder


def write_shards(folder: Path, tensors: Mapping[str, Tensor], shards: int = 2) -> None:
    names, where = sorted(tensors), {}
    for k in range(shards):
        file = f"pytorch_model-{k + 1:05d}-of-{shards:05d}.bin"
        torch.save({name: tensors[name] for name in names[k::shards]}, folder / file)
        where |= dict.fromkeys(names[k::shards], file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def hub_name(name: str) -> str:
    """transformers' name in memory to the one on the Hub."""
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


def write_qwen25(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """One safetensors file and config.json with the text's keys at its top, as Qwen/Qwen2.5-VL-3B-Instruct has them."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(V2_5 | changes))
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig.from_pretrained(folder))
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if "norm" in name or "ln_q" in name else 0.0, 0.1)
    save_file({hub_name(k): v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors", {"format": "pt"})
    _write_tokenizer(folder)
    return folder


def _write_tokenizer(folder: Path) -> None:
    """Single bytes, 300 rows nothing is spelled with, and the special tokens of V2_5."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({token: k for k, token in enumerate([*letters, *(f"\u2400{k}" for k in range(300))])}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    named = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    core.add_special_tokens(named)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>", clean_up_tokenization_spaces=False
    )
    fast.save_pretrained(folder)


def policy(folder: Path, head: str = "LSTMDecoder", history: str = "post", space: str = "continuous", **changes: Any) -> dict[str, Any]:
    """A training configuration for either folder; `changes` are of its top, of `train_setup`, or the head's `down_sample`."""
    pooling = changes.pop("down_sample", "none")
    act_head = {"type": head, "hidden_size": 16, "action_dim": 4, "action_space": space, "history_type": history, "down_sample": pooling}
    setup = {"train_vision": True, "train_text_embedding": True} | changes.pop("train_setup", {})
    vlm = {"pretrained_model_name_or_path": str(folder)}
    newer = json.loads((folder / "config.json").read_text())["model_type"] == "qwen2_5_vl"  # Qwen-VL's files say its pictures' size
    return {
        "robovlm_name": "RoboQwen", "model": "qwen", "vlm": vlm, "window_size": 3, "fwd_pred_next_n": 2,
        "act_head": act_head, "train_setup": setup, **({"image_size": V2_5_SIZE} if newer else {}),
    } | changes  # fmt: skip
