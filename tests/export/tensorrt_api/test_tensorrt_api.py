"""Every name, argument and result of TensorRT and CUDA that our sources use is in every version of their bindings.

The wheels hold Python's side alone, so it is the bindings that are proved, not what TensorRT does when it is called.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.export.tensorrt_api.checked import Checked, asked_names, attribute_names, check_sources, foreign_sources
from tests.export.tensorrt_api.wheels import CUDA, PAIRS, TENSORRT, Contents, Wheel

Read = Callable[[Wheel], Contents]
Stubs = Callable[[Wheel, Wheel], "Path | None"]
OLDEST, NEWEST = PAIRS[0], PAIRS[-1]

# Gone with TensorRT 11, or of no effect in a strongly typed network: precision is the graph's own.
NEVER = {
    "FP16", "BF16_FLAG", "INT8_FLAG", "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS", "REJECT_EMPTY_ALGORITHMS", "WEIGHTLESS",
    "int8_calibrator", "IInt8Calibrator", "IInt8EntropyCalibrator", "IInt8EntropyCalibrator2", "IInt8LegacyCalibrator",
    "IInt8MinMaxCalibrator", "CalibrationAlgoType", "set_calibration_profile", "get_calibration_profile", "algorithm_selector",
    "IAlgorithmSelector", "QuantizationFlag", "set_quantization_flag", "quantization_flags", "platform_has_fast_fp16",
    "platform_has_fast_int8", "platform_has_tf32", "set_output_type", "set_dynamic_range", "dynamic_range", "precision_is_set",
    "EXPLICIT_BATCH", "device_memory_size", "weight_streaming_budget", "create_execution_context_without_device_memory",
}  # fmt: skip
"""Names read by getattr or hasattr because not every version has them, with those that do."""
OPTIONAL: dict[str, tuple[str, ...]] = {}


@pytest.fixture(scope="session")
def sources(checkout: Path) -> list[Path]:
    return foreign_sources(checkout)


def test_placeholder(sources: list[Path]) -> None:
    assert sources
