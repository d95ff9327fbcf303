"""A calibration set: a folder with copies of pictures, what to ask about each, and where each came from. Read back, it is what it was.

set.toml, pictures/000000.jpg ...; later ranges.toml beside them
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from calib import toml
from calib.choice import Picture
from calib.header import header
from edge_vla.calibration import Calibration, checked, read_tables
from edge_vla.errors import ConfigError
from edge_vla.types import Frame

SET = "set.toml"
KIND = "int8_set"


class Item(BaseModel):
    """One picture: its file in the set, where it came from, and the questions asked about it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: str = Field(pattern=r"^pictures/\d{6}\.(jpg|jpeg|png)$")
    source: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    prompts: list[str] = Field(min_length=1)


class SetFile(Calibration):
    """`set.toml`."""

    kind: Literal["int8_set"]
    seed: int
    seen: int  # pictures there were to choose from
    repeated: int  # of them left out because they show what another one shows
    count: int
    questions: int  # over all pictures
    pictures: list[Item] = Field(min_length=1)

    @model_validator(mode="after")
    def _agrees(self) -> SetFile:
        for name, got in (("count", len(self.pictures)), ("questions", sum(len(item.prompts) for item in self.pictures))):
            if getattr(self, name) != got:
                raise ValueError(f"{name} = {getattr(self, name)}, but the pictures listed make {got}")
        return self


class PictureSet:
    """A set that was read and found whole. `sha256` is of its set.toml, which signs all the rest."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError for a folder that is no set, or whose pictures are not the ones it lists."""
        path = folder / SET
        self.folder = folder
        self.listed = checked(path, read_tables(path, KIND), SetFile)
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        for item in self.listed.pictures:
            self._data(item)

    def frame(self, item: Item, seq: int) -> Frame:
        """The picture itself. Raises ConfigError."""
        bgr = cv2.imdecode(np.frombuffer(self._data(item), np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise ConfigError(f"{self.folder / item.file} is no picture")
        return Frame(np.ascontiguousarray(bgr[..., ::-1], np.uint8), 0, seq)

    def _data(self, item: Item) -> bytes:
        path = self.folder / item.file
        try:
            data = path.read_bytes()
        except OSError as err:
            raise ConfigError(f"{path}: {err.strerror}; collect the set again") from err
        if hashlib.sha256(data).hexdigest() != item.sha256:
            raise ConfigError(f"{path} is not the picture that {SET} lists (sha256 {item.sha256[:12]}...): collect the set again")
        return data


def write_set(out: Path, pictures: Sequence[Picture], prompts: Sequence[Sequence[str]], facts: dict[str, int]) -> None:
    """Make the folder, whole or not at all. `facts`: seed, seen, repeated. Raises ConfigError for one that exists or cannot be written."""
    if out.exists():
        raise ConfigError(f"{out} exists already: name a new folder with --out")
    names = [f"pictures/{k:06d}{picture.candidate.path.suffix.lower()}" for k, picture in enumerate(pictures)]
    items: list[dict[str, Any]] = [
        {"file": name, "source": picture.candidate.source, "sha256": picture.sha256, "prompts": list(asked)}
        for name, picture, asked in zip(names, pictures, prompts, strict=True)
    ]
    counts = {"count": len(items), "questions": sum(map(len, prompts))}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
            folder = Path(scratch) / "set"  # of its own: the scratch folder is nobody else's to read
            (folder / "pictures").mkdir(parents=True)
            for name, picture in zip(names, pictures, strict=True):
                (folder / name).write_bytes(picture.data)
            toml.write(folder / SET, header(KIND, opencv=cv2.__version__) | facts | counts | {"pictures": items})
            folder.rename(out)
    except OSError as err:
        raise ConfigError(f"cannot write {out}: {err.strerror}") from err
