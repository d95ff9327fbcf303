"""What has to be known when a plan is built."""

from __future__ import annotations

from export.gate import Rule
from tests.export.gate.cases.graph import NEW, OLD, Case, bodies, signatures

REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare".split()
WINDOW = f"float[8] w = {{{', '.join(['1.0'] * 8)}}}"
SLICED = "int64[2] k = {0, 1}, int64[1] zero = {0}, int64[1] one = {1}"


def given(op: str, data: str, kind: str, constant: str, call: str, targets: tuple[str, ...] = ("10.3", "11")) -> Case:
    """`call` with KEY: an input of the graph `a`, or the initialiser `k`."""
    signature = f"({data}, {kind} a) => (y) <{kind} k = {{{constant}}}>"
    return bodies(Rule.CONSTANT, op, signature, call.replace("KEY", "a"), call.replace("KEY", "k"), targets)


CONSTANTS = (
    *(given(f"Reduce{name}", "float[2,4] x", "int64[1]", "1", f"y = Reduce{name}(x, KEY)") for name in REDUCTIONS),
    given("Squeeze", "float[1,4] x", "int64[1]", "0", "y = Squeeze(x, KEY)"),
    given("Unsqueeze", "float[4] x", "int64[1]", "0", "y = Unsqueeze(x, KEY)"),
    given("CumSum", "float[4] x", "int64", "0", "y = CumSum(x, KEY)"),
    given("OneHot", "int64[4] x", "int64", "5", "v = Constant <value_floats = [0.0, 1.0]> () y = OneHot(x, KEY, v)"),
    given("Dropout", "float[4] x", "bool", "0", "r = Constant <value_float = 0.5> () y = Dropout(x, r, KEY)"),
    given("Slice", "float[4] x, int64[1] s, int64[1] e", "int64[1]", "0", "y = Slice(x, s, e, KEY)", OLD),
    given("Pad", "float[4] x, int64[2] p, float v", "int64[1]", "0", "y = Pad(x, p, v, KEY)", OLD),
    given("TopK", "float[9] x", "int64[1]", "5", "y, i = TopK(x, KEY)"),
    bodies(
        Rule.CONSTANT, "STFT", f"(float[1,16,1] x, int64 a) => (y) <int64 k = {{4}}, {WINDOW}>", "y = STFT(x, a, w)", "y = STFT(x, k, w)",
        NEW, "frame_step",
    ),
    bodies(
        Rule.CONSTANT, "STFT", f"(float[1,16,1] x, float[8] a) => (y) <int64 k = {{4}}, {WINDOW}>", "y = STFT(x, k, a)",
        "y = STFT(x, k, w)", NEW, "window",
    ),
    bodies(
        Rule.CONSTANT, "ReduceSum", f"(float[2,4] x) => (y) <{SLICED}>", "a = Slice(k, zero, one, zero, one) y = ReduceSum(x, a)",
        "a = Constant <value_ints = [0]> () y = ReduceSum(x, a)", name="computed from constants",
    ),
    bodies(
        Rule.TOPK, "TopK", "(float[5000] x) => (y) <int64[1] a = {3841}, int64[1] k = {3840}>", "y, i = TopK(x, a)", "y, i = TopK(x, k)",
    ),
    bodies(
        Rule.ATTRIBUTE, "Dropout", "(float[4] x) => (y) <float r = {0.5}, bool a = {1}, bool k = {0}>", "y = Dropout(x, r, a)",
        "y = Dropout(x, r, k)", name="training",
    ),
    signatures(Rule.STATIC, "Squeeze", "(float[1,N] x) => (y)", "(float[1,4] x) => (y)", "y = Squeeze(x)"),
    signatures(Rule.STATIC, "EyeLike", "(float[N,4] x) => (y)", "(float[4,4] x) => (y)", "y = EyeLike(x)"),
    signatures(Rule.STATIC, "Hardmax", "(float[4,N] x) => (y)", "(float[N,4] x) => (y)", "y = Hardmax(x)"),
)  # fmt: skip
