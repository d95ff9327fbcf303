"""A model as its bundle's manifest describes it: pictures, sequences, questions, actions. Writes no file and traces nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from edge_vla.action_scaling import ActionScaling
from edge_vla.backends.backbone_manifest import AXES, Bins, Picture, Policy, Region, Scaling, Segment, Sequence
from edge_vla.errors import ConfigError
from edge_vla.layout import ActionSpace, History
from edge_vla.learn.action_tokenizer import ActionTokenizer
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.backbones.kosmos import EOI, RoboKosMos
from edge_vla.learn.backbones.moondream import RoboMoonDream
from edge_vla.learn.backbones.moondream_layout import Generation
from edge_vla.learn.heads import FCDecoder

Size = tuple[int, int]
CAMERA = (640, 480)  # px, width and height: what pictures are laid out for where a model cuts large ones into tiles


def picture_of(model: BaseRoboVLM, camera: Size, *, question: bool) -> Picture:
    """How the picture of a (width, height) camera becomes the network's input; for questions, or for the policy."""
    found = asdict(model.preparation(camera, question=question))
    return Picture(**{name: list(value) if isinstance(value, tuple) else value for name, value in found.items()})


def sequence_of(model: BaseRoboVLM, tokens: Size, tokenizer: str, *, question: bool) -> Sequence:
    """Where words and pictures stand, for pictures of (number, width) `tokens`."""
    beside = model.mark_id is not None
    brackets = list(model.bracket_ids()) if model.image_brackets else None
    return Sequence(
        tokenizer=tokenizer, adds_special=model.adds_special, bos=model.tokenizer.bos_token is not None,
        eos=model.tokenizer.eos_token is not None, image_tokens=0 if beside else tokens[0], brackets=brackets,
        grid=None if model.position_grid is None else list(model.position_grid), mark=model.mark_id,
        latents=list(tokens) if beside else None, prefix=model.prefix if isinstance(model, RoboMoonDream) else 0,
        both_ways=question and model.both_ways,
    )  # fmt: skip


def question_of(model: BaseRoboVLM) -> list[Segment]:
    """A question in words, in pieces: what is said to be rows is the same in every question."""
    first = model.question_ids("")[: model.question_lead()]
    lead = [Segment(rows=first)] if first else []
    if isinstance(model, RoboKosMos):
        return [*lead, Segment(), Segment(text=f"{EOI}{model.prompt}")]
    if isinstance(model, RoboMoonDream) and model.release.generation is Generation.D:
        return [*lead, Segment(), *_around(model, model.question_ids, len(first))]
    _, image, after = model.prompt.rpartition("{image}")
    if image:
        return [*lead, Segment(), Segment(text=after)]
    if not model.adds_special:
        return [*lead, Segment(), Segment(text=after.removeprefix("<bos>") if first else after)]
    return [*lead, Segment(), Segment(text=after, special=True, skip=len(first))]


def _around(model: BaseRoboVLM, ids_of: Callable[[str], list[int]], lead: int) -> list[Segment]:
    """Rows, the words, rows: a template of token rows, read off two questions. Raises ConfigError for any other."""
    for text in ("{text}", " {text}"):
        parts = []
        for word in ("cup", "a red ball"):
            said, ids = model.ids(text.format(text=word), special=False), ids_of(word)
            at = next((k for k in range(lead, len(ids) - len(said) + 1) if ids[k : k + len(said)] == said), None)
            parts.append(None if at is None else (ids[lead:at], ids[at + len(said) :]))
        if parts[0] is not None and parts[0] == parts[1]:
            before, after = parts[0]
            return [Segment(rows=before), Segment(text=text), Segment(rows=after)]
    raise ConfigError(f"model {model.model_path}: its question template is not rows around a text")


def region_of(model: BaseRoboVLM, file: str) -> Region | None:
    """Moondream's coordinates, which are read off hidden states; None for models that say theirs."""
    if not isinstance(model, RoboMoonDream) or model.backbone.region_model is None:
        return None
    first = model.question_ids("")[: model.question_lead()]
    around = _around(model, lambda thing: model.place_ids("detect", thing), len(first))
    return Region(file=file, log_sizes=model.backbone.region_model.log_sizes, detect=[Segment(rows=first), Segment(), *around])


