"""What every bundle says of itself, and what a bundle with trained prompts says besides. Reads no file."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

LOC_BINS = 1024  # of a reply's <locNNNN>: PaliGemma's; a vocabulary may have fewer, evenly spread
SCHEMA_VERSION = 1
Row = Annotated[int, Field(ge=0)]  # of the vocabulary; contract.py knows where that ends
GraphName = Literal["vision", "prefix", "lm_step", "head"]


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
    """One file a runtime reads, and its tensors."""

    file: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    data: str | None = None  # file of weights that are kept beside the graph


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


class Span(Strict):
    """Shapes of an input that one of a plan's profiles takes, each size from `least` to `most`; it is fastest at `best`."""

    least: list[int]
    best: list[int]
    most: list[int]


class Source(Strict):
    """The ONNX file from which a plan without weights takes them."""

    file: str
    data: str | None = None  # as Graph's


class PlanInfo(Strict):
    """Where and how TensorRT built the plans of a bundle. A plan is code for one TensorRT and one GPU; plan_contract.py judges it."""

    tensorrt: str = Field(pattern=r"^\d+(\.\d+){2,3}$")
    sm: str = Field(pattern=r"^\d+\.\d+$")  # the GPU's compute capability
    profiles: dict[GraphName, list[dict[str, Span]]]  # by graph, in the plan's order
    # What becomes of keys and values: nothing is kept; caches grow; they have one length behind a mask; so they have in the graph itself.
    kv: Literal["none", "dynamic", "static", "written"]
    cuda_graphs: bool  # passes of unchanged shapes are replayed as captured
    version_compatible: bool = False  # later TensorRTs may load it
    refittable: bool = False
    stripped: dict[GraphName, Source] = {}  # plans that were written without their weights
    source: str  # sha256 of the manifest of the bundle it was built from
    workspace_mb: int = Field(ge=1)
    optimization_level: int = Field(ge=0, le=5)
    tf32: bool = False  # float32 products may be rounded to 10 bits
    cuda: str = ""  # the rest tells where it was built, as far as that machine said
    board: str = ""
    jetpack: str = ""
    l4t: str = ""
    power_mode: str = ""


class Verified(Strict):
    """What `python -m export verify` found: how far the bundle's graphs and answers lie from the model's own."""

    peer: str  # what made the numbers it was compared with
    runtime: str  # what ran the bundle
    graphs: dict[str, float]  # worst of each tensor: the largest difference, or where `relative` its root mean square over the tensor's
    allowed: float
    relative: bool
    answers: int  # asked of the whole engine
    agreeing: int
    share: float = Field(ge=0, le=1)  # of the answers that have to agree
    passed: bool


class Manifest(Strict):
    """What every kind of bundle says of itself."""

    schema_version: Literal[1]
    name: str = Field(min_length=1)
    kind: Literal["vlm", "policy"]
    domain: Literal["sim", "real"]
    backend: Literal["onnx", "tensorrt"]
    precision: Literal["fp32", "fp16", "int8", "w8a8", "w8", "w4"]
    graphs: dict[GraphName, Graph]
    plan: PlanInfo | None = None  # exactly where `backend` is tensorrt
    max_linear_mps: float = Field(gt=0, le=0.5)  # the speed it was evaluated at
    max_angular_rps: float = Field(gt=0, le=1.0)
    probes: str | None = None  # file of tensors for each graph and what the model made of them
    reference: str | None = None  # file of questions and their answers at export: reference.py
    sha256: dict[str, str]
    verified: Verified | None = None
    made: dict[str, str | float | int] = {}  # provenance: images seen, parity figures, latency at export

    @property
    def doubt(self) -> str:
        """Why the bundle should not drive; "" for none."""
        found = self.verified
        if found is None or found.passed:
            return ""
        worst = max(found.graphs, key=lambda name: found.graphs[name], default="nothing")
        off = f"{worst} is {found.graphs.get(worst, 0.0):.2g} off, {found.allowed:g} is allowed"
        return f"differs from its model: {off}; {found.agreeing} of {found.answers} answers agree, {found.share:.0%} have to"

    @property
    def files(self) -> set[str]:
        """Everything a host or a runtime opens, by name: each has to be signed."""
        stripped = self.plan.stripped.values() if self.plan else ()
        graphs = {name for graph in (*self.graphs.values(), *stripped) for name in (graph.file, graph.data) if name is not None}
        return graphs | {name for name in (self.reference, self.probes) if name}

    @property
    def rows(self) -> int:
        """Of the logits. Known once the graphs are found to be what they should be."""
        return int(self.graphs["lm_step"].outputs[0].shape[1])


class FinderManifest(Manifest):
    """An engine of the prompts it was trained on, with a list of the things it knows: the shipped default."""

    title: ClassVar[str] = "an engine of trained prompts"
    kind: Literal["vlm"]
    preprocess: Preprocess
    tokens: Tokens
    language: Language
    prompts: Prompts
    targets: list[str] = Field(min_length=1)
    free_distance_columns: int = Field(default=0, ge=0, le=1024)  # 0: the vision graph has no such output
    free_distance_cap_m: float = Field(default=0.0, ge=0, le=100)
    calibration: Calibration = Calibration()

    @property
    def files(self) -> set[str]:
        return super().files | {self.tokens.file, self.language.embeddings}
