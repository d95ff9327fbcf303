"""OpenFlamingo once more, from the paper and transformers' own language models: numpy, one sequence at a time, no masks over images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, MptConfig, MptForCausalLM

from tests.learn.backbones.tiny_flamingo import HEADS, KINDS, PATCH, TINY_CONFIG

Arrays = dict[str, np.ndarray]
ERF = np.vectorize(math.erf)


def numpy(tensors: dict[str, Tensor]) -> Arrays:
    return {name: tensor.double().numpy() for name, tensor in tensors.items() if tensor.is_floating_point()}


def layer_norm(x: np.ndarray, w: Arrays, name: str) -> np.ndarray:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * w[f"{name}.weight"] + w.get(f"{name}.bias", 0)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + ERF(x / np.sqrt(2)))


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, heads: int, bias: np.ndarray | float = 0) -> np.ndarray:
    """(L, w), (S, w), (S, w) to (L, w)."""
    out = []
    biases = bias if isinstance(bias, np.ndarray) else [bias] * heads
    for a, b, c, extra in zip(np.split(q, heads, -1), np.split(k, heads, -1), np.split(v, heads, -1), biases, strict=True):
        score = a @ b.T / np.sqrt(a.shape[-1]) + extra
        weight = np.exp(score - score.max(-1, keepdims=True))
        out.append(weight / weight.sum(-1, keepdims=True) @ c)
    return np.concatenate(out, -1)


def think(x: np.ndarray, w: Arrays, at: str) -> np.ndarray:
    return gelu(layer_norm(x, w, f"{at}.0") @ w[f"{at}.1.weight"].T) @ w[f"{at}.3.weight"].T


def see(tower: Arrays, picture: np.ndarray) -> np.ndarray:
    """(3, P, P) to (patches, width), CLS dropped, before ln_post."""
    side = picture.shape[1] // PATCH
    patches = picture.reshape(3, side, PATCH, side, PATCH).transpose(1, 3, 0, 2, 4).reshape(side * side, -1)
    x = np.concatenate(
        [tower["visual.class_embedding"][None], patches @ tower["visual.conv1.weight"].reshape(len(tower["visual.class_embedding"]), -1).T]
    )
    x = layer_norm(x + tower["visual.positional_embedding"], tower, "visual.ln_pre")
    for k in range(2):
        at = f"visual.transformer.resblocks.{k}"
        q, key, v = np.split(
            layer_norm(x, tower, f"{at}.ln_1") @ tower[f"{at}.attn.in_proj_weight"].T + tower[f"{at}.attn.in_proj_bias"], 3, -1
        )
        x = x + attend(q, key, v, 1) @ tower[f"{at}.attn.out_proj.weight"].T + tower[f"{at}.attn.out_proj.bias"]
        h = layer_norm(x, tower, f"{at}.ln_2") @ tower[f"{at}.mlp.c_fc.weight"].T + tower[f"{at}.mlp.c_fc.bias"]
        x = x + h / (1 + np.exp(-1.702 * h)) @ tower[f"{at}.mlp.c_proj.weight"].T + tower[f"{at}.mlp.c_proj.bias"]
    return x[1:]


def resample(w: Arrays, patches: np.ndarray) -> np.ndarray:
    """(patches, width) to (64, width)."""
    x = w["perceiver.latents"]
    for k in range(6):
        at = f"perceiver.layers.{k}"
        mine = layer_norm(x, w, f"{at}.0.norm_latents")
        keys, values = np.split(np.concatenate([layer_norm(patches, w, f"{at}.0.norm_media"), mine]) @ w[f"{at}.0.to_kv.weight"].T, 2, -1)
        x = x + attend(mine @ w[f"{at}.0.to_q.weight"].T, keys, values, 8) @ w[f"{at}.0.to_out.weight"].T
        x = x + think(x, w, f"{at}.1")
    return layer_norm(x, w, "perceiver.norm")


def look(w: Arrays, at: str, x: np.ndarray, images: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Positions one by one: each asks the last image before it, and nobody before the first."""
    heard = np.zeros((len(x), 512))
    q = layer_norm(x, w, f"{at}.attn.norm") @ w[f"{at}.attn.to_q.weight"].T
    for position, count in enumerate(seen):
        if count:
            k, v = np.split(images[count - 1] @ w[f"{at}.attn.to_kv.weight"].T, 2, -1)
            heard[position] = attend(q[position : position + 1], k, v, 8)[0]
    x = x + np.tanh(w[f"{at}.attn_gate"]) * (heard @ w[f"{at}.attn.to_out.weight"].T)
    return x + np.tanh(w[f"{at}.ff_gate"]) * think(x, w, f"{at}.ff")


