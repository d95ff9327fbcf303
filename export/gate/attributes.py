"""Rules on operators' attributes, inputs and outputs that need nothing but a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from export.gate.finding import Basis, Rule
from export.gate.place import Findings, Place

BOTH = ("10.3", "11")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Values of an attribute."""

    name: str
    default: Any
    values: tuple[Any, ...]
    basis: Basis = Basis.TABLE


RESIZE_FROM = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")
RESIZE_NEAREST = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
ATTRIBUTES: Mapping[str, tuple[Wanted, ...]] = {
    "LSTM": (Wanted("layout", 0, (0,)), Wanted("input_forget", 0, (0,))),
    "GRU": (Wanted("layout", 0, (0,), Basis.ASSUMED),),
    "RNN": (Wanted("layout", 0, (0,), Basis.ASSUMED),),
    "TopK": (Wanted("sorted", 1, (1,)),),
    "BatchNormalization": (Wanted("training_mode", 0, (0,), Basis.PARSER),),
    "Resize": (
        Wanted("mode", "nearest", ("nearest", "linear")),
        Wanted("coordinate_transformation_mode", "half_pixel", RESIZE_FROM),
        Wanted("nearest_mode", "round_prefer_floor", RESIZE_NEAREST),
        Wanted("keep_aspect_ratio_policy", "stretch", ("stretch",)),
        Wanted("antialias", 0, (0,)),
    ),
    "Upsample": (Wanted("mode", "nearest", ("nearest", "linear", "bilinear"), Basis.PARSER),),
    "LpNormalization": (Wanted("p", 2, (1, 2), Basis.PARSER),),
    "RoiAlign": (Wanted("mode", "avg", ("avg", "max"), Basis.PARSER),),
    "Gelu": (Wanted("approximate", "none", ("none", "tanh"), Basis.PARSER),),
    "Attention": (Wanted("softcap", 0.0, (0.0,)), Wanted("qk_matmul_output_mode", 0, (0,))),
    "TensorScatter": (Wanted("axis", -2, (-2,)),),
}
UNDILATED = {"AveragePool", "MaxPool", "LpPool"}
UNWRITTEN = {"Constant": ("sparse_value", "value_string", "value_strings")}  # attributes that must not be there
# Dimensions of inputs, by their number.
DIMENSIONS: Mapping[str, tuple[tuple[int, tuple[int, ...], Basis], ...]] = {
    "AveragePool": ((0, (4, 5), Basis.TABLE),),
    "MaxPool": ((0, (4, 5), Basis.TABLE),),
    "Conv": ((0, (3, 4, 5), Basis.PARSER),),
    "ConvTranspose": ((0, (3, 4, 5), Basis.PARSER),),
    "DeformConv": ((0, (3, 4), Basis.TABLE),),
    "GridSample": ((0, (4,), Basis.TABLE),),
    "DepthToSpace": ((0, (4,), Basis.PARSER),),
    "NonMaxSuppression": ((0, (3,), Basis.PARSER), (1, (3,), Basis.PARSER)),
    "Attention": tuple((at, (4,), Basis.TABLE) for at in range(4)),
    "TensorScatter": tuple((at, (4,), Basis.TABLE) for at in range(2)),
}
OUTPUTS: Mapping[str, tuple[int, Basis]] = {
    "LayerNormalization": (1, Basis.TABLE), "MaxPool": (1, Basis.TABLE), "Attention": (1, Basis.TABLE),
}  # fmt: skip
LEFT_OUT = {"Attention": (4, 5, 6)}  # past_key, past_value, nonpad_kv_seqlen


def attribute_findings(place: Place) -> Findings:
    said = place.attributes
    for wanted in ATTRIBUTES.get(place.op, ()):
        value = said.get(wanted.name, wanted.default)
        if value not in wanted.values:
            allowed = " or ".join(str(one) for one in wanted.values)
            yield place.finding(Rule.ATTRIBUTE, f"{wanted.name}={value!r}", f"{wanted.name} {allowed}", wanted.basis)
    if place.op in UNDILATED and any(step != 1 for step in said.get("dilations", ())):
        yield place.finding(Rule.ATTRIBUTE, f"dilations={list(said['dilations'])}", "dilations of 1", Basis.TABLE)
    for name in UNWRITTEN.get(place.op, ()):
        if name in said:
            yield place.finding(Rule.ATTRIBUTE, f"{name} is given", "value, value_float(s) or value_int(s)", Basis.TABLE)


def shape_findings(place: Place) -> Findings:
    for at, ranks, basis in DIMENSIONS.get(place.op, ()):
        shape = place.shape(at)
        if shape is not None and len(shape) not in ranks:
            found = f"{place.input(at)} has {len(shape)} dimensions"
            yield place.finding(Rule.DIMENSIONS, found, " or ".join(str(rank) for rank in ranks), basis)
    if place.op in OUTPUTS:
        most, basis = OUTPUTS[place.op]
        extra = [name for name in list(place.node.output)[most:] if name]
        if extra:
            yield place.finding(Rule.OUTPUTS, f"output {extra[0]}", f"{most} output", basis)
    for at in LEFT_OUT.get(place.op, ()):
        if place.input(at):
            yield place.finding(Rule.INPUTS, f"input {place.input(at)} (number {at})", "it left out", Basis.TABLE)
