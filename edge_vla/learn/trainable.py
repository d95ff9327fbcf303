"""Which weights learn: freezing switches, LoRA, gradient checkpointing, precision, as `train_setup` names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edge_vla.errors import ConfigError

if TYPE_CHECKING:
    from edge_vla.learn.backbones.base import BaseRoboVLM

PRECISIONS = {
    "bf16": torch.bfloat16, "bf16-mixed": torch.bfloat16, "fp16": torch.float16, "16": torch.float16, "16-mixed": torch.float16,
    "fp32": torch.float32, "32": torch.float32, "32-true": torch.float32,
}  # fmt: skip
LAYERS = ("layers", "blocks", "h")  # what backbones call the list of their decoder layers
WORD_HEADS = {"lm_head", "post_ln"}  # and what makes logits of their output: part of the language model, wherever it is kept


def set_up(model: BaseRoboVLM, setup: Mapping[str, Any]) -> None:
    """Freeze and thaw, then wrap with LoRA, then switch gradient checkpointing on. Raises ConfigError."""
    freeze(model, setup)
    if setup.get("lora_enable", False):
        add_lora(model, setup)
    if setup.get("gradient_checkpointing", False):
        enable_checkpointing(model)


def freeze(model: BaseRoboVLM, setup: Mapping[str, Any]) -> None:
    """The backbone per `freeze_backbone` and `train_decoder_layers`, then towers and embedding per their own switches; the head learns."""
    backbone, layers = model.backbone, int(setup.get("train_decoder_layers", -1))
    backbone.requires_grad_(not setup.get("freeze_backbone", False) and layers == -1)
    if layers >= 0 and not setup.get("freeze_backbone", False):
        own = decoder_layers(model.text_tower)
        if layers > len(own):
            raise ConfigError(f"train_decoder_layers {layers}: this backbone has {len(own)}")
        for layer in own[len(own) - layers :]:
            layer.requires_grad_(requires_grad=True)
    model.vision_tower.requires_grad_(bool(setup.get("train_vision", False)))
    model.word_embedding.requires_grad_(bool(setup.get("train_text_embedding", False)))
    if model.vision_resampler is not None:
        model.vision_resampler.requires_grad_(not setup.get("freeze_resampler", False))
    if model.act_head is not None:
        model.act_head.requires_grad_(requires_grad=True)


def decoder_layers(tower: nn.Module) -> nn.ModuleList:
    """The language model's layers, however it calls them. Raises ConfigError for one that has none."""
    for name in LAYERS:
        found = getattr(tower, name, None)
        if isinstance(found, nn.ModuleList):
            return found
    raise ConfigError(f"train_decoder_layers: {type(tower).__name__} has no list of layers named {', '.join(LAYERS)}")


def linear_names(model: BaseRoboVLM) -> list[str]:
    """Linear layers of the language model, by their full names in the backbone: what LoRA adapts. Head and vision stay as they are."""
    vision = {id(m) for m in model.vision_tower.modules()}  # Qwen-VL's language model carries its vision tower inside
    inside = {id(m) for m in model.text_tower.modules() if isinstance(m, nn.Linear)} - vision
    return [name for name, m in model.backbone.named_modules() if id(m) in inside]


def add_lora(model: BaseRoboVLM, setup: Mapping[str, Any]) -> None:
    """Adapters in place: the backbone stays one module, so that no weight is in the state dict twice.

    The language model's own weights rest, its output layer too; what else in the backbone learned goes on learning.
    """
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=int(setup.get("lora_r", 64)), lora_alpha=int(setup.get("lora_alpha", 16)), lora_dropout=float(setup.get("lora_dropout", 0.05)),
        bias=setup.get("lora_bias", "none"), target_modules=linear_names(model),
    )  # fmt: skip
    other = {id(p) for module in (model.word_embedding, model.vision_tower) for p in module.parameters()}  # have switches of their own
    heads = {id(p) for name, p in model.backbone.named_parameters() if WORD_HEADS & set(name.split("."))}
    resting = ({id(p) for p in model.text_tower.parameters()} | heads) - other
    learned = {id(p) for p in model.backbone.parameters() if p.requires_grad} - resting
    inject_adapter_in_model(config, model.backbone)  # leaves only adapters learning, and what biases `lora_bias` names
    for parameter in model.backbone.parameters():
        parameter.requires_grad_(parameter.requires_grad or id(parameter) in learned)


def merge_lora(model: BaseRoboVLM) -> None:
    """Adapters into the weights they adapt, in place: the backbone has then the names and shapes it had before."""
    from peft.tuners.lora import LoraLayer

    found = [(name, module) for name, module in model.backbone.named_modules() if isinstance(module, LoraLayer)]
    for name, module in found:
        module.merge()
        parent, _, own = name.rpartition(".")
        setattr(model.backbone.get_submodule(parent), own, module.get_base_layer())


def enable_checkpointing(model: BaseRoboVLM) -> None:
    """Recompute activations in the backward pass, in the vision tower too if it can. Raises ConfigError for a backbone that cannot."""
    switch = getattr(model.text_tower, "activation_checkpointing_enable", None)
    if switch is None:
        raise ConfigError(f"gradient_checkpointing: {type(model.text_tower).__name__} cannot recompute its activations; set it to false")
    switch()
    getattr(model.vision_tower, "activation_checkpointing_enable", lambda: None)()


@contextmanager
def resting(module: nn.Module) -> Iterator[None]:
    """Evaluation mode while it lasts: no dropout, and no recomputation, under which transformers' layers drop their cache."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def dtype_of(precision: str | int) -> torch.dtype:
    """The dtype a configuration's `precision` means. Raises ConfigError."""
    if str(precision) not in PRECISIONS:
        raise ConfigError(f"precision {precision!r}: want one of {', '.join(PRECISIONS)}")
    return PRECISIONS[str(precision)]


def autocast(model: BaseRoboVLM) -> AbstractContextManager[object]:
    """The forward pass in `train_setup.precision`, the weights as they were loaded; whoever calls decides where nothing is said.

    In `fp32` it holds off what a caller may have around it. Raises ConfigError for half precision on a CPU, which has no such LSTM.
    """
    precision = model.train_setup_configs.get("precision")
    if precision is None:
        return nullcontext()
    dtype = dtype_of(precision)
    if dtype is torch.float16 and model.device.type == "cpu":
        raise ConfigError(f"train_setup.precision {precision!r}: a CPU trains in bf16 or fp32")
    return torch.autocast(model.device.type, dtype if dtype is not torch.float32 else None, enabled=dtype is not torch.float32)


def reinit(module: nn.Module, beside: tuple[str, ...] = ()) -> None:
    """The reference's `reinit`, which throws a backbone's training away: weights of two and more dimensions anew, their biases 0.

    Xavier-uniform, in every module that has such a `weight` (linear layers, convolutions, embeddings). Norms stay, and so does whatever
    is a parameter under another name: class tokens, gates, queries, packed projections. `beside` are prefixes of what is left alone.
    """
    with torch.no_grad():
        for name, child in module.named_children():
            if f"{name}.".startswith(beside):
                continue
            weight, bias = getattr(child, "weight", None), getattr(child, "bias", None)
            if not isinstance(weight, Tensor) or weight.dim() < 2:
                reinit(child)
                continue
            nn.init.xavier_uniform_(weight)
            if isinstance(bias, Tensor):
                bias.zero_()
