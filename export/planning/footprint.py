"""Memory of a bundle on a board, by what takes it: weights, cache, activations; and the peaks of making it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from export.planning.number_formats import TENSORRT, VECTOR_BYTES, Precision
from export.planning.shapes import Matrix, Model, Part
from export.planning.workload import Workload

GIB = 2**30
RUNTIME_BYTES = int(0.75 * GIB)  # CUDA context, TensorRT's or ONNX Runtime's libraries, Python with numpy and OpenCV; unverified
WORKSPACE_BYTES = GIB  # that TensorRT's builder may try layers in
ROW_BYTES = 2  # the host gathers word embeddings from half-precision rows
BUFFERS = 2  # of keys and of values: one is read while the other is written
SCORE_BYTES = 4  # scores and softmax are float32 islands
BUILD_COPIES = 3  # of a graph's weights: as parsed, in the engine, in the plan that is written
LOAD_COPIES = 2  # of the weights ONNX Runtime is opening: as read, and where they are used
# The process that exports, with torch, transformers and ONNX Runtime in it, and what a traced layer leaves; measured, docs/planning.md.
EXPORT_BYTES, EXPORT_LAYER_BYTES = 900_000_000, 2_000_000
STORED_BYTES = 2  # of a weight in a checkpoint that is not here
OPENED = {"w4": 1.45, "w8": 1.26}  # times its weights that ONNX Runtime takes for a bundle, since it packs them anew; docs/planning.md
OPENED_PLAIN = 1.11


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes. `export_bytes` is None for what is exported already."""

    weights: Mapping[str, int]  # by graph
    rows: int  # word embeddings on the host
    cache: int  # keys and values
    activations: Mapping[str, int]  # by graph, its largest moment
    build_bytes: int
    export_bytes: int | None

    @property
    def weight_bytes(self) -> int:
        return sum(self.weights.values())

    @property
    def run_bytes(self) -> int:
        """Of the process that drives."""
        return RUNTIME_BYTES + self.weight_bytes + self.rows + self.cache + sum(self.activations.values())


def build_peak(weights: Mapping[str, int], activations: Mapping[str, int], engine: str, workspace_bytes: int) -> int:
    """Of TensorRT's builder, one graph after another; or of ONNX Runtime opening the graphs, all of which it keeps."""
    if engine != TENSORRT:
        return RUNTIME_BYTES + sum(weights.values()) + (LOAD_COPIES - 1) * max(weights.values())
    graphs = [BUILD_COPIES * nbytes + activations[name] for name, nbytes in weights.items()]
    return RUNTIME_BYTES + workspace_bytes + max(graphs)


def export_peak(stored: int, layers: int, weights: int, precision: str) -> int:
    """Of `python -m export onnx`: the process, and the larger of two that are not there together.

    These are the checkpoint as it is `stored`, of which nothing is copied, and the bundle's `weights`, opened to be verified.
    """
    return EXPORT_BYTES + layers * EXPORT_LAYER_BYTES + max(stored, int(OPENED.get(precision, OPENED_PLAIN) * weights))


def live_bytes(part: Part, tokens: int, past: int, nbytes: int) -> int:
    """The largest moment of one layer: what goes in and comes out of it, and its attention or its feed-forward."""
    n = part.tokens or tokens
    past = 0 if part.tokens else past
    qkv = [n * (a.heads + 2 * a.kv_heads) * a.head_dim * nbytes for a in part.attention]
    scores = [a.heads * n * a.seen(n, past) * (SCORE_BYTES + nbytes) for a in part.attention]
    return 2 * n * part.width * nbytes + max([n * part.inner * nbytes, *(a + b for a, b in zip(qkv, scores, strict=True))])


def cache_bytes(model: Model, length: int, nbytes: int, buffers: int = BUFFERS) -> int:
    """Keys and values of `length` tokens."""
    kept = model.keeps
    return buffers * 2 * kept.layers * kept.kv_heads * kept.head_dim * length * nbytes


def footprint(
    model: Model, load: Workload, precision: Precision, workspace_bytes: int = WORKSPACE_BYTES, stored_bytes: int | None = None
) -> Footprint:
    """Of a model that is still to be exported; `stored_bytes` are its checkpoint's. Raises ConfigError for a look that it cannot take."""
    model = load.fitted(model)
    stored = max(stored_bytes or 0, model.parameters * STORED_BYTES)  # of some models a folder is only a part
    tokens, length, rows, nbytes = load.prefill(model), load.length(model), load.head_rows(model), precision.activation_bytes
    head = head_parts(model, load)
    weights = {"vision": precision.weights(model.vision), "lm_step": precision.weights(model.text) + head_bytes(model, rows, precision)}
    weights |= {"head": precision.weights(head, precision.plain if load.policy else None)} if head else {}
    seen = max(live_bytes(part, 0, 0, nbytes) for part in model.vision) + 3 * model.image_px**2 * 4
    said = max(live_bytes(part, tokens, length - tokens, nbytes) for part in model.text) + tokens * length * 4 + rows * 4
    activations = {"vision": seen, "lm_step": said}
    activations |= {"head": max(live_bytes(part, 1, 0, nbytes) for part in head)} if head else {}
    return Footprint(
        weights, model.table.parameters * ROW_BYTES, cache_bytes(model, length, nbytes) if load.decodes else 0, activations,
        build_peak(weights, activations, precision.engine, workspace_bytes),
        export_peak(stored, model.layers, sum(weights.values()), precision.name),
    )  # fmt: skip


def head_bytes(model: Model, rows: int, precision: Precision) -> int:
    """`rows` of the head, their biases, the norm stored with them."""
    if not rows:
        return 0
    kept = model.head_vectors * rows // model.vocabulary
    return precision.matrix(Matrix(rows, model.hidden), precision.logits) + VECTOR_BYTES * kept


def head_parts(model: Model, load: Workload) -> tuple[Part, ...]:
    """The third graph: a policy head, or Moondream's coordinates."""
    if load.policy is not None:
        return load.policy.parts(load.prefill(model))
    return model.beside
