"""Weights on disk to tensors, strictly: every shard there, every tensor finite, every key accounted for. No pickle is ever run."""

import json
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from edge_vla.errors import ConfigError

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLES = ("model.safetensors", "pytorch_model.bin")
IN_ORDER = (SINGLES[0], INDEXES[0], SINGLES[1], INDEXES[1])  # which of several transformers reads, and so we do
# What torch.load raises for damaged bytes, beside its own refusal.
BROKEN = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError, struct.error, OverflowError)
STATE_DICTS = ("state_dict", "model_state_dict", "module")  # where a torch file may keep its tensors
LFS = b"version https://git-lfs"  # how a file begins that is still to be fetched
POINTER = "a pointer of Git LFS; fetch the file itself with git lfs pull"
MOST_NAMED = 12  # keys an error lists before it only counts
COMPUTING = {torch.bfloat16, torch.float16, torch.float32}  # types that a model's parameters may have
CHECKED = 2**22  # numbers that are checked at once
_AS_STORED: ContextVar[bool] = ContextVar("as_stored", default=False)


@contextmanager
def as_stored() -> Iterator[None]:
    """Models loaded while it lasts keep their weights in the types they are stored in, mapped from their files where these allow it.

    To be read: what such a model answers has the accuracy of those types, and its files may not be written meanwhile.
    """
    token = _AS_STORED.set(True)
    try:
        yield
    finally:
        _AS_STORED.reset(token)


def type_to_load(found: set[torch.dtype]) -> torch.dtype:
    """Of a model whose weights are of these types: float32, or with `as_stored` the one type that all of them have."""
    only = next(iter(found)) if len(found) == 1 else None
    return only if _AS_STORED.get() and only in COMPUTING else torch.float32


