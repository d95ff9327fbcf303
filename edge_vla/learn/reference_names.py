"""RoboVLMs' names of tensors to plain ones: wrappers off, each weight once, adapters merged, and whose weights they are.

Its `backbone` is the public model of transformers, of remote code or of a package of that time; what a backbone's own file says
of names is `backbones.reference`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from edge_vla.errors import ConfigError
from edge_vla.learn.checkpoint import named, rename

WRAPPERS = ("_forward_module.", "module.", "_orig_mod.", "model.")  # of DeepSpeed, of data parallel, of torch.compile, of the trainer
ROOTS = ("backbone.", "act_head.")  # what every policy of RoboVLMs has
PEFT = "base_model.model."  # around what LoRA adapts
ADAPTER = re.compile(r"(.*)\.lora_([AB])(?:\.([^.]+))?\.weight")
DERIVED = re.compile(r"(?:.*\.)?(?:position_ids|inv_freq|cos_cached|sin_cached)")  # tables that older code saved; models make them anew
MADE_ANEW, UNUSED, MERGED = "a table that the model makes anew", "of a part that no policy uses", "merged into the weight it adapts"

# A part of a name that only one kind of model has: its name, RoboVLMs' class for it, and model_type of its config.json.
MARKS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("image_to_text_projection.latent_query", "KosMos-2", "RoboKosMos", ("kosmos-2",)),
    ("multi_modal_projector.linear.", "PaliGemma", "RoboPaligemma", ("paligemma",)),
    ("multi_modal_projector.linear_1.", "LLaVA 1.5 of the Hub", "RoboLLaVA", ("llava",)),
    ("transformer.mm_projector.", "LLaVA on MPT", "RoboLLaVA", ("llava_mpt",)),
    ("model.mm_projector.", "LLaVA on Llama in its authors' layout, which this program does not read", "RoboLLaVA", ()),
    ("transformer.visual.attn_pool.", "Qwen-VL", "RoboQwen", ("qwen",)),
    ("visual.blocks.0.mlp.gate_proj.", "Qwen2.5-VL", "RoboQwen", ("qwen2_5_vl",)),
    ("vision_encoder.encoder.model.visual.", "Moondream 2 of 2024", "RoboMoonDream", ("moondream1",)),
    ("model.vision.patch_emb.", "Moondream 2 of 2025", "RoboMoonDream", ("moondream1",)),
    ("image_pooler.image_latents", "UForm-Gen2", "RoboUform", ("vlm",)),
    ("gated_cross_attn_layer", "OpenFlamingo", "RoboFlamingo", ("mosaic_gpt", "mpt", "gpt_neox")),
)


def unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what trainers put before every name."""
    found = dict(tensors)
    while not any(name.startswith(ROOTS) for name in found):
        wrapper = next((w for w in WRAPPERS if any(name.startswith(w) for name in found)), None)
        if wrapper is None:
            break
        found = rename(found, lambda name, w=wrapper: name.removeprefix(w))  # type: ignore[misc]
    return found


def plain_name(name: str, inside: str) -> str:
    """One name for what has two: LoRA leaves the reference a second one, `model`, for what of its backbone it calls so; Flamingo too."""
    name = name.replace(PEFT, "", 1)
    return f"backbone.{inside}{name.removeprefix('model.')}" if name.startswith("model.") else name


def one_each(tensors: Mapping[str, Tensor], new_name: Callable[[str], str | None]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Each weight once, under its new name; and of names that are left out, why. Raises ConfigError when two names of one weight differ."""
    out: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name, tensor in tensors.items():
        new = new_name(name)
        if new is None:
            left_out[name] = MADE_ANEW if DERIVED.fullmatch(name) else UNUSED
        elif new not in out:
            out[new], origin[new] = tensor, name
        elif tensor.dtype == out[new].dtype and torch.equal(tensor, out[new]):
            left_out[name] = f"doubled as {origin[new]}"
        else:
            raise ConfigError(f"{name!r} and {origin[new]!r} are one weight in RoboVLMs, and differ here")
    return out, left_out


def merge_lora(tensors: Mapping[str, Tensor], setup: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Adapters added to the weights they adapt, names as they were before peft; and what became of the adapters.

    `setup` is a configuration's `train_setup`. Raises ConfigError for adapters that are not whole, or not of that `lora_r`.
    """
    adapters: dict[str, dict[str, Tensor]] = {}
    kinds = {match[3] for name in tensors if (match := ADAPTER.fullmatch(name))}
    odd = [name for name in tensors if ".lora_" in name and not ADAPTER.fullmatch(name)]
    if odd or len(kinds) > 1:
        raise ConfigError(f"adapters: want one set of lora_A and lora_B of linear layers, got {named(odd or map(str, kinds))}")
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        match = ADAPTER.fullmatch(name)
        if match:
            adapters.setdefault(match[1], {})[match[2]] = tensor
        else:
            out[name.replace(".base_layer.", ".", 1)] = tensor
    for stem, pair in adapters.items():
        weight = out.get(f"{stem}.weight")
        if weight is None or len(pair) < len("AB"):
            there = [f"lora_{k}" for k in sorted(pair)] + ([] if weight is None else ["weight"])
            raise ConfigError(f"adapters: want lora_A, lora_B and weight of {stem}, got {' and '.join(there)}")
        out[f"{stem}.weight"] = _adapted(weight, pair["A"], pair["B"], stem, setup)
    return out, {name: MERGED for name in tensors if ADAPTER.fullmatch(name)}


def _adapted(weight: Tensor, a: Tensor, b: Tensor, stem: str, setup: Mapping[str, Any]) -> Tensor:
    rank, alpha = setup.get("lora_r"), setup.get("lora_alpha")
    if rank != len(a) or alpha is None:
        raise ConfigError(f"adapters of rank {len(a)}, the configuration's train_setup has lora_r {rank} and lora_alpha {alpha}")
    if a.ndim != 2 or b.ndim != 2 or (len(b), a.shape[1], b.shape[1]) != (*weight.shape, rank):
        raise ConfigError(f"adapters: {stem} is {tuple(weight.shape)}, its lora_A {tuple(a.shape)} and lora_B {tuple(b.shape)}")
    return weight.float() + alpha / rank * (b.float() @ a.float())  # as exact as when the two were apart


def check_kind(names: Mapping[str, Tensor], robovlm_name: str, model_type: object) -> None:
    """Raises ConfigError when a checkpoint is seen to be of another backbone than its configuration, or than the model's folder."""
    told = next((mark for mark in MARKS if any(mark[0] in name for name in names)), None)
    if told is None:
        return
    _, kind, owner, types = told
    if owner != robovlm_name:
        raise ConfigError(f"these weights are of {kind}, {owner}; the configuration says robovlm_name {robovlm_name}")
    if model_type not in types:
        raise ConfigError(f"these weights are of {kind}; the model's folder has model_type {model_type!r}")
