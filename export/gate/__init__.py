"""`python -m export gate`: whether TensorRT's ONNX parser would take a graph, by its published rules. No parser was run.

Needs onnx, no torch and no ONNX Runtime.
"""

from export.gate.check import check
from export.gate.command import main
from export.gate.finding import Basis, Finding, Rule
from export.operators import TABLES

__all__ = ["TABLES", "Basis", "Finding", "Rule", "check", "main"]
