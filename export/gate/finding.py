"""What the gate has against a graph, and where the rule is from. Knows no ONNX."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum


class Basis(Enum):
    """Where a rule is read. No rule was tried on a parser."""

    TABLE = "onnx-tensorrt docs/operators.md"  # of 10.1 for TensorRT 10.3, of 10.15 for 11
    PARSER = "onnx-tensorrt source at 10.1"
    HEADER = "NvInfer.h at 10.3 and 11.1"
    CHANGES = "TensorRT's change log"
    GUIDE = "NVIDIA's guide"
    ONNX = "onnx's shape inference"
    ASSUMED = "assumed"


class Rule(Enum):
    """Every kind of finding, with what it wants."""

    OPSET = "the opset is one the parser documents"
    ONNX = "the graph is sound ONNX: known operators, types that agree"
    DOMAIN = "operators are ONNX's own"
    OPERATOR = "the operator is in TensorRT's table"
    UNTYPED = "every tensor's type can be inferred"
    TENSOR = "every tensor is of a type that TensorRT holds"
    RANK = "no tensor has more than 8 dimensions"
    UINT8 = "uint8 enters or leaves a network through a Cast and is nothing in between"
    DTYPE = "the operator takes tensors of that type"
    CONSTANT = "inputs that shape the network are initialisers or Constant nodes"
    STATIC = "sizes that shape the network are known"
    ATTRIBUTE = "an attribute has a value that TensorRT takes"
    DIMENSIONS = "inputs have a number of dimensions that TensorRT takes"
    INPUTS = "no input that TensorRT leaves out"
    OUTPUTS = "no output that TensorRT leaves out"
    TOPK = "TopK takes at most 3840"
    SCATTER = "scattering overwrites: no reduction"
    EINSUM = "an Einsum of lower-case letters, without ellipsis, diagonal or broadcasting on 10.3"
    EXPONENT = "Pow's exponent is of a floating type on 10.3"
    REMAINDER = "Mod of floating numbers has fmod"
    RECURRENT = "both directions have the same activations"
    IF = "both branches give the same ranks under different names"
    LOOP = "what a Loop carries keeps its shape, what it collects has a known length"
    QUANTISED = "Q/DQ are of int8 (or int4 weights, or FP8), said by an int8 zero point"
    SYMMETRIC = "Q/DQ have zero points of 0"
    SCALE = "Q/DQ have constant, positive scales of a floating type"
    GRANULARITY = "activations have one scale; weights one, one a channel, or one a block of int4"
    PAIR = "what is quantised is dequantised next"


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why TensorRT would not take a graph, or not as it is meant."""

    node: str  # its name, or its first output's; "" for the whole graph
    op: str  # "" for the whole graph
    rule: Rule
    found: str
    allowed: str
    basis: Basis

    def __str__(self) -> str:
        where = f"{self.op} {self.node!r}: " if self.op else ""
        return f"{where}{self.found}; want {self.allowed} ({self.rule.name.lower()}, {self.basis.value})"

    def as_json(self) -> dict[str, str]:
        return asdict(self) | {"rule": self.rule.name.lower(), "basis": self.basis.value}
