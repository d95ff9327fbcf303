"""Rules on what has to be known when a plan is built: axes, depths, sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from export.gate.attributes import BOTH
from export.gate.finding import Basis, Rule
from export.gate.place import Findings, Place

REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare".split()
MOST_OF_TOPK = 3840  # ITopKLayer: values up to it; the table says less than it


@dataclass(frozen=True, slots=True)
class Fixed:
    """An input that the parser wants as weights."""

    at: int
    name: str
    targets: tuple[str, ...] = BOTH
    basis: Basis = Basis.TABLE


CONSTANTS: Mapping[str, tuple[Fixed, ...]] = {f"Reduce{name}": (Fixed(1, "axes"),) for name in REDUCTIONS} | {
    "Squeeze": (Fixed(1, "axes"),),
    "Unsqueeze": (Fixed(1, "axes"),),
    "CumSum": (Fixed(1, "axis"),),
    "OneHot": (Fixed(1, "depth"),),
    "Dropout": (Fixed(2, "training_mode"),),
    "STFT": (Fixed(1, "frame_step"), Fixed(2, "window")),
    "Slice": (Fixed(3, "axes", ("10.3",)),),  # TensorRT 10.3's change log lifts it, its table does not
    "Pad": (Fixed(3, "axes", ("10.3",)),),  # lifted by 10.4
    "TopK": (Fixed(1, "K", BOTH, Basis.ASSUMED),),  # a computed K is parsed, but its bound cannot be shown
}


def constant_findings(place: Place) -> Findings:
    for wanted in CONSTANTS.get(place.op, ()):
        name = place.input(wanted.at)
        if name and place.target in wanted.targets and not place.graph.constant(name):
            maker = place.graph.maker(name)
            source = f"comes from {maker.op_type}" if maker is not None else "is an input of the graph"
            yield place.finding(
                Rule.CONSTANT, f"{wanted.name} {name} {source}", "an initialiser: fold constants or give it as one", wanted.basis
            )


def topk_findings(place: Place) -> Findings:
    values = place.graph.values(place.input(1)) if place.op == "TopK" else None
    k = int(values.reshape(-1)[0]) if values is not None and values.size else place.attributes.get("k") if place.op == "TopK" else None
    if k is not None and k > MOST_OF_TOPK:
        yield place.finding(Rule.TOPK, f"K={k}", f"K of at most {MOST_OF_TOPK}", Basis.HEADER)


def dropout_findings(place: Place) -> Findings:
    values = place.graph.values(place.input(2)) if place.op == "Dropout" and place.input(2) else None
    if values is not None and bool(np.any(values)):
        yield place.finding(Rule.ATTRIBUTE, "training_mode is true", "training_mode false", Basis.TABLE)


def static_findings(place: Place) -> Findings:
    """Sizes that a node takes from its input's shape."""
    if place.op not in ("Squeeze", "EyeLike", "Hardmax"):
        return
    shape = place.shape(0)
    if place.op == "Squeeze" and not place.input(1) and not place.attributes.get("axes") and (shape is None or None in shape):
        yield place.finding(Rule.STATIC, "no axes, and an input whose sizes are open", "axes", Basis.PARSER)
    elif place.op == "EyeLike" and (shape is None or None in shape):
        yield place.finding(Rule.STATIC, "an input whose sizes are open", "known sizes", Basis.TABLE)
    elif place.op == "Hardmax" and (shape is None or shape[place.attributes.get("axis", -1)] is None):
        yield place.finding(Rule.STATIC, "an axis whose size is open", "a known size", Basis.TABLE)
