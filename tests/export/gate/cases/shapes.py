"""How many dimensions inputs have, and which inputs and outputs may be used."""

from __future__ import annotations

from export.gate import Rule
from tests.export.gate.cases.graph import BOTH, NEW, OPSET, PICTURE, Case, bodies, model

LINE = "(float[1,3,8] x) => (y)"
HEADS = "(float[1,2,4,8] q, float[1,2,4,8] k, float[1,2,4,8] v{more}) => (y)"
FLAT = "(float[1,4,8] q, float[1,4,8] k, float[1,4,8] v) => (y)"
PAST = ", float[1,2,3,8] p, float[1,2,3,8] r"
NORMED = "(float[2,4] x) => (y) <float[4] s = {1.0, 1.0, 1.0, 1.0}>"


def dimensions(op: str, bad: str, good: str, call: str, targets: tuple[str, ...] = BOTH, opset: int = OPSET) -> Case:
    """Two sets of inputs."""
    one, other = (model(f"({inputs}) => (y)", call, opset=opset) for inputs in (bad, good))
    return Case(Rule.DIMENSIONS, op, one, other, targets)


def attention(rule: Rule, bad: str, more: str, name: str) -> Case:
    good = model(HEADS.format(more=""), "y = Attention(q, k, v)", opset=23)
    return Case(rule, "Attention", model(HEADS.format(more=more), bad, opset=23), good, NEW, name)


SHAPES = (
    *(
        Case(
            Rule.DIMENSIONS, op, model(LINE, f"y = {op} <kernel_shape = [2]> (x)"), model(PICTURE, f"y = {op} <kernel_shape = [2, 2]> (x)"),
        )
        for op in ("AveragePool", "MaxPool")
    ),
    *(
        dimensions(op, "float[1,1,4,4,4,4] x, float[1,1,1,1,1,1] w", "float[1,1,4,4,4] x, float[1,1,1,1,1] w", f"y = {op}(x, w)")
        for op in ("Conv", "ConvTranspose")
    ),
    dimensions(
        "DeformConv", "float[1,1,4,4,4] x, float[1,1,1,1,1] w, float[1,3,4,4,4] o", "float[1,1,4,4] x, float[1,1,1,1] w, float[1,2,4,4] o",
        "y = DeformConv(x, w, o)",
    ),
    dimensions("GridSample", "float[1,1,4,4,4] x, float[1,4,4,4,3] g", "float[1,1,4,4] x, float[1,4,4,2] g", "y = GridSample(x, g)"),
    dimensions("DepthToSpace", "float[4,8,8] x", "float[1,4,8,8] x", "y = DepthToSpace <blocksize = 2> (x)"),
    dimensions(
        "NonMaxSuppression", "float[4,4] b, float[1,1,4] s", "float[1,4,4] b, float[1,1,4] s", "y = NonMaxSuppression(b, s)",
    ),
    Case(
        Rule.DIMENSIONS, "Attention",
        model(FLAT, "y = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, v)", opset=23),
        model(HEADS.format(more=""), "y = Attention(q, k, v)", opset=23), NEW,
    ),
    dimensions(
        "TensorScatter", "float[1,4,8] c, float[1,1,8] u", "float[1,2,4,8] c, float[1,2,1,8] u", "y = TensorScatter(c, u)", NEW, 24,
    ),
    attention(Rule.INPUTS, "y, a, b = Attention(q, k, v, , p, r)", PAST, "past"),
    attention(Rule.OUTPUTS, "y, a, b = Attention(q, k, v, , p, r)", PAST, "present"),
    bodies(Rule.OUTPUTS, "LayerNormalization", NORMED, "y, m = LayerNormalization(x, s)", "y = LayerNormalization(x, s)"),
    bodies(Rule.OUTPUTS, "MaxPool", PICTURE, "y, i = MaxPool <kernel_shape = [2, 2]> (x)", "y = MaxPool <kernel_shape = [2, 2]> (x)"),
)  # fmt: skip
