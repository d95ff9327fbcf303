"""What a policy head reads, for every layout, against sequences put together by hand and run through transformers' own text model."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_vla.errors import ConfigError
from edge_vla.learn import actor
from edge_vla.learn.backbones.paligemma import RoboPaligemma

if TYPE_CHECKING:
    from edge_vla.learn.backbones.base import BaseRoboVLM

Configs = Callable[..., dict[str, Any]]
TOLERANCE = 1e-5
HISTORIES = ("post", "pre", "video")
SPACES = (
    {"action_space": "continuous", "latent": 1}, {"action_space": "continuous", "latent": 2},
    *({"action_space": "down_sample", "token_source": source, "down_sample": "pooling", "latent": n} for source in ("all", "text", "vision")
      for n in (1, 2)),
)  # fmt: skip
# Every two of: hand camera, state, brackets, fill_zero, resampler; and all or none of them.
SWITCHES = (
    (0, 0, 0, 0, 0), (1, 1, 0, 0, 0), (0, 1, 1, 0, 1), (1, 0, 1, 1, 0), (0, 0, 1, 0, 0), (0, 1, 0, 1, 0), (1, 0, 0, 0, 1), (1, 1, 1, 1, 1),
)  # fmt: skip


class Bracketed(RoboPaligemma):
    """PaliGemma as if it had tokens around its images."""

    image_brackets = True

    def bracket_ids(self) -> tuple[int, int]:
        return 20, 21


def make(configs: Configs, folder: Path, *, brackets: bool = False, **rest: Any) -> RoboPaligemma:
    torch.manual_seed(1)
    model = (Bracketed if brackets else RoboPaligemma)(configs(folder, **rest))
    if hasattr(model, "action_token"):
        torch.nn.init.normal_(model.action_token)
    return model.eval()


def batch(window: int, lengths: tuple[int, ...] = (5, 3, 4)) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    rows, columns = len(lengths), max(lengths)
    mask = torch.arange(columns)[None] < torch.tensor(lengths)[:, None]
    ids = torch.where(mask, torch.randint(11, 40, (rows, columns), generator=generator), 0)
    state = torch.randn(rows, window, 7, generator=generator)
    state[..., -1] = (state[..., -1] > 0).float()
    pictures = torch.randn(2, rows, window, 3, 28, 28, generator=generator)
    return {"vision_x": pictures[0], "lang_x": ids, "attention_mask": mask, "vision_gripper": pictures[1], "rel_state": state}


Piece = tuple[Tensor, str, bool]  # (d,) embedding, what it is, whether it may be seen


def by_hand(model: BaseRoboVLM, given: dict[str, Tensor], row: int, *, pads: bool = False) -> list[list[Piece]]:
    """One list a frame (of a video one in all): what the layout says in words, no index arithmetic."""
    head, window = model.act_head_configs or {}, given["vision_x"].shape[1]
    mask = given["attention_mask"][row]
    columns = len(mask) if pads else int(mask.sum())
    text = [(e, "text", bool(mask[k])) for k, e in enumerate(model.word_embedding(given["lang_x"][row, :columns]))]
    seen = not head.get("fill_zero", False)
    cameras = ["vision_gripper"] * model.use_hand_rgb + ["vision_x"]

    def pictures(key: str, frame: int) -> list[Piece]:
        tokens = [(e, "image", True) for e in model.encode_images(given[key][row : row + 1, frame])[0, 0]]
        if not model.image_brackets:
            return tokens
        start, end = model.word_embedding(torch.tensor(model.bracket_ids()))
        return [(start, "image", True), *tokens, (end, "image", True)]

    def tail(frame: int) -> list[Piece]:
        if model.action_space != "continuous":
            return []
        state = [(model.encode_state(given["rel_state"][row, frame][None, None])[0, 0], "state", seen)] if model.use_state else []
        return state + [(model.action_token, "act", seen)] * model.latent_num

    if head.get("history_type") == "video":
        shown = [piece for key in cameras for frame in range(window) for piece in pictures(key, frame)]
        return [[text[0], *shown, *text[1:-1], *tail(window - 1), text[-1]]]
    frames = range(window)
    return [[text[0], *(p for key in cameras for p in pictures(key, f)), *text[1:-1], *tail(f), text[-1]] for f in frames]


def hidden(model: BaseRoboVLM, pieces: list[Piece], *, pads: bool = False) -> Tensor:
    """(n, d) of one sequence by itself, transformers making its own mask."""
    mask = torch.tensor([[seen for _, _, seen in pieces]])
    places = torch.arange(mask.shape[1])[None] if pads else (mask.long().cumsum(1) - 1).clamp(min=0)
    out = model.text_tower(
        inputs_embeds=torch.stack([e for e, _, _ in pieces])[None], attention_mask=mask.long(), position_ids=places + 1, use_cache=False
    )
    return out.last_hidden_state[0]


def wanted(model: BaseRoboVLM, pieces: list[Piece]) -> list[int]:
    """Positions that the head reads."""
    head = model.act_head_configs or {}
    if model.action_space == "continuous":
        return [k for k, (_, kind, _) in enumerate(pieces) if kind == "act"]
    text = [k for k, (_, kind, _) in enumerate(pieces) if kind == "text"]
    image = [k for k, (_, kind, _) in enumerate(pieces) if kind == "image"]
    return {"all": list(range(len(pieces))), "text": text[1:-1], "vision": image}[head["token_source"]]


def expected(model: BaseRoboVLM, given: dict[str, Tensor], row: int, *, pads: bool = False) -> list[Tensor]:
    """What the head reads of each frame, (n, d)."""
    frames = by_hand(model, given, row, pads=pads)
    places = [wanted(model, pieces) for pieces in frames]
    if (model.act_head_configs or {}).get("history_type") == "pre":
        whole = hidden(model, [piece for pieces in frames for piece in pieces], pads=pads).split([len(p) for p in frames])
    else:
        whole = [hidden(model, pieces, pads=pads) for pieces in frames]
    return [states[k] for states, k in zip(whole, places, strict=True)]


CASES = [(h, s, SWITCHES[(7 * i + 3 * j) % 8]) for (i, h), (j, s) in product(enumerate(HISTORIES), enumerate(SPACES))]
CASES += [(h, s, switches) for h, s, switches in product(HISTORIES, SPACES[:2], SWITCHES)]


@torch.no_grad()
@pytest.mark.parametrize(("history", "space", "switches"), CASES)
def test_the_head_reads_what_each_row_says_by_itself(
    history: str, space: dict[str, Any], switches: tuple[int, ...], configs: Configs, paligemma: Path
) -> None:
    hand, state, brackets, fill_zero, resampler = map(bool, switches)
    head = {**space, "history_type": history, "fill_zero": fill_zero, "type": "FCDecoder"}
    parts: dict[str, Any] = {"use_hand_rgb": hand, "use_state": state, "use_vision_resampler": resampler}
    parts["vision_resampler"] = {"depth": 1, "num_latents": 2, "heads": 2, "dim_head": 8}
    model = make(configs, paligemma, brackets=brackets, head=head, **parts)
    given = batch(2)
    got = actor.read(model, given["vision_x"], given["lang_x"], given["attention_mask"], given)
    got = got[:, None] if history == "video" else got
    for row in range(3):
        for frame, states in enumerate(expected(model, given, row)):
            if space["action_space"] == "continuous":
                torch.testing.assert_close(got[row, frame], states, atol=TOLERANCE, rtol=TOLERANCE)
            else:  # a pad's place is taken by the last real one before it: the same set
                torch.testing.assert_close(got[row, frame].unique(dim=0), states.unique(dim=0), atol=TOLERANCE, rtol=TOLERANCE)
    arm, gripper = model.inference(**given)["action"]
    assert arm.shape == ((3, 2, 3) if history == "video" else (3, 2, 2, 3))
    assert gripper.shape == (*arm.shape[:-1], 1)


@torch.no_grad()
@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("space", [SPACES[1], SPACES[2], SPACES[4]], ids=("continuous", "all", "text"))
def test_reference_padding_puts_the_action_behind_the_pads(history: str, space: dict[str, Any], configs: Configs, paligemma: Path) -> None:
    head = {**space, "history_type": history, "type": "FCDecoder"}
    model, ours = (make(configs, paligemma, head=head, reference_padding=reference) for reference in (True, False))
    given = batch(2)
    got, own = (actor.read(m, given["vision_x"], given["lang_x"], given["attention_mask"], given) for m in (model, ours))
    got = got[:, None] if history == "video" else got
    for row in range(3):
        for frame, states in enumerate(expected(model, given, row, pads=True)):
            torch.testing.assert_close(got[row, frame], states, atol=TOLERANCE, rtol=TOLERANCE)
    assert (got.reshape(own.shape)[1] - own[1]).abs().max() > 0.01, "the short row's pads show"


@torch.no_grad()
@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("space", SPACES[:5:2], ids=("continuous", "all", "text"))
def test_an_action_does_not_depend_on_another_rows_length(history: str, space: dict[str, Any], configs: Configs, paligemma: Path) -> None:
    head = {**space, "history_type": history, "type": "FCDecoder"}
    given, alone = batch(2, (5, 3)), batch(2, (5, 3))
    alone = {key: value[1:] for key, value in alone.items()}
    alone["lang_x"], alone["attention_mask"] = alone["lang_x"][:, :3], alone["attention_mask"][:, :3]
    together, reference = (make(configs, paligemma, head=head, reference_padding=old).inference(**given)["action"] for old in (False, True))
    single = make(configs, paligemma, head=head).inference(**alone)["action"]
    for both, one, old in zip(together, single, reference, strict=True):
        torch.testing.assert_close(both[1:], one, atol=TOLERANCE, rtol=TOLERANCE)
        assert not torch.allclose(old[1:], one, atol=1e-4), "the reference's padding does"


@torch.no_grad()
def test_a_mask_of_ones_is_what_none_means(configs: Configs, paligemma: Path) -> None:
    model, given = make(configs, paligemma), batch(2, (4, 4))
    with_mask = model.inference(**given)["action"][0]
    torch.testing.assert_close(model.inference(**{**given, "attention_mask": None})["action"][0], with_mask, atol=0, rtol=0)


@pytest.mark.parametrize(("switch", "lacks"), [("use_hand_rgb", "vision_gripper"), ("use_state", "rel_state")])
def test_a_part_that_the_configuration_promises_has_to_be_in_the_batch(switch: str, lacks: str, configs: Configs, paligemma: Path) -> None:
    model, given = make(configs, paligemma, **{switch: True}), batch(2)
    del given[lacks]
    with pytest.raises(ConfigError, match=lacks):
        model.inference(**given)


# -- discrete actions


def spelled_by_hand(model: BaseRoboVLM, given: dict[str, Tensor], row: int, steps: int) -> list[int]:
    """Greedy ids of one row, every step from nothing."""
    count = int(given["attention_mask"][row].sum())
    said = given["lang_x"][row, :count].tolist()
    newest = [model.encode_images(given[key][row : row + 1, -1])[0, 0] for key in ["vision_gripper"] * model.use_hand_rgb + ["vision_x"]]
    for _ in range(steps):
        text = model.word_embedding(torch.tensor(said))
        states = hidden(model, [(e, "", True) for e in torch.cat([text[:1], *newest, text[1:]])])
        said.append(int(model.backbone.lm_head(states[-1]).argmax()))
    return said[count:]


@torch.no_grad()
@pytest.mark.parametrize("hand", [False, True])
def test_discrete_actions_are_spelled_greedily_with_a_cache(hand: bool, configs: Configs, paligemma: Path) -> None:
    head = {"type": "DiscreteDecoder", "action_space": "discrete", "action_dim": 4}
    model, given = make(configs, paligemma, head=head, use_hand_rgb=hand), batch(2)
    got = model.inference(**given)["action"]
    assert got.shape == (3, 1, 4)
    bins = model.act_head.action_tokenizer.numbers
    for row in range(3):
        ids = spelled_by_hand(model, given, row, 4)
        want = bins.decode(np.array(ids))
        np.testing.assert_allclose(got[row, 0, :3], want[:3])
        assert got[row, 0, 3] == (1.0 if want[3] > 0 else -1.0)


@pytest.mark.parametrize("hand", [False, True])
@pytest.mark.parametrize("per_frame", [False, True])
def test_discrete_training_is_next_token_prediction_over_the_whole_window(
    hand: bool, per_frame: bool, configs: Configs, paligemma: Path
) -> None:
    head = {"type": "DiscreteDecoder", "action_space": "discrete", "action_dim": 4}
    model, given = make(configs, paligemma, head=head, use_hand_rgb=hand), batch(2)
    ids, mask = given["lang_x"], given["attention_mask"]
    if per_frame:
        ids, mask = torch.stack([ids, ids.roll(1, 0)], 1), torch.stack([mask, mask.roll(1, 0)], 1)
    labels = torch.where(mask & (ids % 3 > 0), ids, -100)
    labels[..., 0] = -100  # as every instruction is; it would be predicted from the pads of the frame before
    wants = {"instr_and_action_ids": ids, "instr_and_action_labels": labels, "instr_and_action_mask": mask}
    losses = model(**given, **wants)
    total, count = torch.zeros(()), 0
    for row in range(3):
        pieces: list[Piece] = []
        targets: list[int] = []
        for frame in range(2):
            own_ids, own, told = (t[row, frame] if per_frame else t[row] for t in (ids, mask, labels))
            cameras = ["vision_gripper"] * hand + ["vision_x"]
            shown = [(e, "", True) for key in cameras for e in model.encode_images(given[key][row : row + 1, frame])[0, 0]]
            first, *text = [(e, "", True) for e in model.word_embedding(own_ids[own])]
            pieces += [first, *shown, *text]
            kept = told[own].tolist()
            targets += [kept[0], *[-100] * len(shown), *kept[1:]]
        logits, ahead = model.backbone.lm_head(hidden(model, pieces))[:-1], torch.tensor(targets[1:])
        total = total + torch.nn.functional.cross_entropy(logits, ahead, ignore_index=-100, reduction="sum")
        count += int((ahead != -100).sum())
    torch.testing.assert_close(losses["loss_arm_act"], total / count, atol=TOLERANCE, rtol=TOLERANCE)
    losses["loss"].backward()
    assert model.backbone.lm_head.weight.grad is None, "tied to the word embedding, which does not learn by default"


def test_a_discrete_batch_says_what_it_lacks(configs: Configs, paligemma: Path) -> None:
    model = make(configs, paligemma, head={"type": "DiscreteDecoder", "action_space": "discrete", "action_dim": 4})
    with pytest.raises(ConfigError, match="instr_and_action_ids"):
        model(**batch(2))