def scaling_of(configs: dict[str, Any]) -> Scaling:
    """What `ActionScaling` makes of a configuration, as the manifest keeps it."""
    found = ActionScaling.from_config(configs)

    def numbers(value: Any) -> Any:
        return [float(one) for one in value] if isinstance(value, tuple) else None if value is None else float(value)

    return Scaling(
        bounds=numbers(found.bounds), mean=numbers(found.mean), deviation=numbers(found.deviation), mu=numbers(found.mu),
        tool_frame=found.tool_frame, gripper=found.gripper,
    )  # fmt: skip


def policy_of(model: BaseRoboVLM, layout: list[str] | None) -> Policy:
    """From the head's numbers to motion; `layout` names each dimension of an action, "-" for one that moves nothing. Raises ConfigError."""
    head, section = model.act_head, dict(model.act_head_configs or {})
    if head is None:
        raise ConfigError(f"model {model.model_path} has no policy head: export it as vlm")
    for name, why in (("use_hand_rgb", "a mobile robot has one camera"), ("use_state", "a mobile robot has no arm to tell of")):
        if getattr(model, name):
            raise ConfigError(f"{name}: {why}; this policy cannot be a bundle")
    space = ActionSpace(model.action_space)
    history = History(section.get("history_type") or "post")
    scaling, numbers = scaling_of(model.configs), getattr(head, "action_tokenizer", None)
    reads = {"latent": model.latent_num, "token_source": section.get("token_source") or "all", "fill_zero": bool(section.get("fill_zero"))}
    return Policy(
        head=type(head).__name__, action_space=space.value, history=history.value, action_dim=head.action_dim, scaling=scaling, **reads,
        window=window_of(model),
        chunk=1 if space is ActionSpace.DISCRETE else model.fwd_pred_next_n,
        pool=space is ActionSpace.DOWN_SAMPLE and head.down_sample == "pooling", reference_padding=model.reference_padding,
        gripper_logits=scaling.gripper and not head.gripper_probability,
        bins=bins_of(numbers) if isinstance(numbers, ActionTokenizer) else None,
        motion=motion_of(layout if layout is not None else model.configs.get("action_layout"), head.action_dim, gripper=scaling.gripper),
        execute=model.configs.get("action_execute") or "first", period_s=float(model.configs.get("action_period_s") or 0.2),
    )  # fmt: skip


def window_of(model: BaseRoboVLM) -> int:
    """Frames that the head reads at once; of one that remembers nothing and reads frame by frame, 1."""
    history = History((model.act_head_configs or {}).get("history_type") or "post")
    return 1 if isinstance(model.act_head, FCDecoder) and history is History.POST else model.window_size


def motion_of(layout: list[str] | None, dimensions: int, *, gripper: bool) -> dict[Any, int]:
    """{axis: dimension}; empty for an arm's layout, which none is given for. Raises ConfigError."""
    if layout is None:
        return {}
    wanted = dimensions - int(gripper)
    if len(layout) != wanted or any(name not in (*AXES, "-") for name in layout):
        raise ConfigError(f"action layout {','.join(layout)!r}: want {wanted} of {', '.join(AXES)} and '-', one for each dimension")
    named = [name for name in layout if name != "-"]
    if len(set(named)) < len(named):
        raise ConfigError(f"action layout {','.join(layout)!r}: names a direction twice")
    return {name: layout.index(name) for name in named}


def bins_of(numbers: ActionTokenizer) -> Bins:
    """The rows that mean actions, and which."""
    first = int(numbers.action_token_begin_idx) + 1
    return Bins(first_row=first, count=numbers.n_bins, low=float(numbers.min_action), high=float(numbers.max_action))


def action_rows(numbers: ActionTokenizer) -> list[list[int]]:
    """[first, end) of the rows that mean actions."""
    return [[int(numbers.action_token_begin_idx) + 1, int(numbers.action_token_end_idx)]]
