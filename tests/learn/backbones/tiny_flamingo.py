"""OpenFlamingo's three artefacts, names and shapes as published, of any size; and a tiny one on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
WORDS = ["<|endoftext|>", "<|padding|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *(f"w{k}" for k in range(60)), "  ", "    "]
SPARE_ROWS = 9  # a language model's own table is wider than its tokenizer
KINDS = {  # model_type to vlm.name, published folder, n, layers of the tiny one
    "mosaic_gpt": ("mpt_1b_ift", "OpenFlamingo-3B-vitl-mpt1b-langinstruct", 1, 2),
    "gpt_neox": ("mpt_3b", "OpenFlamingo-4B-vitl-rpj3b", 2, 4),
    "mpt": ("mpt_7b", "OpenFlamingo-9B-vitl-mpt7b", 4, 4),
}
WIDTH, HEADS, SEES, PIXELS, PATCH = 48, 4, 64, 28, 7
TINY_CONFIG: dict[str, dict[str, Any]] = {  # config.json, the keys of the published ones that matter
    "mosaic_gpt": {
        "model_type": "mosaic_gpt", "d_model": WIDTH, "n_heads": HEADS, "n_layers": 2, "mlp_ratio": 4,
        "vocab_size": len(WORDS) + SPARE_ROWS,
        "alibi": True, "alibi_bias_max": 8, "attn_qk_ln": True, "attn_clip_qkv": None, "attn_impl": "torch", "attn_pdrop": 0,
        "attn_uses_sequence_id": False, "prefix_lm": False, "no_bias": True, "softmax_scale": None, "logit_scale": None, "resid_pdrop": 0,
        "emb_pdrop": 0, "embedding_fraction": 1.0, "low_precision_layernorm": True, "max_seq_len": 2048, "use_cache": False,
    },
    "mpt": {
        "model_type": "mpt", "d_model": WIDTH, "n_heads": HEADS, "n_layers": 4, "expansion_ratio": 4, "vocab_size": len(WORDS) + SPARE_ROWS,
        "attn_config": {
            "alibi": True, "alibi_bias_max": 8, "attn_impl": "torch", "attn_pdrop": 0, "attn_type": "multihead_attention",
            "attn_uses_sequence_id": False, "clip_qkv": None, "prefix_lm": False, "qk_ln": False, "softmax_scale": None,
        },
        "no_bias": True, "norm_type": "low_precision_layernorm", "max_seq_len": 256, "resid_pdrop": 0, "emb_pdrop": 0, "logit_scale": None,
        "tie_word_embeddings": True,
    },
    "gpt_neox": {
        "model_type": "gpt_neox", "hidden_size": WIDTH, "num_attention_heads": HEADS, "num_hidden_layers": 4, "intermediate_size": 96,
        "vocab_size": len(WORDS) + SPARE_ROWS, "hidden_act": "gelu", "rotary_pct": 0.5, "rotary_emb_base": 10000, "layer_norm_eps": 1e-5,
        "max_position_embeddings": 256, "use_parallel_residual": False, "tie_word_embeddings": False,
    },
}  # fmt: skip


def norm(name: str, width: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (width,)} | ({f"{name}.bias": (width,)} if bias else {})


def language_shapes(kind: str, d: int, layers: int, rows: int, inner: int) -> Shapes:
    """The language model's own folder."""
    if kind == "gpt_neox":
        out: Shapes = {"gpt_neox.embed_in.weight": (rows, d), "embed_out.weight": (rows, d)} | norm("gpt_neox.final_layer_norm", d)
        for k in range(layers):
            at = f"gpt_neox.layers.{k}"
            out |= norm(f"{at}.input_layernorm", d) | norm(f"{at}.post_attention_layernorm", d)
            sizes = {"attention.query_key_value": (3 * d, d), "attention.dense": (d, d)}
            sizes |= {"mlp.dense_h_to_4h": (inner, d), "mlp.dense_4h_to_h": (d, inner)}
            for name, shape in sizes.items():
                out |= {f"{at}.{name}.weight": shape, f"{at}.{name}.bias": shape[:1]}
        return out
    one, two, last, up, down = (
        ("ln_1", "ln_2", "ln_f", "mlp.mlp_up", "mlp.mlp_down")
        if kind == "mosaic_gpt"
        else ("norm_1", "norm_2", "norm_f", "ffn.up_proj", "ffn.down_proj")
    )
    out = {"transformer.wte.weight": (rows, d)} | norm(f"transformer.{last}", d, False)
    for k in range(layers):
        at = f"transformer.blocks.{k}"
        out |= norm(f"{at}.{one}", d, False) | norm(f"{at}.{two}", d, False)
        out |= {
            f"{at}.attn.Wqkv.weight": (3 * d, d),
            f"{at}.attn.out_proj.weight": (d, d),
            f"{at}.{up}.weight": (inner, d),
            f"{at}.{down}.weight": (d, inner),
        }
        if kind == "mosaic_gpt":
            out |= norm(f"{at}.attn.q_ln", d, False) | norm(f"{at}.attn.k_ln", d, False)
    return out


