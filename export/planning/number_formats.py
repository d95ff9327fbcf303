"""Precisions of a plan: what a weight takes in each, scales with it, which arithmetic it is multiplied in, and what runs it."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vla.errors import ConfigError, did_you_mean
from export.planning.devices import DEVICES, Device
from export.planning.shapes import Matrix, Part

TENSORRT, ONNX_RUNTIME = "TensorRT", "ONNX Runtime"
VECTOR_BYTES = 4  # norms, biases and positions stay in float32 at every precision


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How a weight matrix is kept."""

    name: str
    bits: int
    group: int = 0  # inputs that share a scale; 0 without scales in groups
    scale_bytes: int = 0  # of each group's scale
    row_bytes: int = 0  # beside each output's row
    matrix_bytes: int = 0  # beside the whole

    def nbytes(self, outputs: int, inputs: int) -> int:
        """Of one matrix. A last group that is not full is stored as if it were."""
        if self.group:
            groups = -(-inputs // self.group)
            return outputs * groups * (self.group * self.bits // 8 + self.scale_bytes) + self.matrix_bytes
        return outputs * (inputs * self.bits // 8 + self.row_bytes) + self.matrix_bytes


FP32, FP16 = NumberFormat("fp32", 32), NumberFormat("fp16", 16)
INT8 = NumberFormat("int8", 8, row_bytes=4)  # a float32 scale for each output
FP8 = NumberFormat("fp8", 8, matrix_bytes=4)  # E4M3, a float32 scale for the matrix
INT8_GROUPS = NumberFormat("int8 in groups", 8, group=32, scale_bytes=4)  # MatMulNBits as export.precision.nbits writes it
INT4_GROUPS = NumberFormat("int4 in groups", 4, group=32, scale_bytes=4)
NVFP4 = NumberFormat("nvfp4", 4, group=16, scale_bytes=1, matrix_bytes=4)  # E2M1, an E4M3 scale for 16, a float32 one for all


@dataclass(frozen=True, slots=True)
class Precision:
    """One row of a plan: how every matrix product's weights are kept, and what they are multiplied in.

    Convolutions, policy heads, activations and products without weights (attention) stay in float32 or half precision.
    """

    name: str
    kept: NumberFormat
    arithmetic: str
    engine: str
    sm: tuple[int, int] = (0, 0)  # the lowest that has it
    logits: NumberFormat | None = None  # of the matrix that words come from, where it keeps more

    @property
    def plain(self) -> NumberFormat:
        """Of what no quantiser touches."""
        return FP32 if self.kept is FP32 else FP16

    @property
    def activation_bytes(self) -> int:
        return self.plain.bits // 8

    def runs_on(self, device: Device) -> bool:
        return self.arithmetic in device.rates

    def weights(self, parts: tuple[Part, ...], kept: NumberFormat | None = None) -> int:
        """Bytes of parts, their matrix products kept as `kept` or, without, as this precision keeps them."""
        return sum(VECTOR_BYTES * part.vectors + sum(self.matrix(m, kept) for m in part.matrices) for part in parts)

    def matrix(self, m: Matrix, kept: NumberFormat | None = None) -> int:
        """Bytes. A matrix is quantised only where that makes it smaller."""
        plain = self.plain.nbytes(m.outputs, m.inputs)
        return m.count * (min(plain, (kept or self.kept).nbytes(m.outputs, m.inputs)) if m.linear else plain)


# From most bits to fewest. With as many, the one that TensorRT runs comes first.
PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("fp32", FP32, "fp32", TENSORRT),
        Precision("fp16", FP16, "fp16", TENSORRT),
        Precision("w8", INT8_GROUPS, "fp16", ONNX_RUNTIME),
        Precision("w8a8", INT8, "int8", TENSORRT),
        Precision("fp8", FP8, "fp8", TENSORRT, (8, 9)),
        Precision("fp4", NVFP4, "fp4", TENSORRT, (10, 0)),
        Precision("w4", INT4_GROUPS, "fp16", ONNX_RUNTIME, logits=INT8_GROUPS),
    )
}


def find_precision(name: str, device: Device) -> Precision:
    """A precision by name that the device's SM has. Raises ConfigError naming the nearest one it has, and the board that has this one."""
    if name not in PRECISIONS:
        raise ConfigError(f"precision {name!r}: want one of {', '.join(PRECISIONS)}{did_you_mean(name, PRECISIONS)}")
    found = PRECISIONS[name]
    if found.runs_on(device):
        return found
    order = [p.name for p in PRECISIONS.values() if p.runs_on(device)]
    same = [p for p in order if PRECISIONS[p].kept.bits == found.kept.bits]
    boards = ", ".join(d.name for d in DEVICES if found.runs_on(d))
    raise ConfigError(
        f"precision {name}: {device.name} has SM {device.sm[0]}.{device.sm[1]}, {name} wants {found.sm[0]}.{found.sm[1]} or later; "
        f"nearest it has: {same[-1] if same else order[-1]}; {name} runs on {boards}"
    )
