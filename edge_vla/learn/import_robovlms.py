"""`python -m edge_vla.learn.import_robovlms CKPT.pt CONFIG.json OUT/`: a RoboVLMs checkpoint to safetensors and a configuration, strictly.

OUT/ holds the configuration, the policy's weights and the backbone in its own public layout.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from torch import Tensor

from edge_vla.errors import ConfigError, EdgeVLAError
from edge_vla.learn.backbones import backbone_class
from edge_vla.learn.build import CONFIG, POLICY_WEIGHTS, load_policy
from edge_vla.learn.checkpoint import INDEXES, SINGLES, named, read_config, read_weights
from edge_vla.learn.config import Config, load_config

PREFIXES = ("_forward_module.", "module.", "model.")  # of DeepSpeed, of data parallel, of the reference's trainer; taken off in this order
POLICY_PARTS = ("act_head.", "action_token", "vision_resampler.", "embed_arm_state.", "embed_gripper_state.", "embed_state.")
TRAINING_ONLY = ("clip_norm_head.",)  # a loss of its own in the reference, no part of the policy
NO_WEIGHTS = {*INDEXES, *SINGLES}


@dataclass(frozen=True, slots=True)
class Split:
    """A checkpoint's tensors by where they go."""

    backbone: dict[str, Tensor]
    policy: dict[str, Tensor]
    dropped: dict[str, str]  # name to why


