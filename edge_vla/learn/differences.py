"""What a configuration says of its backbone and the backbone decides otherwise: built as the backbone is, and said with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_vla.learn.backbones.base import BaseRoboVLM

REFERENCE_RESAMPLER = {"depth": 6, "num_latents": 64, "heads": 8, "dim_head": 64}


def warn(model: BaseRoboVLM) -> None:
    """One warning for each difference."""
    for said in _found(model, model.configs):
        warnings.warn(said, stacklevel=4)


def _found(model: BaseRoboVLM, configs: Mapping[str, Any]) -> Iterator[str]:
    kind = type(model).__name__
    size = configs.get("image_size")
    if size is not None and size != model.image_size:
        yield f"image_size {size}: {kind} takes pictures of {model.image_size} px a side, as its files say"
    for key in ("image_mean", "image_std"):
        own, said = getattr(model, key), configs.get(key)
        if said is not None and not _close(said, own):
            yield f"{key} {list(said)}: {kind} prepares pictures with {list(own)}, as its original does"
    tokenizer = configs.get("tokenizer") or {}
    for key, said in (("model", configs.get("model")), ("tokenizer.tokenizer_type", tokenizer.get("tokenizer_type"))):
        if said is not None and said != model.name:
            yield f"{key} {said!r}: {kind} writes its instructions as RoboVLMs does for {model.name!r}"
    folder = tokenizer.get("pretrained_model_name_or_path")
    if folder is not None and Path(folder) != model.model_path:
        yield f"tokenizer.pretrained_model_name_or_path {folder}: the tokenizer is the one in the model's folder, {model.model_path}"


def _close(said: Any, own: tuple[float, ...]) -> bool:
    return len(said) == len(own) and all(abs(a - b) < 1e-6 for a, b in zip(said, own, strict=True))


def resampler_shape(section: Mapping[str, Any]) -> dict[str, Any]:
    """What a `vision_resampler` section makes of the resampler; a section with `vis_dim` is RoboVLMs' own, which reads none of it."""
    if "vis_dim" not in section:
        return dict(section)
    other = [f"{key} {section[key]}" for key, value in REFERENCE_RESAMPLER.items() if section.get(key, value) != value]
    if other:
        same = ", ".join(f"{key} {value}" for key, value in REFERENCE_RESAMPLER.items())
        warnings.warn(
            f"vision_resampler with vis_dim: RoboVLMs builds {same} whatever it says, and so does this; without effect: {', '.join(other)}",
            stacklevel=4,
        )
    return {}
