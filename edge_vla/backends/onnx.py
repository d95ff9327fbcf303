"""A bundle run by ONNX Runtime. Embedding gather, positions and masks are numpy on the host; graphs do the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_vla.backends.bundle import Bundle, Graph, Tensor
from edge_vla.backends.contract import LOC_BINS, question
from edge_vla.backends.decode import decode_choice, decode_detection, decode_words
from edge_vla.backends.laps import Laps
from edge_vla.backends.vocabulary import YES_NO, encode, load_embeddings, load_tokenizer
from edge_vla.errors import ConfigError, EngineError
from edge_vla.types import Frame, Reply

RESIZE = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
Array = NDArray[np.float32]


def session(path: Path, threads: int) -> ort.InferenceSession:
    """A CPU session whose idle threads sleep: two spinning pools would fight over two cores."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as err:  # onnxruntime raises its own unrelated types, all of them derived from Exception alone
        raise EngineError(f"{path}: {str(err).strip()}") from err


def open_graph(bundle: Bundle, graph: Graph, threads: int) -> ort.InferenceSession:
    """A graph that is what its manifest says. Raises EngineError, ConfigError."""
    opened = session(bundle.path(graph.file), threads)
    for kind, said, found in (("input", graph.inputs, opened.get_inputs()), ("output", graph.outputs, opened.get_outputs())):
        want, got = [str(t) for t in said], [str(_tensor(node)) for node in found]
        if want != got:
            raise ConfigError(f"engine {bundle.folder}: {graph.file} has the {kind}s {', '.join(got)}; its manifest says {', '.join(want)}")
    return opened


def _tensor(node: ort.NodeArg) -> Tensor:
    """What ONNX Runtime says of a graph's input or output, in the manifest's words."""
    dtype = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64", "tensor(uint8)": "uint8"}
    return Tensor.model_construct(name=node.name, dtype=dtype.get(node.type, node.type), shape=list(node.shape))


def run(graph: ort.InferenceSession, feed: dict[str, NDArray[Any]]) -> list[Array]:
    """A graph's outputs. Raises EngineError when it fails or answers with nan or inf."""
    try:
        outputs: list[Array] = graph.run(None, feed)
    except Exception as err:  # as in `session`
        raise EngineError(f"the graph failed: {str(err).strip()}") from err
    for told, values in zip(graph.get_outputs(), outputs, strict=True):
        if not np.isfinite(values).all():
            raise EngineError(f"the graph's output {told.name!r} is not finite")
    return outputs


