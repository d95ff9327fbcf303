"""Rules that one operator has to itself."""

from __future__ import annotations

from export.gate import Rule
from tests.export.gate.cases.graph import OLD, Case, bodies, model, recurrent, signatures

SCATTERED = "(float[4] x, int64[1,1] i, float[1] u) => (y)"
TWO = "(float[2,4] x, float[4,3] z) => (y)"
PLAIN = 'y = Einsum <equation = "ab,bc->ac"> (x, z)'
BRANCHES = "y = If (c) <then_branch = a () => (p) {{ p = Neg(x) }}, else_branch = b () => ({name}) {{ {body} }}>"
LOOP = (
    "{outputs} = Loop (n, c, x) <body = b (int64 i, bool k, float[2] v) => (bool k2, float[{size}] w{more}) {{ k2 = Identity(k) {body} }}>"
)
OPEN, FIXED = "(float[2] x, int64 n) => (y) <bool c = {1}>", "(float[2] x) => (y) <int64 n = {3}, bool c = {1}>"
COLLECTS = LOOP.format(outputs="y, s", size=2, more=", float[2] z", body="w = Neg(v) z = Abs(v)")


def both_ways(op: str, gates: int, bad: str, good: str) -> Case:
    """Activations by their initials."""
    names = {"s": '"Sigmoid"', "t": '"Tanh"', "r": '"Relu"'}
    calls = [
        f'y = {op} <hidden_size = 3, direction = "bidirectional", activations = [{", ".join(names[each] for each in said)}]> (x, w, r)'
        for said in (bad, good)
    ]
    return bodies(Rule.RECURRENT, op, recurrent(gates, 2), *calls)


SPECIAL = (
    bodies(Rule.SCATTER, "ScatterND", SCATTERED, 'y = ScatterND <reduction = "none"> (x, i, u)', "y = ScatterND(x, i, u)", OLD, "none"),
    bodies(Rule.SCATTER, "ScatterND", SCATTERED, 'y = ScatterND <reduction = "add"> (x, i, u)', "y = ScatterND(x, i, u)", name="add"),
    bodies(
        Rule.SCATTER, "ScatterElements", "(float[4] x, int64[1] i, float[1] u) => (y)",
        'y = ScatterElements <reduction = "add"> (x, i, u)', 'y = ScatterElements <reduction = "none"> (x, i, u)',
    ),
    bodies(Rule.EINSUM, "Einsum", TWO, 'y = Einsum <equation = "aB,Bc->ac"> (x, z)', PLAIN, name="letters"),
    bodies(Rule.EINSUM, "Einsum", TWO, 'y = Einsum <equation = "...b,bc->...c"> (x, z)', PLAIN, OLD, "ellipsis"),
    bodies(
        Rule.EINSUM, "Einsum", "(float[4,4] x) => (y)", 'y = Einsum <equation = "aa->a"> (x)', 'y = Einsum <equation = "ab->ba"> (x)', OLD,
        "diagonal",
    ),
    signatures(Rule.EINSUM, "Einsum", "(float[2,4] x, float[1,3] z) => (y)", TWO, PLAIN, OLD, "broadcasting"),
    bodies(Rule.EXPONENT, "Pow", "(float[2] x) => (y) <int64 a = {2}, float k = {2.0}>", "y = Pow(x, a)", "y = Pow(x, k)", OLD),
    bodies(Rule.REMAINDER, "Mod", "(float[2] x, float[2] z) => (y)", "y = Mod(x, z)", "y = Mod <fmod = 1> (x, z)"),
    both_ways("LSTM", 4, "sttsrt", "sttstt"),
    both_ways("GRU", 3, "stsr", "srsr"),
    both_ways("RNN", 1, "tr", "rr"),
    bodies(
        Rule.IF, "If", "(bool c, float[2] x) => (y)",
        BRANCHES.format(name="q", body="s = Constant <value_ints = [0]> () q = Unsqueeze(x, s)"),
        BRANCHES.format(name="q", body="q = Abs(x)"), name="ranks",
    ),
    bodies(
        Rule.IF, "If", "(bool c, float[2] x) => (y)", BRANCHES.format(name="p", body="p = Abs(x)"),
        BRANCHES.format(name="q", body="q = Abs(x)"), name="names",
    ),
    bodies(
        Rule.IF, "If", "(bool c, float[2] x) => (y)", BRANCHES.format(name="q, r", body="q = Abs(x) r = Neg(x)"),
        BRANCHES.format(name="q", body="q = Abs(x)"), name="numbers",
    ),
    bodies(
        Rule.LOOP, "Loop", FIXED, LOOP.format(outputs="y", size=4, more="", body="w = Concat <axis = 0> (v, v)"),
        LOOP.format(outputs="y", size=2, more="", body="w = Neg(v)"), name="shapes",
    ),
    Case(Rule.LOOP, "Loop", model(OPEN, COLLECTS), model(FIXED, COLLECTS), name="collects"),
)  # fmt: skip
