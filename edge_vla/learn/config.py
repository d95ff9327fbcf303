"""A RoboVLMs training configuration, JSON or YAML: parents merged, keys checked, the rest handed on as the dictionary it was."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from edge_vla.errors import ConfigError, did_you_mean
from edge_vla.layout import ActionSpace, History, TokenSource
from edge_vla.learn.backbones import BACKBONES
from edge_vla.learn.heads import HEADS

Config = dict[str, Any]
Want = str | tuple[str, ...]
MAX_PARENTS = 16

NUMBER, POSITIVE, COUNT, FLAG, WORD, LIST, SECTION = (
    "a number", "a number of at least 0", "a whole number of at least 1", "true or false", "a string", "a list", "a section",
)  # fmt: skip
CHECKS = {
    NUMBER: lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v),
    POSITIVE: lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and 0 <= v < math.inf,
    COUNT: lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 1,
    FLAG: lambda v: isinstance(v, bool),
    WORD: lambda v: isinstance(v, str),
    LIST: lambda v: isinstance(v, list),
    SECTION: lambda v: isinstance(v, dict),
}

# What each key has to be. A tuple lists the words allowed; null is allowed everywhere and means that the key is not given.
ACT_HEAD: dict[str, Want] = {
    "type": tuple(HEADS), "hidden_size": COUNT, "action_dim": COUNT, "down_sample": ("none", "pooling", "resampler"), "latent": COUNT,
    "fwd_pred_next_n": COUNT, "window_size": COUNT, "num_layers": COUNT, "policy_rnn_dropout_p": POSITIVE,
    "action_space": tuple(space.value for space in ActionSpace), "history_type": tuple(history.value for history in History),
    "token_source": tuple(source.value for source in TokenSource), "fill_zero": FLAG, "with_history": FLAG, "n_bin": COUNT,
    "min_action": NUMBER, "max_action": NUMBER, "gripper_probability": FLAG,
}  # fmt: skip
TRAIN_SETUP: dict[str, Want] = {
    "precision": ("bf16", "fp16", "fp32", "16", "32"), "predict_action": FLAG, "train_vision": FLAG, "freeze_backbone": FLAG,
    "freeze_resampler": FLAG, "train_decoder_layers": NUMBER, "train_text_embedding": FLAG, "train_resampler": FLAG,
    "train_full_decoder": FLAG, "gradient_checkpointing": FLAG, "lora_enable": FLAG, "lora_r": COUNT, "lora_alpha": NUMBER,
    "lora_dropout": POSITIVE, "lora_bias": ("none", "all", "lora_only"), "reinit": FLAG, "load_vl_param": FLAG,
}  # fmt: skip
SECTIONS: dict[str, dict[str, Want]] = {
    "act_head": ACT_HEAD,
    "train_setup": TRAIN_SETUP,
    "vision_resampler": {"vis_dim": COUNT, "depth": COUNT, "dim_head": COUNT, "heads": COUNT, "num_latents": COUNT},
    "vision_encoder": {"clip_vision_encoder_path": WORD, "clip_vision_encoder_pretrained": WORD},
    "vlm": {
        "type": WORD, "name": WORD, "pretrained_model_name_or_path": WORD, "residual": FLAG, "revision": WORD,
        "openflamingo_checkpoint": WORD,
    },
    "tokenizer": {
        "type": WORD, "pretrained_model_name_or_path": WORD, "tokenizer_type": WORD, "max_text_len": COUNT,
        "additional_special_tokens": LIST,
    },
    "trainer": {
        "accelerator": WORD, "strategy": WORD, "precision": WORD, "logger": LIST, "gradient_clip_val": POSITIVE,
        "use_distributed_sampler": FLAG, "log_every_n_steps": COUNT, "max_epochs": NUMBER, "val_check_interval": POSITIVE,
        "limit_val_batches": POSITIVE, "check_val_every_n_epoch": COUNT, "max_steps": NUMBER, "accumulate_grad_batches": COUNT,
    },
}  # fmt: skip
TOP: dict[str, Want] = {
    "robovlm_name": tuple(BACKBONES), "model": WORD, "model_url": WORD, "model_path": WORD, "model_config": WORD, "task_name": WORD,
    "image_size": COUNT, "image_mean": LIST, "image_std": LIST, "window_size": COUNT, "fwd_pred_next_n": COUNT, "reference_padding": FLAG,
    "reference_hidden": FLAG,
    "use_hand_rgb": FLAG, "use_state": FLAG, "use_vision_resampler": FLAG, "seed": NUMBER, "batch_size": COUNT, "num_workers": NUMBER,
    "optimizer": ("adam", "adamw"), "learning_rate": POSITIVE, "min_lr_scale": POSITIVE, "weight_decay": POSITIVE,
    "warmup_epochs": POSITIVE, "warmup_steps": POSITIVE, "warmup_ratio": POSITIVE, "scheduler": ("constant", "cosine", "half-cosine"),
    "gradient_clip_val": POSITIVE, "arm_gripper_loss_ratio": POSITIVE, "kl_div_ratio": POSITIVE, "clip_norm_ratio": POSITIVE,
    "vl_cotrain_ratio": POSITIVE, "norm_action": FLAG, "norm_min": NUMBER, "norm_max": NUMBER, "use_mu_law": FLAG, "mu_val": POSITIVE,
    "regular_action": FLAG, "x_mean": NUMBER, "x_std": NUMBER, "tcp_rel": FLAG, "discrete_action_history": FLAG,
    "model_load_path": WORD, "model_load_source": WORD, "resume": WORD, "output_root": WORD, "log_root": WORD, "cache_root": WORD,
    "exp_name": WORD, "gpus": NUMBER, "num_nodes": COUNT, "train_weights": LIST,
}  # fmt: skip
FREE = {"train_dataset", "val_dataset"}  # a dataset checks its own section
# In RoboVLMs' own files, read by nothing there. They are taken out, and said to be.
INERT = {
    "act_encoder", "fwd_head", "seq_len", "data_scale", "cap_loss_ratio", "fwd_loss_ratio", "use_time_causal_attn", "use_mim_obs_loss",
    "use_pixel_loss", "use_obs_queries", "use_act_queries", "vision_masked_ratio", "use_tube_mask", "llava", "llava_config", "qwen",
    "train_setup.predict_forward", "train_setup.predict_forward_hand", "train_setup.predict_caption", "train_setup.bits",
    "train_setup.freeze_mm_mlp_adapter", "train_setup.tune_mm_mlp_adapter", "train_setup.mm_use_im_start_end",
    "train_setup.mm_use_im_patch_token", "train_setup.mm_projector_lr", "tokenizer.action_start_token", "tokenizer.action_end_token",
    "tokenizer.bbox_start_token", "tokenizer.bbox_end_token", "tokenizer.image_start_token", "tokenizer.image_end_token",
    "tokenizer.use_act_start_end", "tokenizer.use_bbox_start_end", "tokenizer.use_img_start_end",
}  # fmt: skip


class _Loader(yaml.SafeLoader):
    """Numbers as JSON has them: to YAML 1.1, 2e-5 is a word."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def load_config(config_file: str | Path) -> Config:
    """A configuration with its parents underneath, checked. Raises ConfigError naming the file, the key and what is allowed.

    `parent` is a path beside the file that names it, or from the working directory. Keys that no code of RoboVLMs reads are left out
    of the result with a warning; any other unknown key is an error.
    """
    merged = _with_parents(Path(config_file), ())
    return check_config(merged, str(config_file))


