"""What a model takes by keyword, as the reference does. Any other name is refused with the nearest one, and so is a wrong shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from edge_vla.errors import ConfigError, did_you_mean

# Of the constructor: in the reference read by nothing, or by a loss of its own that is not here.
CONSTRUCTOR = {
    "use_obs_queries", "use_act_queries", "use_pixel_loss", "use_mim_obs_loss", "use_time_causal_attn", "vision_masked_ratio",
    "use_tube_mask", "use_clip_norm", "quantization_config",
}  # fmt: skip
BATCH = {
    "action_labels", "action_mask", "vision_gripper", "rel_state", "data_source", "instr_and_action_ids", "instr_and_action_labels",
    "instr_and_action_mask",
}  # fmt: skip
# What the reference's trainer gives besides, for heads it never had: future pictures, captions, a CLIP loss.
OF_OTHER_HEADS = {"caption_labels", "caption_mask", "fwd_rgb_labels", "fwd_hand_rgb_labels", "fwd_mask", "raw_text"}
# Arguments of the reference's `forward` that it hands on to nothing; here they may only say nothing.
NOTHING = {"position_ids": None, "past_key_values": None, "use_cache": False, "use_cached_vision_x": False}
MODES = ("train", "inference")


def check_constructor(said: Mapping[str, Any]) -> None:
    """Raises ConfigError for a keyword that the reference has not, and for parts that it has and this has not."""
    _known(said, CONSTRUCTOR, "argument")
    if said.get("use_clip_norm"):
        raise ConfigError("use_clip_norm True: there is no CLIP text encoder here, whose features this loss is about; set it to false")
    if said.get("quantization_config") is not None:
        raise ConfigError("quantization_config: weights are quantised at export; leave it out")


def check_batch(batch: Mapping[str, Any], *, acting: bool) -> None:
    """Raises ConfigError for a keyword of `forward` or `inference` that does nothing, and for data without an action."""
    _known(batch, BATCH | OF_OTHER_HEADS | set(NOTHING) | ({"chunk"} if acting else set()), "batch key")
    for name, nothing in NOTHING.items():
        if batch.get(name, nothing) not in (None, nothing):
            raise ConfigError(f"{name}: has no effect in this model, as it has none in the reference's; leave it out")
    source = batch.get("data_source") or "action"
    words = source if isinstance(source, str) else "_".join(source)
    if "vl_pretrain" in words:
        raise ConfigError(f"data_source {source!r}: co-training on pictures and texts does not run in RoboVLMs, and is not here")
    if "action" not in words:
        raise ConfigError(f"data_source {source!r}: want a name with 'action' in it")


def mode_of(batch: dict[str, Any]) -> str:
    """The mode a batch asks for, taken out of it. Raises ConfigError."""
    mode = batch.pop("mode", MODES[0])
    if mode not in MODES:
        raise ConfigError(f"mode {mode!r}: want {' or '.join(MODES)}")
    return str(mode)


def check_shapes(vision: Tensor, text: Tensor | None, mask: Tensor | None, hand: Tensor | None) -> None:
    """Raises ConfigError unless vision_x is (b, window, 3, H, W), lang_x and attention_mask (b, n), and the hand camera's alike."""
    if vision.ndim != 5:
        raise ConfigError(f"vision_x of shape {tuple(vision.shape)}: want (batch, window, 3, H, W)")
    if hand is not None and (hand.ndim != 5 or hand.shape[:2] != vision.shape[:2]):
        raise ConfigError(f"vision_gripper of shape {tuple(hand.shape)}: want (batch, window, 3, H, W), vision_x has {tuple(vision.shape)}")
    if text is not None and (text.ndim != 2 or len(text) != len(vision)):
        raise ConfigError(f"lang_x of shape {tuple(text.shape)}: want ({len(vision)}, tokens), a text for each row of vision_x")
    if text is not None and mask is not None and mask.shape != text.shape:
        raise ConfigError(f"attention_mask of shape {tuple(mask.shape)}: want lang_x's, {tuple(text.shape)}")


def _known(said: Iterable[str], known: set[str], what: str) -> None:
    for name in said:
        if name not in known:
            raise ConfigError(f"unknown {what} {name!r}{did_you_mean(name, known)}")
