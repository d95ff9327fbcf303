"""From a batch to actions and losses: lay out, run the language model once, read the head's positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from edge_vla.errors import ConfigError
from edge_vla.layout import ActionSpace, History, Layout, Recipe, TokenSource, lay_out
from edge_vla.learn.arguments import check_shapes
from edge_vla.learn.losses import IGNORED, LossRatios, total_loss
from edge_vla.learn.media import apart, beside, marked
from edge_vla.learn.sequence import Parts, assemble, read_out
from edge_vla.learn.walk import Walk

if TYPE_CHECKING:
    from edge_vla.learn.backbones.base import BaseRoboVLM

Batch = Mapping[str, Any]


def losses(model: BaseRoboVLM, vision: Tensor, text: Tensor, text_mask: Tensor | None, batch: Batch) -> dict[str, Any]:
    """The head's losses under the reference's names (`loss_arm_act`, ...) and their weighted sum, `loss`."""
    head = _head(model)
    if model.action_space == ActionSpace.DISCRETE.value:
        check_shapes(vision, None, None, batch.get("vision_gripper"))
        logits, *wanted = _discrete(model, vision, batch)
        found = head.loss(head.whole(logits), *wanted)
    else:
        tokens = read(model, vision, text, text_mask, batch)
        found = head.loss(head.whole(tokens), batch.get("action_labels"), batch.get("action_mask"))
    # Without labels there is nothing to join, and with `predict_action: false` the reference's trainer leaves all of this out.
    taught = predicts(model) and any(isinstance(value, Tensor) for value in found.values())
    ratios = LossRatios.from_config({**model.configs, "act_head": model.act_head_configs})
    joined = total_loss(found, ratios) if taught else None
    return {f"{name}_act": value for name, value in found.items()} | {"loss": joined}


def predicts(model: BaseRoboVLM) -> bool:
    return bool(model.train_setup_configs.get("predict_action", True))


def act(model: BaseRoboVLM, vision: Tensor, text: Tensor, text_mask: Tensor | None, batch: Batch) -> Any:
    """What the head says: (arm, gripper) tensors, or decoded actions (b, chunk, action_dim) in a discrete space."""
    if not predicts(model):
        raise ConfigError("train_setup.predict_action false: this policy was not taught to act; set it to true")
    if model.action_space == ActionSpace.DISCRETE.value:
        check_shapes(vision, text, text_mask, batch.get("vision_gripper"))
        return _spell(model, vision, text, text_mask, batch)
    return _head(model)(read(model, vision, text, text_mask, batch))


def read(model: BaseRoboVLM, vision: Tensor, text: Tensor, text_mask: Tensor | None, batch: Batch) -> Tensor:
    """What a continuous head reads: (b, window, n, d), of a video (b, n, d)."""
    check_shapes(vision, text, text_mask, batch.get("vision_gripper"))
    mask = torch.ones_like(text, dtype=torch.bool) if text_mask is None else text_mask.bool()
    rows, window = vision.shape[:2]
    image, hand, latents = apart(model, *_cameras(model, vision, batch.get("vision_gripper")))
    recipe = recipe_of(model, image, hand, window, state=_state(model, batch) is not None)
    repeat = window if recipe.history is History.POST else 1
    layout, texts = lay_out(mask.cpu().numpy().repeat(repeat, 0), recipe), text.repeat_interleave(repeat, 0)
    embeddings = assemble(layout, _parts(model, texts, _flat(image, repeat), _flat(hand, repeat), batch, repeat))
    out = model.run_text(embeddings, *_mask_and_positions(model, layout, recipe), **beside(model, latents, texts, layout))
    positions = layout.act if recipe.acts else layout.pick(_token_source(model), recipe)
    tokens = read_out(out.hidden if out.read is None else out.read, positions)
    if recipe.history is History.VIDEO:
        return tokens[:, 0]
    return tokens.reshape(rows, window, *tokens.shape[2:])


def recipe_of(model: BaseRoboVLM, image: Tensor | None, hand: Tensor | None, window: int, *, state: bool) -> Recipe:
    """What the model's sequences are made of, for features (rows, frames, tokens, d)."""
    head = model.act_head_configs or {}
    return Recipe(
        bos=model.tokenizer.bos_token is not None, eos=model.tokenizer.eos_token is not None,
        image_tokens=0 if image is None else image.shape[2], hand_tokens=0 if hand is None else hand.shape[2],
        latent=model.latent_num, window=window, history=History(head.get("history_type", "post")),
        action_space=ActionSpace(model.action_space), image_brackets=model.image_brackets, state=state,
        fill_zero=bool(head.get("fill_zero", False)), reference_padding=model.reference_padding,
    )  # fmt: skip


