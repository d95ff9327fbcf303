"""Where pictures to calibrate with come from: folders that a run wrote, or folders of images. Reads names and prompts, no pixel."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from edge_vla.errors import ConfigError
from edge_vla.record import frame_path
from edge_vla.replay import load
from edge_vla.series import HELD_OUT

IMAGES = (".jpg", ".jpeg", ".png")
NUMBERS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One picture on disk. `source` is its path from the parent of the folder that was named; `prompt` what it was asked in the run."""

    path: Path
    source: str
    prompt: str | None = None


def candidates(folder: Path) -> list[Candidate]:
    """The pictures of a folder in the order they were taken. Raises ConfigError for one that holds none."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder: name one that a run wrote, or one of images ({', '.join(IMAGES)})")
    home = folder.resolve()
    found = _of_run(home) if (home / "run.json").is_file() else _of_images(home)
    if not found:
        raise ConfigError(f"{folder} holds no picture: want what a run wrote, or images ({', '.join(IMAGES)})")
    return found


def _of_run(folder: Path) -> list[Candidate]:
    """The frames somebody asked about, with what was asked. Raises ConfigError for a room that is held out."""
    _require_not_held_out(folder)
    looks = load(folder).looks
    kept = [(frame_path(folder, seq), look.prompt) for seq, look in looks.items()]
    return [Candidate(path, _source(path, folder), prompt) for path, prompt in kept if path.is_file()]


def _require_not_held_out(folder: Path) -> None:
    """A simulated run says its room in truth.json; a real one has no such file."""
    path = folder / "truth.json"
    if not path.is_file():
        return
    try:
        seed = json.loads(path.read_bytes())["seed"]
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise ConfigError(f"{path}: want the simulator's verdict with its room's seed ({type(err).__name__})") from err
    if not isinstance(seed, int) or seed >= HELD_OUT:
        raise ConfigError(f"{folder} was run in room {seed}: rooms from {HELD_OUT} on are held out, nothing is calibrated on them")


def _of_images(folder: Path) -> list[Candidate]:
    """Every image in the folder and below, by name with numbers counted: frame2 comes before frame10."""
    found = [path for path in folder.rglob("*") if path.suffix.lower() in IMAGES and path.is_file()]
    return [Candidate(path, _source(path, folder)) for path in sorted(found, key=lambda path: _counted(str(path.relative_to(folder))))]


def _counted(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in NUMBERS.split(name)]


def _source(path: Path, folder: Path) -> str:
    return path.relative_to(folder.parent).as_posix()
