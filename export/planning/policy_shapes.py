"""RoboVLMs' policy heads as parts: what their weights and one run of their graph over a window come to."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from edge_vla.errors import ConfigError, did_you_mean
from export.planning.shapes import Attention, Matrix, Part
from export.planning.towers import perceiver

STACK = (1024, 512, 256)  # hidden widths of every output stack
GPT_LAYERS = GPT_HEADS = 8
KINDS = {  # command-line name to act_head.type
    "fc": "FCDecoder", "lstm": "LSTMDecoder", "gpt": "GPTDecoder", "discrete": "DiscreteDecoder",
}  # fmt: skip
MOBILE = ("MobileVLALSTMDecoder", "MobileVLAClassificationDecoder")
CLASSES = 6  # of motion, in the mobile fork


@dataclass(frozen=True, slots=True)
class Policy:
    """An `act_head` section with what the model adds to it. Raises ConfigError for a head there is none of."""

    kind: str
    in_features: int
    hidden_size: int = 1024
    num_layers: int = 4  # of the LSTM
    latent: int = 1
    window: int = 8
    chunk: int = 10
    action_dim: int = 7
    down_sample: str = "none"
    num_classes: int = CLASSES
    acts: bool = True  # it reads action tokens of the sequence, `latent` of them; else it picks among words and pictures

    def __post_init__(self) -> None:
        known = (*KINDS.values(), *MOBILE)
        if self.kind not in known:
            raise ConfigError(f"act_head.type {self.kind!r}: want one of {', '.join(known)}{did_you_mean(self.kind, known)}")

    @property
    def decodes(self) -> bool:
        """It spells its actions as tokens, one at a time, out of the language model's own logits."""
        return self.kind == KINDS["discrete"]

    @property
    def width(self) -> int:
        """Features that the outputs read."""
        return self.hidden_size * self.latent

    def parts(self, features: int) -> tuple[Part, ...]:
        """The head's graph; `features` are the tokens that a resampler in it would read."""
        if self.decodes:
            return ()
        sampler = perceiver(self.in_features, features, self.latent) if self.down_sample == "resampler" else ()
        body = {KINDS["fc"]: self._fc, KINDS["gpt"]: self._gpt}.get(self.kind, self._lstm)
        return (*sampler, *body(), *self._outputs())

    def _fc(self) -> tuple[Part, ...]:
        wide = self.in_features * self.latent
        steps = (Matrix(wide // 2, wide), Matrix(self.width, wide // 2))
        return (Part("body", 1, wide, wide // 2, steps, wide // 2 + self.width),)

    def _lstm(self) -> tuple[Part, ...]:
        """Four gates; what comes in is multiplied for the whole window at once, what recurs once a step."""
        h, wide = self.width, self.in_features * self.latent
        comes = (Matrix(4 * h, wide), Matrix(4 * h, h, self.num_layers - 1))
        recurs = (Matrix(4 * h, h, self.num_layers),)
        return (
            Part("inputs", self.window, wide, 4 * h, comes, 4 * h * self.num_layers),
            Part("recurrence", self.window, h, 4 * h, recurs, 4 * h * self.num_layers, reads=self.window),
        )

    def _gpt(self) -> tuple[Part, ...]:
        w, layers = self.width, GPT_LAYERS
        fits = self.in_features != self.hidden_size
        fit = Part("fit", self.window * self.latent, self.hidden_size, 0, (Matrix(self.hidden_size, self.in_features),), self.hidden_size)
        matrices = (Matrix(3 * w, w, layers), Matrix(w, w, layers), Matrix(4 * w, w, layers), Matrix(w, 4 * w, layers))
        vectors = self.window * w + layers * (4 * w + 3 * w + w + 4 * w + w) + 2 * w
        look = Attention(layers, GPT_HEADS, w // GPT_HEADS, GPT_HEADS)
        return (*((fit,) if fits else ()), Part("body", self.window, w, 4 * w, matrices, vectors, (look,)))

    def _outputs(self) -> tuple[Part, ...]:
        """What the newest frame's hidden state says."""
        if self.kind == MOBILE[1]:
            out = self.chunk * self.num_classes
            return (Part("classes", 1, self.width, out, (Matrix(out, self.width),), out),)
        if self.kind == MOBILE[0]:
            return (self._stack("velocities", self.chunk * self.action_dim),)
        return self._stack("arm", self.chunk * (self.action_dim - 1)), self._stack("gripper", self.chunk)

    def _stack(self, name: str, out: int) -> Part:
        widths = (self.width, *STACK, out)
        steps = tuple(Matrix(wide, into) for into, wide in pairwise(widths))
        return Part(name, 1, self.width, max(widths[1:]), steps, sum(widths[1:]))
