"""Where a file of the checkout is looked for when it is named by a relative path: here first, then beside the package."""

from __future__ import annotations

from pathlib import Path

HOME = Path(__file__).resolve().parents[1]  # the checkout; of an installed wheel the folder it is installed in


def candidates(path: Path) -> tuple[Path, ...]:
    """The places a path may mean, in order, each once."""
    places = (path, HOME / path)  # an absolute path stays itself
    return places[:1] if places[0].absolute() == places[1] else places


def find(path: Path) -> Path | None:
    """The first place where something is. A link to nothing counts: it was meant."""
    return next((place for place in candidates(path) if place.exists() or place.is_symlink()), None)


def told(path: Path) -> str:
    """Where it was looked for, in words."""
    return " and ".join(str(place.absolute()) for place in candidates(path))
