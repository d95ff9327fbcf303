"""The engine bundle: a folder whose manifest is checked before anything in it is deserialised. Knows no runtime."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_vla.backends.contract import LOC_BINS, contradiction
from edge_vla.errors import ConfigError, did_you_mean

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
Row = Annotated[int, Field(ge=0)]  # of the vocabulary; contract.py knows where that ends


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Tensor(Strict):
    """A graph's input or output. A shape entry that is a word is a dynamic axis."""

    name: str
    dtype: Literal["float32", "float16", "int64", "uint8"]
    shape: list[int | str]

    def __str__(self) -> str:
        """Name, dtype and shape; a dynamic axis is a question mark, however it is called."""
        return f"{self.name} {self.dtype}[{', '.join(str(n) if isinstance(n, int) else '?' for n in self.shape)}]"


class Graph(Strict):
    """One ONNX file and its tensors."""

    file: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class Preprocess(Strict):
    """Frame to network input: resize to (height, width), scale to 0..1, subtract `mean`, divide by `std`."""

    height: int = Field(ge=16, le=4096)
    width: int = Field(ge=16, le=4096)
    resize: Literal["area", "bilinear", "bicubic"]
    colour: Literal["rgb", "bgr"]
    mean: list[Annotated[float, Field(ge=0, le=1)]] = Field(min_length=3, max_length=3)
    std: list[Annotated[float, Field(ge=1e-3, le=1)]] = Field(min_length=3, max_length=3)


class Tokens(Strict):
    """The rows of the vocabulary that mean something to the host."""

    file: str
    bos: Row
    eos: Row
    pad: Row
    unk: Row
    newline: Row
    loc_start: Row  # the row of <loc0000>; bin k is loc_start + k
    loc_bins: int = Field(ge=2, le=LOC_BINS)  # replies are in LOC_BINS whatever this is
    words: list[Row] = Field(min_length=1)  # rows a sentence may be made of


class Language(Strict):
    """The decoder's shape, for the host that keeps its caches and gathers its embeddings."""

    layers: int = Field(ge=1, le=256)
    kv_heads: int = Field(ge=1, le=256)
    head_dim: int = Field(ge=1, le=4096)
    hidden: int = Field(ge=1, le=65536)
    image_tokens: int = Field(ge=1, le=16384)
    embeddings: str  # file of the rows (vocab, hidden) float16 as .npy, already scaled
    max_new_tokens: int = Field(ge=1, le=1024)


class Prompts(Strict):
    """What the engine understands; `{thing}` is one of `targets`."""

    detect: str
    presence: str
    sentences: list[str]


class Calibration(Strict):
    """Raw detection confidence p to a frequency of being right: sigmoid(scale * logit(p) + shift), fitted on held-out rooms."""

    scale: float = Field(default=1.0, gt=0)  # a surer answer never counts less
    shift: float = 0.0


class Manifest(Strict):
    """What a bundle says of itself."""

    schema_version: Literal[1]
    name: str = Field(min_length=1)
    kind: Literal["vlm"]
    domain: Literal["sim", "real"]
    backend: Literal["onnx"]
    precision: Literal["fp32", "fp16", "int8"]
    graphs: dict[Literal["vision", "lm_step"], Graph]
    preprocess: Preprocess
    tokens: Tokens
    language: Language
    prompts: Prompts
    targets: list[str] = Field(min_length=1)
    free_distance_columns: int = Field(default=0, ge=0, le=1024)  # 0: the vision graph has no such output
    free_distance_cap_m: float = Field(default=0.0, ge=0, le=100)
    calibration: Calibration = Calibration()
    max_linear_mps: float = Field(gt=0, le=0.5)  # the speed it was evaluated at
    max_angular_rps: float = Field(gt=0, le=1.0)
    reference: str | None = None  # file of questions and their answers at export: reference.py
    sha256: dict[str, str]
    made: dict[str, str | float | int] = {}  # provenance: images seen, parity figures, latency at export

    @property
    def rows(self) -> int:
        """Of the vocabulary: logits and embeddings. Known once the graphs are found to be what they should be."""
        return int(self.graphs["lm_step"].outputs[0].shape[1])


class Bundle:
    """A checked bundle. Opening it reads the manifest and hashes the files; it loads no graph."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = _read_manifest(folder)
        self._check_files()

    def path(self, name: str) -> Path:
        """A file of the bundle."""
        return self.folder / name

    def require_target(self, thing: str) -> None:
        """Raise ConfigError, with the list of what it knows, for a thing it was not trained on."""
        known = self.manifest.targets
        if thing not in known:
            hint = did_you_mean(thing, known, cutoff=0.6) or "."
            raise ConfigError(f"engine {self.manifest.name!r} does not know {thing!r}{hint} It knows: {', '.join(known)}")

    def _check_files(self) -> None:
        m = self.manifest
        wanted = {g.file for g in m.graphs.values()} | {m.tokens.file, m.language.embeddings} | ({m.reference} if m.reference else set())
        unsigned = sorted(wanted - set(m.sha256))
        if unsigned:
            raise ConfigError(f"engine {self.folder}: no sha256 for {', '.join(unsigned)}")
        for name, want in m.sha256.items():
            path = self.folder / name
            if Path(name).name != name:
                raise ConfigError(f"engine {self.folder}: {name!r} lies outside the bundle")
            if not path.is_file():
                raise ConfigError(f"engine {self.folder}: {name} is missing")
            got = hashlib.sha256(path.read_bytes()).hexdigest()
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
        manifest = Manifest.model_validate_json(text)
    except ValidationError as err:
        raise ConfigError(f"engine {path}: {_told(err)}") from err
    if why := contradiction(manifest):
        raise ConfigError(f"engine {path}: {why}")
    return manifest


def _told(err: ValidationError) -> str:
    """The first thing wrong with a manifest; its version before all else, for another version may name everything differently."""
    errors = err.errors()
    first = next((e for e in errors if e["loc"] == ("schema_version",)), errors[0])
    if first["loc"] == ("schema_version",) and first["type"] == "literal_error":
        return f"schema_version: this edge_vla reads {SCHEMA_VERSION}, got {str(first['input'])[:80]!r}; update edge_vla or export it again"
    where = ".".join(str(part) for part in first["loc"])
    return f"{where or 'file'}: {first['msg']}, got {str(first['input'])[:80]!r}"
