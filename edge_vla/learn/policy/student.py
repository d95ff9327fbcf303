"""The student: PaliGemma's architecture at a thousandth of its size, random weights, in the folder layout that `load_policy` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, PreTrainedTokenizerFast

from edge_vla.goals import GOALS
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.build import CONFIG, POLICY_WEIGHTS, build_policy
from edge_vla.learn.policy.teacher import CHUNK, LAYOUT, PERIOD_S, SPEED_MPS, TURN_RPS
from edge_vla.sim.objects import CLASSES

BACKBONE = "backbone"
SIDE_PX, PATCH_PX = 112, 14
GRID = SIDE_PX // PATCH_PX
WINDOW = 4
ROWS = 128
SPECIAL = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
VISION: dict[str, Any] = {
    "model_type": "siglip_vision_model", "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4,
    "image_size": SIDE_PX, "patch_size": PATCH_PX, "projection_dim": 128, "vision_use_head": False,
}  # fmt: skip
TEXT: dict[str, Any] = {
    "model_type": "gemma", "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 1, "head_dim": 32, "vocab_size": ROWS, "max_position_embeddings": 256, "pad_token_id": 0, "eos_token_id": 1,
    "bos_token_id": 2,
}  # fmt: skip


def config() -> dict[str, Any]:
    """The configuration, without the folder: an LSTM over four frames. The numbers of a lesson stay well within tanh's reach."""
    return {
        "robovlm_name": "RoboPaligemma", "window_size": WINDOW, "fwd_pred_next_n": CHUNK,
        "act_head": {
            "type": "MobileVLALSTMDecoder", "hidden_size": 128, "action_dim": len(LAYOUT), "action_space": "continuous",
            "history_type": "post", "down_sample": "none", "num_layers": 1,
        },
        "action_layout": list(LAYOUT), "action_period_s": PERIOD_S, "action_execute": "first",
        "regular_action": True, "x_mean": [0.0, 0.0], "x_std": [1.25 * SPEED_MPS, 1.25 * TURN_RPS],
        "train_setup": {"train_vision": True, "train_text_embedding": True},
    }  # fmt: skip


def write_student(folder: Path) -> None:
    """A fresh student: backbone, tokenizer and configuration; its head is made when it is built."""
    inside = folder / BACKBONE
    inside.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(inside)
    shape = PaliGemmaConfig(vision_config=VISION, text_config=TEXT, projection_dim=TEXT["hidden_size"], image_token_index=ROWS - 1)
    PaliGemmaForConditionalGeneration(shape).save_pretrained(inside)
    _write_config(folder)


def build_student(folder: Path) -> BaseRoboVLM:
    """The student in a folder, its head fresh."""
    return build_policy(config() | {"vlm": {"pretrained_model_name_or_path": str(folder / BACKBONE)}})


def release(model: BaseRoboVLM, folder: Path) -> None:
    """A trained student as `load_policy` reads it."""
    inside = folder / BACKBONE
    inside.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(inside)
    model.backbone.save_pretrained(inside)
    rest = {name: value.contiguous() for name, value in model.state_dict().items() if not name.startswith("backbone.")}
    save_file(rest, folder / POLICY_WEIGHTS, {"format": "pt"})
    _write_config(folder)


def _write_config(folder: Path) -> None:
    (folder / CONFIG).write_text(json.dumps(config() | {"vlm": {"pretrained_model_name_or_path": BACKBONE}}, indent=1) + "\n")


def _write_tokenizer(folder: Path) -> None:
    """Whole words: those of every goal's instruction and of every thing."""
    said = {word for spec in GOALS.values() for word in spec.instruction.split() if not word.startswith("{")}
    words = [*SPECIAL.values(), "\n", *sorted(said), *CLASSES]
    told = Tokenizer(models.WordLevel({word: row for row, word in enumerate(words)}, unk_token=SPECIAL["unk_token"]))
    told.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split(Regex("\n"), "isolated"), pre_tokenizers.Split("<eos>", "isolated")]
    )
    PreTrainedTokenizerFast(tokenizer_object=told, **SPECIAL).save_pretrained(folder)


def seeded(seed: int, folder: Path) -> BaseRoboVLM:
    """A fresh student, the same for the same seed."""
    torch.manual_seed(seed)
    write_student(folder)
    return build_student(folder)
