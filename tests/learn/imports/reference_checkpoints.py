"""Every backbone as RoboVLMs' own model would have saved it: names of the package of its time, twins, tied heads and buffers included.

From github.com/Robot-VLAs/RoboVLMs (wrappers, trainer, `zero_to_fp32.py`, `modeling_kosmos2.py`), haotian-liu/LLaVA (v1.2.2),
vikhyat/moondream (history), mlfoundations/open_flamingo, and Qwen-VL's remote code. No real checkpoint was at hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edge_vla.learn.checkpoint import read_weights
from tests.learn.backbones.tiny_flamingo import KINDS, TEXT_HALF, fill, parts, write_flamingo
from tests.learn.backbones.tiny_moondream import write_moondream
from tests.learn.backbones.tiny_qwen import V2_5_SIZE, write_qwen25, write_qwen_v1
from tests.learn.backbones.tiny_uform import write_uform

Tensors = dict[str, Tensor]
Config = dict[str, Any]
Write = Callable[[Path, int, dict[str, Callable[..., Path]]], Config]  # folder, seed, fixtures that write; what a configuration says of it


@dataclass(frozen=True, slots=True)
class Case:
    """A backbone in one set of names."""

    robovlm: str
    write: Write
    saved: Callable[[Config, int], Tensors]  # of what `write` wrote: RoboVLMs' state dict but for the policy's own
    names: tuple[str, ...]  # some of them, spelled out
    inside: str = ""  # what of the backbone the reference calls `model`
    lora: bool = True  # whether the reference can adapt it


def folder_of(config: Config) -> Path:
    return Path(config["vlm"]["pretrained_model_name_or_path"])


def at(folder: Path) -> Config:
    return {"vlm": {"pretrained_model_name_or_path": str(folder)}}


def by(writer: str) -> Write:
    return lambda folder, seed, writers: at(writers[writer](folder, seed=seed))


def below(tensors: Tensors) -> Tensors:
    return {f"backbone.{name}": tensor for name, tensor in tensors.items()}


def with_head(head: str, embedding: str) -> Callable[[Config, int], Tensors]:
    """The public names, and the head that is the word embedding: in memory, and so in a state dict, it has a name of its own."""

    def saved(config: Config, _: int) -> Tensors:
        tensors = read_weights(folder_of(config))
        assert head not in tensors
        return below(tensors | {head: tensors[embedding].clone()})

    return saved


def public(config: Config, _: int) -> Tensors:
    return below(read_weights(folder_of(config)))


def since_4_52(config: Config, _: int) -> Tensors:
    """transformers moved all but the head below `model` in 4.52; the tower kept its `vision_model` until 5."""
    out = {}
    for name, tensor in read_weights(folder_of(config)).items():
        moved = "lm_head.weight" if name.endswith("lm_head.weight") else f"model.{name.replace('language_model.model.', 'language_model.')}"
        out[moved] = tensor
    return below(out)


def paligemma_since_4_52(config: Config, _: int) -> Tensors:
    tensors = since_4_52(config, 0)
    return tensors | {"backbone.lm_head.weight": tensors["backbone.model.language_model.embed_tokens.weight"].clone()}


def qwen25_since_4_52(config: Config, _: int) -> Tensors:
    moved = {"visual.": "model.visual.", "model.": "model.language_model."}
    tensors = read_weights(folder_of(config))
    return below(
        {next((new + name[len(old) :] for old, new in moved.items() if name.startswith(old)), name): t for name, t in tensors.items()}
    )


def write_qwen25_tied(folder: Path, seed: int, _: dict[str, Callable[..., Path]]) -> Config:
    """As the 3B model: the head is the embedding, and only the embedding is on disk."""
    write_qwen25(folder, seed=seed)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return at(folder) | {"image_size": V2_5_SIZE}


def llava_mpt(config: Config, _: int) -> Tensors:
    """`LlavaMptForCausalLM`: the tower below the text model, and a head tied to the embedding. Projection and text half are not loaded."""
    folder = folder_of(config)
    tensors = {name: tensor.float() for name, tensor in read_weights(folder).items()}
    tower = load_file(folder.parent / "clip-vit-large-patch14" / "model.safetensors")
    kept = {n: t for n, t in tower.items() if n.startswith("vision_model.") and not n.endswith("position_ids")}
    inside = {f"transformer.vision_tower.vision_tower.{name}": tensor for name, tensor in kept.items()}
    return below(tensors | inside | {"lm_head.weight": tensors["transformer.wte.weight"].clone()})


def moondream(layout: str) -> Write:
    def write(folder: Path, seed: int, _: dict[str, Callable[..., Path]]) -> Config:
        write_moondream(folder, layout, seed)
        return at(folder)

    return write


def with_region(*parts_: str) -> Callable[[Config, int], Tensors]:
    return lambda config, _: public(config, 0) | {f"backbone.region_model.{name}.weight": torch.ones(2, 2) for name in parts_}


def uform(folder: Path, seed: int, _: dict[str, Callable[..., Path]]) -> Config:
    write_uform(folder, seed)
    return at(folder)


def gamma(config: Config, _: int) -> Tensors:
    return {n.replace(".ls1.weight", ".ls1.gamma").replace(".ls2.weight", ".ls2.gamma"): t for n, t in public(config, 0).items()}


def flamingo(kind: str) -> Callable[[Config, int], Tensors]:
    """The language model under two names, its layers' halves listed once more in each; a whole open_clip and the resampler beside it."""

    def saved(_: Config, seed: int) -> Tensors:
        language, checkpoint, tower = parts(kind, seed)
        blocks = "gpt_neox.layers" if kind == "gpt_neox" else "transformer.blocks"
        trained = {n.removeprefix("lang_encoder."): t for n, t in checkpoint.items() if n.startswith("lang_encoder.")}
        text = {n.replace(f"{blocks}.{n.split('.')[2]}.", f"{blocks}.{n.split('.')[2]}.decoder_layer.", 1): t for n, t in language.items()
                if n.startswith(blocks)}  # fmt: skip
        text = {n: t for n, t in language.items() if not n.startswith(blocks)} | text | trained
        listed = {"decoder_layer": "old_decoder_blocks", "gated_cross_attn_layer": "gated_cross_attn_layers"}
        for name in [n for n in text if n.startswith(blocks)]:
            index, part, rest = name.removeprefix(f"{blocks}.").split(".", 2)
            text[f"{listed[part]}.{index}.{rest}"] = text[name]
        if kind == "mpt":
            text["lm_head.weight"] = text["transformer.wte.weight"]
        if kind == "gpt_neox":  # buffers, kept until transformers 4.35
            text |= {f"{blocks}.0.decoder_layer.attention.bias": torch.ones(1, 1, 8, 8, dtype=torch.bool)}
            text |= {f"{blocks}.0.decoder_layer.attention.rotary_emb.inv_freq": torch.ones(3)}
        beside = {n: t for n, t in checkpoint.items() if n.startswith("perceiver.")}
        whole = {f"vision_encoder.{n}": t for n, t in (tower | fill(TEXT_HALF, 9)).items()}
        return beside | whole | below(text) | {f"model.{n}": t for n, t in text.items()}

    return saved


