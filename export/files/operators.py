"""Which operators TensorRT's ONNX parser takes and on which types. What of their attributes and sizes it takes is the gate's business."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_vla.errors import ConfigError

STANDARD = {"", "ai.onnx"}  # names of ONNX's own domain

# Where the parser's own source of 10.1 takes less than its table says.
NARROWER: dict[str, dict[str, str]] = {
    "10.3": {
        "Range": "FP32 INT32 INT64", "LpNormalization": "FP32 FP16", "LpPool": "FP32 FP16", "RandomNormal": "FP32 FP16",
        "RandomNormalLike": "FP32 FP16", "RandomUniform": "FP32 FP16", "RandomUniformLike": "FP32 FP16",
    },
    "11": {},
}  # fmt: skip
HELD = "FP32 FP16 BF16 FP8 INT64 INT32 INT8 INT4 UINT8 BOOL"  # types a tensor may have; a DOUBLE would become FP32 unasked
HELD_SINCE = {"10.3": "", "11": "FP4"}


@dataclass(frozen=True, slots=True)
class Table:
    """One version's."""

    target: str
    opsets: tuple[int, int]  # first and last
    source: str
    operators: Mapping[str, frozenset[str]]  # to types, as FP32
    narrower: Mapping[str, frozenset[str]]
    held: frozenset[str]


def _tables() -> dict[str, Table]:
    found = json.loads(Path(__file__).with_suffix(".json").read_text())
    return {
        target: Table(
            target,
            (entry["opsets"][0], entry["opsets"][1]),
            entry["source"],
            {name: frozenset(types.split()) for name, types in entry["operators"].items()},
            {name: frozenset(types.split()) for name, types in NARROWER[target].items()},
            frozenset(f"{HELD} {HELD_SINCE[target]}".split()),
        )
        for target, entry in found.items()
    }


TABLES = _tables()
SUPPORTED = frozenset(TABLES["10.3"].operators)  # JetPack 6's; later releases add to it


def find_table(target: str) -> Table:
    """Raises ConfigError."""
    if target not in TABLES:
        raise ConfigError(f"tensorrt {target!r}: want {' or '.join(TABLES)}")
    return TABLES[target]


def foreign(nodes: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Of (domain, operator) pairs those that JetPack 6's parser has no code for, each once."""
    return tuple(sorted({operator for domain, operator in nodes if domain not in STANDARD or operator not in SUPPORTED}))
