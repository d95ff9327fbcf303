"""What a model folder's safetensors hold, by their headers: names, shapes and bytes. Reads no weight and needs nothing but Python."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from edge_vla.errors import ConfigError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
LONGEST = 100_000_000  # bytes of a header: what the format's own reader allows
PACKED = ".packed"  # Moondream's int4: two weights to a byte, and beside each tensor its scales
BESIDE_PACKED = (".weight.scale", ".weight.zero_point")


@dataclass(frozen=True, slots=True)
class Stored:
    """The tensors of a folder."""

    shapes: Mapping[str, tuple[int, ...]]
    nbytes: int  # of all of them

    @property
    def parameters(self) -> int:
        """Weights they stand for: of a packed tensor two a byte."""
        kept = {name: shape for name, shape in self.shapes.items() if not name.endswith(BESIDE_PACKED)}
        return sum(prod(shape) * (2 if name.endswith(PACKED) else 1) for name, shape in kept.items())


def stored(folder: Path) -> Stored | None:
    """What the folder's safetensors hold; None without any. Raises ConfigError for a file that is missing or damaged."""
    if (folder / SINGLE).is_file():
        files = [folder / SINGLE]
    elif (folder / INDEX).is_file():
        files = _shards(folder / INDEX)
    else:
        return None
    shapes: dict[str, tuple[int, ...]] = {}
    nbytes = 0
    for file in files:
        found, size = _header(file)
        shapes |= found
        nbytes += size
    return Stored(shapes, nbytes)


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted({str(name) for name in json.loads(index.read_text())["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise ConfigError(f"{index}: not an index of shards ({err!r})") from err
    if any(Path(name).name != name for name in names):
        raise ConfigError(f"{index}: weight_map has to name files of its own folder")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise ConfigError(f"{index.parent}: {len(missing)} of {len(names)} shards are missing: {', '.join(missing[:3])}")
    return [index.parent / name for name in names]


def _header(file: Path) -> tuple[dict[str, tuple[int, ...]], int]:
    """Name to shape, and the bytes of all. Raises ConfigError."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else LONGEST + 1
        if length > min(LONGEST, size - 8):
            raise ConfigError(f"{file}: not a whole safetensors file ({size} bytes, a header of {length})")
        text = opened.read(length)
    try:
        found = json.loads(text)
        found.pop("__metadata__", None)
        places = [entry["data_offsets"] for entry in found.values()]
        last = max((int(end) for _, end in places), default=0)
        shapes = {name: tuple(int(n) for n in entry["shape"]) for name, entry in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as err:
        raise ConfigError(f"{file}: its header is not one of safetensors ({err!r})") from err
    if 8 + length + last != size:
        raise ConfigError(f"{file}: not a whole safetensors file ({size} bytes, its header wants {8 + length + last})")
    return shapes, sum(int(end) - int(begin) for begin, end in places)
