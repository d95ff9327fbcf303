"""What a plan is made of: a model by name, or the folder of a model, a policy or a bundle. Reads config.json and headers, no weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge_vla.backends.bundle import MANIFEST, Bundle
from edge_vla.errors import ConfigError
from edge_vla.layout import ActionSpace, History
from export.files.headers import Stored, stored
from export.planning.layouts import CLIP, Beyond, Sizes, derive
from export.planning.policy_shapes import Policy
from export.planning.published import published
from export.planning.shapes import Model
from export.planning.towers import Tower
from export.planning.workload import Workload

CONFIG = "config.json"
FLAMINGO_TOWERS = ("clip-vit-large-patch14", "vit_large_patch14_clip_224.openai")  # folders beside the language model's
APART = ("llava_mpt", "mosaic_gpt", "mpt", "gpt_neox")  # models whose folder holds only a part of them
WITHIN = 0.01  # of its weights a folder may hold more or less than its config.json describes: buffers, parts that nothing reads
CLIP_HEAD = 64  # width of a head, of every CLIP that was published


@dataclass(frozen=True, slots=True)
class Subject:
    """Either a model, with what its folder says of how it is asked, or a bundle."""

    name: str
    model: Model | None = None
    bundle: Bundle | None = None
    load: Workload = field(default_factory=Workload)
    checkpoint_bytes: int | None = None  # as stored


def find_subject(named: str) -> Subject:
    """A folder, or else a model of docs/backbones.md. Raises ConfigError."""
    folder = Path(named)
    if (folder / MANIFEST).is_file():
        bundle = Bundle(folder)
        return Subject(bundle.manifest.name, bundle=bundle)
    if (folder / CONFIG).is_file():
        config = read_json(folder / CONFIG)
        return _policy(folder, config) if "robovlm_name" in config else _public(folder, config)
    if folder.exists() or "/" in named:
        raise ConfigError(f"model {named!r}: no folder with a {CONFIG} (a model) or a {MANIFEST} (a bundle)")
    model = published(named)
    return Subject(model.name, model)


def read_json(file: Path) -> Mapping[str, Any]:
    """An object. Raises ConfigError."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except OSError as err:
        raise ConfigError(f"{file}: {err.strerror}") from err
    except ValueError as err:
        raise ConfigError(f"{file}: not JSON ({err})") from err
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: holds a {type(found).__name__}, want an object")
    return found


def _public(folder: Path, config: Mapping[str, Any], image_px: int | None = None) -> Subject:
    kept = stored(folder)
    kind = config.get("model_type")
    layout = moondream_layout(kept) if kind == "moondream1" and kept else None
    model = derive(config, str(folder), Beyond(image_px, _clip(folder, config), layout))
    if kept and kind not in APART:
        _agree(model, kept, folder)
    return Subject(str(folder), model, checkpoint_bytes=kept.nbytes if kept else None)


def _agree(model: Model, kept: Stored, folder: Path) -> None:
    """Raises ConfigError where a folder's weights are not of the model that its config.json describes. A tied head may be stored too."""
    twice = model.parameters + (model.table.parameters if model.tied else 0)
    if not any(abs(kept.parameters - want) <= WITHIN * want for want in (model.parameters, twice)):
        raise ConfigError(
            f"model {folder}: its safetensors hold {kept.parameters:,} weights, its {CONFIG} describes {model.parameters:,}; "
            "one of the two is of another model"
        )


def moondream_layout(kept: Stored) -> str:
    """B, C or D, by the names and shapes of its weights. Raises ConfigError."""
    names = {name.replace("._orig_mod", ""): shape for name, shape in kept.shapes.items()}
    if any(name.removeprefix("model.").startswith("vision.") for name in names):
        return "D"
    projection, patches = (f"vision_encoder.{name}.weight" for name in ("projection.mlp.fc1", "encoder.model.visual.patch_embed.linear"))
    if projection not in names or patches not in names:
        raise ConfigError(f"these weights are not of a Moondream; want {projection}, or model.vision.*")
    return "B" if names[projection][1] == names[patches][0] else "C"


def _clip(folder: Path, config: Mapping[str, Any]) -> Tower | None:
    """The tower that is another model's folder, in or beside this one."""
    if config.get("model_type") == "llava_mpt":
        last = Path(str(config.get("mm_vision_tower", ""))).name
        places = [folder / last, folder.parent / last] if last else []
    else:
        places = [folder.parent / name for name in FLAMINGO_TOWERS] if config.get("model_type") in APART else []
    found = next((place for place in places if (place / CONFIG).is_file()), None)
    return None if found is None else clip_tower(found)


def clip_tower(folder: Path) -> Tower:
    """Sizes of a CLIP image tower, of its weights' shapes or else of its config.json. Raises ConfigError."""
    kept = stored(folder)
    if kept is None:
        config = read_json(folder / CONFIG)
        return Sizes(config.get("vision_config", config), f"{folder.name} vision_config", CLIP).tower()
    shapes = {name.removeprefix("vision_model."): shape for name, shape in kept.shapes.items()}
    try:
        width = shapes["embeddings.class_embedding"][0]
        patch = shapes["embeddings.patch_embedding.weight"][-1]
        grid = round((shapes["embeddings.position_embedding.weight"][0] - 1) ** 0.5)
        inner = shapes["encoder.layers.0.mlp.fc1.weight"][0]
    except (KeyError, IndexError) as err:
        raise ConfigError(f"{folder}: not the weights of a CLIP image tower, lacks {err.args[0]!r}") from err
    layers = 1 + max(int(name.split(".")[2]) for name in shapes if name.startswith("encoder.layers."))
    return Tower(width, inner, layers, max(width // CLIP_HEAD, 1), patch, grid * patch)


def _policy(folder: Path, config: Mapping[str, Any]) -> Subject:
    """What the trainer and `import_robovlms` write: a configuration, the backbone's folder, the policy's weights."""
    vlm = config.get("vlm")
    inside = vlm.get("pretrained_model_name_or_path") if isinstance(vlm, Mapping) else None
    if not isinstance(inside, str):
        raise ConfigError(f"{folder / CONFIG}: vlm.pretrained_model_name_or_path {inside!r}: want the backbone's folder")
    base = folder / inside
    found = _public(base, read_json(base / CONFIG), Sizes(config, "the top", {"image_size": 448})("image_size"))
    assert found.model is not None  # noqa: S101 - for mypy: a public folder is a model
    head = config.get("act_head")
    load = Workload(
        policy=None if head is None else policy_of(config, found.model.hidden),
        history=History((head or {}).get("history_type") or "post"), pictures=2 if config.get("use_hand_rgb") else 1,
        resampled=bool(config.get("use_vision_resampler")),
    )  # fmt: skip
    return replace(found, name=str(folder), load=load)


def policy_of(config: Mapping[str, Any], hidden: int) -> Policy:
    """The head a configuration describes, on a language model of width `hidden`. Raises ConfigError."""
    section = config["act_head"]
    head = Sizes(section, "act_head", {"hidden_size": 1024, "latent": 1, "num_layers": 4, "num_classes": 6, "in_features": hidden})
    top = Sizes(config, "the top", {"window_size": 1, "fwd_pred_next_n": 1})
    return Policy(
        str(section.get("type")), head("in_features"), head("hidden_size"), head("num_layers"), head("latent"), top("window_size"),
        top("fwd_pred_next_n"), head("action_dim"), str(section.get("down_sample") or "none"), head("num_classes"),
        section.get("action_space", "continuous") == ActionSpace.CONTINUOUS.value,
    )  # fmt: skip
