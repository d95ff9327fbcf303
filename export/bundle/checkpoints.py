"""A folder to a model, and a command line to what is wanted of it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.build import POLICY_WEIGHTS, build_policy, load_policy
from edge_vla.learn.checkpoint import as_stored, read_config
from export.bundle.bundling import Wanted, spans
from export.precision.narrowing import Narrowing

# model_type of a public config.json to the class; OpenFlamingo's folder is its language model's, and has to be named.
TYPES = {
    "paligemma": "RoboPaligemma", "kosmos-2": "RoboKosMos", "llava": "RoboLLaVA", "llava_mpt": "RoboLLaVA", "qwen": "RoboQwen",
    "qwen2_5_vl": "RoboQwen", "moondream1": "RoboMoonDream", "vlm": "RoboUform", "mosaic_gpt": "RoboFlamingo", "gpt_neox": "RoboFlamingo",
}  # fmt: skip
LOC, LOCS = "loc", 1024


def load(folder: Path, backbone: str | None = None) -> BaseRoboVLM:
    """A policy, or a public backbone without a head, in the types its weights are stored in. Raises ConfigError."""
    config = read_config(folder)
    with as_stored():  # mapped from its files; what it answers is computed in float32 all the same
        if "robovlm_name" in config or (folder / POLICY_WEIGHTS).is_file():
            return load_policy(folder)
        return build_policy(_public(folder, config, backbone)).eval()


def _public(folder: Path, config: Mapping[str, object], backbone: str | None) -> dict[str, Any]:
    """The configuration of a public backbone alone."""
    name = backbone or TYPES.get(str(config.get("model_type")))
    if name is None:
        kinds = ", ".join(TYPES)
        said = f"{folder / 'config.json'}: model_type {config.get('model_type')!r}"
        raise ConfigError(f"{said}: want one of {kinds}, or name the class with --backbone")
    return {"robovlm_name": name, "vlm": {"pretrained_model_name_or_path": str(folder)}, "act_head": None}


def wanted_of(args: argparse.Namespace, model: BaseRoboVLM) -> Wanted:
    """Raises ConfigError for options that contradict the model or each other."""
    policy = args.kind == "policy" if args.kind else model.act_head is not None
    if args.rows and policy:
        raise ConfigError("--rows: a policy's are those of its actions")
    if args.actions and not policy:
        raise ConfigError("--actions: only a policy acts")
    width, _, height = args.camera.partition("x")
    if not (width.isdigit() and height.isdigit() and 14 <= int(width) <= 8192 and 14 <= int(height) <= 8192):
        raise ConfigError(f"--camera {args.camera!r}: want WIDTHxHEIGHT in 14..8192 px, for example 640x480")
    if args.static is not None and not 16 <= args.static <= 65536:
        raise ConfigError(f"--static {args.static}: want 16 to 65536 positions")
    for name, value, most in (("--max-linear", args.max_linear, 0.5), ("--max-angular", args.max_angular, 1.0)):
        if not 0 < value <= most:
            raise ConfigError(f"{name} {value}: want above 0, at most {most}")
    return Wanted(
        args.out, policy=policy, layout=args.actions.split(",") if args.actions else None,
        rows=rows_of(model, args.rows), static=args.static, camera=(int(width), int(height)), domain=args.domain,
        max_linear_mps=args.max_linear, max_angular_rps=args.max_angular,
        narrowing=Narrowing(args.precision, args.calib, args.method, args.blocks, args.logits_bits),
    )  # fmt: skip


def rows_of(model: BaseRoboVLM, said: list[str] | None) -> list[list[int]] | None:
    """What --rows means: spans, or `loc` for PaliGemma's 1024 bins, its separator and its ends. Raises ConfigError."""
    if said is None:
        return None
    if said != [LOC]:
        return spans(said)
    tokens = model.tokenizer.get_vocab()
    first = tokens.get("<loc0000>")
    if first is None or tokens.get(f"<loc{LOCS - 1:04d}>") != first + LOCS - 1:
        raise ConfigError(f"--rows loc: model {model.model_path} has no rows <loc0000> to <loc{LOCS - 1:04d}> in a row; name spans instead")
    single = {row for row in (*model.end_ids(), tokens.get(" ;"), tokens.get("▁;")) if row is not None}
    return sorted([[first, first + LOCS], *([row, row + 1] for row in single)])
