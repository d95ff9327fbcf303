"""Files below a root: `/` on a machine, any folder in a test. A file that is missing or may not be read is None, never an exception."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path("/")


class Tree:
    """Paths are written as they are on a machine, from the root on."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def text(self, name: str | Path) -> str | None:
        """The text of a file, or of a path from `glob`, without the NUL that ends what a device tree says."""
        try:
            data = (self.path(name) if isinstance(name, str) else name).read_bytes()
        except OSError:
            return None
        return data.decode(errors="replace").replace("\0", " ").strip()

    def number(self, name: str | Path) -> int | None:
        """The whole number in a file."""
        text = self.text(name)
        return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None

    def numbers(self, pattern: str) -> list[int]:
        """Of all files that match and hold one."""
        return [n for path in self.glob(pattern) if (n := self.number(path)) is not None]

    def exists(self, name: str) -> bool:
        """A link counts wherever it points: systemd's enabled units are links to absolute paths."""
        path = self.path(name)
        return path.is_symlink() or path.exists()

    def glob(self, pattern: str) -> list[Path]:
        """Paths that match, cpu2 before cpu10."""
        return sorted(self.root.glob(pattern.lstrip("/")), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part or 0), word) for word, part in re.findall(r"(\D+)(\d*)", str(path))]
