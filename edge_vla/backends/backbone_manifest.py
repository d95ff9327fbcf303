"""What a bundle of a RoboVLMs-style model says besides: how its sequences are laid out and what an answer means. Reads no file."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from edge_vla.backends.manifest import Manifest, Row, Strict

Unit = Annotated[float, Field(ge=0, le=1)]
AXES = ("linear_x", "linear_y", "angular_z")  # of a Twist


class Picture(Strict):
    """Camera picture to network input (1, 3, height, width), as the model's original prepares it.

    `squash` takes all of it whatever its aspect, `middle` the middle of it, `pad` puts it into a square of `fill`, `mosaic` lays it out
    as a small whole above its tiles. Resampling is PIL's, whose numbers differ from OpenCV's.
    """

    kind: Literal["squash", "middle", "pad", "mosaic"]
    height: int = Field(ge=14, le=8192)
    width: int = Field(ge=14, le=8192)
    resample: Literal["bicubic", "bilinear", "lanczos"]
    mean: list[Unit] = Field(min_length=3, max_length=3)
    std: list[Annotated[float, Field(ge=1e-3, le=1)]] = Field(min_length=3, max_length=3)
    fill: list[Unit] | None = Field(default=None, min_length=3, max_length=3)  # of `pad`, 0..1
    crop: int | None = Field(default=None, ge=14, le=4096)  # side of a tile of `mosaic`, px
    margin: int = Field(default=0, ge=0, le=1024)  # by which tiles overlap on each side, px
    camera: list[int] | None = Field(default=None, min_length=2, max_length=2)  # (width, height) the layout was made for; None: any


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


class BackboneManifest(Manifest):
    """What policies and speakers share."""

    picture: Picture
    sequence: Sequence
    decoder: Decoder

    @property
    def files(self) -> set[str]:
        return super().files | {self.sequence.tokenizer, self.decoder.embeddings}


class SpeakerManifest(BackboneManifest):
    """A published backbone that answers about anything, in its own reply format."""

    title: ClassVar[str] = "an engine with a backbone's own reply format"
    kind: Literal["vlm"]
    grammar: str  # of its answers about where a thing is: edge_vla.grammars
    spelling: Literal["plain", "bytes", "pieces"]
    ends: list[Row] = Field(min_length=1)
    question: list[Segment] = Field(min_length=1)


class Scaling(Strict):
    """Between robot units and labels: the fields of `action_scaling.ActionScaling`."""

    bounds: list[float] | None = Field(default=None, min_length=2, max_length=2)
    mean: float | list[float] = 0.0
    deviation: float | list[float] | None = None
    mu: float | None = Field(default=None, gt=0)
    tool_frame: bool = False
    gripper: bool = True


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
    fill_zero: bool = False
    scaling: Scaling
    gripper_logits: bool = False  # a gripper is open where its number is above 0; else above 0.5
    first_row: Row | None = None  # of the discrete actions
    motion: dict[Literal["linear_x", "linear_y", "angular_z"], int]  # dimension of an action that is m/s or rad/s; none: an arm's layout
    execute: Literal["first", "chunk"] = "first"  # how much of a chunk is carried out before the next look
    period_s: float = Field(gt=0, le=10)  # from one action of a chunk to the next


class PolicyManifest(BackboneManifest):
    """An engine that answers an instruction with actions."""

    title: ClassVar[str] = "a policy"
    kind: Literal["policy"]
    instruction: str  # "{text}" in it
    max_text: int | None = Field(default=None, ge=1)  # most tokens of an instruction
    policy: Policy