def checkpoint_shapes(kind: str, d: int, layers: int, every: int, rows: int, sees: int) -> Shapes:
    """`checkpoint.pt`."""
    out: Shapes = {"perceiver.latents": (64, sees)} | norm("perceiver.norm", sees)
    for k in range(6):
        at = f"perceiver.layers.{k}"
        out |= norm(f"{at}.0.norm_media", sees) | norm(f"{at}.0.norm_latents", sees)
        out |= {f"{at}.0.to_q.weight": (512, sees), f"{at}.0.to_kv.weight": (1024, sees), f"{at}.0.to_out.weight": (sees, 512)}
        out |= norm(f"{at}.1.0", sees) | {f"{at}.1.1.weight": (4 * sees, sees), f"{at}.1.3.weight": (sees, 4 * sees)}
    blocks = "gpt_neox.layers" if kind == "gpt_neox" else "transformer.blocks"
    for k in range(every - 1, layers, every):
        at = f"lang_encoder.{blocks}.{k}.gated_cross_attn_layer"
        out |= norm(f"{at}.attn.norm", d) | {f"{at}.attn.to_q.weight": (512, d), f"{at}.attn.to_kv.weight": (1024, sees)}
        out |= {f"{at}.attn.to_out.weight": (d, 512), f"{at}.attn_gate": (1,), f"{at}.ff_gate": (1,)}
        out |= norm(f"{at}.ff.0", d) | {f"{at}.ff.1.weight": (4 * d, d), f"{at}.ff.3.weight": (d, 4 * d)}
    if kind == "gpt_neox":
        return out | {"lang_encoder.gpt_neox.embed_in.weight": (rows, d), "lang_encoder.embed_out.weight": (rows, d)}
    return out | {"lang_encoder.transformer.wte.weight": (rows, d)}


