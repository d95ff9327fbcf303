"""`python -m export gate`: whether TensorRT's ONNX parser would take a graph, by its published rules. No parser was run.

Needs onnx, no torch and no ONNX Runtime.
"""

from export.files.operators import TABLES
from export.gate.check import check
from export.gate.command import main
from export.gate.finding import Basis, Finding, Rule

__all__ = ["TABLES", "Basis", "Finding", "Rule", "check", "main"]