def check_config(config: Mapping[str, Any], where: str = "configuration") -> Config:
    """A copy without what has no effect. Raises ConfigError."""
    kept, inert = _without_inert(config)
    problems = list(_problems(kept))
    if problems:
        raise ConfigError(f"{where}: {'; '.join(problems)}")
    if inert:
        warnings.warn(f"{where}: without effect, here as in RoboVLMs: {', '.join(sorted(inert))}", stacklevel=3)
    return kept


def _with_parents(file: Path, below: tuple[Path, ...]) -> Config:
    if file.resolve() in below or len(below) > MAX_PARENTS:
        raise ConfigError(f"{file}: is its own parent, by way of {' -> '.join(str(path) for path in below)}")
    own = _read(file)
    parent = own.pop("parent", None)
    if parent is None:
        return own
    if not isinstance(parent, str):
        raise ConfigError(f"{file}: parent {parent!r}: want {WORD}")
    beside = file.parent / parent
    return _merge(_with_parents(beside if beside.is_file() else Path(parent), (*below, file.resolve())), own)


def _read(file: Path) -> Config:
    try:
        text = file.read_text("utf-8")
        found = json.loads(text) if file.suffix == ".json" else yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except OSError as err:
        raise ConfigError(f"configuration {file}: {err.strerror}") from err
    except (ValueError, yaml.YAMLError) as err:
        raise ConfigError(f"configuration {file}: {str(err).splitlines()[0]}") from err
    if not isinstance(found, dict):
        raise ConfigError(f"configuration {file}: holds a {type(found).__name__}, want {SECTION}")
    return found


def _merge(under: Config, over: Config) -> Config:
    """Section by section; what is not a section on both sides is replaced."""
    out = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merge(out[key], value) if both else value
    return out


def _without_inert(config: Mapping[str, Any], prefix: str = "") -> tuple[Config, set[str]]:
    kept: Config = {}
    inert: set[str] = set()
    for key, value in config.items():
        if f"{prefix}{key}" in INERT:
            inert |= set() if value is None else {f"{prefix}{key}"}
        elif isinstance(value, dict) and key in SECTIONS and not prefix:
            kept[key], found = _without_inert(value, f"{key}.")
            inert |= found
        else:
            kept[key] = value
    return kept, inert


def _problems(config: Config) -> Iterator[str]:
    """What is wrong, in words: every key that is, not only the first."""
    for key, value in config.items():
        if key in SECTIONS and isinstance(value, dict):
            for name, inner in value.items():
                yield from _problem(f"{key}.{name}", inner, SECTIONS[key].get(name), [f"{key}.{known}" for known in SECTIONS[key]])
        elif key not in FREE:
            yield from _problem(key, value, SECTION if key in SECTIONS else TOP.get(key), [*TOP, *SECTIONS, *FREE, "parent"])


def _problem(key: str, value: object, want: Want | None, known: list[str]) -> Iterator[str]:
    if want is None:
        yield f"unknown key {key!r}{did_you_mean(key, known, cutoff=0.6)}"
    elif value is None:
        return
    elif isinstance(want, tuple):
        if str(value) not in want:
            yield f"{key} {value!r}: want one of {', '.join(want)}"
    elif not CHECKS[want](value):
        yield f"{key} {value!r}: want {want}"
