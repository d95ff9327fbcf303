"""For every rule of the gate the least graph that breaks it, and a neighbour that does not."""

from tests.export.gate.cases.attributes import ATTRIBUTES
from tests.export.gate.cases.constants import CONSTANTS
from tests.export.gate.cases.graph import Case, model
from tests.export.gate.cases.operators import OPERATORS
from tests.export.gate.cases.quantisation import QUANTISATION
from tests.export.gate.cases.shapes import SHAPES
from tests.export.gate.cases.special import SPECIAL

CASES = (*OPERATORS, *CONSTANTS, *ATTRIBUTES, *SHAPES, *SPECIAL, *QUANTISATION)

__all__ = ["CASES", "Case", "model"]
