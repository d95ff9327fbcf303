"""What a bundle of a RoboVLMs-style model says besides: how its sequences are laid out and what an answer means. Reads no file."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from edge_vla.backends.manifest import Manifest, Row, Strict

Unit = Annotated[float, Field(ge=0, le=1)]
AXES = ("linear_x", "linear_y", "angular_z")  # of a Twist


class Picture(Strict):
    """Camera picture to network input (1, 3, height, width): the fields of `pictures.Preparation`, which says what they mean."""

    kind: Literal["squash", "middle", "pad", "closest", "mosaic"]
    height: int = Field(ge=14, le=8192)
    width: int = Field(ge=14, le=8192)
    resample: Literal["bicubic", "bilinear", "lanczos"]
    mean: list[Unit] = Field(min_length=3, max_length=3)
    std: list[Annotated[float, Field(ge=1e-3, le=1)]] = Field(min_length=3, max_length=3)
    fill: list[Unit] | None = Field(default=None, min_length=3, max_length=3)
    rounded: bool = False
    crop: int | None = Field(default=None, ge=14, le=4096)
    margin: int = Field(default=0, ge=0, le=1024)
    most: int | None = Field(default=None, ge=1, le=256)
    camera: list[int] | None = Field(default=None, min_length=2, max_length=2)


class Sequence(Strict):
    """Where words and pictures stand in a sequence."""

    tokenizer: str  # file
    adds_special: bool  # whether the tokenizer adds its own special tokens
    bos: bool  # it has one, so that pictures come second
    eos: bool
    image_tokens: int = Field(ge=0, le=65536)  # of a picture in the sequence; 0 where the model looks at it from beside
    brackets: list[Row] | None = Field(default=None, min_length=2, max_length=2)  # rows before and after a picture
    grid: list[int] | None = Field(default=None, min_length=2, max_length=2)  # rows and columns of a picture numbered in two dimensions
    mark: Row | None = None  # the row that stands for a picture beside the sequence
    latents: list[int] | None = Field(default=None, min_length=2, max_length=2)  # how many and how wide, of such a picture
    prefix: int = Field(default=0, ge=0, le=65536)  # first positions that attend to each other both ways
    both_ways: bool = False  # all of a question attends to itself both ways


class Decoder(Strict):
    """The language model's shape, for the host that gathers its embeddings and the runtime that keeps its caches."""

    layers: int = Field(ge=1, le=256)
    kv_heads: int = Field(ge=1, le=256)
    head_dim: int = Field(ge=1, le=4096)
    hidden: int = Field(ge=1, le=65536)
    embeddings: str  # file of the rows (vocabulary, hidden) as .npy, already scaled
    vocabulary: int = Field(ge=1, le=2_000_000)
    rows: list[list[int]] | None = None  # [first, end) of the rows that logits has, in order; None: all
    static: int | None = Field(default=None, ge=16, le=65536)  # positions of a cache of a fixed length; None: it grows
    max_new_tokens: int = Field(ge=1, le=1024)

    @property
    def logits(self) -> int:
        """How many there are."""
        return self.vocabulary if self.rows is None else sum(end - first for first, end in self.rows)


class Segment(Strict):
    """A piece of a question: token rows, or a text with {text} in it, or, empty, the picture's place."""

    rows: list[Row] | None = None
    text: str | None = None
    special: bool = False  # the tokenizer adds its own special tokens to the text
    skip: int = Field(default=0, ge=0, le=16)  # first rows of the tokenised text that are left out: a mark that only steers the tokenizer


class BackboneManifest(Manifest):
    """What policies and speakers share."""

    picture: Picture
    sequence: Sequence
    decoder: Decoder

    @property
    def doubt(self) -> str:
        return super().doubt if self.verified else "was never verified: python -m export verify"

    @property
    def files(self) -> set[str]:
        return super().files | {self.sequence.tokenizer, self.decoder.embeddings}


class Region(Strict):
    """Coordinates that go in and out of the language model as vectors, not as rows."""

    file: str  # .npz of its matrices: backends/region.py
    log_sizes: bool  # bins of a size are even in its logarithm
    detect: list[Segment] = Field(min_length=1)  # the question for boxes, {text} being the thing


class SpeakerManifest(BackboneManifest):
    """A published backbone that answers about anything, in its own reply format."""

    title: ClassVar[str] = "an engine with a backbone's own reply format"
    kind: Literal["vlm"]
    grammar: str  # of its answers about where a thing is: edge_vla.grammars
    spelling: Literal["plain", "bytes", "pieces"]
    ends: list[Row] = Field(min_length=1)
    question: list[Segment] = Field(min_length=1)
    places: int = Field(default=1, ge=1, le=16)  # most boxes of an answer; each takes as many steps as the first
    region: Region | None = None  # of a grammar whose rows do not spell its numbers

    @property
    def files(self) -> set[str]:
        return super().files | ({self.region.file} if self.region else set())


class Scaling(Strict):
    """Between robot units and labels: the fields of `action_scaling.ActionScaling`."""

    bounds: list[float] | None = Field(default=None, min_length=2, max_length=2)
    mean: float | list[float] = 0.0
    deviation: float | list[float] | None = None
    mu: float | None = Field(default=None, gt=0)
    tool_frame: bool = False
    gripper: bool = True


class Bins(Strict):
    """Vocabulary rows that stand for numbers, as `actions.ActionBins` has them: a higher number has a lower row."""

    first_row: Row  # of the highest number
    count: int = Field(ge=2, le=65536)  # rows
    low: float = -1.0
    high: float = 1.0


class Policy(Strict):
    """From the head's numbers to motion."""

    head: str  # its class
    action_space: Literal["continuous", "down_sample", "discrete"]
    history: Literal["post", "pre", "video"]
    window: int = Field(ge=1, le=256)  # frames
    chunk: int = Field(ge=1, le=256)  # actions of one answer
    action_dim: int = Field(ge=1, le=64)
    latent: int = Field(ge=1, le=4096)  # tokens of a frame that the head reads
    token_source: Literal["all", "text", "vision"] = "all"  # of `down_sample`
    pool: bool = False  # the host takes the largest of each of `latent` shares of a frame's tokens
    fill_zero: bool = False  # nothing attends to the action tokens
    reference_padding: bool = False  # what is masked out counts as a position all the same
    scaling: Scaling
    gripper_logits: bool = False  # a gripper is open where its number is above 0; else above 0.5
    bins: Bins | None = None  # of discrete actions
    motion: dict[Literal["linear_x", "linear_y", "angular_z"], int]  # dimension of an action that is m/s or rad/s; none: an arm's layout
    execute: Literal["first", "chunk"] = "first"  # how much of a chunk is carried out before the next look
    period_s: float = Field(gt=0, le=10)  # from one action of a chunk to the next


class PolicyManifest(BackboneManifest):
    """An engine that answers an instruction with actions."""

    title: ClassVar[str] = "a policy"
    kind: Literal["policy"]
    instruction: str  # "{text}" in it
    max_text: int | None = Field(default=None, ge=1)  # most tokens of an instruction, special ones with them
    policy: Policy
    act: str | None = None  # file of the action tokens' embeddings (latent, hidden) float32 as .npy; continuous actions have such

    @property
    def files(self) -> set[str]:
        return super().files | ({self.act} if self.act else set())
