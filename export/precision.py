"""Smaller weights for an exported graph: int8 matrix products, half-precision convolution weights. Activations stay float32."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic


def quantise(path: Path) -> None:
    """Weights of the matrix products to int8, activations quantised on the fly; convolutions stay float."""
    out = path.with_suffix(".int8")
    quantize_dynamic(path, out, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8, per_channel=True)
    out.replace(path)


def halve_convolutions(path: Path) -> None:
    """Keep convolution weights as float16 with a Cast behind each: half the file, and no slower, for the casts are folded at load.

    Raises ValueError for a weight that float16 cannot hold.
    """
    model = onnx.load(str(path))
    weights = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    casts = []
    for tensor in model.graph.initializer:
        if tensor.name not in weights or tensor.data_type != TensorProto.FLOAT:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor).astype(np.float16)
        if not np.isfinite(values).all():
            raise ValueError(f"{path.name}: {name} has weights beyond 65504, which float16 cannot hold")
        tensor.CopyFrom(numpy_helper.from_array(values, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], f"{name}.widen", to=TensorProto.FLOAT))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