def read_weights(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file, or of a model folder's shards. Raises ConfigError naming what is missing, broken or not finite."""
    tensors: dict[str, Tensor] = {}
    for file in weight_files(path):
        for name, tensor in _read_file(file).items():
            if name in tensors:
                raise ConfigError(f"{file}: {name!r} is in an earlier shard too")
            tensors[name] = tensor
    _check_index(path, set(tensors))
    return tensors


def check_weights(path: Path) -> set[torch.dtype]:
    """The floating types that are there. Raises what `read_weights` would, shard by shard: no more than one is held in memory."""
    names: set[str] = set()
    types: set[torch.dtype] = set()
    for file in weight_files(path):
        tensors = _read_file(file)
        if names & set(tensors):
            raise ConfigError(f"{file}: {named(names & set(tensors))} is in an earlier shard too")
        names |= set(tensors)
        types |= {t.dtype for t in tensors.values() if t.is_floating_point()}
    _check_index(path, names)
    return types


def _read_file(file: Path) -> dict[str, Tensor]:
    found = _read_safetensors(file) if file.suffix == ".safetensors" else read_torch_file(file)
    broken = [name for name, t in found.items() if not _finite(t)]
    if broken:
        raise ConfigError(f"{file}: {len(broken)} tensors hold nan or inf: {named(broken)}")
    return found


def _finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point():
        return True
    parts = tensor.reshape(-1).split(CHECKED)  # the test makes copies
    return all(bool(torch.isfinite(p.float() if p.itemsize == 1 else p).all()) for p in parts)  # there is none for 8-bit floats


def weight_files(path: Path) -> list[Path]:
    """The files that hold a model's weights: the path itself, or what a model folder's index or usual names say."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ConfigError(f"weights {path}: no such file or folder")
    first = _first(path)
    if first is None:
        raise ConfigError(f"{path}: no weights; want one of {', '.join(IN_ORDER)}")
    if first.name not in INDEXES:
        return [first]
    shards = sorted(set(_weight_map(first).values()))
    missing = [s for s in shards if not (path / s).is_file()]
    if missing:
        raise ConfigError(f"{path}: {len(missing)} of {len(shards)} shards are missing: {named(missing)}")
    return [path / s for s in shards]


def _first(folder: Path) -> Path | None:
    return next((folder / name for name in IN_ORDER if (folder / name).is_file()), None)


def _weight_map(index: Path) -> dict[str, str]:
    try:
        found = json.loads(index.read_text())["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise ConfigError(f"{index}: not an index of shards ({err!r})") from err
    if not isinstance(found, dict) or not all(isinstance(v, str) and Path(v).name == v for v in found.values()):
        raise ConfigError(f"{index}: weight_map has to name files of its own folder")
    return found


def _check_index(path: Path, names: set[str]) -> None:
    index = _first(path) if path.is_dir() else None
    if index is None or index.name not in INDEXES:
        return
    wanted = set(_weight_map(index))
    if wanted != names:
        raise ConfigError(f"{index}: its shards lack {named(wanted - names)} and have besides {named(names - wanted)}")


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as err:
        raise ConfigError(f"{file}: not a whole safetensors file ({POINTER if _is_pointer(file) else err})") from err


def read_torch_file(file: Path) -> dict[str, Tensor]:
    """The tensors of a torch file, unwrapped from `state_dict` or `model_state_dict`. A pickle that carries code is refused, not run."""
    try:
        mapped = _AS_STORED.get() and zipfile.is_zipfile(file)
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except (pickle.UnpicklingError, *BROKEN) as err:
        culprit = re.search(r"(?:GLOBAL |global )(\S+)", str(err)) if isinstance(err, pickle.UnpicklingError) else None
        if culprit:
            raise ConfigError(
                f"{file}: refused, a checkpoint may hold tensors only; it wants to run {culprit[1]}; save its state_dict alone"
            ) from err
        raise ConfigError(f"{file}: not a whole torch file ({_said(err, file)})") from err
    for key in STATE_DICTS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: holds a {type(content).__name__}, want a state dict")
    found = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not found:
        raise ConfigError(f"{file}: no tensors at its top, nor in {', '.join(STATE_DICTS)}; it has {named(map(str, content))}")
    return found


def _said(err: Exception, file: Path) -> str:
    """What is wrong with a file, without torch's advice to run whatever is in it."""
    if _is_pointer(file):
        return POINTER
    own = re.search(r"WeightsUnpickler error: (.*)", str(err)) or re.match("(?!Weights only)(.+)", str(err))
    return f"{file.stat().st_size} bytes; {type(err).__name__}{f' {own[1][:200]}' if own else ''}"


def _is_pointer(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(LFS)) == LFS
    except OSError:  # what is wrong with the file is said already
        return False


def load_strict(module: nn.Module, tensors: Mapping[str, Tensor], what: str, *, optional: Iterable[str] = ()) -> None:
    """Copy `tensors` into `module`, key by key; with `as_stored` put them there. `optional` are keys that may be absent (tied or derived).

    Raises ConfigError that lists the keys which are missing, unexpected or of another shape; the module is then as it was.
    """
    own = module.state_dict()
    missing = set(own) - set(tensors) - set(optional)
    unexpected = set(tensors) - set(own)
    shapes = [
        f"{k} {tuple(tensors[k].shape)}, want {tuple(own[k].shape)}" for k in own if k in tensors and tensors[k].shape != own[k].shape
    ]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    said = [f"{len(keys)} {word}: {named(keys)}" for word, keys in problems.items() if keys]
    if said:
        raise ConfigError(f"{what}: these weights are not of this model; {'; '.join(said)}")
    if _AS_STORED.get():
        _put(module, tensors)
    else:
        module.load_state_dict(dict(tensors), strict=False)


def _put(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """As parameters, in their own types; a parameter that has several names stays one."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for alike in names.values():
        found = next((tensors[name] for name in alike if name in tensors), None)
        if found is None:
            continue
        kept = found if found.dtype in COMPUTING else found.float()
        put = nn.Parameter(kept, requires_grad=module.get_parameter(alike[0]).requires_grad)
        for name in alike:
            owner, _, key = name.rpartition(".")
            setattr(module.get_submodule(owner), key, put)
    for name, buffer in module.named_buffers():
        if name in tensors:
            buffer.copy_(tensors[name])


def rename(tensors: Mapping[str, Tensor], new_name: Callable[[str], str | None]) -> dict[str, Tensor]:
    """Under other keys; None drops a tensor. Raises ConfigError when two would share one."""
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        target = new_name(name)
        if target is None:
            continue
        if target in out:
            raise ConfigError(f"two tensors would become {target!r}, the second is {name!r}")
        out[target] = tensor
    return out


def read_config(folder: Path) -> dict[str, object]:
    """A model folder's config.json. Raises ConfigError."""
    file = folder / "config.json"
    try:
        found = json.loads(file.read_text())
    except OSError as err:
        raise ConfigError(f"model {folder}: no config.json ({err.strerror})") from err
    except ValueError as err:
        raise ConfigError(f"{file}: not JSON ({err})") from err
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: holds a {type(found).__name__}, want an object")
    return found


def named(keys: Iterable[str]) -> str:
    """The first of them by name, the rest by number."""
    ordered = sorted(keys)
    more = f" and {len(ordered) - MOST_NAMED} more" if len(ordered) > MOST_NAMED else ""
    return (", ".join(ordered[:MOST_NAMED]) or "none") + more