class OnnxEngine:
    """Answers the bundle's prompts about frames."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        m = self.manifest = bundle.manifest
        self.laps = Laps()
        self._bundle = bundle
        self._vision = open_graph(bundle, m.graphs["vision"], threads)
        self._step = open_graph(bundle, m.graphs["lm_step"], threads)
        self._tokenizer = load_tokenizer(bundle)
        self._rows = load_embeddings(bundle)
        pre = m.preprocess
        self._scale = (1 / (255 * np.array(pre.std, np.float32))).astype(np.float32)
        self._shift = (-np.array(pre.mean, np.float32) / np.array(pre.std, np.float32)).astype(np.float32)
        self._questions = {"detect": question(m.prompts.detect), "presence": question(m.prompts.presence, article=True)}
        self._yes_no = {row: word for word in YES_NO if (row := self._tokenizer.token_to_id(word)) is not None}
        self._open(m.language.image_tokens)

    def _open(self, image_tokens: int) -> None:
        """Buffers of the prefill, reused by every step."""
        lang = self.manifest.language
        self._no_past = np.zeros((lang.layers, lang.kv_heads, 0, lang.head_dim), np.float32)
        self._image_positions = np.arange(image_tokens, dtype=np.int64)

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(self.manifest.targets)

    @property
    def providers(self) -> tuple[str, ...]:
        """What ONNX Runtime runs the graphs on, as its sessions say, the first choice first."""
        return tuple(dict.fromkeys(name for graph in (self._vision, self._step) for name in graph.get_providers()))

    def warm_up(self) -> None:
        """Run every path once, before the first tick."""
        pre = self.manifest.preprocess
        grey = Frame(np.full((pre.height, pre.width, 3), 127, np.uint8), 0, 0)
        self.ask(grey, self.manifest.prompts.detect.format(thing=self.targets[0]))
        for sentence in self.manifest.prompts.sentences[:1]:
            self.ask(grey, sentence)

    def ask(self, frame: Frame, prompt: str) -> Reply:
        """Answer a prompt the manifest lists. Raises ConfigError for a thing or a question it was not trained on."""
        laps = self.laps
        laps.start()
        kind, thing = self._classify(prompt)
        image = self.preprocess(frame.rgb)
        laps.lap("preprocess")
        tokens, *free = run(self._vision, {"image": image})
        laps.lap("vision")
        conversation = _Conversation(self, tokens)
        first = conversation.prefill(encode(self._tokenizer, prompt))
        laps.lap("prefill")
        if kind == "detect":
            text, confidence = self._detect(first, conversation, thing)
        elif kind == "presence":
            row, confidence = decode_choice(first, list(self._yes_no))
            text = self._yes_no[row]
        else:
            rows, confidence = decode_words(first, conversation.feed, self.manifest.tokens, self.manifest.language.max_new_tokens)
            text = self._tokenizer.decode(rows)
        distances = tuple(float(d) for d in free[0][0]) if free else None
        return Reply(text, confidence, distances, laps.finish("reply"))

    def _detect(self, first: Array, conversation: _Conversation, thing: str) -> tuple[str, float]:
        found = decode_detection(first, conversation.feed, self.manifest.tokens)
        confidence = found.confidence(self.manifest.calibration)
        if found.bins is None:
            return "", confidence
        wide = LOC_BINS // self.manifest.tokens.loc_bins
        return "".join(f"<loc{k * wide:04d}>" for k in found.bins) + f" {thing}", confidence

    def preprocess(self, rgb: NDArray[np.uint8]) -> Array:
        """(H, W, 3) uint8 to (1, 3, height, width) float32 as the manifest says."""
        pre = self.manifest.preprocess
        image = cv2.resize(rgb, (pre.width, pre.height), interpolation=RESIZE[pre.resize])
        if pre.colour == "bgr":
            image = image[..., ::-1]
        return np.ascontiguousarray((image * self._scale + self._shift).transpose(2, 0, 1)[None], dtype=np.float32)

    def _classify(self, prompt: str) -> tuple[str, str]:
        """("detect" | "presence" | "sentence", thing)."""
        for kind, pattern in self._questions.items():
            if match := pattern.fullmatch(prompt):
                self._bundle.require_target(match["thing"])
                return kind, match["thing"]
        p = self.manifest.prompts
        if prompt in p.sentences:
            return "sentence", ""
        known = ", ".join(repr(known) for known in (p.detect, p.presence, *p.sentences))
        raise ConfigError(f"engine {self.manifest.name!r} was not trained on {prompt!r}; it answers {known}")

    def close(self) -> None:
        """Sessions end with the object."""


class _Conversation:
    """One frame and one prompt: the caches between decoding steps."""

    def __init__(self, engine: OnnxEngine, image_tokens: Array) -> None:
        self._engine, self._tokens = engine, image_tokens
        self._keys = self._values = engine._no_past

    def prefill(self, ids: list[int]) -> Array:
        """Image and prompt in one step. The image sees itself, the prompt sees everything: PaliGemma's prefix."""
        image, text = self._tokens.shape[1], len(ids)
        mask = np.zeros((1, 1, image + text, image + text), np.float32)
        mask[..., :image, image:] = -1e9
        return self._run(np.concatenate([self._tokens, self._engine._rows[ids][None]], 1), mask)

    def feed(self, row: int) -> Array:
        """One more row; it sees all before it."""
        past = self._keys.shape[2]
        logits = self._run(self._engine._rows[row][None, None], np.zeros((1, 1, 1, past + 1), np.float32))
        self._engine.laps.lap("decode")
        return logits

    def _run(self, embeddings: Array, mask: Array) -> Array:
        past = self._keys.shape[2]
        positions = np.arange(past, past + embeddings.shape[1], dtype=np.int64)[None]
        feed = {"embeddings": embeddings, "positions": positions, "mask": mask, "past_keys": self._keys, "past_values": self._values}
        logits, self._keys, self._values = run(self._engine._step, feed)
        return np.asarray(logits[0], dtype=np.float32)