def tower_shapes(d: int, layers: int, patch: int, pixels: int) -> Shapes:
    """open_clip's image tower."""
    out: Shapes = {"visual.class_embedding": (d,), "visual.conv1.weight": (d, 3, patch, patch), "visual.proj": (d, 3 * d // 4)}
    out |= {"visual.positional_embedding": ((pixels // patch) ** 2 + 1, d)} | norm("visual.ln_pre", d) | norm("visual.ln_post", d)
    for k in range(layers):
        at = f"visual.transformer.resblocks.{k}"
        out |= (
            norm(f"{at}.ln_1", d) | norm(f"{at}.ln_2", d) | {f"{at}.attn.in_proj_weight": (3 * d, d), f"{at}.attn.in_proj_bias": (3 * d,)}
        )
        for name, shape in {"attn.out_proj": (d, d), "mlp.c_fc": (4 * d, d), "mlp.c_proj": (d, 4 * d)}.items():
            out |= {f"{at}.{name}.weight": shape, f"{at}.{name}.bias": shape[:1]}
    return out


TEXT_HALF: Shapes = {  # of a whole open_clip CLIP, which is to be left aside
    "logit_scale": (), "positional_embedding": (7, 8), "text_projection": (8, 8), "token_embedding.weight": (9, 8),
    "transformer.resblocks.0.ln_1.weight": (8,), "ln_final.weight": (8,),
}  # fmt: skip


def fill(shapes: Shapes, seed: int) -> dict[str, Tensor]:
    """Random, of a size that keeps activations near 1; norms near 1; gates wide open, both ways."""
    draw = torch.Generator().manual_seed(seed)
    out = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=draw)
        if name.endswith("_gate"):
            value = value.sign() * 0.8
        elif len(shape) >= 2 and "embed" not in name and "latents" not in name and "wte" not in name:
            value = value / torch.tensor(shape[1:]).prod().sqrt()
        elif name.endswith("weight") and len(shape) == 1:
            value = 1 + 0.1 * value
        elif len(shape) == 1:
            value = 0.1 * value
        out[name] = value
    return out


def to_transformers(tower: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tower as `openai/clip-vit-large-patch14` has it, by hand."""
    renamed = {"class_embedding": "embeddings.class_embedding", "conv1.weight": "embeddings.patch_embedding.weight"}
    renamed |= {"positional_embedding": "embeddings.position_embedding.weight"}
    renamed |= {f"ln_pre.{k}": f"pre_layrnorm.{k}" for k in ("weight", "bias")} | {
        f"ln_post.{k}": f"post_layernorm.{k}" for k in ("weight", "bias")
    }
    inside = {
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "attn.out_proj": "self_attn.out_proj",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    out = {
        "visual_projection.weight": tower["visual.proj"].T.contiguous(),
        "logit_scale": torch.tensor(2.0),
        "text_model.final_layer_norm.weight": torch.ones(8),
    }
    for name, value in {name.removeprefix("visual."): value for name, value in tower.items()}.items():
        if name in renamed:
            out[f"vision_model.{renamed[name]}"] = value
        elif name.startswith("transformer.resblocks."):
            _, _, index, rest = name.split(".", 3)
            at = f"vision_model.encoder.layers.{index}"
            if rest.startswith("attn.in_proj_"):
                for k, part in zip("qkv", value.chunk(3), strict=True):
                    out[f"{at}.self_attn.{k}_proj.{rest.removeprefix('attn.in_proj_')}"] = part.clone()
            else:
                stem, leaf = rest.rsplit(".", 1)
                out[f"{at}.{inside[stem]}.{leaf}"] = value
    return out


def write_tokenizer(folder: Path) -> None:
    """Like GPT-NeoX's: one special token for everything, a padding token that nothing names, spaces behind the vocabulary."""
    made = Tokenizer(models.BPE(vocab={word: k for k, word in enumerate(WORDS[:-2])}, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(WORDS[:2])
    made.add_tokens(WORDS[-2:])
    made.save(str(folder / "tokenizer.json"))
    named = {f"{kind}_token": WORDS[0] for kind in ("bos", "eos", "unk")}
    config = named | {"add_prefix_space": False, "tokenizer_class": "GPTNeoXTokenizer", "model_max_length": 2048}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def parts(kind: str, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """(language model, checkpoint, tower) of the tiny one."""
    layers, every, rows = KINDS[kind][3], KINDS[kind][2], len(WORDS)
    inner = 96 if kind == "gpt_neox" else 4 * WIDTH
    return (
        fill(language_shapes(kind, WIDTH, layers, rows + SPARE_ROWS, inner), seed),
        fill(checkpoint_shapes(kind, WIDTH, layers, every, rows + 3, SEES), seed + 1),
        fill(tower_shapes(SEES, 2, PATCH, PIXELS), seed + 2),
    )


def write_flamingo(root: Path, kind: str = "mosaic_gpt", seed: int = 0, tower: str = "transformers") -> dict[str, Any]:
    """Write the three artefacts below `root` and give the part of a configuration that names them."""
    language, checkpoint, sight = parts(kind, seed)
    name, published, _, layers = KINDS[kind]
    folder, beside = root / f"tiny-{kind}", root / "clip-vit-large-patch14"
    for path in (folder, beside, root / published):
        path.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(TINY_CONFIG[kind]))
    write_tokenizer(folder)
    if kind == "gpt_neox":  # buffers that transformers of that time stored
        for k in range(layers):
            at = f"gpt_neox.layers.{k}.attention"
            language |= {
                f"{at}.bias": torch.ones(1, 1, 8, 8, dtype=torch.bool),
                f"{at}.masked_bias": torch.tensor(-1e9),
                f"{at}.rotary_emb.inv_freq": torch.ones(3),
            }
            checkpoint[f"lang_encoder.{at.replace('.attention', '.decoder_layer.attention')}.bias"] = torch.ones(
                1, 1, 8, 8, dtype=torch.bool
            )
        torch.save(language, folder / "pytorch_model.bin")
    else:
        half = len(language) // 2
        shards = [dict(list(language.items())[:half]), dict(list(language.items())[half:])]
        names = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
        for shard, file in zip(shards, names, strict=True):
            save_file(shard, folder / file, {"format": "pt"})
        index = {"metadata": {}, "weight_map": {key: file for shard, file in zip(shards, names, strict=True) for key in shard}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    torch.save(checkpoint, root / published / "checkpoint.pt")
    config: dict[str, Any] = {
        "robovlm_name": "RoboFlamingo", "model": "flamingo",
        "vlm": {"name": name, "pretrained_model_name_or_path": str(folder), "residual": False},
        "vision_encoder": {"clip_vision_encoder_pretrained": "openai"},
    }  # fmt: skip
    if tower == "transformers":
        save_file(to_transformers(sight), beside / "model.safetensors", {"format": "pt"})
        vision = {"hidden_size": SEES, "num_attention_heads": 1, "num_hidden_layers": 2, "hidden_act": "quick_gelu", "patch_size": PATCH}
        (beside / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": vision}))
    else:
        torch.save(sight | fill(TEXT_HALF, 9), root / "open_clip_pytorch_model.bin")
        config["vision_encoder"]["clip_vision_encoder_pretrained"] = str(root / "open_clip_pytorch_model.bin")
    return config
