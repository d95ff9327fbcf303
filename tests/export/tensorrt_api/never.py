"""What our sources must not use though some TensorRT 10 has it: 11 does not, or it does nothing where types are the graph's own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

# As class and member, or as a class alone.
NEVER = {
    *(f"BuilderFlag.{name}" for name in "FP16 INT8 BF16 FP8 FP4 INT4 OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS".split()),
    *(f"BuilderFlag.{name}" for name in "REJECT_EMPTY_ALGORITHMS WEIGHTLESS".split()),
    *(f"Builder.platform_has_{name}" for name in "fast_fp16 fast_int8 tf32".split()),
    *(f"IBuilderConfig.{name}" for name in "int8_calibrator algorithm_selector quantization_flags".split()),
    *(f"IBuilderConfig.{verb}_{of}" for verb in ("get", "set") for of in ("calibration_profile", "quantization_flag")),
    *(f"ILayer.{name}" for name in "precision precision_is_set reset_precision set_output_type reset_output_type".split()),
    *(f"ITensor.{name}" for name in "dynamic_range set_dynamic_range reset_dynamic_range".split()),
    *(f"ICudaEngine.{name}" for name in "device_memory_size weight_streaming_budget has_implicit_batch_dimension".split()),
    "ICudaEngine.create_execution_context_without_device_memory", "OnnxParser.supports_model",
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
    "IInt8Calibrator", "IInt8EntropyCalibrator", "IInt8EntropyCalibrator2", "IInt8LegacyCalibrator", "IInt8MinMaxCalibrator",
    "CalibrationAlgoType", "QuantizationFlag", "IAlgorithmSelector",
}  # fmt: skip
ENUMERATIONS = {"BuilderFlag", "NetworkDefinitionCreationFlag"}  # their members' names are others' too: DataType.INT8
COMMON = {"precision"}  # manifests have one; that no layer's is set is proved by types


def uses(source: Path) -> Iterator[tuple[int, str]]:
    """Line and entry of NEVER: after a dot, as a name that is imported, or written out to be asked for."""
    members = {entry.split(".")[1]: entry for entry in NEVER if "." in entry and entry.split(".")[0] not in ENUMERATIONS}
    classes = {entry for entry in NEVER if "." not in entry}
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id if isinstance(node.value, ast.Name) else ""
            if f"{owner}.{node.attr}" in NEVER or node.attr in classes:
                yield node.lineno, f"{owner}.{node.attr}"
            elif node.attr in members and node.attr not in COMMON:
                yield node.lineno, members[node.attr]
        elif isinstance(node, ast.alias) and node.name in classes:
            yield node.lineno, node.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in classes | set(members) - COMMON:
            yield node.lineno, node.value