KOSMOS_HEAD = ("text_model.lm_head.weight", "text_model.model.embed_tokens.weight")
GEMMA_HEAD = ("language_model.lm_head.weight", "language_model.model.embed_tokens.weight")
CASES: dict[str, Case] = {
    # transformers 4.37.2, with RoboVLMs' own modeling_kosmos2.py; published policies were seen to have these names.
    "kosmos": Case(
        "RoboKosMos", by("write_kosmos"), with_head(*KOSMOS_HEAD),
        (
            "backbone.text_model.model.layers.1.self_attn.inner_attn_ln.weight", "backbone.text_model.lm_head.weight",
            "backbone.vision_model.model.pre_layrnorm.bias", "backbone.image_to_text_projection.x_attn.q_proj.weight",
        ),
    ),
    # transformers 4.44, as the README wants for it; then what a newer one would have made of it.
    "paligemma": Case(
        "RoboPaligemma", by("write_paligemma"), with_head(*GEMMA_HEAD),
        (
            "backbone.language_model.model.layers.0.self_attn.q_proj.weight", "backbone.language_model.lm_head.weight",
            "backbone.vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", "backbone.multi_modal_projector.linear.weight",
        ),
    ),
    "paligemma since 4.52": Case(
        "RoboPaligemma", by("write_paligemma"), paligemma_since_4_52,
        (
            "backbone.model.language_model.layers.0.self_attn.q_proj.weight", "backbone.lm_head.weight",
            "backbone.model.vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
        ),
    ),
    # The llava package 1.2.2 with transformers 4.37.2: the only LLaVA that RoboVLMs' class can hold.
    "llava on mpt": Case(
        "RoboLLaVA", by("write_llava_mpt"), llava_mpt,
        (
            "backbone.transformer.blocks.0.ffn.up_proj.weight", "backbone.transformer.mm_projector.bias", "backbone.lm_head.weight",
            "backbone.transformer.vision_tower.vision_tower.vision_model.pre_layrnorm.weight",
        ),
    ),
    # Uncertain: RoboVLMs' class asks for `transformer.wte`, which these have not. A fork with transformers' LLaVA would save so.
    "llava 1.5 (a fork's)": Case(
        "RoboLLaVA", by("write_llava"), public,
        (
            "backbone.language_model.model.layers.0.self_attn.q_proj.weight", "backbone.language_model.lm_head.weight",
            "backbone.vision_tower.vision_model.pre_layrnorm.weight", "backbone.multi_modal_projector.linear_1.bias",
        ),
    ),
    "llava 1.5 (a fork's) since 4.52": Case(
        "RoboLLaVA", by("write_llava"), since_4_52,
        ("backbone.model.language_model.layers.0.self_attn.q_proj.weight", "backbone.lm_head.weight"),
    ),
    # Remote code of Qwen/Qwen-VL: no buffer of it is kept.
    "qwen-vl": Case(
        "RoboQwen", lambda folder, seed, _: at(write_qwen_v1(folder, seed=seed)), public,
        (
            "backbone.transformer.h.0.attn.c_attn.bias", "backbone.transformer.visual.attn_pool.attn.in_proj_weight",
            "backbone.transformer.visual.transformer.resblocks.0.mlp.c_fc.weight", "backbone.lm_head.weight",
        ),
    ),
    # Uncertain: RoboVLMs never had this model. A fork would save so, with transformers 4.49 to 4.51 and since.
    "qwen2.5-vl (a fork's)": Case(
        "RoboQwen", lambda folder, seed, _: at(write_qwen25(folder, seed=seed)) | {"image_size": V2_5_SIZE}, public,
        ("backbone.model.layers.0.self_attn.q_proj.bias", "backbone.visual.merger.mlp.0.weight", "backbone.lm_head.weight"),
    ),
    "qwen2.5-vl (a fork's) since 4.52": Case(
        "RoboQwen", lambda folder, seed, _: at(write_qwen25(folder, seed=seed)) | {"image_size": V2_5_SIZE}, qwen25_since_4_52,
        ("backbone.model.language_model.layers.0.self_attn.q_proj.bias", "backbone.model.visual.merger.mlp.0.weight"),
    ),
    "qwen2.5-vl 3B (a fork's)": Case(
        "RoboQwen", write_qwen25_tied, with_head("lm_head.weight", "model.embed_tokens.weight"),
        ("backbone.model.embed_tokens.weight", "backbone.lm_head.weight"),
    ),
    # Remote code of vikhyatk/moondream2 with transformers 4.44; its rotary tables are not kept. The region model came in 2024-08.
    "moondream B": Case(
        "RoboMoonDream", moondream("B"), public,
        (
            "backbone.text_model.transformer.embd.wte.weight", "backbone.text_model.transformer.h.1.mixer.Wqkv.bias",
            "backbone.vision_encoder.encoder.model.visual.patch_embed.linear.weight", "backbone.vision_encoder.projection.mlp.fc2.weight",
        ),
        inside="text_model.",
    ),
    "moondream C": Case(
        "RoboMoonDream", moondream("C"), public, ("backbone.vision_encoder.encoder.model.visual.blocks.0.attn.qkv.weight",),
        inside="text_model.",
    ),
    "moondream C of 2024-08": Case(
        "RoboMoonDream", moondream("C"), with_region("position_features", "position_encoder", "size_encoder", "confidence_decoder"),
        ("backbone.region_model.position_encoder.weight", "backbone.region_model.confidence_decoder.weight"), inside="text_model.",
    ),
    "moondream C of 2024-10": Case(
        "RoboMoonDream", moondream("C"), with_region("coordinate_features", "coordinate_decoder.fc1", "size_decoder.fc2"),
        ("backbone.region_model.coordinate_decoder.fc1.weight",), inside="text_model.",
    ),
    # Uncertain: D has no `text_model`, which RoboVLMs' class asks for. A fork would save so.
    "moondream D (a fork's)": Case(
        "RoboMoonDream", moondream("D"), public,
        ("backbone.model.text.blocks.0.attn.qkv.weight", "backbone.model.vision.patch_emb.weight", "backbone.model.region.coord_features"),
        lora=False,
    ),
    # Remote code of unum-cloud/uform-gen2-qwen-500m. Uncertain: which of two names its layer scales have in memory.
    "uform": Case(
        "RoboUform", uform, public,
        (
            "backbone.text_decoder.model.layers.0.self_attn.q_proj.bias", "backbone.text_decoder.lm_head.weight",
            "backbone.image_pooler.pooler.multihead_attn.in_proj_weight", "backbone.image_encoder.blocks.0.ls1.weight",
        ),
        inside="text_decoder.",
    ),
    "uform with gammas": Case("RoboUform", uform, gamma, ("backbone.image_encoder.blocks.0.ls2.gamma",), inside="text_decoder."),
} | {
    # open_flamingo with transformers 4.33.2. Uncertain: whether MPT-7B came with a head; its later code has none.
    f"flamingo {kind}": Case(
        "RoboFlamingo", lambda folder, seed, _, kind=kind: write_flamingo(folder, kind, seed), flamingo(kind),  # type: ignore[misc]
        ("perceiver.latents", "vision_encoder.visual.conv1.weight", "model.old_decoder_blocks.0." + first), lora=False,
    )
    for kind, first in zip(KINDS, ("attn.Wqkv.weight", "attention.query_key_value.weight", "attn.Wqkv.weight"), strict=True)
}  # fmt: skip
