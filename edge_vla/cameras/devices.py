"""Which video devices this machine has, in words: what a camera that does not open says exists instead. Opens none of them."""

from __future__ import annotations

from pathlib import Path


def nodes(root: Path = Path("/")) -> list[tuple[str, str]]:
    """(device, name) of every /dev/video*, in order. A UVC camera has two: the second is for its metadata and gives no pictures."""
    found = sorted((root / "dev").glob("video*"), key=lambda path: (len(path.name), path.name))
    return [(f"/dev/{path.name}", _name(root, path.name)) for path in found]


def links(root: Path = Path("/")) -> list[tuple[str, str]]:
    """(lasting name, device) of what is plugged into USB: unlike /dev/video0 it stays the same."""
    return [(f"/dev/v4l/by-id/{path.name}", f"/dev/{path.resolve().name}") for path in sorted((root / "dev/v4l/by-id").glob("*"))]


def told(root: Path = Path("/")) -> str:
    """All of them in one line."""
    found = nodes(root)
    if not found:
        return "video devices here: none"
    words = [f"{device} ({name})" for device, name in found] + [f"{link} -> {device}" for link, device in links(root)]
    return f"video devices here: {', '.join(words)}"


def _name(root: Path, node: str) -> str:
    try:
        return (root / "sys/class/video4linux" / node / "name").read_text("utf-8", "replace").strip() or "no name"
    except OSError:
        return "no name"
