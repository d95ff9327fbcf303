"""What every RoboVLMs-style model is: a vision-language backbone, a learned action token, a policy head. A backbone file says the rest."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_vla.errors import ConfigError
from edge_vla.learn import actor, trainable
from edge_vla.learn.checkpoint import read_config
from edge_vla.learn.heads import HEADS, BasePolicyHead
from edge_vla.learn.resampler import PerceiverResampler

Configs = Mapping[str, Any]
ARM_STATE = 6  # of the reference's 7-number robot state, the last one being the gripper


@dataclass(frozen=True, slots=True)
class TextOutput:
    """What the language model made of a sequence."""

    hidden: Tensor  # (rows, n, d), after the final norm: what a policy head reads
    cache: Any = None  # keys and values for the next step, as the backbone keeps them
    read: Tensor | None = None  # (rows, n, d) that a policy head reads instead of `hidden`


class BaseRoboVLM(nn.Module):
    """A policy on a backbone. `forward` gives losses, `inference` actions, `generate` text.

    Subclasses give `_init_backbone`, the towers, `model_encode_images`, `run_text`, `logits` and what they say of themselves.
    State-dict keys are the reference's: `backbone.*`, `act_head.*`, `action_token`, `vision_resampler.*`, `embed_*_state.*`.
    """

    backbone: Any  # an nn.Module of the backbone's own kind
    tokenizer: Any
    name: ClassVar[str]  # as `model` in a configuration
    grammar: ClassVar[str]  # of its answers about where a thing is, by name in `edge_vla.grammars`
    image_size: ClassVar[int]  # pixels a side, squashed
    image_mean: ClassVar[tuple[float, float, float]]
    image_std: ClassVar[tuple[float, float, float]]
    image_brackets: ClassVar[bool] = False  # start and end tokens around an image
    both_ways: ClassVar[bool] = False  # picture and question attend to each other both ways when it answers in words
    prompt: ClassVar[str]  # of a text question, "{text}" in it, and "{image}" where the picture is not second (or, without bos, first)
    instruction: ClassVar[str]  # of a robot's task, as the reference's training data has it, "{text}" in it
    parts_beside: ClassVar[tuple[str, ...]] = ()  # prefixes of what the reference keeps beside its backbone and is part of ours
    adds_special: ClassVar[bool] = True  # whether the tokenizer adds its own special tokens to prompt and instruction

    def __init__(  # noqa: PLR0913 - the reference's constructor
        self, configs: Configs, train_setup_configs: Configs | None = None, act_encoder_configs: Configs | None = None,
        act_head_configs: Configs | None = None, fwd_head_configs: Configs | None = None, window_size: int | None = None,
        use_hand_rgb: bool | None = None, fwd_pred_next_n: int | None = None,  # noqa: FBT001
        use_vision_resampler: bool | None = None, vision_resampler_configs: Configs | None = None,  # noqa: FBT001
        use_state: bool | None = None, **reference: object,  # noqa: FBT001
    ) -> None:  # fmt: skip
        """Arguments default to what `configs` says; `reference` are the original's arguments that nothing in it reads.

        Raises ConfigError for a model folder that is not this backbone's, and for parts that the original names but never had.
        """
        super().__init__()
        if act_encoder_configs or fwd_head_configs or configs.get("fwd_head") or configs.get("act_encoder"):
            raise ConfigError("act_encoder and fwd_head: RoboVLMs names these parts and has no code for them; leave them null")
        self.configs, self.unused_arguments = configs, sorted(reference)
        self.train_setup_configs: Configs = configs.get("train_setup", {}) if train_setup_configs is None else train_setup_configs
        self.act_head_configs: Configs | None = configs.get("act_head") if act_head_configs is None else act_head_configs
        self.window_size = int(configs.get("window_size", 1) if window_size is None else window_size)
        self.fwd_pred_next_n = int(configs.get("fwd_pred_next_n", 1) if fwd_pred_next_n is None else fwd_pred_next_n)
        self.use_hand_rgb = bool(configs.get("use_hand_rgb", False) if use_hand_rgb is None else use_hand_rgb)
        self.use_state = bool(configs.get("use_state", False) if use_state is None else use_state)
        self.reference_padding = bool(configs.get("reference_padding", False))
        self.model_path = Path(configs["vlm"]["pretrained_model_name_or_path"])
        self.model_config: dict[str, Any] = dict(read_config(self.model_path))
        self.tokenizer, self.backbone = self._init_backbone()
        self._init_heads()
        resampled = configs.get("use_vision_resampler", False) if use_vision_resampler is None else use_vision_resampler
        shape = vision_resampler_configs or configs.get("vision_resampler") or {}
        self.vision_resampler = PerceiverResampler(**{**shape, "dim": self.hidden_size}) if resampled else None
        if self.use_state:
            self.embed_arm_state = nn.Linear(ARM_STATE, self.hidden_size)
            self.embed_gripper_state = nn.Embedding(2, self.hidden_size)
            self.embed_state = nn.Linear(2 * self.hidden_size, self.hidden_size)
        self._trainable_params_setup()

    # -- what a backbone file gives

    @abstractmethod
    def _init_backbone(self) -> tuple[Any, nn.Module]:
        """(tokenizer, backbone) from `self.model_path`, strictly. Raises ConfigError."""

    @property
    @abstractmethod
    def hidden_size(self) -> int:
        """Width of the language model."""

    @property
    @abstractmethod
    def word_embedding(self) -> Any:
        """Token ids to embeddings, scaled as the language model wants them."""

    @property
    @abstractmethod
    def vision_tower(self) -> Any:
        """The image encoder."""

    @property
    @abstractmethod
    def text_tower(self) -> Any:
        """The language model without its head."""

    @abstractmethod
    def model_encode_images(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) as `preprocess` gives them to (n, tokens, hidden), as the language model takes them."""

    @abstractmethod
    def run_text(
        self, embeddings: Tensor, mask: Tensor, positions: Tensor, cache: Any = None, *, keep: bool = False, both_ways: bool = False
    ) -> TextOutput:
        """One pass of the language model: embeddings (rows, n, d), mask (rows, past + n) bool, 0-based positions (rows, n).

        With a `position_grid` positions may be (3, rows, n) too, as `Layout.positions` gives them. With `keep` the output's cache
        serves the next call. Attention is causal, or both ways among the n.
        """

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """(rows, n, vocabulary) for hidden states of `run_text`."""

    def bracket_ids(self) -> tuple[int, int]:
        """Token ids before and after an image, where `image_brackets` says there are any."""
        raise NotImplementedError(f"{type(self).__name__} has no tokens around an image")

    @property
    def mark_id(self) -> int | None:
        """The token that stands in a text for an image, which the language model looks at from beside the sequence: it wants `media`.

        None where images are tokens of the sequence.
        """
        return None

    @property
    def position_grid(self) -> tuple[int, int] | None:
        """Rows and columns of an image's tokens, where the language model numbers these in two dimensions."""
        return None

    def question_ids(self, question: str) -> list[int]:
        """A question as the model was trained on questions, its picture behind the first `question_lead` tokens."""
        before, image, after = self.prompt.rpartition("{image}")
        ids = self.ids(before) if image else []
        return ids + self.ids(after.format(text=question), special=not image)

    def question_lead(self) -> int:
        """How many of a question's tokens come before the picture: those before "{image}", or the bos if there is one."""
        before, image, _ = self.prompt.rpartition("{image}")
        return len(self.ids(before)) if image else int(self.tokenizer.bos_token is not None)

    def instruction_ids(self, task: str) -> list[int]:
        """A robot's task as `lang_x` has it, without pads."""
        return self.ids(self.instruction.format(text=task.strip()))

    def ids(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids, with the tokenizer's own special tokens where this model wants them."""
        return list(self.tokenizer(text, add_special_tokens=special and self.adds_special).input_ids)

    def end_ids(self) -> set[int]:
        """Tokens that end an answer."""
        return {self.tokenizer.eos_token_id} - {None}

    def decode(self, ids: list[int]) -> str:
        """An answer as text, with the tokens a grounding format is made of."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False)).strip()

    # -- what all have

    @property
    def model(self) -> nn.Module:
        """The reference's other name for the backbone."""
        return self.backbone

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def action_space(self) -> str:
        return str((self.act_head_configs or {}).get("action_space", "continuous"))

    @property
    def image_processor(self) -> Callable[[NDArray[np.uint8]], Tensor]:
        """(H, W, 3) uint8 RGB to (3, size, size), as the original prepares its images."""
        return self.preprocess

    def preprocess(self, rgb: NDArray[np.uint8]) -> Tensor:
        """Squash to a square with PIL's bicubic, scale to 0..1, subtract the mean, divide by the deviation."""
        from edge_vla.learn.pictures import squash

        return squash(rgb, self.image_size, self.image_mean, self.image_std)

    def question_picture(self, rgb: NDArray[np.uint8]) -> Tensor:
        """A picture as the model saw pictures of questions; the policy's unless the original prepares the two differently."""
        return self.preprocess(rgb)

    def encode_images(self, images: Tensor, image_sizes: object = None) -> Tensor:  # noqa: ARG002 - the reference's
        """(b, 3, H, W) or (b, t, 3, H, W) to (b, t, tokens, d), through the resampler where there is one."""
        if images.ndim == 4:
            images = images[:, None]
        if images.ndim != 5:
            raise ConfigError(f"images of shape {tuple(images.shape)}: want (b, 3, H, W) or (b, t, 3, H, W)")
        features = self.model_encode_images(images.flatten(0, 1))
        if self.vision_resampler is not None:
            features = self.vision_resampler(features[:, None, None])[:, 0]
        return features.unflatten(0, images.shape[:2])

    def encode_state(self, state: Tensor) -> Tensor:
        """(b, t, 7) robot state, its last number the gripper 0 or 1, to (b, t, d)."""
        if state.shape[-1] != ARM_STATE + 1:
            raise ConfigError(f"robot state of shape {tuple(state.shape)}: want {ARM_STATE + 1} numbers in the last dimension")
        arm, gripper = self.embed_arm_state(state[..., :ARM_STATE]), self.embed_gripper_state(state[..., ARM_STATE].long())
        embedded: Tensor = self.embed_state(torch.cat([arm, gripper], -1))
        return embedded

    def brackets(self, rows: int) -> tuple[Tensor | None, Tensor | None]:
        """Embeddings (rows, 1, d) of the tokens before and after an image; None without such tokens."""
        if not self.image_brackets:
            return None, None
        both: Tensor = self.word_embedding(torch.tensor([self.bracket_ids()], device=self.device).expand(rows, 2))
        return both[:, :1], both[:, 1:]

    @classmethod
    def import_backbone(cls, tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:  # noqa: ARG003 - for backbones that rename
        """RoboVLMs' `backbone.*` tensors, without that prefix, to the public layout of the model in `folder`: as a rule they are in it."""
        return tensors

    @classmethod
    def import_policy(cls, tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:  # noqa: ARG003 - for backbones that rescale
        """RoboVLMs' other tensors to what they have to be here, where the two differ in what they feed the language model."""
        return tensors

    def _init_heads(self) -> None:
        """The policy head and, in continuous action spaces, the action token it is read from."""
        self.act_head: BasePolicyHead | None = None
        if self.act_head_configs is None:
            return
        self.latent_num = int(self.act_head_configs.get("latent", 1))
        self.act_head = self._make_head(dict(self.act_head_configs))
        if self.action_space == "continuous":
            self.action_token = nn.Parameter(torch.zeros(self.hidden_size))

    def _make_head(self, section: dict[str, Any]) -> BasePolicyHead:
        """The head an `act_head` section names; window and chunk are the model's. Raises ConfigError."""
        kind = section.pop("type", None)
        if kind not in HEADS:
            raise ConfigError(f"act_head.type {kind!r}: want one of {', '.join(HEADS)}")
        given: dict[str, Any] = {"in_features": self.hidden_size, "hidden_size": 1024, "latent": 1, "down_sample": "none"} | section
        given |= {"window_size": self.window_size, "fwd_pred_next_n": self.fwd_pred_next_n, "tokenizer": self.tokenizer}
        try:
            return HEADS[kind](**given)
        except (TypeError, ValueError) as err:
            raise ConfigError(f"act_head: {err}") from err

    def _trainable_params_setup(self) -> None:
        """Freeze, thaw and wrap as `train_setup` says."""
        trainable.set_up(self, self.train_setup_configs)

    def forward(self, vision_x: Tensor, lang_x: Tensor, attention_mask: Tensor | None = None, **batch: Any) -> dict[str, Any]:
        """Losses of a batch (`mode="train"`, the default) or, with `mode="inference"`, what `inference` gives.

        vision_x (b, window, 3, H, W), lang_x (b, t) ids padded on the right, attention_mask (b, t). The other keys are the
        reference's: action_labels, action_mask, vision_gripper, rel_state, instr_and_action_ids, _labels, _mask.
        """
        if batch.pop("mode", "train") == "inference":
            return self.inference(vision_x, lang_x, attention_mask, **batch)
        return actor.losses(self, vision_x, lang_x, attention_mask, batch)

    def inference(self, vision_x: Tensor, lang_x: Tensor, attention_mask: Tensor | None = None, **batch: Any) -> dict[str, Any]:
        """{"action": (arm, gripper)} as tensors from a continuous head, or decoded values (b, chunk, action_dim) from a discrete one."""
        with torch.no_grad():
            return {"action": actor.act(self, vision_x, lang_x, attention_mask, batch)}

    def generate(self, prompt: str, image: NDArray[np.uint8], max_new_tokens: int = 64) -> str:
        """The model's greedy answer to a question about an (H, W, 3) uint8 RGB image."""
        from edge_vla.learn.speaker import speak

        return speak(self, prompt, image, max_new_tokens)
