"""Every key a configuration may have: it changes something that can be seen, or is told to be without effect, or waits for the trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from edge_vla.errors import ConfigError
from edge_vla.learn.config import check_config
from edge_vla.learn.config_keys import FOR_THE_EXPORTER, FOR_THE_TRAINER, INERT, NEVER, SECTIONS, SETTLED, TOP, UNREAD
from tests.learn.config.portrait import Look, policy, ratios, scaling, training

Config = dict[str, Any]
KNOWN = {*TOP, *(f"{section}.{key}" for section, keys in SECTIONS.items() for key in keys)}


@dataclass(frozen=True)
class Probe:
    """A value of one key, and where it shows. `on` is the backbone of a policy, `beside` what else its configuration says."""

    value: Any
    look: Look = policy
    on: str = "RoboPaligemma"
    beside: Config = field(default_factory=dict)


DISCRETE: Config = {"act_head": {"type": "DiscreteDecoder", "action_space": "discrete", "num_layers": None, "n_bin": 64}}
POOLED: Config = {"act_head": {"type": "FCDecoder", "num_layers": None, "down_sample": "pooling", "action_space": "down_sample"}}
FLAT: Config = {"act_head": {"type": "FCDecoder", "num_layers": None}}
CLASSES: Config = {"act_head": {"type": "MobileVLAClassificationDecoder"}}
RESAMPLED: Config = {"use_vision_resampler": True, "vision_resampler": {"depth": 1, "num_latents": 2, "heads": 2, "dim_head": 8}}
LORA: Config = {"train_setup": {"lora_enable": True, "lora_r": 2, "lora_alpha": 4, "lora_dropout": 0.1}}
RUN: Config = {"learning_rate": 1e-3, "trainer": {"max_epochs": 4}}
WARM: Config = RUN | {"warmup_steps": 40}
NORM: Config = {"norm_action": True, "norm_min": -0.65, "norm_max": 0.65}
REGULAR: Config = {"regular_action": True, "x_mean": 0.1, "x_std": 0.5}
FLAMINGO = "RoboFlamingo"

PROBES: dict[str, Probe] = {
    # the model
    "robovlm_name": Probe("RoboKosMos"),
    "model": Probe("kosmos"),
    "model_url": Probe("https://example.org/weights", beside={"vlm": {"pretrained_model_name_or_path": "gone"}}),
    "model_path": Probe("gone", beside={"vlm": {"pretrained_model_name_or_path": None}}),
    "image_size": Probe(56),
    "image_mean": Probe([0.1, 0.2, 0.3]),
    "image_std": Probe([0.1, 0.2, 0.3]),
    "window_size": Probe(3),
    "fwd_pred_next_n": Probe(3),
    "reference_padding": Probe(True),
    "reference_hidden": Probe(True, on=FLAMINGO),
    "use_hand_rgb": Probe(True),
    "use_state": Probe(True),
    "use_vision_resampler": Probe(True, beside={"vision_resampler": RESAMPLED["vision_resampler"]}),
    "use_clip_norm": Probe(True),
    "vision_resampler.vis_dim": Probe(1024, beside=RESAMPLED),
    "vision_resampler.depth": Probe(2, beside=RESAMPLED),
    "vision_resampler.dim_head": Probe(4, beside=RESAMPLED),
    "vision_resampler.heads": Probe(4, beside=RESAMPLED),
    "vision_resampler.num_latents": Probe(3, beside=RESAMPLED),
    "vision_encoder.clip_vision_encoder_path": Probe("ViT-L-14", on=FLAMINGO),
    "vision_encoder.clip_vision_encoder_pretrained": Probe("gone", on=FLAMINGO),
    "vlm.name": Probe("mpt_7b", on=FLAMINGO),
    "vlm.pretrained_model_name_or_path": Probe("gone"),
    "vlm.residual": Probe(True, on=FLAMINGO),
    "vlm.revision": Probe("2024-03-04", on="RoboMoonDream"),
    "vlm.openflamingo_checkpoint": Probe("gone", on=FLAMINGO),
    "tokenizer.pretrained_model_name_or_path": Probe("elsewhere"),
    "tokenizer.tokenizer_type": Probe("kosmos"),
    "tokenizer.max_text_len": Probe(4),
    "tokenizer.additional_special_tokens": Probe(["<one more>"]),
    # the head
    "act_head.type": Probe("GPTDecoder", beside={"act_head": {"num_layers": None}}),
    "act_head.hidden_size": Probe(24),
    "act_head.action_dim": Probe(5),
    "act_head.down_sample": Probe("resampler", beside=POOLED),
    "act_head.latent": Probe(2),
    "act_head.num_layers": Probe(2),
    "act_head.policy_rnn_dropout_p": Probe(0.25, beside={"act_head": {"num_layers": 2}}),
    "act_head.action_space": Probe("down_sample", beside={"act_head": {"down_sample": "pooling"}}),
    "act_head.history_type": Probe("pre"),
    "act_head.token_source": Probe("vision", beside=POOLED),
    "act_head.fill_zero": Probe(True),
    "act_head.n_bin": Probe(32, beside=DISCRETE),
    "act_head.min_action": Probe(-0.5, beside=DISCRETE),
    "act_head.max_action": Probe(0.5, beside=DISCRETE),
    "act_head.gripper_probability": Probe(True),
    "act_head.num_classes": Probe(8, beside=CLASSES),
    "act_head.class_weights": Probe([1, 2, 3, 4, 5, 6], beside=CLASSES),
    # what learns, and how
    "train_setup.precision": Probe("bf16"),
    "train_setup.predict_action": Probe(False),
    "train_setup.train_vision": Probe(True),
    "train_setup.freeze_backbone": Probe(True),
    "train_setup.freeze_resampler": Probe(True, beside=RESAMPLED),
    "train_setup.train_decoder_layers": Probe(1),
    "train_setup.train_text_embedding": Probe(True),
    "train_setup.train_resampler": Probe(False, on=FLAMINGO),
    "train_setup.train_full_decoder": Probe(True, on=FLAMINGO),
    "train_setup.load_vl_param": Probe(False, on=FLAMINGO),
    "train_setup.gradient_checkpointing": Probe(True),
    "train_setup.lora_enable": Probe(True, beside={"train_setup": {"lora_r": 2}}),
    "train_setup.lora_r": Probe(3, beside=LORA),
    "train_setup.lora_alpha": Probe(8, beside=LORA),
    "train_setup.lora_dropout": Probe(0.3, beside=LORA),
    "train_setup.lora_bias": Probe("all", beside=LORA),
    "train_setup.reinit": Probe(True),
    "optimizer": Probe("adam", training, beside=RUN),
    "learning_rate": Probe(2e-3, training, beside=RUN),
    "weight_decay": Probe(0.1, training, beside=RUN),
    "scheduler": Probe("half-cosine", training, beside=RUN),
    "min_lr_scale": Probe(0.5, training, beside=RUN | {"scheduler": "half-cosine"}),
    "warmup_epochs": Probe(1, training, beside=RUN),
    "warmup_steps": Probe(10, training, beside=RUN),
    "warmup_ratio": Probe(0.1, training, beside=RUN),
    "trainer.max_epochs": Probe(2, training, beside=RUN | {"scheduler": "cosine"}),
    "trainer.max_steps": Probe(50, training, beside=RUN | {"scheduler": "cosine"}),
    "gradient_clip_val": Probe(1.0, training, beside=RUN),
    "trainer.gradient_clip_val": Probe(1.0, training, beside=RUN),
    "arm_gripper_loss_ratio": Probe(0.5, ratios),
    "fwd_loss_ratio": Probe(0.5, ratios),
    "cap_loss_ratio": Probe(0.5, ratios),
    "kl_div_ratio": Probe(0.5, ratios),
    "clip_norm_ratio": Probe(0.5, ratios),
    "vl_cotrain_ratio": Probe(0.5, ratios),
    # the numbers of an action
    "norm_action": Probe(True, scaling, beside={"norm_min": -0.65, "norm_max": 0.65}),
    "norm_min": Probe(-0.5, scaling, beside=NORM),
    "norm_max": Probe(0.5, scaling, beside=NORM),
    "regular_action": Probe(True, scaling, beside={"x_mean": 0.1, "x_std": 0.5}),
    "x_mean": Probe([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], scaling, beside=REGULAR),
    "x_std": Probe(0.7, scaling, beside=REGULAR),
    "use_mu_law": Probe(True, scaling),
    "mu_val": Probe(5, scaling, beside={"use_mu_law": True}),
    "tcp_rel": Probe(True, scaling),
}


def said(path: str, value: Any) -> Config:
    section, _, key = path.rpartition(".")
    return {section: {key: value}} if section else {path: value}


def merged(under: Config, over: Config) -> Config:
    out = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = {**out[key], **value} if both else value
    return out


def test_a_key_is_one_of_four_things() -> None:
    assert set(PROBES) | FOR_THE_TRAINER | FOR_THE_EXPORTER == KNOWN
    assert not set(PROBES) & (FOR_THE_TRAINER | FOR_THE_EXPORTER)
    assert not FOR_THE_TRAINER & FOR_THE_EXPORTER
    assert not KNOWN & (INERT | NEVER)
    assert UNREAD | SETTLED == INERT


@pytest.mark.parametrize("key", PROBES)
def test_it_shows(key: str, make: Callable[..., Config]) -> None:
    probe = PROBES[key]
    plain = make(probe.on, **probe.beside) if probe.look is policy else probe.beside
    changed = merged(plain, said(key, probe.value))
    if probe.look is not policy:
        assert check_config(changed) == changed
    before, after = probe.look(plain), probe.look(changed)
    assert before == probe.look(plain), "seen twice, it looks the same"
    assert before != after


@pytest.mark.parametrize("key", sorted(INERT))
def test_what_has_no_effect_is_left_out_and_told(key: str) -> None:
    words = "without effect, here as in RoboVLMs" if key in UNREAD else "without effect here"
    with pytest.warns(UserWarning, match=f"{words}: {key}$"):
        found = check_config(said(key, 1))
    assert found in ({}, {key.partition(".")[0]: {}})


@pytest.mark.parametrize("key", sorted(NEVER))
def test_a_part_that_never_was_is_refused_unless_it_is_null(key: str) -> None:
    assert check_config({key: None}) == {}
    with pytest.raises(ConfigError, match=f"{key}: RoboVLMs names this part and has no code for it"):
        check_config({key: {"type": "FC"}})


GOOD = {
    "task_name": "calvin", "seed": 0, "batch_size": [4, 8], "num_workers": 0, "model_load_path": "x.pt", "model_load_source": "torch",
    "resume": "x.ckpt", "output_root": "runs", "log_root": "runs", "cache_root": "runs", "exp_name": "first", "gpus": "auto",
    "num_nodes": 2, "train_weights": [1, 0.5], "train_dataset": {"type": "OpenVLADataset"}, "val_dataset": [{"window_size": 3}],
    "trainer.accelerator": "gpu", "trainer.strategy": "ddp", "trainer.precision": 16, "trainer.logger": ["csv"],
    "trainer.use_distributed_sampler": False, "trainer.log_every_n_steps": 0, "trainer.val_check_interval": 0.5,
    "trainer.limit_val_batches": 100, "trainer.check_val_every_n_epoch": 1, "trainer.accumulate_grad_batches": 4,
    "action_layout": ["linear_x", "-", "angular_z", "-"], "action_period_s": 0.1, "action_execute": "chunk",
}  # fmt: skip
BAD = {  # what is nearly right
    "seed": -1, "batch_size": 0, "num_workers": 1.5, "gpus": -3, "num_nodes": 0, "train_weights": [-1], "model_load_source": "tensorflow",
    "train_dataset": {"windw_size": 3}, "val_dataset": [{"tpye": "x"}], "trainer.precision": 8, "trainer.logger": [1],
    "trainer.use_distributed_sampler": 1, "trainer.log_every_n_steps": -1, "trainer.val_check_interval": 0,
    "trainer.limit_val_batches": -1, "trainer.check_val_every_n_epoch": 0, "trainer.accumulate_grad_batches": 1.5,
    "action_layout": ["linear_x", "linear_x"], "action_period_s": 0, "action_execute": "last",
}  # fmt: skip


def test_every_key_that_is_handed_on_is_tried() -> None:
    assert set(GOOD) == FOR_THE_TRAINER | FOR_THE_EXPORTER


@pytest.mark.parametrize("layout", [[], ["linear_x", "yaw"], "linear_x", ["linear_x", 1], [["linear_x"]]])
def test_a_layout_is_of_axes_and_dashes(layout: object) -> None:
    with pytest.raises(ConfigError, match=r"action_layout .*: want a list of linear_x, linear_y and angular_z, each once at most"):
        check_config({"action_layout": layout})


@pytest.mark.parametrize("key", GOOD)
def test_what_is_for_others_is_checked_and_handed_on(key: str) -> None:
    config = said(key, GOOD[key])
    assert check_config(config) == config
    with pytest.raises(ConfigError, match=key):
        check_config(said(key, BAD.get(key, 3)))
