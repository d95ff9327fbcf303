"""float32 to float16, with float32 islands: what half precision is bad at by nature, what leaves its range, and what measures badly.

    report = halve(Path("lm_step.onnx"), Path("half/lm_step.onnx"), feeds, bound=5e-3)

Feeds decide what is seen to overflow and to lose: give the longest prompt, real pictures, a prefill with its mask and a decoding step.
Own code, because onnxruntime's `float16` loads all weights at once, cuts those beyond 1e4 and below 1e-7 without a word, and measures
nothing, and because NVIDIA's ModelOpt wants onnx 1.21 and CUDA libraries beside it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from onnx import NodeProto, TensorProto

from edge_vla.errors import ConfigError
from export.files.onnx_file import OnnxFile
from export.files.operators import STANDARD
from export.files.weight_store import storing
from export.precision.half_graph import HALF_MAX, SHAPES, HalfPlan, Keep, twin, write_half
from export.precision.islands import Links, islands
from export.precision.layer_report import Layer, Report
from export.precision.rounding import MASKED, Feed, Reference, gains, worst

ROOM = 2.0  # an activation may be this much larger than any that was seen
SHARE = 0.1  # of the nodes that are left, those to be widened before it is measured again
BY_RANGE = {"logits", "overflow"}  # reasons that speak of a product's result, not of its weights
PRODUCTS = {"Conv", "Gemm", "MatMul"}
FORCED = {"number", "quantised", "float32"}  # reasons of what cannot be half at all


def halve(source: Path, out: Path, feeds: Sequence[Feed], bound: float, *, narrow: Collection[str] = (), threads: int = 1) -> Report:
    """Write `source` in half precision to `out`, so that no output strays by more than `bound` of its largest magnitude on `feeds`.

    Inputs and outputs stay float32 but those in `narrow`, say a cache that never leaves the device. Each weight is stored once. Raises
    ConfigError for a graph that is not float32 or not standard, weights that are not finite, feeds that do not fit, a full disk.
    """
    if not (0 < bound < math.inf):
        raise ConfigError(f"bound {bound}: want a positive number, a share of an output's largest magnitude")
    work = _Halving(OnnxFile(source), feeds, narrow, threads)
    kinds = {name: why for name, why in islands(work.file).items() if name in work.floating}
    bare = work.errors(work.plan({name: why for name, why in kinds.items() if why in FORCED}))
    reasons = work.overflowing() | kinds | work.too_large()
    outputs = [value.name for value in work.file.model.graph.output]
    while True:
        plan = work.plan(reasons)
        errors = work.errors(plan)
        if (lost := worst(errors, outputs)) <= bound:
            break
        chosen = work.worst_nodes(plan, errors, [name for name in outputs if errors.get(name, 0.0) > bound])
        if not chosen:
            raise ConfigError(
                f"{source}: all in float32 it strays by {lost:.2e}, more than {bound}, by what is narrow: {', '.join(narrow)}"
            )
        reasons |= dict.fromkeys(chosen, "error")
    with storing(out, beside=work.file.beside) as store:
        write_half(work.file, plan, store)
        nbytes = store.nbytes
    layers = tuple(_layer(node, plan.keep[node.name], reasons, (bare, errors)) for node in work.file.nodes if node.name in plan.keep)
    figures = {"error": lost, "bound": bound, "error_without_islands": worst(bare, outputs), "weight_bytes": float(nbytes)}
    return Report(source.name, "fp16", layers, figures)


class _Halving:
    """One graph, measured."""

    def __init__(self, file: OnnxFile, feeds: Sequence[Feed], narrow: Collection[str], threads: int) -> None:
        """Raises ConfigError for a graph or weights that half precision cannot take, feeds that do not fit."""
        self.file, self.narrow = file, frozenset(narrow)
        for node in file.nodes:
            if node.domain not in STANDARD:
                raise ConfigError(f"{file.path}: {node.op_type} {node.name!r} is of {node.domain}; want ONNX's own operators")
        self.floating = {node.name for node in file.nodes if any(map(self._float, (*node.input, *node.output)))}
        self._require_floats()
        weights = {name for node in file.nodes for name in node.input if self._float(name) and file.is_weight(name)}
        self._peaks = {name: file.peak(name) for name in sorted(weights)}
        self._masks = {name for name in weights if self._peaks[name] > HALF_MAX and _is_mask(file, name)}
        self._reference = Reference(file, feeds, threads)

    def plan(self, reasons: Mapping[str, str]) -> HalfPlan:
        keep = {node.name: self._keep(node, reasons.get(node.name)) for node in self.file.nodes if node.name in self.floating}
        masked = {name for name, span in self._reference.spans.items() if span.masked}
        return HalfPlan(keep, frozenset(masked | self._masks), self.narrow)

    def errors(self, plan: HalfPlan) -> dict[str, float]:
        return self._reference.errors(twin(self.file, plan, self._reference.values))

    def overflowing(self) -> dict[str, str]:
        """Nodes that make what leaves float16 or masks, or read what leaves it."""
        spans, found = self._reference.spans, {}
        for node in self.file.nodes:
            made = [spans[name] for name in node.output if name in spans]
            read = [spans[name] for name in node.input if name in spans]
            if any(not span.fits(ROOM) for span in (*made, *read)):
                found[node.name] = "overflow"
            elif any(span.masked for span in made):
                found[node.name] = "mask"
        return found

    def too_large(self) -> dict[str, str]:
        """Nodes with a weight that float16 cannot hold."""
        large = {name for name, peak in self._peaks.items() if peak > HALF_MAX} - self._masks
        return {node.name: "weight" for node in self.file.nodes if large & set(node.input)}

    def worst_nodes(self, plan: HalfPlan, errors: Mapping[str, float], outputs: list[str]) -> list[str]:
        """Some of the nodes that are to blame most for `outputs`, of those that could still be made wider."""
        upstream = Links.of(self.file.nodes).upstream(outputs, lambda _: True)
        left = {node.name for node in upstream.values() if self._could_widen(node, plan)}
        order = sorted((-gain, name) for gain, name in gains(self.file, errors) if name in left)
        return [name for _, name in order[: max(1, math.ceil(SHARE * len(order)))]]

    def _could_widen(self, node: NodeProto, plan: HalfPlan) -> bool:
        keep = plan.keep.get(node.name)
        matrices = [name for name in node.input if name in self._peaks and len(self.file.shape(name)) > 1]
        return keep is Keep.HALF or (keep is Keep.WIDE and bool(matrices))

    @staticmethod
    def _keep(node: NodeProto, reason: str | None) -> Keep:
        if reason is None or node.op_type in SHAPES:
            return Keep.HALF
        return Keep.WIDE if reason in BY_RANGE and node.op_type in PRODUCTS else Keep.EXACT

    def _float(self, name: str) -> bool:
        return bool(name) and self.file.types[name] == TensorProto.FLOAT

    def _require_floats(self) -> None:
        file, graph = self.file, self.file.model.graph
        floats = [value.name for value in (*graph.input, *graph.output) if self._float(value.name)]
        if unknown := sorted(self.narrow - set(floats)):
            raise ConfigError(f"{file.path}: no float32 input or output {', '.join(unknown)}; it has {', '.join(floats)}")
        if not self.floating:
            raise ConfigError(f"{file.path}: nothing in it is float32")


def _is_mask(file: OnnxFile, name: str) -> bool:
    values = file.values(name)
    low, high = float(values.min()), float(values.max())
    return low <= MASKED and high <= HALF_MAX and not ((values > MASKED) & (values < -HALF_MAX)).any()


def _layer(node: NodeProto, keep: Keep, reasons: Mapping[str, str], errors: tuple[Mapping[str, float], ...]) -> Layer:
    figures = {
        said: worst(each, node.output)
        for said, each in zip(("error_without_islands", "error"), errors, strict=True)
        if any(name in each for name in node.output)
    }
    half = keep is Keep.HALF
    return Layer(node.name, node.op_type, "fp16" if half else "fp32", "" if half else reasons[node.name], figures)
