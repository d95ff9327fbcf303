"""What fits instead of what does not: a lower precision, a shorter sequence, a smaller model, a bigger board."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_vla.errors import ConfigError
from edge_vla.learn.card_facts import CARDS
from export.planning.devices import DEVICES, Device
from export.planning.number_formats import PRECISIONS, Precision
from export.planning.published import shapes_of
from export.planning.shapes import Model
from export.planning.workload import Workload


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for."""

    model: Model
    load: Workload
    precision: Precision
    device: Device


Fits = Callable[[Wish], bool]


def instead(wish: Wish, fits: Fits) -> list[str]:
    """The nearest of each kind that fits, in words; empty when nothing does."""
    found = (lower_precision(wish, fits), shorter_sequence(wish.load, wish.model, lambda load: fits(replace(wish, load=load))))
    return [said for said in (*found, smaller_model(wish, fits), bigger_device(wish, fits)) if said]


def lower_precision(wish: Wish, fits: Fits) -> str:
    """The first with fewer bytes that the board has."""
    order = list(PRECISIONS.values())
    for precision in order[order.index(wish.precision) + 1 :]:
        if precision.runs_on(wish.device) and fits(replace(wish, precision=precision)):
            return f"--precision {precision.name}"
    return ""


def shorter_sequence(load: Workload, model: Model | None, fits: Callable[[Workload], bool]) -> str:
    """The longest cache or else the longest prompt that fits."""
    if load.sequence is not None and model is not None:
        needed = replace(load, sequence=None).length(model)
        found = _longest(needed, load.sequence, lambda n: fits(replace(load, sequence=n)))
        if found:
            return f"--sequence {found}"
    found = _longest(1, load.prompt, lambda n: fits(replace(load, prompt=n, sequence=None)))
    return f"--prompt {found}" if found else ""


def _longest(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """The largest number from `low` on and below `high` that fits, 0 for none; memory only grows with it."""
    if low >= high or not fits(low):
        return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def smaller_model(wish: Wish, fits: Fits) -> str:
    """The largest published one below this, of the same backbone if there is one."""
    known = sorted((shapes_of(card) for card in CARDS), key=lambda m: (m.backbone == wish.model.backbone, m.parameters), reverse=True)
    for model in known:
        if model.parameters < wish.model.parameters and _takes(replace(wish, model=model), fits):
            return f"the smaller model '{model.name}'"
    return ""


def _takes(wish: Wish, fits: Fits) -> bool:
    """Whether another model fits, where it can be asked the same: image tokens, rows and policy widths are each model's own."""
    policy = wish.load.policy and replace(wish.load.policy, in_features=wish.model.hidden)
    rows = min(wish.load.rows or wish.model.vocabulary, wish.model.vocabulary)
    load = replace(wish.load, image_tokens=None, policy=policy, rows=rows if wish.load.rows else None)
    try:
        return fits(replace(wish, load=load))
    except ConfigError:  # a sequence that its pictures do not fit into
        return False


def bigger_device(wish: Wish, fits: Fits) -> str:
    """The board with the least memory above this one's."""
    for device in sorted(DEVICES, key=lambda d: d.memory_gib):
        if device.memory_gib > wish.device.memory_gib and wish.precision.runs_on(device) and fits(replace(wish, device=device)):
            return f"--device {device.name}"
    return ""
