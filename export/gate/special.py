"""Rules that one operator has to itself."""

from __future__ import annotations

from collections.abc import Sequence

from export.gate.finding import Basis, Rule
from export.gate.place import Findings, Place
from export.gate.typed_graph import Shape

FLOATS = {"FP32", "FP16", "BF16"}
ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


def scatter_findings(place: Place) -> Findings:
    said = place.attributes.get("reduction")
    if place.op == "ScatterND" and said is not None and (place.target == "10.3" or said != "none"):
        allowed = "no reduction attribute, not even none" if place.target == "10.3" else "reduction none"
        yield place.finding(Rule.SCATTER, f"reduction={said!r}", allowed, Basis.PARSER if place.target == "10.3" else Basis.TABLE)
    if place.op == "ScatterElements" and said not in (None, "none"):
        yield place.finding(Rule.SCATTER, f"reduction={said!r}", "reduction none: others become a plugin", Basis.PARSER)


def einsum_findings(place: Place) -> Findings:
    if place.op != "Einsum":
        return
    equation = str(place.attributes.get("equation", "")).replace(" ", "")
    if any(not ("a" <= letter <= "z" or letter in "->.,") for letter in equation):
        yield place.finding(Rule.EINSUM, f"equation {equation!r}", "lower-case letters", Basis.PARSER)
    elif place.target == "10.3" and (why := _beyond_10_3(equation.split("->")[0].split(","), place)):
        yield place.finding(Rule.EINSUM, f"equation {equation!r} {why}", "neither of ellipsis, diagonal, broadcasting", Basis.CHANGES)


def _beyond_10_3(operands: Sequence[str], place: Place) -> str | None:
    """What 10.12 brought. The parser of 10.1 has code for an ellipsis; that it was whole is not documented."""
    if any("..." in operand for operand in operands):
        return "has an ellipsis"
    if any(len(set(operand)) < len(operand) for operand in operands):
        return "has a diagonal"
    sizes: dict[str, int] = {}
    for at, operand in enumerate(operands):
        for letter, size in zip(operand, place.shape(at) or (), strict=False):
            if size is not None and sizes.setdefault(letter, size) != size:
                return f"broadcasts {letter!r}"
    return None


def arithmetic_findings(place: Place) -> Findings:
    if place.op == "Pow" and place.target == "10.3" and (dtype := place.dtype(1)) not in {None, *FLOATS}:
        yield place.finding(Rule.EXPONENT, f"the exponent {place.input(1)} is {dtype}", "a floating type", Basis.PARSER)
    if place.op == "Mod" and not place.attributes.get("fmod", 0) and (dtype := place.dtype(0)) in FLOATS:
        yield place.finding(Rule.REMAINDER, f"{place.input(0)} is {dtype} and fmod is 0", "fmod 1, or integers", Basis.PARSER)


def recurrent_findings(place: Place) -> Findings:
    said = place.attributes
    if place.op not in ACTIVATIONS or said.get("direction", "forward") != "bidirectional":
        return
    count = len(ACTIVATIONS[place.op])
    names = [str(name).lower() for name in said.get("activations") or ACTIVATIONS[place.op] * 2]
    if names[:count] != names[count:]:
        yield place.finding(Rule.RECURRENT, f"activations {', '.join(names)}", "the same in both directions", Basis.TABLE)


def if_findings(place: Place) -> Findings:
    if place.op != "If":
        return
    one, other = place.graph.bodies(place.node)
    if len(one.outputs) != len(other.outputs):
        found = f"{len(one.outputs)} and {len(other.outputs)} outputs"
        yield place.finding(Rule.IF, found, "as many from both branches", Basis.PARSER)
        return
    for a, b in zip(one.outputs, other.outputs, strict=True):
        if a == b:
            yield place.finding(Rule.IF, f"both branches call an output {a}", "different names", Basis.TABLE)
        first, second = one.shape(a), other.shape(b)
        if first is not None and second is not None and len(first) != len(second):
            yield place.finding(Rule.IF, f"{a} of {len(first)} dimensions or {b} of {len(second)}", "the same number", Basis.TABLE)


def loop_findings(place: Place) -> Findings:
    """Open sizes are not held against it: that they stay cannot be seen."""
    if place.op != "Loop":
        return
    (body,) = place.graph.bodies(place.node)
    carried = len(place.node.input) - 2
    for at in range(carried):
        before, after = place.shape(2 + at), body.shape(body.outputs[1 + at])
        if before is not None and after is not None and not _may_agree(before, after):
            found = f"{place.input(2 + at)} goes in as {list(before)} and comes out as {list(after)}"
            yield place.finding(Rule.LOOP, found, "one shape in every round", Basis.TABLE)
    if len(body.outputs) > 1 + carried and not (place.input(0) and place.constant(0)):
        yield place.finding(Rule.LOOP, "it collects outputs and its number of rounds is open", "a constant number of rounds", Basis.TABLE)


def _may_agree(one: Shape, other: Shape) -> bool:
    return len(one) == len(other) and all(a is None or b is None or a == b for a, b in zip(one, other, strict=True))
