"""What the 11 configurations of github.com/Robot-VLAs/RoboVLMs (8adc1d2) say, as what they share and what each says otherwise."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

Config = dict[str, Any]
GONE = object()  # of what the others share

SHARED: Config = {
    "robovlm_name": "RoboKosMos", "parent": None, "task_name": "calvin_finetune", "model": "kosmos",
    "model_url": "https://huggingface.co/microsoft/kosmos-2-patch14-224", "seq_len": 1, "fwd_pred_next_n": 10,
    "arm_gripper_loss_ratio": 0.01, "cap_loss_ratio": 0.05, "fwd_loss_ratio": 0, "window_size": 8, "image_size": 224,
    "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711], "seed": 123, "batch_size": 4,
    "num_workers": 16, "data_scale": 1, "optimizer": "adam", "learning_rate": 2e-05, "min_lr_scale": 0.01, "weight_decay": 0,
    "warmup_epochs": 0.25, "warmup_steps": 0, "warmup_ratio": None, "use_hand_rgb": False, "use_time_causal_attn": False,
    "use_mim_obs_loss": False, "use_pixel_loss": True, "use_obs_queries": True, "vision_masked_ratio": 0.9, "use_tube_mask": False,
    "output_root": "runs/checkpoints", "log_root": "runs/logs", "cache_root": "runs/cache", "model_path": ".vlms/kosmos-2-patch14-224",
    "model_config": ".vlms/kosmos-2-patch14-224/config.json", "model_load_path": None, "model_load_source": "torch", "resume": None,
    "vlm": {"type": "AutoModelForVision2Seq", "pretrained_model_name_or_path": ".vlms/kosmos-2-patch14-224", "name": "kosmos"},
    "tokenizer": {
        "type": "AutoProcessor", "pretrained_model_name_or_path": ".vlms/kosmos-2-patch14-224", "tokenizer_type": "kosmos",
        "max_text_len": 256, "additional_special_tokens": None,
    },
    "train_setup": {
        "predict_action": True, "predict_forward": False, "predict_forward_hand": False, "predict_caption": False, "train_vision": True,
        "train_text_embedding": True, "precision": "bf16", "bits": -1, "freeze_mm_mlp_adapter": False, "freeze_backbone": False,
        "freeze_resampler": False, "tune_mm_mlp_adapter": False, "mm_use_im_start_end": False, "mm_use_im_patch_token": False,
        "gradient_checkpointing": False, "lora_enable": False, "mm_projector_lr": 0.0001, "lora_r": 64, "lora_alpha": 16,
        "lora_dropout": 0.05, "lora_bias": "none",
    },
    "act_encoder": None,
    "act_head": {
        "type": "LSTMDecoder", "hidden_size": 1024, "action_dim": 7, "down_sample": "none", "latent": 1, "fwd_pred_next_n": 1,
        "window_size": 1, "action_space": "continuous", "with_history": True, "history_type": "post",
    },
    "fwd_head": None,
    "trainer": {
        "accelerator": "gpu", "strategy": "deepspeed_stage_2", "precision": "16", "logger": ["tensorboard"], "gradient_clip_val": 1.0,
        "use_distributed_sampler": False, "log_every_n_steps": 10, "max_epochs": 5, "val_check_interval": None,
        "check_val_every_n_epoch": 1, "max_steps": -1, "accumulate_grad_batches": 1,
    },
    "train_dataset": {
        "type": "DiskCalvinDataset", "data_dir": "datasets/calvin_data/task_ABCD_D/training", "shift_first": False, "rgb_pad": 10,
        "gripper_pad": 4, "model_name": "kosmos",
    },
    "val_dataset": {"type": "DiskCalvinDataset", "data_dir": "datasets/calvin_data/task_ABCD_D/validation", "model_name": "kosmos"},
    "norm_action": True, "norm_min": -0.65, "norm_max": 0.65, "use_vision_resampler": False,
    "vision_resampler": {"vis_dim": 1024, "depth": 8, "dim_head": 64, "heads": 8, "num_latents": 64},
}  # fmt: skip


def of(robovlm: str, name: str, folder: str | None, **changes: Any) -> Config:
    """What a file says as often as it names its model."""
    said = {
        "robovlm_name": robovlm, "model": name, "vlm.name": name, "tokenizer.tokenizer_type": name, "train_dataset.model_name": name,
        "val_dataset.model_name": name, "model_path": folder or GONE, "model_config": f"{folder}/config.json" if folder else GONE,
    }  # fmt: skip
    places = {"vlm.pretrained_model_name_or_path": folder, "tokenizer.pretrained_model_name_or_path": folder} if folder else {}
    return said | places | {key.replace("__", "."): value for key, value in changes.items()}


OXE: Config = {
    "window_size": 16, "use_hand_rgb": True, "trainer.val_check_interval": 10000, "trainer.check_val_every_n_epoch": None,
    "trainer.max_steps": 50000,
}  # fmt: skip


def oxe(mix: str, seen: str, **changes: Any) -> Config:
    both = {"type": "OpenVLADataset", "data_root_dir": "datasets/open-x-embodiment", "model_name": "kosmos", "mode": "train",
            "window_sample": "sliding", "organize_type": "interleave"}  # fmt: skip
    return OXE | changes | {
        "train_dataset": both | {"image_aug": True, "data_mix": mix, "shuffle_buffer_size": 51200, "train": True},
        "val_dataset": both | {"data_mix": seen, "shuffle_buffer_size": 10000, "train": False},
    }  # fmt: skip


UNSAID = (
    "precision", "bits", "freeze_mm_mlp_adapter", "freeze_backbone", "freeze_resampler", "tune_mm_mlp_adapter", "mm_use_im_start_end",
    "mm_use_im_patch_token", "gradient_checkpointing", "lora_enable", "mm_projector_lr", "lora_r", "lora_alpha", "lora_dropout",
    "lora_bias",
)  # fmt: skip
MPT, LLAVA = "mpt-1b-redpajama-200b-dolly", ".vlms/LLaVA-Lightning-MPT-7B-preview"
MARKS = {"use_img_start_end": False, "image_start_token": "<im_start>", "image_end_token": "<im_end>", "use_act_start_end": False,
         "action_start_token": "<act_start>", "action_end_token": "<act_end>", "use_bbox_start_end": False,
         "bbox_start_token": "<bbox_start>", "bbox_end_token": "<bbox_end>"}  # fmt: skip
FILES: dict[str, Config] = {
    "calvin flamingo": of(
        "RoboFlamingo", "flamingo", None, model_path=f".vlms/{MPT}", model_config=f".vlms/{MPT}/config.json",
        model_url="https://huggingface.co/openflamingo/OpenFlamingo-3B-vitl-mpt1b-langinstruct", learning_rate=0.0001, weight_decay=0.1,
        warmup_epochs=0, use_vision_resampler=GONE, vision_resampler=GONE, gradient_clip_val=1.0, vlm__type="AutoModelForCausalLM",
        vlm__pretrained_model_name_or_path=MPT, vlm__name="mpt_1b_ift", vlm__residual=False, tokenizer__type="AutoTokenizer",
        tokenizer__pretrained_model_name_or_path=MPT, tokenizer__max_text_len=32,
        tokenizer__additional_special_tokens=["<|endofchunk|>", "<image>"], act_head__down_sample="pooling",
        act_head__action_space="down_sample", trainer__precision="16-mixed", trainer__use_distributed_sampler=True,
        trainer__log_every_n_steps=100, trainer__limit_val_batches=100, trainer__accumulate_grad_batches=GONE,
        train_dataset__data_dir="calvin_data/task_ABCD_D/training", val_dataset__data_dir="calvin_data/task_ABCD_D/validation",
        train_dataset__model_name=GONE, val_dataset__model_name=GONE, train_dataset__tokenizer_type="flamingo",
        train_dataset__traj_cons=True, val_dataset__tokenizer_type="flamingo", train_setup__train_vision=False,
        train_setup__train_resampler=True, train_setup__train_full_decoder=False, train_setup__train_decoder_layers=-1,
        vision_encoder={"clip_vision_encoder_path": "ViT-L-14", "clip_vision_encoder_pretrained": "openai"},
    ) | {f"train_setup.{key}": GONE for key in UNSAID},
    "calvin kosmos hand": {"window_size": 16, "use_hand_rgb": True},
    "calvin kosmos": {"batch_size": 41},
    "calvin llava": of(
        "RoboLLaVA", "llava", None, model_url="https://huggingface.co/liuhaotian/llava-v1.5-7b", cap_loss_ratio=1, batch_size=1,
        model_load_source="deepspeed", vlm__type="AutoModel", vlm__pretrained_model_name_or_path=LLAVA, tokenizer__type="AutoTokenizer",
        tokenizer__pretrained_model_name_or_path=LLAVA, tokenizer__max_text_len=64, tokenizer__additional_special_tokens=[],
        train_setup__train_text_embedding=False, train_setup__tune_mm_mlp_adapter=True, trainer__precision="bf16",
        trainer__log_every_n_steps=100, trainer__accumulate_grad_batches=4, trainer__limit_val_batches=100,
        train_dataset__model_name="mpt", val_dataset__model_name="mpt", train_dataset__traj_cons=True, vl_cotrain_ratio=1,
        llava="llava-mpt-7b", llava_config=f"{LLAVA}/config.json",
    ),
    "calvin moondream": of(
        "RoboMoonDream", "moondream", ".vlms/moondream2", model_url="https://huggingface.co/vikhyatk/moondream2",
        vlm__type="AutoModelForCausalLM", tokenizer__type="AutoTokenizer", trainer__strategy="deepspeed_stage_3",
        trainer__precision="bf16", use_vision_resampler=True,
    ),
    "calvin paligemma": of(
        "RoboPaligemma", "paligemma", ".vlms/paligemma-3b-pt-224", model_url="https://huggingface.co/google/paligemma2-3b-pt-224",
        model_path=".vlms/VLMs/paligemma-3b-pt-224", model_config=".vlms/VLMs/paligemma-3b-pt-224/config.json",
        vlm__type="PaliGemmaForConditionalGeneration",
    ),
    "calvin qwen": of(
        "RoboQwen", "qwen", None, model_url="https://huggingface.co/Qwen/Qwen-VL", image_size=448, batch_size=1,
        vlm__type="AutoModelForCausalLM", vlm__pretrained_model_name_or_path=".vlms/Qwen-VL", tokenizer__type="AutoTokenizer",
        tokenizer__pretrained_model_name_or_path=".vlms/Qwen-VL", tokenizer__max_text_len=64, train_setup__train_vision=False,
        tokenizer__additional_special_tokens=GONE, trainer__precision="bf16", trainer__log_every_n_steps=100,
        trainer__accumulate_grad_batches=4, qwen=".vlms/Qwen-VL",
    ) | {f"tokenizer.{key}": value for key, value in MARKS.items()},
    "calvin uform": of(
        "RoboUform", "uform", ".vlms/uform-gen2-qwen-500m", model_url="https://huggingface.co/unum-cloud/uform-gen2-qwen-500m",
        vlm__type="AutoModel", act_head__down_sample="pooling", act_head__action_space="down_sample", act_head__token_source="all",
        trainer__precision="bf16", trainer__val_check_interval=10000, trainer__check_val_every_n_epoch=None,
    ),
    "oxe kosmos bridge": oxe("bridge", "bridge"),
    "oxe kosmos pretrain": oxe("oxe_magic_soup", "rt_1"),
    "oxe kosmos rt": oxe("rt_1", "rt_1", warmup_epochs=0, warmup_steps=5000),
}  # fmt: skip


def shipped(name: str) -> Config:
    """The whole configuration of a file."""
    config = deepcopy(SHARED)
    for path, value in FILES[name].items():
        section, _, key = path.rpartition(".")
        inside = config[section] if section else config
        if value is GONE:
            inside.pop(key, None)
        else:
            inside[key] = deepcopy(value)
    return config
