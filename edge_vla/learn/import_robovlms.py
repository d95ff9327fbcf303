"""`python -m edge_vla.learn.import_robovlms CKPT.pt CONFIG.json OUT/`: a RoboVLMs checkpoint to safetensors and a configuration, strictly.

OUT/ holds the configuration, the policy's weights and the backbone in its own public layout.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from edge_vla.errors import ConfigError, EdgeVLAError
from edge_vla.learn.backbones import backbone_class
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.build import CONFIG, POLICY_WEIGHTS, load_policy
from edge_vla.learn.checkpoint import INDEXES, SINGLES, named, read_config, read_weights
from edge_vla.learn.config import Config
from edge_vla.learn.reference_config import check_head, load_reference, portable
from edge_vla.learn.reference_names import DERIVED, check_kind, merge_lora, one_each, plain_name, unwrapped

POLICY_PARTS = ("act_head.", "action_token", "vision_resampler.", "embed_arm_state.", "embed_gripper_state.", "embed_state.")
TRAINING_ONLY = ("clip_norm_head.",)  # a loss of its own in the reference, no part of the policy
# Weights in any format, and the indexes of their shards: OUT/ has its own.
WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf", ".onnx"}
LAST_BIAS = re.compile(r"act_head\.(actions|gripper)\.mlp\.6\.bias")


@dataclass(frozen=True, slots=True)
class Split:
    """A checkpoint's tensors by where they go."""

    backbone: dict[str, Tensor]
    policy: dict[str, Tensor]
    dropped: dict[str, str]  # name to why
    rescaled: tuple[str, ...] = ()  # names whose values had to change


def split(tensors: dict[str, Tensor], beside: tuple[str, ...] = ()) -> Split:
    """By part; names that begin with one of `beside` are the backbone's too. Raises ConfigError for keys that belong to none."""
    backbone = {n: t for n, t in tensors.items() if n.startswith(("backbone.", *beside))}
    policy = {n: t for n, t in tensors.items() if n.startswith(POLICY_PARTS)}
    dropped = {n: "trains the reference's CLIP loss only" for n in tensors if n.startswith(TRAINING_ONLY)}
    rest = set(tensors) - set(backbone) - set(policy) - set(dropped)
    if rest or not backbone:
        what = f"unexpected keys: {named(rest)}" if rest else "no key begins with backbone."
        raise ConfigError(f"not a RoboVLMs checkpoint; {what}")
    return Split(backbone, policy, dropped)


def parts_of(tensors: dict[str, Tensor], configs: Config, base: Path) -> Split:
    """A checkpoint's tensors as they go into OUT/, for the model in the folder `base`. Raises ConfigError."""
    kind, config = _kind(configs), read_config(base)
    tensors = unwrapped(tensors)
    check_kind(tensors, kind.__name__, config.get("model_type"))
    plain, doubled = one_each(tensors, lambda name: plain_name(name, kind.import_inside))
    merged, adapters = merge_lora(plain, configs.get("train_setup") or {})
    found = split(merged, kind.parts_beside)
    check_head(configs, {match[1]: len(t) for n, t in found.policy.items() if (match := LAST_BIAS.fullmatch(n))})
    public, again = one_each(
        found.backbone, lambda name: None if DERIVED.fullmatch(name) else kind.import_name(name.removeprefix("backbone."), config)
    )
    backbone, policy = kind.import_backbone(public, base, found.policy), kind.import_policy(found.policy, base)
    before = public | found.policy
    rescaled = tuple(name for name, tensor in (backbone | policy).items() if tensor is not before.get(name))
    return Split(backbone, policy, found.dropped | doubled | adapters | again, rescaled)


def import_checkpoint(checkpoint: Path, config_file: Path, out: Path, vlm: Path | None = None) -> Split:
    """Write OUT/ whole or not at all, and read it back. Raises ConfigError; `out` must not exist yet."""
    if out.exists():
        raise ConfigError(f"{out}: exists already; name a new folder")
    configs = load_reference(config_file)
    _kind(configs)  # what is wrong here is said before gigabytes are read
    base = _model_folder(configs, config_file, vlm)
    if checkpoint.is_dir() and next(checkpoint.rglob("*_model_states.pt"), None):
        raise ConfigError(f"{checkpoint}: a folder of DeepSpeed's; RoboVLMs' tools/convert_deepspeed_to_fp32.py makes one file of it")
    tensors = read_weights(checkpoint)
    try:
        parts = parts_of(tensors, configs, base)
    except ConfigError as err:
        raise ConfigError(f"{checkpoint}: {err}") from err
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
            folder = Path(scratch) / "new"
            _write(folder, parts, configs, base)
            _read_back(folder, checkpoint)
            folder.rename(out)
    except (OSError, SafetensorError) as err:
        raise ConfigError(f"{out}: not written ({err})") from err
    return parts


def _read_back(folder: Path, checkpoint: Path) -> None:
    """As the policy is loaded ever after. Raises ConfigError that speaks of the checkpoint, not of a folder nobody knows."""
    try:
        load_policy(folder)
    except ConfigError as err:
        said = str(err).replace(f"model {folder / 'vlm'}", "its backbone").replace(str(folder / "vlm"), "its backbone")
        raise ConfigError(f"{checkpoint}: {said.replace(str(folder), 'its policy')}") from err


def _kind(configs: Config) -> type[BaseRoboVLM]:
    return backbone_class(str(configs.get("robovlm_name")))


def _model_folder(configs: Config, config_file: Path, vlm: Path | None) -> Path:
    """The backbone's folder, for its config.json and tokenizer. Raises ConfigError."""
    given = (configs.get("vlm") or {}).get("pretrained_model_name_or_path") or configs.get("model_path")
    base = vlm if vlm is not None else Path(given) if given else None
    if base is None or not base.is_dir():
        whose = "--vlm" if vlm is not None else f"{config_file}, vlm.pretrained_model_name_or_path"
        raise ConfigError(f"{whose}: no model folder {base or '(none named)'}; name with --vlm where the backbone's public files are")
    read_config(base)
    return base


def _write(folder: Path, parts: Split, configs: Config, base: Path) -> None:
    vlm = folder / "vlm"
    vlm.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps(portable(configs, parts.policy), indent=1) + "\n")
    _save(parts.policy, folder / POLICY_WEIGHTS)
    files = {file.name: file for file in base.iterdir() if file.is_file() and file.suffix not in WEIGHTS and file.name not in INDEXES}
    for name, file in (files | _kind(configs).import_files(base, configs)).items():
        (vlm / name).parent.mkdir(exist_ok=True)
        shutil.copy2(file, vlm / name)
    _save(parts.backbone, vlm / SINGLES[0])


def _save(tensors: dict[str, Tensor], file: Path) -> None:
    """Two names for one piece of memory, which safetensors refuses, become two pieces. No other is copied: they may be large."""
    seen: set[int] = set()
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        own[name] = tensor.clone() if tensor.data_ptr() in seen else tensor.contiguous()
        seen.add(tensor.data_ptr())
    save_file(own, file, {"format": "pt"})


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
    if parts.rescaled:
        shown.add_row("with other values", str(len(parts.rescaled)), "", "", named(parts.rescaled))
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
