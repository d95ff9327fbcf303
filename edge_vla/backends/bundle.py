"""The engine bundle: a folder whose manifest is checked before anything in it is deserialised. Knows no runtime."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from edge_vla.backends import backbone_contract, contract, plan_contract
from edge_vla.backends.backbone_manifest import PolicyManifest, SpeakerManifest
from edge_vla.backends.manifest import (
    SCHEMA_VERSION,
    Calibration,
    FinderManifest,
    Graph,
    Language,
    Manifest,
    Preprocess,
    Prompts,
    Strict,
    Tensor,
    Tokens,
)  # fmt: skip
from edge_vla.errors import ConfigError, did_you_mean

__all__ = [
    "MANIFEST", "SCHEMA_VERSION", "Bundle", "Calibration", "FinderManifest", "Graph", "Language", "Manifest", "PolicyManifest",
    "Preprocess", "Prompts", "SpeakerManifest", "Strict", "Tensor", "Tokens",
]  # fmt: skip

MANIFEST = "manifest.json"
HASH_CHUNK = 1 << 24  # bytes of a file in memory at a time: weights may be larger than the machine
Kind = TypeVar("Kind", FinderManifest, SpeakerManifest, PolicyManifest)


class Bundle:
    """A checked bundle. Opening it reads the manifest and hashes the files; it loads no graph."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = _read_manifest(folder)
        self._check_files()

    def path(self, name: str) -> Path:
        """A file of the bundle."""
        return self.folder / name

    def a(self, kind: type[Kind]) -> Kind:
        """The manifest as one of that kind. Raises ConfigError for another."""
        if not isinstance(self.manifest, kind):
            raise ConfigError(f"engine {self.folder} is {getattr(self.manifest, 'title', self.manifest.kind)}: want {kind.title}")
        return self.manifest

    def require_target(self, thing: str) -> None:
        """Raise ConfigError, with the list of what it knows, for a thing it was not trained on."""
        known = self.a(FinderManifest).targets
        if thing not in known:
            hint = did_you_mean(thing, known, cutoff=0.6) or "."
            raise ConfigError(f"engine {self.manifest.name!r} does not know {thing!r}{hint} It knows: {', '.join(known)}")

    def _check_files(self) -> None:
        m = self.manifest
        unsigned = sorted(m.files - set(m.sha256))
        if unsigned:
            raise ConfigError(f"engine {self.folder}: no sha256 for {', '.join(unsigned)}")
        for name, want in m.sha256.items():
            path = self.folder / name
            if Path(name).name != name:
                raise ConfigError(f"engine {self.folder}: {name!r} lies outside the bundle")
            if not path.is_file():
                raise ConfigError(f"engine {self.folder}: {name} is missing")
            got = sha256(path)
            if got != want:
                raise ConfigError(
                    f"engine {self.folder}: {name} has sha256 {got[:12]}..., the manifest says {want[:12]}...; export it again"
                )


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        text = path.read_bytes()  # pydantic judges the encoding too
    except OSError as err:
        raise ConfigError(f"engine {folder}: no {MANIFEST} ({err.strerror}); an engine is a folder made by `python -m export`") from err
    try:
        manifest = _kind(text).model_validate_json(text)
    except ValidationError as err:
        raise ConfigError(f"engine {path}: {_told(err)}") from err
    if isinstance(manifest, FinderManifest):
        why = contract.contradiction(manifest)
    else:
        why = backbone_contract.contradiction(manifest)
    if why := why or plan_contract.contradiction(manifest):
        raise ConfigError(f"engine {path}: {why}")
    return manifest


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _kind(text: bytes) -> type[FinderManifest | SpeakerManifest | PolicyManifest]:
    """Which of the kinds a manifest wants to be; what is none of them will be told so by the first."""
    try:
        said = json.loads(text)
    except ValueError:  # a UnicodeDecodeError too
        return FinderManifest
    if not isinstance(said, dict):
        return FinderManifest
    if said.get("kind") == "policy":
        return PolicyManifest
    return SpeakerManifest if "grammar" in said else FinderManifest


def _told(err: ValidationError) -> str:
    """The first thing wrong with a manifest; its version before all else, for another version may name everything differently."""
    errors = err.errors()
    first = next((e for e in errors if e["loc"] == ("schema_version",)), errors[0])
    if first["loc"] == ("schema_version",) and first["type"] == "literal_error":
        return f"schema_version: this edge_vla reads {SCHEMA_VERSION}, got {str(first['input'])[:80]!r}; update edge_vla or export it again"
    where = ".".join(str(part) for part in first["loc"])
    return f"{where or 'file'}: {first['msg']}, got {str(first['input'])[:80]!r}"
