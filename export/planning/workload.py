"""What is asked of a model in one look: pictures, prompt, what comes out. Batch 1 always: a robot has one present."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_vla.errors import ConfigError
from edge_vla.layout import History
from export.planning.policy_shapes import Policy
from export.planning.shapes import Model
from export.planning.towers import perceiver

OUTPUTS = ("text", "boxes", "fc", "lstm", "gpt", "discrete")
BOX_ROWS = 1024 + 64  # of a head cut to <loc> rows, end, yes and no, and the things' names
BIN_ROWS = 256  # of a head cut to action bins
PROMPT, NEW_TOKENS = 16, 6  # a short question, and a box with its name


@dataclass(frozen=True, slots=True)
class Workload:
    """One look. Raises ConfigError for sizes that are none."""

    prompt: int = PROMPT  # tokens of the text, special ones and all
    new_tokens: int = NEW_TOKENS  # of an answer; the first comes out of the prefill
    rows: int | None = None  # of the head that the graph keeps; None is every one
    policy: Policy | None = None
    history: History = History.POST
    pictures: int = 1  # cameras
    image_tokens: int | None = None  # of all pictures together, where it is not the model's own number
    sequence: int | None = None  # that the cache is made for; None is what is needed
    resampled: bool = False  # RoboVLMs' vision resampler stands behind the projector

    def __post_init__(self) -> None:
        bounds = {"prompt": (1, 100_000), "new_tokens": (1, 100_000), "pictures": (1, 16)}
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name.replace('_', ' ')} {getattr(self, name)}: want {low} to {high}")
        if self.rows is not None and self.rows < 1:
            raise ConfigError(f"rows {self.rows}: want at least 1")

    @property
    def decodes(self) -> bool:
        """Tokens come out one at a time, so keys and values are kept; a policy head reads one prefill."""
        return self.policy is None or self.policy.decodes

    @property
    def steps(self) -> int:
        """Decode steps after the prefill."""
        return self.new_tokens - 1 if self.decodes else 0

    def fitted(self, model: Model) -> Model:
        """The model with what this look changes in it: a resampler behind its projector."""
        if not self.resampled:
            return model
        latents = perceiver(model.hidden, model.image_tokens)
        return replace(model, vision=(*model.vision, *latents), image_tokens=latents[0].tokens)

    def looks(self, model: Model) -> int:
        """Pictures that go through the tower. Raises ConfigError for image tokens that no number of pictures has."""
        if self.image_tokens is None:
            return self.pictures
        each = model.image_tokens
        if not each:
            raise ConfigError(f"image tokens {self.image_tokens}: {model.name} has its pictures beside the sequence")
        if self.image_tokens < each or self.image_tokens % each:
            raise ConfigError(f"image tokens {self.image_tokens}: {model.name} makes {each} of a picture; want a multiple")
        return self.image_tokens // each

    def prefill(self, model: Model) -> int:
        """Tokens of the sequence before an answer."""
        image = model.image_tokens * self.looks(model)
        window = self.policy.window if self.policy else 1
        act = self.policy.latent if self.policy and self.policy.acts and not self.policy.decodes else 0
        if self.history is History.PRE:
            return window * (image + self.prompt + act)
        return image * (window if self.history is History.VIDEO else 1) + self.prompt + act

    def length(self, model: Model) -> int:
        """Tokens that the cache is made for. Raises ConfigError for a sequence too short for what is asked."""
        needed = self.prefill(model) + self.steps
        if self.sequence is not None and self.sequence < needed:
            raise ConfigError(f"sequence {self.sequence}: {needed} tokens go into it, {self.prefill(model)} of them before the answer")
        return self.sequence or needed

    def head_rows(self, model: Model) -> int:
        """Of the vocabulary that the graph's head keeps; none for a policy head."""
        if not self.decodes:
            return 0
        if self.rows is not None and self.rows > model.vocabulary:
            raise ConfigError(f"rows {self.rows}: {model.name} has a vocabulary of {model.vocabulary}")
        return self.rows or model.vocabulary
