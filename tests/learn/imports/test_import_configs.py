"""The configuration beside a checkpoint: a run's own, what RoboVLMs does not read of it, and what of it goes into OUT/."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from edge_vla.errors import ConfigError
from edge_vla.learn.build import build_policy, load_policy
from edge_vla.learn.checkpoint import read_weights
from edge_vla.learn.import_robovlms import import_checkpoint
from edge_vla.learn.reference_config import load_reference, portable
from tests.learn.backbones.tiny_moondream import write_moondream

Config = dict[str, Any]
# finetune_moondream_cont-all-lstm-post_full-ft_text_vision_wd=0_ws-8_act-10.json of RoboVLMs, its datasets and sizes cut down.
SHIPPED: Config = {
    "robovlm_name": "RoboMoonDream", "task_name": "calvin_finetune", "model": "moondream",
    "model_url": "https://huggingface.co/vikhyatk/moondream2", "image_size": 56, "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5], "window_size": 2, "fwd_pred_next_n": 2, "batch_size": 4, "optimizer": "adam", "learning_rate": 2e-05,
    "min_lr_scale": 0.01, "weight_decay": 0, "warmup_epochs": 0.25, "warmup_steps": 0, "warmup_ratio": None, "use_hand_rgb": False,
    "use_time_causal_attn": False, "use_mim_obs_loss": False, "use_pixel_loss": True, "use_obs_queries": True, "use_vision_resampler": True,
    "vision_masked_ratio": -1, "use_tube_mask": False, "output_root": "runs/checkpoints", "log_root": "runs/logs", "cache_root": "runs/x",
    "model_load_path": None, "model_load_source": "torch", "resume": None, "fwd_head": None, "tokenizer": {
        "type": "AutoTokenizer", "pretrained_model_name_or_path": ".vlms/moondream2", "tokenizer_type": "moondream", "max_text_len": 256,
        "additional_special_tokens": None,
    },
    "train_setup": {
        "precision": "bf16", "predict_action": True, "predict_forward": False, "predict_forward_hand": False, "predict_caption": False,
        "train_vision": True, "bits": -1, "freeze_mm_mlp_adapter": False, "freeze_backbone": False, "freeze_resampler": False,
        "tune_mm_mlp_adapter": False, "mm_use_im_start_end": False, "mm_use_im_patch_token": False, "gradient_checkpointing": False,
        "lora_enable": False, "mm_projector_lr": 0.0001, "lora_r": 64, "lora_alpha": 16, "lora_dropout": 0.05, "lora_bias": "none",
        "train_text_embedding": True,
    },
    "vision_resampler": {"vis_dim": 1024, "depth": 8, "dim_head": 64, "heads": 8, "num_latents": 64},
    "act_encoder": None,
    "act_head": {
        "type": "LSTMDecoder", "hidden_size": 16, "num_layers": 1, "action_dim": 7, "down_sample": "none", "latent": 1,
        "fwd_pred_next_n": 1, "window_size": 1, "action_space": "continuous", "with_history": True, "history_type": "post",
    },
    "trainer": {"strategy": "deepspeed_stage_3", "precision": "bf16", "gradient_clip_val": 1.0, "max_epochs": 5},
}  # fmt: skip
# What main.py's arguments add to it, unless they are given, and what its run does.
ARGUMENTS: Config = {
    "config": "configs/x.json", "gpus": 8, "num_nodes": 1, "seed": 123, "log_dir": "runs/logs/x", "output_dir": "runs/checkpoints/x",
    "data_dir": None, "annotation_file": None, "data_subfolder": None, "task_num": None, "seq_len": 1, "exp_name": None,
    "fwd_loss_ratio": None, "use_multi_modal_emb": False, "no_video_pretrained_model": False, "finetune": False,
    "llm": {"type": None, "n_embd": None, "n_layer": None, "n_head": None}, "raw_config_path": "configs/x.json",
    "parent": "configs/base.json",
}  # fmt: skip


def of_a_run(config: Config, precision: str = "16-mixed") -> Config:
    gone = ("output_root", "log_root")
    ran = {key: value for key, value in (config | ARGUMENTS).items() if key not in gone}
    return ran | {"train_setup": config["train_setup"] | {"precision": precision}}


def moondream(folder: Path, seed: int) -> Config:
    write_moondream(folder, "C", seed)
    return SHIPPED | {"vlm": {"type": "AutoModelForCausalLM", "name": "moondream", "pretrained_model_name_or_path": str(folder)}}


def write(file: Path, config: Config) -> Path:
    file.write_text(json.dumps(config))
    return file


@pytest.mark.filterwarnings("ignore:.*without effect, here as in RoboVLMs", "ignore:image_(size|mean|std) ")
@torch.no_grad()
def test_a_runs_configuration_and_the_resampler_that_no_configuration_sizes(tmp_path: Path) -> None:
    """RoboVLMs builds its resampler by its width alone, six layers deep, whatever `vision_resampler` says: 8 in all it ships."""
    trained, untrained = moondream(tmp_path / "trained", 5), moondream(tmp_path / "vlm", 0)
    torch.manual_seed(1)
    source = build_policy(trained | {"vision_resampler": None, "tokenizer": None, "reference_padding": True}).eval()
    assert source.vision_resampler is not None
    assert len(source.vision_resampler.layers) == 6
    policy = {n: t + 0.1 * torch.randn_like(t) for n, t in source.state_dict().items() if not n.startswith("backbone.")}
    source.load_state_dict(policy, strict=False)
    saved = {f"model.backbone.{n}": t for n, t in read_weights(tmp_path / "trained").items()}
    saved["model.clip_norm_head.lang_fc.weight"] = torch.ones(2, 2)  # of a loss
    torch.save({"state_dict": saved | {f"model.{n}": t for n, t in policy.items()}}, tmp_path / "policy.pt")
    ran = write(tmp_path / "2024-12-01-project.json", of_a_run(untrained | {"use_state": True, "use_clip_norm": True}))
    parts = import_checkpoint(tmp_path / "policy.pt", ran, tmp_path / "out")
    assert parts.dropped == {"clip_norm_head.lang_fc.weight": "trains the reference's CLIP loss only"}
    shutil.rmtree(tmp_path / "vlm")  # OUT/ is whole by itself
    model = load_policy(tmp_path / "out")
    images, ids = torch.randn(1, 2, 3, 56, 56), torch.randint(11, 200, (1, 6))
    for got, want in zip(model.inference(images, ids)["action"], source.inference(images, ids)["action"], strict=True):
        torch.testing.assert_close(got, want, atol=1e-6, rtol=0.0)
    assert not model.use_state, "RoboVLMs' trainer never reads it, so these weights have none"


@pytest.mark.filterwarnings("ignore:.*without effect, here as in RoboVLMs")
@pytest.mark.parametrize(("said", "read"), [("16", "16"), ("16-mixed", "16"), ("bf16-true", "bf16"), (None, "32")])
def test_precisions_in_lightnings_words(said: str | None, read: str, tmp_path: Path) -> None:
    ran = of_a_run(SHIPPED, str(said)) if said else of_a_run(SHIPPED) | {"train_setup": {"precision": None}}
    assert load_reference(write(tmp_path / "x.json", ran))["train_setup"]["precision"] == read


def test_a_configuration_that_no_run_wrote_is_as_strict_as_ever(tmp_path: Path) -> None:
    for extra in ({"finetune": False}, {"act_heat": {}}):
        with pytest.raises(ConfigError, match="unknown key"):
            load_reference(write(tmp_path / "x.json", {"robovlm_name": "RoboKosMos"} | extra))
    with pytest.raises(ConfigError, match="unknown key 'act_heat'; did you mean 'act_head'"):
        load_reference(write(tmp_path / "x.json", {"raw_config_path": "x", "act_heat": {}}))
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(ConfigError, match="holds a list"):
        load_reference(tmp_path / "x.json")
    with pytest.raises(ConfigError, match="No such file"):
        load_reference(tmp_path / "y.json")


def test_yaml_and_parents_are_read(tmp_path: Path) -> None:
    write(tmp_path / "base.json", {"window_size": 4, "fwd_pred_next_n": 3})
    (tmp_path / "x.yaml").write_text("parent: base.json\nwindow_size: 8\n")
    assert load_reference(tmp_path / "x.yaml") == {"window_size": 8, "fwd_pred_next_n": 3}


def test_what_names_a_place_stays_behind() -> None:
    """Paths of the machine that trained, and another machine's."""
    places: Config = {
        "model_path": "/a", "model_config": "/a", "cache_root": "/a", "tokenizer": {"pretrained_model_name_or_path": "/a"},
        "vision_encoder": {"clip_vision_encoder_path": "/a", "clip_vision_encoder_pretrained": "/a"},
        "vlm": {"name": "mpt_7b", "pretrained_model_name_or_path": "/a", "openflamingo_checkpoint": "/a", "revision": "2024-08-26"},
    }  # fmt: skip
    found = portable(places, ())
    assert "/a" not in json.dumps(found)
    assert found["vlm"] == {"name": "mpt_7b", "pretrained_model_name_or_path": "vlm", "revision": "2024-08-26"}
    tokens = {"additional_special_tokens": ["<image>", "<|endofchunk|>"], "max_text_len": 32}
    assert portable({"tokenizer": tokens}, ())["tokenizer"] == {"additional_special_tokens": ["<image>", "<|endofchunk|>"]}
    assert portable({"use_state": True, "vlm": None, "train_setup": None}, ["embed_state.bias"])["use_state"]