def _head(model: BaseRoboVLM) -> Any:
    if model.act_head is None:
        raise ConfigError("act_head is null: this model has no policy head to act with")
    return model.act_head


def _token_source(model: BaseRoboVLM) -> TokenSource:
    return TokenSource((model.act_head_configs or {}).get("token_source", "all"))


def _state(model: BaseRoboVLM, batch: Batch) -> Tensor | None:
    """(b, window, 7), of a video the newest frame's only: it has one text, and with it one state."""
    if not model.use_state:
        return None
    state: Tensor | None = batch.get("rel_state")
    if state is None:
        raise ConfigError("use_state is true and the batch has no rel_state")
    return state[:, -1:] if (model.act_head_configs or {}).get("history_type") == History.VIDEO.value else state


def _cameras(model: BaseRoboVLM, vision: Tensor, hand: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Image tokens (b, window, n, d) of the main and the hand camera."""
    if model.use_hand_rgb and hand is None:
        raise ConfigError("use_hand_rgb is true and the batch has no vision_gripper")
    return model.encode_images(vision), model.encode_images(hand) if hand is not None and model.use_hand_rgb else None


def _flat(features: Tensor | None, repeat: int) -> Tensor | None:
    """(b, window, n, d) to one row a sequence: a frame each, or a window's frames in order."""
    if features is None:
        return None
    return features.flatten(0, 1) if repeat > 1 or features.shape[1] == 1 else features.flatten(1, 2)


def _parts(model: BaseRoboVLM, text: Tensor, image: Tensor | None, hand: Tensor | None, batch: Batch, repeat: int) -> Parts:
    embedded: Tensor = model.word_embedding(text)
    rows, state = len(text), _state(model, batch)
    act = model.action_token.expand(rows, model.latent_num, -1) if model.action_space == ActionSpace.CONTINUOUS.value else None
    start, end = model.brackets(rows)
    encoded = None if state is None else model.encode_state(state)
    if encoded is not None and repeat > 1:
        encoded = encoded.flatten(0, 1)[:, None]
    return Parts(embedded, image, hand, act, encoded, start, end)


def _mask_and_positions(model: BaseRoboVLM, layout: Layout, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """The reference counts pads as positions; with ours an answer does not depend on how long the longest text was."""
    counted = replace(layout, mask=np.ones_like(layout.mask)) if recipe.reference_padding else layout
    return torch.from_numpy(layout.mask).to(model.device), positions_of(model, counted)


def positions_of(model: BaseRoboVLM, layout: Layout) -> Tensor:
    """Position ids as the language model takes them: (rows, n), or (3, rows, n) where it numbers images in two dimensions."""
    return torch.from_numpy(layout.positions(model.position_grid)).to(model.device)


# -- the discrete action space


def _discrete(model: BaseRoboVLM, vision: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """(logits (b, n, vocabulary), labels (b, n), mask (b, n)) of instruction and action ids, a frame's after the other's."""
    try:
        ids, labels, mask = (batch[f"instr_and_action_{key}"] for key in ("ids", "labels", "mask"))
    except KeyError as err:
        raise ConfigError(f"a discrete batch needs {err.args[0]!r}") from err
    rows, window = vision.shape[:2]
    if ids.ndim == 2:
        ids, labels, mask = (t[:, None].expand(-1, window, -1) for t in (ids, labels, mask))
    ids, labels, mask = marked(model, (ids, None), (labels, IGNORED), (mask, 1))
    embeddings, layout, extra = _read_ids(model, ids.flatten(0, 1), mask.flatten(0, 1).bool(), vision, batch)
    extra = {name: media.end_to_end(rows) for name, media in extra.items()}
    where = torch.from_numpy(np.where(layout.source == 0, layout.index, 0)).to(ids.device)
    text = torch.from_numpy(layout.source == 0).to(ids.device)
    spread = torch.where(text, labels.flatten(0, 1).gather(1, where), IGNORED)
    seen = torch.from_numpy(layout.mask).to(ids.device)
    embeddings, spread, seen = (t.unflatten(0, (rows, window)).flatten(1, 2) for t in (embeddings, spread, seen))
    window_long = {name: getattr(layout, name).reshape(rows, -1) for name in ("source", "index", "mask")}
    positions = positions_of(model, replace(layout, **window_long))
    return model.logits(model.run_text(embeddings, seen, positions, **extra).hidden), spread, seen


def _read_ids(model: BaseRoboVLM, ids: Tensor, mask: Tensor, vision: Tensor, batch: Batch) -> tuple[Tensor, Layout, dict[str, Any]]:
    """One sequence a frame, images second as everywhere."""
    return read_words(model, ids, mask, _cameras(model, vision, batch.get("vision_gripper")), bos=True)


def read_words(
    model: BaseRoboVLM, ids: Tensor, mask: Tensor, cameras: tuple[Tensor | None, Tensor | None], *, bos: bool, lead: int | None = None
) -> tuple[Tensor, Layout, dict[str, Any]]:
    """Embeddings and layout of words (rows, n) with a picture each, without an action, and what the language model wants besides.

    `cameras` are the features of main and hand camera (b, window, tokens, d), b times window being the rows.
    """
    image, hand, latents = apart(model, *cameras)
    recipe = Recipe(
        bos=bos, eos=False, image_tokens=0 if image is None else image.shape[2], hand_tokens=0 if hand is None else hand.shape[2],
        action_space=ActionSpace.DISCRETE, image_brackets=model.image_brackets, lead=lead,
    )  # fmt: skip
    layout = lay_out(mask.cpu().numpy(), recipe)
    start, end = model.brackets(len(ids))
    flat = [None if f is None else f.flatten(0, 1) for f in (image, hand)]
    embeddings = assemble(layout, Parts(model.word_embedding(ids), flat[0], flat[1], None, None, start, end))
    return embeddings, layout, beside(model, latents, ids, layout)


def _spell(model: BaseRoboVLM, vision: Tensor, text: Tensor, text_mask: Tensor | None, batch: Batch) -> np.ndarray:
    """Greedy action tokens of the window's last frame, one at a time, decoded; the gripper is -1 or 1."""
    mask = torch.ones_like(text, dtype=torch.bool) if text_mask is None else text_mask.bool()
    hand = batch.get("vision_gripper")
    newest = {**batch, "vision_gripper": None if hand is None else hand[:, -1:]}
    text, mask = marked(model, (text, None), (mask, True))
    embeddings, layout, extra = _read_ids(model, text, mask, vision[:, -1:], newest)
    walk = Walk(model, embeddings, torch.from_numpy(layout.mask).to(text.device), positions_of(model, layout), **extra)
    spelled = [walk.logits.argmax(-1)]
    while len(spelled) < int((model.act_head_configs or {})["action_dim"]) * int(batch.get("chunk", 1)):
        walk.say(spelled[-1])
        spelled.append(walk.logits.argmax(-1))
    ids = torch.stack(spelled, 1).reshape(len(text), int(batch.get("chunk", 1)), -1).cpu().numpy()
    actions: np.ndarray = np.asarray(_head(model).action_tokenizer.decode_token_ids_to_actions(ids))
    actions[..., -1] = np.where(actions[..., -1] > 0, 1.0, -1.0)
    return actions
