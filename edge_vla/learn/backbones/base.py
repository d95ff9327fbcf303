"""What every RoboVLMs-style model is: a vision-language backbone, a learned action token, a policy head. A backbone file says the rest."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_vla.errors import ConfigError
from edge_vla.grammars import Answer, Ask, PictureMap, Told, Vocabulary
from edge_vla.learn import actor, arguments, differences, grounding, speaker, trainable
from edge_vla.learn.backbones.reference import Reference
from edge_vla.learn.backbones.wording import Wording
from edge_vla.learn.checkpoint import read_config
from edge_vla.learn.config import given, model_folder
from edge_vla.learn.heads import BasePolicyHead, make_head
from edge_vla.learn.pictures import Picture, as_rgb, batched, prepared
from edge_vla.learn.resampler import PerceiverResampler
from edge_vla.pictures import Preparation, check

Configs = Mapping[str, Any]
ARM_STATE = 6  # of the reference's 7-number robot state, the last one being the gripper


@dataclass(frozen=True, slots=True)
class TextOutput:
    """What the language model made of a sequence."""

    hidden: Tensor  # (rows, n, d), after the final norm: what a policy head reads
    cache: Any = None  # keys and values for the next step, as the backbone keeps them
    read: Tensor | None = None  # (rows, n, d) that a policy head reads instead of `hidden`


class BaseRoboVLM(Wording, Reference, nn.Module):
    """A policy on a backbone. `forward` gives losses, `inference` actions, `generate` text, `find` where a thing is.

    Subclasses give `_init_backbone`, the towers, `model_encode_images`, `run_text`, `logits` and what they say of themselves.
    State-dict keys are the reference's: `backbone.*`, `act_head.*`, `action_token`, `vision_resampler.*`, `embed_*_state.*`.
    """

    backbone: Any  # an nn.Module of the backbone's own kind
    name: ClassVar[str]  # as `model` in a configuration
    image_size: ClassVar[int]  # pixels a side, squashed
    image_mean: ClassVar[tuple[float, float, float]]
    image_std: ClassVar[tuple[float, float, float]]
    image_brackets: ClassVar[bool] = False  # start and end tokens around an image
    both_ways: ClassVar[bool] = False  # picture and question attend to each other both ways when it answers in words

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
        configs = given(configs)
        arguments.check_constructor({"use_clip_norm": configs.get("use_clip_norm"), **reference})
        if act_encoder_configs or fwd_head_configs or configs.get("fwd_head") or configs.get("act_encoder"):
            raise ConfigError("act_encoder and fwd_head: RoboVLMs names these parts and has no code for them; leave them null")
        self.model_path, self.unused_arguments = model_folder(configs), sorted(reference)
        configs["vlm"] = {**configs.get("vlm", {}), "pretrained_model_name_or_path": str(self.model_path)}
        self.configs = configs
        self.train_setup_configs: Configs = given(configs.get("train_setup") if train_setup_configs is None else train_setup_configs)
        head = configs.get("act_head") if act_head_configs is None else act_head_configs
        self.act_head_configs: Configs | None = None if head is None else given(head)
        self.window_size = int(configs.get("window_size", 1) if window_size is None else window_size)
        self.fwd_pred_next_n = int(configs.get("fwd_pred_next_n", 1) if fwd_pred_next_n is None else fwd_pred_next_n)
        self.use_hand_rgb = bool(configs.get("use_hand_rgb", False) if use_hand_rgb is None else use_hand_rgb)
        self.use_state = bool(configs.get("use_state", False) if use_state is None else use_state)
        self.reference_padding = bool(configs.get("reference_padding", False))
        self.model_config: dict[str, Any] = dict(read_config(self.model_path))
        self.tokenizer, self.backbone = self._init_backbone()
        self.take_words(configs.get("tokenizer") or {}, len(self.word_embedding.weight))
        differences.warn(self)
        if self.train_setup_configs.get("reinit", False):
            trainable.reinit(self.backbone, self.parts_beside)
        self._init_heads()
        resampled = configs.get("use_vision_resampler", False) if use_vision_resampler is None else use_vision_resampler
        shape = vision_resampler_configs or configs.get("vision_resampler") or {}
        self.vision_resampler = PerceiverResampler(dim=self.hidden_size, **differences.resampler_shape(shape)) if resampled else None
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
    def image_processor(self) -> Callable[[Picture], Tensor]:
        """A PIL image, or (H, W, 3) uint8 RGB, to (3, size, size) as the original prepares its images."""
        return lambda picture: self.preprocess(as_rgb(picture))

    def preparation(self, camera: tuple[int, int], *, question: bool = False) -> Preparation:  # noqa: ARG002 - of some backbones
        """How pictures of (width, height) become the model's input: a policy's, or those of questions where the original differs."""
        return Preparation("squash", self.image_size, self.image_size, "bicubic", self.image_mean, self.image_std)

    def preprocess(self, rgb: NDArray[np.uint8]) -> Tensor:
        """(H, W, 3) uint8 to (3, H, W), as the policy's pictures are prepared."""
        check(rgb)
        return prepared(rgb, self.preparation((rgb.shape[1], rgb.shape[0])))

    def question_picture(self, rgb: NDArray[np.uint8]) -> Tensor:
        """A picture as the model saw pictures of questions."""
        check(rgb)
        return prepared(rgb, self.preparation((rgb.shape[1], rgb.shape[0]), question=True))

    def picture_map(self, width: int, height: int) -> PictureMap:
        """Where `question_picture` puts a picture of that size, in pixels."""
        return self.preparation((width, height), question=True).map(width, height)

    def encode_images(self, images: Tensor | Sequence[Tensor], image_sizes: object = None) -> Tensor:  # noqa: ARG002 - the reference's
        """(b, 3, H, W) or (b, t, 3, H, W), or a list of b, to (b, t, tokens, d), through the resampler where there is one."""
        images = batched(images)
        features = self.model_encode_images(images.flatten(0, 1).to(next(self.backbone.parameters()).dtype))
        if self.vision_resampler is not None:
            features = self.vision_resampler(features[:, None, None])[:, 0]
        return features.unflatten(0, images.shape[:2])

    def encode_state(self, state: Tensor) -> Tensor:
        """(b, t, 7) robot state, its last number the gripper 0 or 1, to (b, t, d)."""
        if state.shape[-1] != ARM_STATE + 1:
            raise ConfigError(f"robot state of shape {tuple(state.shape)}: want {ARM_STATE + 1} numbers in the last dimension")
        arm = self.embed_arm_state(state[..., :ARM_STATE].to(self.embed_arm_state.weight.dtype))
        gripper = self.embed_gripper_state(state[..., ARM_STATE].long())
        embedded: Tensor = self.embed_state(torch.cat([arm, gripper], -1))
        return embedded

    def brackets(self, rows: int) -> tuple[Tensor | None, Tensor | None]:
        """Embeddings (rows, 1, d) of the tokens before and after an image; None without such tokens."""
        if not self.image_brackets:
            return None, None
        both: Tensor = self.word_embedding(torch.tensor([self.bracket_ids()], device=self.device).expand(rows, 2))
        return both[:, :1], both[:, 1:]

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
        settled = {"in_features": self.hidden_size, "window_size": self.window_size, "fwd_pred_next_n": self.fwd_pred_next_n}
        return make_head(section, settled | {"tokenizer": self.tokenizer})

    def _trainable_params_setup(self) -> None:
        """Freeze, thaw and wrap as `train_setup` says."""
        trainable.set_up(self, self.train_setup_configs)

    def forward(self, vision_x: Tensor, lang_x: Tensor, attention_mask: Tensor | None = None, **batch: Any) -> dict[str, Any]:
        """Losses of a batch (`mode="train"`, the default) or, with `mode="inference"`, what `inference` gives.

        vision_x (b, window, 3, H, W), lang_x (b, t) ids padded on the right, attention_mask (b, t). The other keys are the
        reference's: action_labels, action_mask, vision_gripper, rel_state, instr_and_action_ids, _labels, _mask, data_source. Raises
        ConfigError for any other. It runs in `train_setup.precision`; the memory of a stepping policy is neither read nor written.
        """
        if arguments.mode_of(batch) == "inference":
            return self.inference(vision_x, lang_x, attention_mask, **batch)
        arguments.check_batch(batch, acting=False)
        with trainable.autocast(self):
            return actor.losses(self, vision_x, lang_x, attention_mask, batch)

    def inference(self, vision_x: Tensor, lang_x: Tensor, attention_mask: Tensor | None = None, **batch: Any) -> dict[str, Any]:
        """{"action": (arm, gripper)} as tensors from a continuous head, or decoded values (b, chunk, action_dim) from a discrete one.

        Whatever mode the model is in it rests meanwhile: no dropout, and one frame a call joins the head's memory.
        """
        arguments.check_batch(batch, acting=True)
        with torch.no_grad(), trainable.resting(self):
            return {"action": actor.act(self, vision_x, lang_x, attention_mask, batch)}

    def generate(self, prompt: str, image: Picture, max_new_tokens: int = 64) -> str:
        """The model's greedy answer to a question about a PIL image, or one of (H, W, 3) uint8 RGB."""
        return speaker.speak(self, prompt, as_rgb(image), max_new_tokens)

    def find(self, thing: str, image: Picture, most: int = grounding.MOST) -> Answer:
        """Where a thing is in a PIL image, or one of (H, W, 3) uint8 RGB, by the model's own reply format: at most `most` places.

        Each has the model's own probability. Raises ConfigError for a thing that cannot be asked for and for a tokenizer without the
        rows that the format takes.
        """
        return grounding.find(self, thing, as_rgb(image), most)

    def tell(self, asked: Ask, features: Tensor, most: int) -> Told:
        """The answer to one of a grammar's questions about an image's features (1, 1, tokens, d)."""
        return grounding.tell(self, asked, features, most)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What each row of the language model spells. Raises ConfigError for a tokenizer without an end."""
        known = len(self.word_embedding.weight)  # a tokenizer may have rows that the language model has not
        tokens = {token: row for token, row in self.tokenizer.get_vocab().items() if row < known}
        return Vocabulary(tokens, self.end_ids(), self.spelling)
