"""The configuration that RoboVLMs leaves beside a checkpoint, and what of it a policy of ours is built from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from edge_vla.errors import ConfigError
from edge_vla.learn.config import Config, check_config, load_config

RAN = "raw_config_path"  # only the configuration of a run, `<time>-project.json`, has it
# What a run adds to its configuration: every option of its command line, and where it wrote. No part of a model.
OF_A_RUN = {
    RAN, "parent", "config", "log_dir", "output_dir", "data_dir", "annotation_file", "data_subfolder", "task_num", "use_multi_modal_emb",
    "no_video_pretrained_model", "finetune", "llm", "use_clip_norm",
}  # fmt: skip
# Of the machine or the run that trained: paths, a loss, and what the policy's folder says by itself.
LEFT_BEHIND = {
    "model_path", "model_config", "model_url", "model_load_path", "model_load_source", "resume", "tokenizer", "vision_encoder",
    "vision_resampler", "exp_name", "cache_root", "log_root", "output_root", "use_clip_norm", "image_mean", "image_std",
}  # fmt: skip


def load_reference(file: Path) -> Config:
    """A configuration of RoboVLMs, its own kind or a run's. Raises ConfigError."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return load_config(file)  # YAML, or an error in that function's words
    if not isinstance(found, dict) or RAN not in found:
        return load_config(file)
    kept = {key: value for key, value in found.items() if key not in OF_A_RUN}  # a run's has its parents merged already
    setup = kept.get("train_setup")
    if isinstance(setup, dict):  # Lightning's words: 16-mixed, bf16-true
        kept["train_setup"] = setup | {"precision": str(setup.get("precision") or "32").partition("-")[0]}
    return check_config(kept, str(file))


def portable(configs: Config, weights: Iterable[str]) -> Config:
    """The configuration for a folder that is whole by itself, for a policy of these names of weights.

    RoboVLMs reads neither `vision_resampler`, `image_mean` and `image_std` nor, in its trainer, `use_state`: its resampler has one size,
    its pictures are the backbone's, and its policies have no state unless their weights do.
    """
    tokens = (configs.get("tokenizer") or {}).get("additional_special_tokens")
    return {key: value for key, value in configs.items() if key not in LEFT_BEHIND} | {
        "vlm": {key: value for key, value in (configs.get("vlm") or {}).items() if key != "openflamingo_checkpoint"}
        | {"pretrained_model_name_or_path": "vlm"},
        "train_setup": {**(configs.get("train_setup") or {}), "lora_enable": False},
        "reference_padding": True,
        "use_state": any(name.startswith("embed_state.") for name in weights),
        **({"tokenizer": {"additional_special_tokens": tokens}} if tokens else {}),
    }


def check_head(configs: Config, sizes: dict[str, int]) -> None:
    """Raises ConfigError when a head's weights are of another action or chunk than the configuration says.

    `sizes` are the lengths of the last biases of `actions` and `gripper`.
    """
    head = configs.get("act_head") or {}
    if not head or sizes.keys() != {"actions", "gripper"} or sizes["actions"] % sizes["gripper"]:
        return
    found = {"action_dim": sizes["actions"] // sizes["gripper"] + 1, "fwd_pred_next_n": sizes["gripper"]}
    said = {"action_dim": head.get("action_dim"), "fwd_pred_next_n": configs.get("fwd_pred_next_n", 1)}
    wrong = [f"{key} {found[key]}, the configuration says {said[key]}" for key in found if said[key] != found[key]]
    if wrong:
        raise ConfigError(f"act_head: its weights are of {'; '.join(wrong)}")
