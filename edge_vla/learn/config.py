"""A RoboVLMs training configuration, JSON or YAML: parents merged, keys checked, the rest handed on as the dictionary it was.

What each key has to be is in `config_keys`.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from edge_vla.errors import ConfigError, did_you_mean
from edge_vla.learn.config_keys import (
    CHECKS,
    DATASET,
    DATASETS,
    INERT,
    NEVER,
    ORDERED,
    SECTION,
    SECTIONS,
    SETTLED,
    TOP,
    WORD,
    Want,
)

__all__ = ["INERT", "SECTIONS", "TOP", "Config", "check_config", "given", "load_config", "model_folder"]
Config = dict[str, Any]
MAX_PARENTS = 16


class _Loader(yaml.SafeLoader):
    """Numbers as JSON has them (to YAML 1.1, 2e-5 is a word), and no key twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - yaml's
        _once([key.value for key, _ in node.value])
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def load_config(config_file: str | Path) -> Config:
    """A configuration with its parents underneath, checked. Raises ConfigError naming the file, the key and what is allowed.

    `parent` is a path beside the file that names it, or from the working directory. Keys without effect are left out of the result with
    a warning; an unknown key is an error.
    """
    merged = _with_parents(Path(config_file), ())
    return check_config(merged, str(config_file))


def check_config(config: Mapping[str, Any], where: str = "configuration") -> Config:
    """A copy without what has no effect. Raises ConfigError that says everything that is wrong with it."""
    if not isinstance(config, Mapping):
        raise ConfigError(f"{where} of type {type(config).__name__}: want {SECTION}")
    kept, inert = _without_inert(config)
    problems = list(_problems(kept))
    if problems:
        raise ConfigError(f"{where}: {'; '.join(problems)}")
    if inert:
        warnings.warn(f"{where}: {_said_of(inert)}", stacklevel=3)
    return kept


def given(config: Mapping[str, Any] | None) -> Config:
    """What a configuration says: a copy without the keys that are null, in its sections too. Raises ConfigError for what is none."""
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        raise ConfigError(f"configuration of type {type(config).__name__}: want {SECTION}")
    return {key: given(value) if isinstance(value, Mapping) else value for key, value in config.items() if value is not None}


def model_folder(config: Mapping[str, Any]) -> Path:
    """Where the backbone is: `vlm.pretrained_model_name_or_path`, else `model_path`. Raises ConfigError, for no such folder too."""
    vlm = config.get("vlm")
    named = vlm.get("pretrained_model_name_or_path") if isinstance(vlm, Mapping) else None
    path = named if named is not None else config.get("model_path")
    if not isinstance(path, (str, Path)) or not str(path):
        raise ConfigError(f"vlm.pretrained_model_name_or_path {path!r}: want the folder of the backbone's files")
    if not Path(path).is_dir():
        source = config.get("model_url")
        raise ConfigError(f"model {path}: no config.json (no such folder{f'; the files are at {source}' if source else ''})")
    return Path(path)


# -- files


def _with_parents(file: Path, below: tuple[Path, ...]) -> Config:
    chain = " -> ".join(str(path) for path in (*below, file.resolve()))
    if file.resolve() in below:
        raise ConfigError(f"{file}: is its own parent, by way of {chain}")
    if len(below) > MAX_PARENTS:
        raise ConfigError(f"{below[0]}: has more than {MAX_PARENTS} parents above each other: {chain}")
    own = _read(file)
    parent = own.pop("parent", None)
    if parent is None:
        return own
    if not isinstance(parent, str):
        raise ConfigError(f"{file}: parent {parent!r}: want {WORD}")
    return _merge(_with_parents(_find(parent, file), (*below, file.resolve())), own)


def _find(parent: str, child: Path) -> Path:
    beside = child.parent / parent
    places = [beside, Path(parent)] if beside != Path(parent) else [beside]
    for place in places:
        if place.is_file():
            return place
    raise ConfigError(f"{child}: parent {parent!r}: no such file, at {' or '.join(str(place.absolute()) for place in places)}")


def _read(file: Path) -> Config:
    try:
        text = file.read_text("utf-8")
        if file.suffix == ".json":
            found = json.loads(text, object_pairs_hook=_mapping)
        else:
            found = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except OSError as err:
        raise ConfigError(f"configuration {file}: {err.strerror}") from err
    except (ValueError, yaml.YAMLError) as err:
        raise ConfigError(f"configuration {file}: {str(err).splitlines()[0]}") from err
    if not isinstance(found, dict):
        raise ConfigError(f"configuration {file}: holds a {type(found).__name__}, want {SECTION}")
    return found


