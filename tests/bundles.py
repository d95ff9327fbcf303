"""Copies of a bundle, to be spoilt or changed by a test."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Manifest = dict[str, Any]


def copied(bundle: Path, folder: Path, edit: Callable[[Manifest], object], files: Mapping[str, bytes]) -> Path:
    """A copy in `folder`: some files replaced or added and signed, then `edit` applied to its manifest."""
    shutil.copytree(bundle, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, data in files.items():
        (folder / name).write_bytes(data)
        manifest["sha256"][name] = hashlib.sha256(data).hexdigest()
    edit(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
