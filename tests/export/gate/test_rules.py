"""Each rule refuses the least graph that breaks it, says where, and lets its neighbour pass. What a parser does is shown on a device."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import ModelProto

from export.gate import Finding, Rule, check
from export.gate.attributes import ATTRIBUTES, DIMENSIONS, LEFT_OUT, OUTPUTS, UNDILATED, UNWRITTEN
from export.gate.constants import CONSTANTS
from tests.export.gate.cases import CASES, Case, model

LAST_OF_OLD = 20  # graphs of later opsets are refused on 10.3, whatever else they are


def found(folder: Path, graph: ModelProto, target: str) -> list[Finding]:
    onnx.save(graph, str(folder / "graph.onnx"))
    return check(folder / "graph.onnx", target)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("target", ["10.3", "11"])
def test_what_breaks_a_rule_is_found(case: Case, target: str, tmp_path: Path) -> None:
    hits = [finding for finding in found(tmp_path, case.bad, target) if finding.rule is case.rule and finding.op == case.op]
    assert bool(hits) == (target in case.targets)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("target", ["10.3", "11"])
def test_its_neighbour_passes(case: Case, target: str, tmp_path: Path) -> None:
    if target in case.targets:
        late = {Rule.OPSET} if target == "10.3" and case.good.opset_import[0].version > LAST_OF_OLD else set()
        assert {finding.rule for finding in found(tmp_path, case.good, target)} == late


def test_an_int8_layer_passes(tmp_path: Path) -> None:
    """As w8a8 writes it: activations with one scale, weights with one a channel, both said to be int8, all products in floats between."""
    inits = """<float s = {0.02}, int8 z = {0}, int8[3,2] w = {1, -2, 3, 4, -5, 6}, float[2] k = {0.1, 0.2}, int8[2] n = {0, 0},
                float[2] b = {0.5, -0.5}>"""
    body = """q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) m = DequantizeLinear <axis = 1> (w, k, n)
              p = MatMul(d, m) a = Add(p, b) y = Gelu <approximate = "tanh"> (a)"""
    graph = model(f"(float[N,3] x) => (y) {inits}", body)
    assert [found(tmp_path, graph, target) for target in ("10.3", "11")] == [[], []]


def test_every_rule_has_a_case() -> None:
    assert {case.rule for case in CASES} == set(Rule)


def test_every_entry_of_the_tables_has_a_case() -> None:
    have = {(case.rule, case.op) for case in CASES}
    want = {(Rule.ATTRIBUTE, op) for op in (*ATTRIBUTES, *UNDILATED, *UNWRITTEN)}
    want |= {(Rule.CONSTANT, op) for op in CONSTANTS} | {(Rule.DIMENSIONS, op) for op in DIMENSIONS}
    want |= {(Rule.OUTPUTS, op) for op in OUTPUTS} | {(Rule.INPUTS, op) for op in LEFT_OUT}
    assert want <= have
