"""Graphs in ONNX's own text form, in pairs."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto, parser

from export.gate import Rule

BOTH = ("10.3", "11")
OLD, NEW = ("10.3",), ("11",)
OPSET = 20

ROWS = "(float[2,4] x) => (y)"
PICTURE = "(float[1,3,8,8] x) => (y)"
MICROSOFT = ', "com.microsoft" : 1'


def model(signature: str, body: str, *, opset: int = OPSET, domains: str = "") -> ModelProto:
    """`signature` as "(float[2,3] x) => (y) <int64[1] k = {0}>": inputs, outputs, initialisers."""
    head = f'<ir_version: 10, opset_import: ["" : {opset}{domains}]>'
    found = parser.parse_model(f"{head}\ng {signature} {{ {body} }}")
    assert isinstance(found, ModelProto)
    return found


@dataclass(frozen=True, slots=True)
class Case:
    """Two graphs, alike but for what one of them breaks."""

    rule: Rule
    op: str  # what the finding names; "" for the whole graph
    bad: ModelProto
    good: ModelProto
    targets: tuple[str, ...] = BOTH  # those that refuse
    name: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.rule.name, self.op, self.name) if part)


def bodies(rule: Rule, op: str, signature: str, bad: str, good: str, targets: tuple[str, ...] = BOTH, name: str = "") -> Case:
    """One signature, two bodies."""
    return Case(rule, op, model(signature, bad), model(signature, good), targets, name)


def signatures(rule: Rule, op: str, bad: str, good: str, body: str, targets: tuple[str, ...] = BOTH, name: str = "") -> Case:
    """Two signatures, one body."""
    return Case(rule, op, model(bad, body), model(good, body), targets, name)


def recurrent(gates: int, directions: int = 1) -> str:
    """A signature of LSTM (4 gates), GRU (3) or RNN (1): 5 steps of 2 numbers, 3 hidden."""
    w, r = (", ".join(["0.1"] * directions * gates * 3 * size) for size in (2, 3))
    rows = gates * 3
    return f"(float[5,1,2] x) => (y) <float[{directions},{rows},2] w = {{{w}}}, float[{directions},{rows},3] r = {{{r}}}>"
