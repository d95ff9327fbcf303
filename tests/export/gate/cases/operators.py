"""The file as a whole, operators by name and by type."""

from __future__ import annotations

from export.gate import Rule
from tests.export.gate.cases.graph import MICROSOFT, OLD, PICTURE, ROWS, Case, bodies, model, signatures

FOUR = "float[4] s = {1.0, 1.0, 1.0, 1.0}"
PACKED = f"uint8[1,1,16] b = {{{', '.join('0' * 16)}}}, float[1] s = {{0.1}}"

OPERATORS = (
    Case(Rule.OPSET, "", model(ROWS, "y = Relu(x)", opset=21), model(ROWS, "y = Relu(x)"), OLD, "21"),
    Case(Rule.OPSET, "", model(ROWS, "y = Relu(x)", opset=25), model(ROWS, "y = Relu(x)", opset=24), name="25", targets=("10.3", "11")),
    Case(Rule.OPSET, "", model(ROWS, "y = Relu(x)", opset=8), model(ROWS, "y = Relu(x)", opset=9), name="8"),
    signatures(Rule.ONNX, "", "(float[2] x, float16[2] z) => (y)", "(float[2] x, float[2] z) => (y)", "y = Add(x, z)"),
    Case(Rule.DOMAIN, "FusedGelu", model(ROWS, "y = com.microsoft.FusedGelu(x)", domains=MICROSOFT), model(ROWS, "y = Gelu(x)")),
    Case(
        Rule.DOMAIN, "MatMulNBits",
        model(
            f"(float[1,32] x) => (float[1,1] y) <{PACKED}>",
            "y = com.microsoft.MatMulNBits <K = 32, N = 1, bits = 4, block_size = 32> (x, b, s)", domains=MICROSOFT,
        ),
        model("(float[1,2] x) => (y) <float[2,1] b = {0.1, 0.1}>", "y = MatMul(x, b)"),
    ),
    bodies(Rule.OPERATOR, "BitwiseNot", "(int32[2] x) => (y)", "y = BitwiseNot(x)", "y = Neg(x)"),
    bodies(Rule.OPERATOR, "DynamicQuantizeLinear", "(float[2] x) => (y)", "y, s, z = DynamicQuantizeLinear(x)", "y = Relu(x)"),
    Case(
        Rule.OPERATOR, "RMSNormalization", model(f"(float[2,4] x) => (y) <{FOUR}>", "y = RMSNormalization(x, s)", opset=23),
        model(f"(float[2,4] x) => (y) <{FOUR}>", "y = LayerNormalization(x, s)"), OLD,
    ),
    signatures(Rule.UNTYPED, "input", "(x) => (y)", "(float[2] x) => (y)", "y = Identity(x)"),
    bodies(Rule.UNTYPED, "ImageScaler", PICTURE, "y = ImageScaler <scale = 1.0> (x)", "y = Identity(x)"),  # ONNX itself dropped it
    signatures(Rule.TENSOR, "input", "(double[2] x) => (y)", "(float[2] x) => (y)", "y = Relu(x)", name="double"),
    bodies(Rule.TENSOR, "Cast", "(float[2] x) => (y)", "y = Cast <to = 11> (x)", "y = Cast <to = 7> (x)", name="double"),
    signatures(
        Rule.TENSOR, "initializer", "(float[1] x) => (y) <int16[1] k = {1}>", "(float[1] x) => (y) <int32[1] k = {1}>",
        "z = Cast <to = 1> (k) y = Add(x, z)", name="int16",
    ),
    signatures(Rule.RANK, "input", "(float[1,1,1,1,1,1,1,1,2] x) => (y)", "(float[1,1,1,1,1,1,1,2] x) => (y)", "y = Relu(x)"),
    bodies(Rule.UINT8, "input", "(uint8[2] x) => (y)", "z = Identity(x) y = Cast <to = 1> (z)", "y = Cast <to = 1> (x)"),
    bodies(Rule.UINT8, "Cast", "(float[2] x) => (y)", "z = Cast <to = 2> (x) y = Cast <to = 1> (z)", "y = Cast <to = 2> (x)"),
    signatures(
        Rule.DTYPE, "CumSum", "(int64[4] x) => (y) <int64 a = {0}>", "(float16[4] x) => (y) <int64 a = {0}>", "y = CumSum(x, a)",
    ),
    signatures(Rule.DTYPE, "NonZero", "(bool[4] x) => (y)", "(float[4] x) => (y)", "y = NonZero(x)"),
    signatures(Rule.DTYPE, "Clip", "(int64[4] x) => (y)", "(float[4] x) => (y)", "y = Clip(x)"),
    signatures(
        Rule.DTYPE, "Where", "(bool[4] c, int8[4] x, int8[4] z) => (y)", "(bool[4] c, int64[4] x, int64[4] z) => (y)",
        "y = Where(c, x, z)", name="by its second input",
    ),
    bodies(Rule.DTYPE, "Cast", "(float[2] x) => (y)", "y = Cast <to = 3> (x)", "y = Cast <to = 9> (x)", name="by its output"),
    signatures(
        Rule.DTYPE, "If", "(bool c, int8[2] x) => (y)", "(bool c, int64[2] x) => (y)",
        "y = If (c) <then_branch = a () => (p) { p = Identity(x) }, else_branch = b () => (q) { q = Identity(x) }>",
        name="by its outputs",
    ),
    signatures(
        Rule.DTYPE, "Range", "(float16 a, float16 b, float16 c) => (y)", "(float a, float b, float c) => (y)", "y = Range(a, b, c)", OLD,
        "as the parser has it",
    ),
    signatures(
        Rule.DTYPE, "Pow", "(int32[2] x) => (y) <int32 e = {2}>", "(float[2] x) => (y) <float e = {2.0}>", "y = Pow(x, e)", OLD,
    ),
)  # fmt: skip