def _mapping(pairs: list[tuple[str, Any]]) -> Config:
    _once([key for key, _ in pairs])
    return dict(pairs)


def _once(keys: list[Any]) -> None:
    for index, key in enumerate(keys):
        if key in keys[:index]:
            raise ValueError(f"key {key!r} is given twice")


def _merge(under: Config, over: Config) -> Config:
    """Section by section; what is not a section on both sides is replaced."""
    out = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merge(out[key], value) if both else value
    return out


# -- keys


def _without_inert(config: Mapping[str, Any], prefix: str = "") -> tuple[Config, set[str]]:
    """What is left, and the names of what is not null and was taken out."""
    kept: Config = {}
    inert: set[str] = set()
    for key, value in config.items():
        name = f"{prefix}{key}"
        if name in INERT:
            inert |= set() if value is None else {name}
        elif isinstance(value, dict) and key in SECTIONS and not prefix:
            kept[key], found = _without_inert(value, f"{key}.")
            inert |= found
        elif value is not None or name not in NEVER | {"parent"}:
            kept[key] = value
    return kept, inert


def _said_of(inert: set[str]) -> str:
    nowhere, here = sorted(inert - SETTLED), sorted(inert & SETTLED)
    said = [f"without effect, here as in RoboVLMs: {', '.join(nowhere)}"] if nowhere else []
    return "; ".join([*said, f"without effect here: {', '.join(here)}"] if here else said)


def _problems(config: Config) -> Iterator[str]:
    """What is wrong, in words: every key that is, not only the first."""
    for key, value in config.items():
        if key in SECTIONS and isinstance(value, dict):
            for name, inner in value.items():
                full = f"{key}.{name}" if isinstance(name, str) else (key, name)
                yield from _problem(full, inner, SECTIONS[key].get(name), [f"{key}.{known}" for known in SECTIONS[key]])
        elif key in NEVER:
            yield f"{key}: RoboVLMs names this part and has no code for it; set it to null"
        elif key == "parent":
            yield f"parent {value!r}: only a file has one; give load_config the file"
        else:
            yield from _problem(key, value, SECTION if key in SECTIONS else TOP.get(key), [*TOP, *SECTIONS, "parent"])
            yield from _data_problems(key, value) if key in DATASETS else ()
    for low, high in ORDERED:
        yield from _order_problem(config, low, high)


def _problem(key: object, value: object, want: Want | None, known: list[str]) -> Iterator[str]:
    if not isinstance(key, str):
        yield f"key {key!r}: want {WORD}"
    elif want is None:
        yield f"unknown key {key!r}{did_you_mean(key, known, cutoff=0.6)}"
    elif value is None:
        return
    elif isinstance(want, tuple):
        if str(value) not in want:
            yield f"{key} {value!r}: want one of {', '.join(want)}"
    elif not CHECKS[want](value):
        yield f"{key} {value!r}: want {want}"


def _data_problems(key: str, value: object) -> Iterator[str]:
    """Of a data set, or of a list of them; one that joins others has their sections inside."""
    for section in value if isinstance(value, list) else [value]:
        for name, inner in section.items() if isinstance(section, dict) else ():
            if not isinstance(name, str):
                yield f"key {(key, name)!r}: want {WORD}"
            elif name not in DATASET:
                yield f"unknown key '{key}.{name}'{did_you_mean(f'{key}.{name}', [f'{key}.{known}' for known in DATASET], cutoff=0.6)}"
            elif name == "datasets":
                yield from _data_problems(f"{key}.datasets", inner)


def _order_problem(config: Config, *bounds: tuple[str, float]) -> Iterator[str]:
    said = [_at(config, name) for name, _ in bounds]
    low, high = (default if value is None else value for value, (_, default) in zip(said, bounds, strict=True))
    if said != [None, None] and all(isinstance(value, (int, float)) for value in (low, high)) and low >= high:
        yield f"{bounds[0][0]} {low!r}: want it below {bounds[1][0]}, which is {high!r}"


def _at(config: Config, name: str) -> Any:
    section, _, key = name.rpartition(".")
    inside = config.get(section) if section else config
    return inside.get(key) if isinstance(inside, dict) else None
