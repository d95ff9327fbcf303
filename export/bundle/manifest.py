"""A bundle's manifest on disk: whole or as it was."""

import json
from pathlib import Path

from edge_vla.backends.bundle import MANIFEST, Manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put it in place of what is there."""
    part = folder / "manifest.part"
    part.write_text(json.dumps(manifest.model_dump(), indent=1) + "\n")
    part.rename(folder / MANIFEST)
