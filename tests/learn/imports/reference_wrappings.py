"""What RoboVLMs' trainers and LoRA put around a policy's names: files as they would have written them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch

from tests.learn.imports.reference_checkpoints import Case, Tensors

RAN = {"robovlm_name": "x", "learning_rate": 2e-5, "trainer": {"max_epochs": 5, "logger": ["tensorboard"]}, "val_dataset": [{"type": "y"}]}


def lightning(tensors: Tensors) -> object:
    """`ModelCheckpoint` of `BaseTrainer`, which keeps its configuration as hyper-parameters."""
    return {
        "epoch": 4, "global_step": 7000, "pytorch-lightning_version": "2.2.5",
        "state_dict": OrderedDict((f"model.{name}", tensor) for name, tensor in tensors.items()),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 5}, "current": {"ready": 5}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": None, "dirpath": "runs/x", "best_k_models": {}}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [{"lr": 2e-5, "params": [0]}]}],
        "lr_schedulers": [{"base_lrs": [2e-5], "last_epoch": 7000, "lr_lambdas": [{}]}],
        "hparams_name": "configs", "hyper_parameters": {"configs": RAN},
    }  # fmt: skip


def converted(tensors: Tensors) -> object:
    """`convert_zero_checkpoint_to_fp32_state_dict`: pieces of one fp32 vector, buffers as floats, DeepSpeed's own state left beside."""
    parameters = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    flat = torch.cat([tensor.float().flatten() for tensor in parameters.values()])
    state, offset = {name: tensor.float() for name, tensor in tensors.items() if name not in parameters}, 0
    for name, tensor in parameters.items():
        state[name] = flat.narrow(0, offset, tensor.numel()).view(tensor.shape)
        offset += tensor.numel()
    return {
        "state_dict": {f"model.{name}": tensor for name, tensor in state.items()}, "buffer_names": ["model.x"], "ds_version": "0.12.6",
        "param_shapes": [OrderedDict((f"model.{name}", tensor.shape) for name, tensor in state.items())], "frozen_param_shapes": None,
        "shared_params": OrderedDict(), "sparse_tensor_module_names": set(), "ds_config": {"zero_optimization": {"stage": 2}},
        "global_samples": 1, "hyper_parameters": {"configs": RAN},
    }  # fmt: skip


WRAPPINGS: dict[str, Callable[[Tensors], object]] = {
    "lightning": lightning,
    "deepspeed, converted": converted,
    "deepspeed, model states": lambda t: {"module": {f"_forward_module.model.{n}": v for n, v in t.items()}, "ds_version": "0.12.6"},
    "model_state_dict": lambda t: {"model_state_dict": t, "optimizer_state_dict": {"state": {}}},
    "bare": lambda t: t,
}


# -- what LoRA and a second name make of it


def doubled(case: Case, tensors: Tensors) -> Tensors:
    """Registered once more as `model`."""
    own = f"backbone.{case.inside}"
    return tensors | {f"model.{name.removeprefix(own)}": tensor for name, tensor in tensors.items() if name.startswith(own)}


def adapted(case: Case, tensors: Tensors, alpha: float, rank: int, *, base_layer: bool) -> Tensors:
    """With adapters in place whose sum with the stored weight is what the weight was. `base_layer` since peft 0.7."""
    draw, own = torch.Generator().manual_seed(3), f"backbone.{case.inside}"
    tables = ("embed", "wte", "lm_head", "latent", "position", "patch")
    stems = {
        name.removesuffix(".weight") for name, t in tensors.items()
        if name.startswith(own) and name.endswith(".weight") and t.ndim == 2 and not any(word in name for word in tables)
    }  # fmt: skip
    assert len(stems) > 4
    out: Tensors = {}
    for name, tensor in tensors.items():
        stem, _, leaf = name.rpartition(".")
        if stem not in stems:
            out[name] = tensor
            continue
        stored = f"{stem}.base_layer.{leaf}" if base_layer else name
        if leaf != "weight":
            out[stored] = tensor
            continue
        a = 0.1 * torch.randn(rank, tensor.shape[1], generator=draw)
        b = 0.1 * torch.randn(tensor.shape[0], rank, generator=draw)
        out |= {stored: tensor.float() - alpha / rank * (b @ a), f"{stem}.lora_A.default.weight": a, f"{stem}.lora_B.default.weight": b}
    return out


LORA_R, LORA_ALPHA = 4, 16


def peft(case: Case, tensors: Tensors) -> Tensors:
    """As upstream: adapters put into the backbone in place, and the PeftModel around it registered as `model`."""
    found, own = adapted(case, tensors, LORA_ALPHA, LORA_R, base_layer=True), f"backbone.{case.inside}"
    return found | {f"model.base_model.model.{n.removeprefix(own)}": t for n, t in found.items() if n.startswith(own)}


def peft_instead(case: Case, tensors: Tensors) -> Tensors:
    """As the mobile fork's checkpoints were seen to be: the PeftModel in the backbone's place."""
    own = f"backbone.{case.inside}"
    found = adapted(case, tensors, LORA_ALPHA, LORA_R, base_layer=True)
    return {n.replace(own, f"{own}base_model.model.", 1) if n.startswith(own) else n: t for n, t in found.items()}


def peft_before_0_7(case: Case, tensors: Tensors) -> Tensors:
    return adapted(case, tensors, LORA_ALPHA, LORA_R, base_layer=False)


LORA: dict[str, Callable[[Case, Tensors], Tensors]] = {
    "lora": peft,
    "lora in the backbone's place": peft_instead,
    "lora before base_layer": peft_before_0_7,
}