def plain_names(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Without wrappers' prefixes; a backbone that is there twice, as LoRA left it, once. Raises ConfigError when the two differ."""
    dropped: dict[str, str] = {}
    for prefix in PREFIXES:
        if not any(name.startswith(("backbone.", "act_head.")) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        twin = f"backbone.{name.removeprefix('model.')}"
        if name.startswith("model.") and twin in tensors:
            if not torch.equal(tensor, tensors[twin]):
                raise ConfigError(f"{name!r} and {twin!r} are one weight in RoboVLMs, and differ here")
            dropped[name] = f"doubled as {twin}"
        else:
            out[name] = tensor
    return out, dropped


def merge_lora(tensors: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Adapters added to the weights they adapt, `scale` = alpha / r; names as they were before peft."""
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".lora_A." in name or ".lora_B." in name:
            continue
        plain = name.replace("base_model.model.", "").replace(".base_layer.", ".")
        stem = name.replace(".base_layer.weight", "").removesuffix(".weight")
        a, b = (tensors.get(f"{stem}.lora_{k}.default.weight", tensors.get(f"{stem}.lora_{k}.weight")) for k in "AB")
        merged = tensor if a is None or b is None else (tensor.float() + scale * (b.float() @ a.float())).to(tensor.dtype)
        out[plain] = merged
    return out


def split(tensors: dict[str, Tensor], beside: tuple[str, ...] = ()) -> Split:
    """By part; names that begin with one of `beside` are the backbone's too. Raises ConfigError for keys that belong to none."""
    backbone = {n: t for n, t in tensors.items() if n.startswith(("backbone.", *beside))}
    policy = {n: t for n, t in tensors.items() if n.startswith(POLICY_PARTS)}
    dropped = {n: "trains the reference's CLIP loss only" for n in tensors if n.startswith(TRAINING_ONLY)}
    rest = set(tensors) - set(backbone) - set(policy) - set(dropped)
    if rest or not backbone:
        what = f"unexpected keys: {named(rest)}" if rest else "no key begins with backbone."
        raise ConfigError(f"not a RoboVLMs checkpoint; {what}")
    return Split({n.removeprefix("backbone."): t for n, t in backbone.items()}, policy, dropped)


def import_checkpoint(checkpoint: Path, config_file: Path, out: Path, vlm: Path | None = None) -> Split:
    """Write OUT/ whole or not at all, and read it back. Raises ConfigError; `out` must not exist yet."""
    if out.exists():
        raise ConfigError(f"{out}: exists already; name a new folder")
    configs = load_config(config_file)
    base = vlm or Path(configs.get("vlm", {}).get("pretrained_model_name_or_path") or configs.get("model_path") or "")
    read_config(base)
    kind = backbone_class(str(configs.get("robovlm_name")))
    tensors, doubled = plain_names(read_weights(checkpoint))
    setup = configs.get("train_setup", {})
    parts = split(merge_lora(tensors, float(setup.get("lora_alpha", 16)) / float(setup.get("lora_r", 64))), kind.parts_beside)
    parts = Split(kind.import_backbone(parts.backbone, base), kind.import_policy(parts.policy, base), parts.dropped | doubled)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        folder = Path(scratch) / "new"
        _write(folder, parts, _portable(configs), base)
        load_policy(folder)
        folder.rename(out)
    return parts


def _portable(configs: Config) -> Config:
    """The configuration for OUT/: the backbone beside it, and the layout that the checkpoint was trained with."""
    inside: dict[str, Any] = {"vlm": {**configs.get("vlm", {}), "pretrained_model_name_or_path": "vlm"}, "reference_padding": True}
    setup = {**configs.get("train_setup", {}), "lora_enable": False}
    gone = ("model_path", "model_config", "model_url", "model_load_path", "model_load_source", "resume", "tokenizer")
    return {k: v for k, v in configs.items() if k not in gone} | inside | {"train_setup": setup}


def _write(folder: Path, parts: Split, configs: Config, base: Path) -> None:
    (folder / "vlm").mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps(configs, indent=1) + "\n")
    save_file({n: t.clone().contiguous() for n, t in parts.policy.items()}, folder / POLICY_WEIGHTS, {"format": "pt"})
    for file in base.iterdir():
        shard = file.name.startswith(("model-", "pytorch_model-")) or file.name in NO_WEIGHTS
        if file.is_file() and not shard:
            shutil.copy2(file, folder / "vlm" / file.name)
    save_file({n: t.clone().contiguous() for n, t in parts.backbone.items()}, folder / "vlm" / SINGLES[0], {"format": "pt"})


def table(parts: Split, out: Path) -> Table:
    """What went where, a line for each kind of weight."""
    shown = Table("part", "tensors", "parameters", "dtype", "in", title=str(out))
    for where, tensors in ((f"vlm/{SINGLES[0]}", parts.backbone), (POLICY_WEIGHTS, parts.policy)):
        groups: dict[str, list[Tensor]] = {}
        for name, tensor in tensors.items():
            groups.setdefault(".".join(name.split(".")[:2]), []).append(tensor)
        for group, members in groups.items():
            kinds = Counter(str(t.dtype).removeprefix("torch.") for t in members)
            shown.add_row(group, str(len(members)), f"{sum(t.numel() for t in members):,}", ", ".join(kinds), where)
    for why, count in Counter(why.split(" as ")[0] for why in parts.dropped.values()).items():
        shown.add_row("left out", str(count), "", "", why)
    return shown


def main(argv: list[str] | None = None) -> int:
    """Exit 0 when OUT/ was written and read back, 2 when it was not."""
    cli = argparse.ArgumentParser(prog="python -m edge_vla.learn.import_robovlms", description=__doc__)
    cli.add_argument("checkpoint", type=Path, help="a .pt file; tensors only, one that carries code is refused")
    cli.add_argument("config", type=Path, help="its configuration, <time>-project.json beside it")
    cli.add_argument("out", type=Path, help="a new folder")
    cli.add_argument("--vlm", type=Path, help="the backbone's folder, for its config.json and tokenizer; else what the configuration names")
    args = cli.parse_args(argv)
    try:
        parts = import_checkpoint(args.checkpoint, args.config, args.out, args.vlm)
    except EdgeVLAError as err:
        print(f"import_robovlms: {err}", file=sys.stderr)
        return 2
    Console(width=140).print(table(parts, args.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
