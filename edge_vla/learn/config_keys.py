"""What each key of a training configuration has to be, and who acts upon it. Reads no file and builds nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from edge_vla.layout import ActionSpace, History, TokenSource
from edge_vla.learn.backbones import BACKBONES
from edge_vla.learn.heads import HEADS
from edge_vla.learn.trainable import PRECISIONS

Want = str | tuple[str, ...]

NUMBER, POSITIVE, ABOVE, SHARE, WHOLE, COUNT, ENDLESS = (
    "a number", "a number of at least 0", "a number above 0", "a number from 0 to 1", "a whole number of at least 0",
    "a whole number of at least 1", "a whole number of at least 1, or -1 for no end",
)  # fmt: skip
LAYERS, WHOLES, COUNTS, NUMBERS, DEVIATIONS, COLOUR, SPREAD, WEIGHTS = (
    "a whole number of at least 0, or -1 for all", "a whole number of at least 0, or one for each data set",
    "a whole number of at least 1, or one for each data set", "a number, or a list of one for each dimension",
    "a number of at least 0, or a list of one for each dimension", "3 numbers, one for each colour",
    "3 numbers above 0, one for each colour", "a list of numbers of at least 0",
)  # fmt: skip
AXES = ("linear_x", "linear_y", "angular_z")  # of a twist
LAYOUT = "a list of linear_x, linear_y and angular_z, each once at most, and of - for a dimension that drives nothing"
FLAG, WORD, WORDS, LOGGERS, LIST, SECTION, SECTIONS_OR_ONE, DEVICES = (
    "true or false", "a string", "a list of strings", "a list of strings, or false", "a list", "a section", "a section, or a list of them",
    "a whole number of at least 1, -1 for all, auto, or a list of their numbers",
)  # fmt: skip


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _each(value: object, check: Callable[[Any], bool], count: int | None = None) -> bool:
    return isinstance(value, list) and bool(value) and count in {None, len(value)} and all(check(one) for one in value)


CHECKS: dict[str, Callable[[Any], bool]] = {
    NUMBER: _number,
    POSITIVE: lambda v: _number(v) and v >= 0,
    ABOVE: lambda v: _number(v) and v > 0,
    SHARE: lambda v: _number(v) and 0 <= v <= 1,
    WHOLE: lambda v: _whole(v, 0),
    COUNT: lambda v: _whole(v, 1),
    ENDLESS: lambda v: _whole(v, 1) or v == -1,
    LAYERS: lambda v: _whole(v, -1),
    WHOLES: lambda v: _whole(v, 0) or _each(v, lambda one: _whole(one, 0)),
    COUNTS: lambda v: _whole(v, 1) or _each(v, lambda one: _whole(one, 1)),
    NUMBERS: lambda v: _number(v) or _each(v, _number),
    DEVIATIONS: lambda v: (_number(v) and v >= 0) or _each(v, lambda one: _number(one) and one >= 0),
    COLOUR: lambda v: _each(v, _number, 3),
    SPREAD: lambda v: _each(v, lambda one: _number(one) and one > 0, 3),
    WEIGHTS: lambda v: _each(v, lambda one: _number(one) and one >= 0),
    FLAG: lambda v: isinstance(v, bool),
    WORD: lambda v: isinstance(v, str),
    WORDS: lambda v: v == [] or _each(v, lambda one: isinstance(one, str)),
    LOGGERS: lambda v: v is False or v == [] or _each(v, lambda one: isinstance(one, str)),
    LIST: lambda v: isinstance(v, list),
    SECTION: lambda v: isinstance(v, dict),
    SECTIONS_OR_ONE: lambda v: isinstance(v, dict) or _each(v, lambda one: isinstance(one, dict)),
    LAYOUT: lambda v: _each(v, lambda one: one == "-" or one in AXES) and all(v.count(axis) <= 1 for axis in AXES),
    DEVICES: lambda v: _whole(v, 1) or v in (-1, "auto") or _each(v, lambda one: _whole(one, 0)),
}

# A tuple lists the words allowed; null is allowed everywhere and means that the key is not given.
ACT_HEAD: dict[str, Want] = {
    "type": tuple(HEADS), "hidden_size": COUNT, "action_dim": COUNT, "down_sample": ("none", "pooling", "resampler"), "latent": COUNT,
    "num_layers": COUNT, "policy_rnn_dropout_p": SHARE, "action_space": tuple(space.value for space in ActionSpace),
    "history_type": tuple(history.value for history in History), "token_source": tuple(source.value for source in TokenSource),
    "fill_zero": FLAG, "n_bin": COUNT, "min_action": NUMBER, "max_action": NUMBER, "gripper_probability": FLAG, "num_classes": COUNT,
    "class_weights": WEIGHTS,
}  # fmt: skip
TRAIN_SETUP: dict[str, Want] = {
    "precision": tuple(PRECISIONS), "predict_action": FLAG, "train_vision": FLAG, "freeze_backbone": FLAG, "freeze_resampler": FLAG,
    "train_decoder_layers": LAYERS, "train_text_embedding": FLAG, "train_resampler": FLAG, "train_full_decoder": FLAG,
    "gradient_checkpointing": FLAG, "lora_enable": FLAG, "lora_r": COUNT, "lora_alpha": NUMBER, "lora_dropout": SHARE,
    "lora_bias": ("none", "all", "lora_only"), "reinit": FLAG, "load_vl_param": FLAG,
}  # fmt: skip
SECTIONS: dict[str, dict[str, Want]] = {
    "act_head": ACT_HEAD,
    "train_setup": TRAIN_SETUP,
    "vision_resampler": {"vis_dim": COUNT, "depth": COUNT, "dim_head": COUNT, "heads": COUNT, "num_latents": COUNT},
    "vision_encoder": {"clip_vision_encoder_path": WORD, "clip_vision_encoder_pretrained": WORD},
    "vlm": {"name": WORD, "pretrained_model_name_or_path": WORD, "residual": FLAG, "revision": WORD, "openflamingo_checkpoint": WORD},
    "tokenizer": {
        "pretrained_model_name_or_path": WORD, "tokenizer_type": WORD, "max_text_len": COUNT, "additional_special_tokens": WORDS,
    },
    "trainer": {
        "accelerator": WORD, "strategy": WORD,
        "precision": (*PRECISIONS, "64", "bf16-true", "16-true", "64-true"), "logger": LOGGERS, "gradient_clip_val": POSITIVE,
        "use_distributed_sampler": FLAG, "log_every_n_steps": WHOLE, "max_epochs": ENDLESS, "val_check_interval": ABOVE,
        "limit_val_batches": POSITIVE, "check_val_every_n_epoch": COUNT, "max_steps": ENDLESS, "accumulate_grad_batches": COUNT,
    },
}  # fmt: skip
TOP: dict[str, Want] = {
    "robovlm_name": tuple(BACKBONES), "model": WORD, "model_url": WORD, "model_path": WORD, "task_name": WORD,
    "image_size": COUNT, "image_mean": COLOUR, "image_std": SPREAD, "window_size": COUNT, "fwd_pred_next_n": COUNT,
    "reference_padding": FLAG, "reference_hidden": FLAG, "use_hand_rgb": FLAG, "use_state": FLAG, "use_vision_resampler": FLAG,
    "use_clip_norm": FLAG, "seed": WHOLE, "batch_size": COUNTS, "num_workers": WHOLES,
    "optimizer": ("adam", "adamw"), "learning_rate": POSITIVE, "min_lr_scale": SHARE, "weight_decay": POSITIVE,
    "warmup_epochs": POSITIVE, "warmup_steps": POSITIVE, "warmup_ratio": SHARE, "scheduler": ("constant", "cosine", "half-cosine"),
    "gradient_clip_val": POSITIVE, "arm_gripper_loss_ratio": POSITIVE, "fwd_loss_ratio": POSITIVE, "cap_loss_ratio": POSITIVE,
    "kl_div_ratio": POSITIVE, "clip_norm_ratio": POSITIVE, "vl_cotrain_ratio": POSITIVE,
    "norm_action": FLAG, "norm_min": NUMBER, "norm_max": NUMBER, "use_mu_law": FLAG, "mu_val": ABOVE,
    "regular_action": FLAG, "x_mean": NUMBERS, "x_std": DEVIATIONS, "tcp_rel": FLAG,
    "model_load_path": WORD, "model_load_source": ("torch", "lightning", "deepspeed"), "resume": WORD, "output_root": WORD,
    "log_root": WORD, "cache_root": WORD, "exp_name": WORD, "gpus": DEVICES, "num_nodes": COUNT, "train_weights": WEIGHTS,
    "train_dataset": SECTIONS_OR_ONE, "val_dataset": SECTIONS_OR_ONE,
    "action_layout": LAYOUT, "action_period_s": ABOVE, "action_execute": ("first", "chunk"),
}  # fmt: skip
# Pairs of which the first has to be below the second, with what RoboVLMs takes for one that is not given.
ORDERED = ((("norm_min", -1.0), ("norm_max", 1.0)), (("act_head.min_action", -1.0), ("act_head.max_action", 1.0)))

# What the data sets of RoboVLMs and of its mobile fork take, whatever their `type`; values are theirs to check.
DATASETS = ("train_dataset", "val_dataset")
DATASET = {
    "type", "sampler", "datasets", "min_sampled_num", "is_training", "task_type", "mode", "train", "is_validation", "train_split",
    "data_dir", "data_root_dir", "data_root", "data_mix", "data_path", "data_paths", "data_subfolder", "annotation_file", "image_folder",
    "video_folder", "episode_pattern", "lang_folder", "save_format", "key", "obs_space", "proprio_state", "transforms",
    "model_name", "tokenizer", "tokenizer_type", "tokenizer_config", "vit_name", "image_size", "image_aspect_ratio", "is_multimodal",
    "lazy_preprocess", "image_fn", "image_history", "image_aug", "rgb_pad", "gripper_pad", "traj_cons", "augment", "use_color_jitter",
    "use_random_crop", "text_aug", "text_seq_len", "patch_num", "use_mim_mask", "vision_masked_ratio", "filter_langs", "frame_num",
    "window_size", "fwd_pred_next_n", "act_step", "action_chunk_size", "chunk_action", "window_sample", "left_pad", "pad", "skip_frames",
    "shift_first", "dif_ws", "organize_type", "special_history_id", "predict_stop_token", "aux_lang_loss_window", "pretrain",
    "partial_data", "few_shot", "exclude_tasks", "decoder_type", "discrete", "discrete_action", "discrete_action_history",
    "action_history", "action_tokenizer", "abs_action", "c_act_scaler", "n_bin", "min_action", "max_action", "norm_action", "norm_min",
    "norm_max", "regular_action", "x_mean", "x_std", "use_mu_law", "mu_val", "tcp_rel", "batch_size", "num_workers", "weights", "seed",
    "shuffle_buffer_size", "buffer_size", "num_samples",
}  # fmt: skip

# In RoboVLMs' own files, read by nothing there. They are taken out, and said to be.
UNREAD = {
    "data_scale", "use_time_causal_attn", "use_mim_obs_loss", "use_pixel_loss", "use_obs_queries", "use_act_queries",
    "vision_masked_ratio", "use_tube_mask", "llava_config", "model_config", "discrete_action_history",
    "act_head.with_history", "act_head.fwd_pred_next_n", "act_head.window_size",  # the last two: overwritten with the top's
    "train_setup.bits", "train_setup.freeze_mm_mlp_adapter", "train_setup.tune_mm_mlp_adapter", "train_setup.mm_use_im_start_end",
    "train_setup.mm_use_im_patch_token", "train_setup.mm_projector_lr", "tokenizer.action_start_token", "tokenizer.action_end_token",
    "tokenizer.bbox_start_token", "tokenizer.bbox_end_token", "tokenizer.image_start_token", "tokenizer.image_end_token",
    "tokenizer.use_act_start_end", "tokenizer.use_bbox_start_end", "tokenizer.use_img_start_end",
}  # fmt: skip
# Read there, and settled here without being asked: by the model folder's config.json which class loads a model and its tokenizer,
# and that nothing is fetched; that there are no heads for future pictures and captions. `seq_len` is for a number that is printed,
# `llava` and `qwen` choose the wording of discrete evaluations.
SETTLED = {
    "seq_len", "llava", "qwen", "vlm.type", "tokenizer.type", "tokenizer.use_local_files", "train_setup.predict_forward",
    "train_setup.predict_forward_hand", "train_setup.predict_caption",
}  # fmt: skip
INERT = UNREAD | SETTLED
# Parts that RoboVLMs names and has no code for. Null, as its own files have them, or refused.
NEVER = {"act_encoder", "fwd_head"}
FOR_THE_TRAINER = {
    "task_name", "seed", "batch_size", "num_workers", "model_load_path", "model_load_source", "resume", "output_root", "log_root",
    "cache_root", "exp_name", "gpus", "num_nodes", "train_weights", "train_dataset", "val_dataset", "trainer.accelerator",
    "trainer.strategy", "trainer.precision", "trainer.logger", "trainer.use_distributed_sampler", "trainer.log_every_n_steps",
    "trainer.val_check_interval", "trainer.limit_val_batches", "trainer.check_val_every_n_epoch", "trainer.accumulate_grad_batches",
}  # fmt: skip
"""Checked, and handed on to what trains: no model, loss, optimiser or schedule of this package reads them.

Of `trainer`, `max_epochs`, `max_steps` and `gradient_clip_val` are not among them: `optimisation` reads these. `trainer.precision` is the
one around the model's own forward pass, inside which `train_setup.precision` decides; RoboVLMs overwrites the second with the first.
"""
FOR_THE_EXPORTER = {"action_layout", "action_period_s", "action_execute"}
"""This package's own: what each dimension of an action drives, how far apart a chunk's actions are, and how much of a chunk is carried out.

Handed on to `python -m export onnx`, which writes them into a bundle.
"""