def mosaic(w: Arrays, x: np.ndarray, images: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(hidden, what goes into the last block) of a `mosaic_gpt` with every layer gated."""
    n, before = len(x), x
    slopes = 2.0 ** (-8 * np.arange(1, HEADS + 1) / HEADS)
    past = np.arange(n)[None, :] - np.arange(n)[:, None]
    bias = np.where(past > 0, -np.inf, slopes[:, None, None] * past)
    for k in range(2):
        before, at = x, f"transformer.blocks.{k}"
        x = look(w, f"lang_encoder.{at}.gated_cross_attn_layer", x, images, seen)
        q, key, v = np.split(layer_norm(x, w, f"{at}.ln_1") @ w[f"{at}.attn.Wqkv.weight"].T, 3, -1)
        q, key = layer_norm(q, w, f"{at}.attn.q_ln"), layer_norm(key, w, f"{at}.attn.k_ln")
        x = x + attend(q, key, v, HEADS, bias) @ w[f"{at}.attn.out_proj.weight"].T
        x = x + gelu(layer_norm(x, w, f"{at}.ln_2") @ w[f"{at}.mlp.mlp_up.weight"].T) @ w[f"{at}.mlp.mlp_down.weight"].T
    return layer_norm(x, w, "transformer.ln_f"), before


def native(kind: str, language: dict[str, Tensor], rows: int) -> Any:
    """transformers' own model with these weights."""
    config = {**TINY_CONFIG[kind], "vocab_size": rows}
    config.pop("model_type")
    made: Any = MptForCausalLM(MptConfig(**config)) if kind == "mpt" else GPTNeoXForCausalLM(GPTNeoXConfig(**config))
    names = {name.replace("embed_out.", "lm_head."): tensor for name, tensor in language.items()}
    if kind == "mpt":
        names["lm_head.weight"] = names["transformer.wte.weight"]
    made.load_state_dict(names)
    made.set_attn_implementation("eager")
    return made.eval()


class Derived:
    """The tiny model of a kind, derived."""

    def __init__(self, kind: str, language: dict[str, Tensor], checkpoint: dict[str, Tensor], tower: dict[str, Tensor]) -> None:
        self.kind, self.tower = kind, numpy(tower)
        trained = {name.removeprefix("lang_encoder."): t for name, t in checkpoint.items() if "embed" in name or "wte" in name}
        language = language | trained  # OpenFlamingo's embeddings replace the language model's
        self.w = numpy(checkpoint) | numpy(language)
        self.words = language["transformer.wte.weight" if kind != "gpt_neox" else "gpt_neox.embed_in.weight"]
        self.model = None if kind == "mosaic_gpt" else native(kind, language, len(self.words))

    def image(self, picture: np.ndarray) -> np.ndarray:
        return resample(self.w, see(self.tower, picture.astype(np.float64)))

    @torch.no_grad()
    def hidden(self, x: np.ndarray, images: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """After the final norm: embeddings (n, d), images (T, m, s), image marks so far (n)."""
        if self.model is None:
            return mosaic(self.w, x, images, seen)[0]
        body: nn.Module = self.model.transformer if self.kind == "mpt" else self.model.gpt_neox
        blocks = body.blocks if self.kind == "mpt" else body.layers
        name = "transformer.blocks" if self.kind == "mpt" else "gpt_neox.layers"
        hooks = []
        for k in range(KINDS[self.kind][2] - 1, len(blocks), KINDS[self.kind][2]):

            def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], k: int = k) -> tuple[Any, Any]:
                found = look(self.w, f"lang_encoder.{name}.{k}.gated_cross_attn_layer", args[0][0].double().numpy(), images, seen)
                return (torch.from_numpy(found)[None].float(), *args[1:]), kwargs

            hooks.append(blocks[k].register_forward_pre_hook(before, with_kwargs=True))
        out = body(inputs_embeds=torch.from_numpy(x)[None].float(), use_cache=False).last_hidden_state[0]
        for hook in hooks:
            hook.remove()
        return out.double().numpy()

    def logits(self, hidden: np.ndarray) -> np.ndarray:
        return hidden @ (self.w["embed_out.weight"] if self.kind == "gpt_neox" else self.words.double().numpy()).T