@torch.no_grad()
@pytest.mark.parametrize("buffers", [lambda t: t, lambda t: t.float(), None], ids=("as saved", "as converted", "left out"))
def test_a_transformer_heads_mask_is_no_weight(
    buffers: Callable[[torch.Tensor], torch.Tensor] | None, write_kosmos: Callable[..., Path], tmp_path: Path
) -> None:
    """RoboVLMs' GPT keeps its mask in buffers; DeepSpeed's conversion makes floats of them."""
    folder = write_kosmos(tmp_path / "vlm")
    head = {"type": "GPTDecoder", "hidden_size": 16, "action_dim": 7, "action_space": "continuous", "down_sample": "none", "latent": 1}
    config = {
        "robovlm_name": "RoboKosMos", "window_size": 3, "fwd_pred_next_n": 2, "act_head": head,
        "vlm": {"name": "kosmos", "pretrained_model_name_or_path": str(folder)},
    }  # fmt: skip
    torch.manual_seed(2)
    source = build_policy(config | {"reference_padding": True}).eval()
    source.action_token.copy_(torch.randn_like(source.action_token))
    saved = {n: t for n, t in source.state_dict().items() if not n.startswith("backbone.")}
    masks = [n for n in saved if n.endswith((".attn.bias", ".masked_bias"))]
    assert len(masks) == 16
    assert saved[masks[0]].shape == (1, 1, 16, 16)
    saved = {n: t if n not in masks else buffers(t) for n, t in saved.items() if n not in masks or buffers}
    saved |= {f"backbone.{n}": t for n, t in load_file(folder / "model.safetensors").items()}
    torch.save({"state_dict": {f"model.{n}": t for n, t in saved.items()}}, tmp_path / "policy.pt")
    import_checkpoint(tmp_path / "policy.pt", write(tmp_path / "x.json", config), tmp_path / "out")
    model = load_policy(tmp_path / "out")
    images, ids = torch.randn(1, 3, 3, 28, 28), torch.randint(4, 300, (1, 6))
    for got, want in zip(model.inference(images, ids)["action"], source.inference(images, ids)["action"], strict=True):
        torch.testing.assert_close(got, want, atol=1e-6, rtol=0.0)
