"""Attributes that TensorRT takes with some values only."""

from __future__ import annotations

from export.gate import Rule
from tests.export.gate.cases.graph import BOTH, NEW, OPSET, PICTURE, ROWS, Case, model, recurrent

HEADS = "(float[1,2,4,8] q, float[1,2,4,8] k, float[1,2,4,8] v) => (y)"
GROWN = f"{PICTURE} <float[4] s = {{1.0, 1.0, 2.0, 2.0}}>"
POOL = "kernel_shape = [2, 2]"
NORM = "(float[1,1,4] x) => (y) <float[1] s = {1.0}, float[1] b = {0.0}, float[1] m = {0.0}, float[1] v = {1.0}>"


def attribute(op: str, signature: str, call: str, bad: str, good: str, targets: tuple[str, ...] = BOTH, opset: int = OPSET) -> Case:
    """`call` with ATTR where attributes go."""
    one, other = (model(signature, call.replace("ATTR", f"<{said}>"), opset=opset) for said in (bad, good))
    return Case(Rule.ATTRIBUTE, op, one, other, targets, bad)


def resize(bad: str, good: str) -> Case:
    return attribute("Resize", GROWN, "y = Resize ATTR (x, , s)", bad, good)


ATTRIBUTES = (
    attribute("LSTM", recurrent(4), "y = LSTM ATTR (x, w, r)", "hidden_size = 3, layout = 1", "hidden_size = 3, layout = 0"),
    attribute("LSTM", recurrent(4), "y = LSTM ATTR (x, w, r)", "hidden_size = 3, input_forget = 1", "hidden_size = 3"),
    attribute("GRU", recurrent(3), "y = GRU ATTR (x, w, r)", "hidden_size = 3, layout = 1", "hidden_size = 3"),
    attribute("RNN", recurrent(1), "y = RNN ATTR (x, w, r)", "hidden_size = 3, layout = 1", "hidden_size = 3"),
    attribute("TopK", "(float[9] x) => (y) <int64[1] k = {5}>", "y, i = TopK ATTR (x, k)", "sorted = 0", "sorted = 1"),
    Case(
        Rule.ATTRIBUTE, "BatchNormalization", model(NORM, "y, i, j = BatchNormalization <training_mode = 1> (x, s, b, m, v)"),
        model(NORM, "y = BatchNormalization(x, s, b, m, v)"), name="training_mode = 1",
    ),
    resize('mode = "cubic"', 'mode = "linear"'),
    resize('coordinate_transformation_mode = "half_pixel_symmetric"', 'coordinate_transformation_mode = "pytorch_half_pixel"'),
    resize('nearest_mode = "round"', 'nearest_mode = "floor"'),
    resize('keep_aspect_ratio_policy = "not_larger"', 'keep_aspect_ratio_policy = "stretch"'),
    resize("antialias = 1", "antialias = 0"),
    attribute("Upsample", GROWN, "y = Upsample ATTR (x, s)", 'mode = "cubic"', 'mode = "linear"', opset=9),
    attribute("LpNormalization", ROWS, "y = LpNormalization ATTR (x)", "p = 3", "p = 1"),
    attribute(
        "RoiAlign", "(float[1,3,8,8] x, float[1,4] r, int64[1] b) => (y)", "y = RoiAlign ATTR (x, r, b)", 'mode = "sum"', 'mode = "max"',
    ),
    attribute("Gelu", ROWS, "y = Gelu ATTR (x)", 'approximate = "erf"', 'approximate = "tanh"'),
    attribute("Attention", HEADS, "y = Attention ATTR (q, k, v)", "softcap = 5.0", "is_causal = 1", NEW, 23),
    attribute("Attention", HEADS, "y = Attention ATTR (q, k, v)", "qk_matmul_output_mode = 1", "is_causal = 1", NEW, 23),
    attribute(
        "TensorScatter", "(float[1,2,4,8] c, float[1,2,1,8] u) => (y)", "y = TensorScatter ATTR (c, u)", "axis = 1", "axis = -2", NEW, 24,
    ),
    *(
        attribute(op, PICTURE, f"y = {op} ATTR (x)", f"{POOL}, dilations = [1, 2]", f"{POOL}, dilations = [1, 1]")
        for op in ("AveragePool", "MaxPool", "LpPool")
    ),
    *(
        attribute("Constant", ROWS, "k = Constant ATTR () y = Identity(x)", said, "value_float = 1.0")
        for said in ('value_string = "a"', 'value_strings = ["a", "b"]')
    ),
)  # fmt: skip
