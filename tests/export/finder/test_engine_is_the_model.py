"""From the frame to the box: the exported engine says what the torch model says, which was not folded, traced or cached."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_vla.backends.decode import decode_choice, decode_detection, decode_words
from edge_vla.backends.finder import FinderEngine
from edge_vla.learn.finder.language import build_tokenizer
from edge_vla.learn.finder.model import IMAGE_TOKENS, Finder
from edge_vla.sim.objects import CLASSES
from edge_vla.types import Frame
from export.default import fold_batch_norms, load_finder
from export.finder.modules import PrefixGraph, StepGraph, VisionGraph


class Model:
    """The checkpoint asked the slow way: the whole conversation anew for every row, through transformers' own Gemma."""

    def __init__(self, finder: Finder, frame: Frame, prompt: str) -> None:
        self.finder, self.ids = finder, build_tokenizer().encode("<bos> " + prompt + "\n").ids
        self.prompt = len(self.ids)
        small = cv2.resize(frame.rgb, (224, 224), interpolation=cv2.INTER_AREA)
        with torch.no_grad():
            image = torch.from_numpy(small.transpose(2, 0, 1)[None].copy()).float() / 127.5 - 1  # as training scales it
            self.tokens, _, _, self.free = finder.image_tokens(image)

    def feed(self, row: int) -> NDArray[np.float32]:
        self.ids.append(row)
        return self.logits()

    @torch.no_grad()
    def logits(self) -> NDArray[np.float32]:
        n = IMAGE_TOKENS + len(self.ids)
        mask = torch.full((n, n), -1e9).triu(1)
        mask[: IMAGE_TOKENS + self.prompt, : IMAGE_TOKENS + self.prompt] = 0
        mask[:IMAGE_TOKENS, IMAGE_TOKENS:] = -1e9
        rows = self.finder.embed(torch.tensor([self.ids])).half().float()  # a bundle keeps its rows as float16
        return self.finder.decode(torch.cat([self.tokens, rows], 1), mask[None, None], torch.arange(n)[None])[0, -1].numpy()


@pytest.fixture(scope="module")
def finder(checkpoint: Path) -> Finder:
    return load_finder(checkpoint)[0]


def test_the_engine_boxes_what_the_model_boxes(engine: FinderEngine, finder: Finder, frames: list[Frame]) -> None:
    m, boxes = engine.manifest, set()
    for frame in frames:
        for thing in CLASSES[:: 3 if frame.seq else 1]:
            model = Model(finder, frame, f"detect {thing}")
            want = decode_detection(model.logits(), model.feed, m.tokens)
            got = engine.ask(frame, f"detect {thing}")
            assert got.text == "".join(f"<loc{k:04d}>" for k in want.bins) + f" {thing}"
            assert got.confidence == pytest.approx(want.confidence(m.calibration), abs=1e-3)
            assert got.free_distance_m == pytest.approx(model.free[0].tolist(), abs=1e-4)
            boxes.add(want.bins)
    assert len(boxes) > 8, "boxes that are all alike would agree about anything"


def test_the_engine_says_what_the_model_says(engine: FinderEngine, finder: Finder, frames: list[Frame]) -> None:
    m, said = engine.manifest, set()
    for frame in frames[:2]:
        for prompt in ("drive", "what is the main object?"):
            model = Model(finder, frame, prompt)
            rows, confidence = decode_words(model.logits(), model.feed, m.tokens, m.language.max_new_tokens)
            got = engine.ask(frame, prompt)
            assert got.text == build_tokenizer().decode(rows)
            assert got.confidence == pytest.approx(confidence, abs=1e-3)
            said.add(got.text)
        model = Model(finder, frame, "is there a cup?")
        yes, no = (build_tokenizer().token_to_id(word) for word in ("yes", "no"))
        row, confidence = decode_choice(model.logits(), [yes, no])
        got = engine.ask(frame, "is there a cup?")
        assert got.text == {yes: "yes", no: "no"}[row]
        assert got.confidence == pytest.approx(confidence, abs=1e-3)
    assert len(said) > 2


def test_other_weights_say_something_else(engine: FinderEngine, frames: list[Frame]) -> None:
    """The agreement above is no accident of the frames: fresh weights do not agree."""
    fresh = load_finder(None)[0]
    for frame in frames[:2]:
        model = Model(fresh, frame, "detect cup")
        want = decode_detection(model.logits(), model.feed, engine.manifest.tokens)
        assert engine.ask(frame, "detect cup").text != "".join(f"<loc{k:04d}>" for k in want.bins or ()) + " cup"


def test_the_picture_reaches_the_network_as_in_training(engine: FinderEngine) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    trained = torch.from_numpy(rgb.transpose(2, 0, 1)[None].copy()).float() / 127.5 - 1
    assert np.abs(engine.preprocess(rgb) - trained.numpy()).max() < 1e-6


# -- folding


def test_folding_batch_norms_changes_nothing_but_the_count_of_nodes(checkpoint: Path) -> None:
    (finder, _), (folded, _) = load_finder(checkpoint), load_finder(checkpoint)
    fold_batch_norms(folded)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in finder.modules()) == 14
    assert sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules()) == 0
    image = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        before, after = finder.vision.stem(image), folded.vision.stem(image)
        assert (before - after).abs().max() < 1e-4
        for conv in (module for module in finder.vision.stem.modules() if isinstance(module, nn.BatchNorm2d)):
            conv.bias += 0.1
        assert (finder.vision.stem(image) - after).abs().max() > 1e-2, "the norms do something here"


# -- the hand-written decoder against transformers' own


def example(finder: Finder, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random embeddings and a mask that shuts some cells at random, never a row's own."""
    rng = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(1, length, finder.lm.config.hidden_size, generator=rng)
    shut = torch.rand(length, length, generator=rng) < 0.3
    shut.fill_diagonal_(False)
    return embeddings, torch.zeros(length, length).masked_fill(shut, -1e9)[None, None]


@torch.no_grad()
def test_a_step_is_gemmas_last_position(finder: Finder) -> None:
    config, step = finder.lm.config, StepGraph(finder).eval()
    none = torch.zeros(config.num_hidden_layers, config.num_key_value_heads, 0, config.head_dim)
    for length in (1, 12):
        embeddings, mask = example(finder, length, seed=length)
        positions = torch.arange(5, 5 + length)[None]
        got, keys, values = step(embeddings, positions, mask, none, none)
        want = finder.decode(embeddings, mask, positions)[0, -1]
        assert (got[0] - want).abs().max() < 1e-3
        assert keys.shape == values.shape == (4, 1, length, 64)
    assert want.std() > 0.1


@torch.no_grad()
def test_step_by_step_is_all_at_once(finder: Finder) -> None:
    """A prefill of seven and five single steps through the cache, against twelve rows in one go."""
    config, step = finder.lm.config, StepGraph(finder).eval()
    embeddings, _ = example(finder, 12, seed=1)
    causal = torch.full((12, 12), -1e9).triu(1)[None, None]
    keys = values = torch.zeros(config.num_hidden_layers, config.num_key_value_heads, 0, config.head_dim)
    want = finder.decode(embeddings, causal, torch.arange(12)[None])[0]
    past = 0
    for end in (7, 8, 9, 10, 11, 12):
        positions = torch.arange(past, end)[None]
        got, keys, values = step(embeddings[:, past:end], positions, causal[..., past:end, :end], keys, values)
        assert (got[0] - want[end - 1]).abs().max() < 1e-3
        past = end
    shifted, *_ = step(embeddings[:, 11:], torch.tensor([[12]]), causal[..., 11:, :12], keys[:, :, :11], values[:, :, :11])
    assert (shifted[0] - want[11]).abs().max() > 1e-2, "a position that is one off would show"


@torch.no_grad()
def test_the_vision_graph_is_the_models_eye(finder: Finder) -> None:
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    tokens, free = VisionGraph(finder).eval()(image)
    want, _, _, want_free = finder.image_tokens(image)
    assert (tokens - want).abs().max() < 1e-5 * want.abs().max()
    assert (free - want_free).abs().max() < 1e-5
    other, _ = VisionGraph(load_finder(None)[0]).eval()(image)
    assert (other - want).abs().max() > 0.1 * want.abs().max()


@torch.no_grad()
def test_the_prefix_graph_keeps_what_a_whole_prefill_keeps_of_the_image(finder: Finder) -> None:
    """And a question behind it is told what it is told at once: the image never saw the question."""
    rng = torch.Generator().manual_seed(3)
    tokens, rows = torch.randn(1, IMAGE_TOKENS, 256, generator=rng), torch.randn(1, 5, 256, generator=rng)
    total = IMAGE_TOKENS + rows.shape[1]
    mask = torch.zeros(1, 1, total, total)
    mask[..., :IMAGE_TOKENS, IMAGE_TOKENS:] = -1e9
    step, none = StepGraph(finder).eval(), torch.zeros(4, 1, 0, 64)
    logits, keys, values = step(torch.cat([tokens, rows], 1), torch.arange(total)[None], mask, none, none)
    image_keys, image_values = PrefixGraph(finder).eval()(tokens)
    assert (image_keys - keys[:, :, :IMAGE_TOKENS]).abs().max() < 1e-5 * keys.abs().max()
    assert (image_values - values[:, :, :IMAGE_TOKENS]).abs().max() < 1e-5 * values.abs().max()
    positions = torch.arange(IMAGE_TOKENS, total)[None]
    behind, *_ = step(rows, positions, torch.zeros(1, 1, 5, total), image_keys, image_values)
    assert (behind - logits).abs().max() < 1e-5 * logits.abs().max()
    seen, *_ = step(torch.cat([tokens, rows], 1), torch.arange(total)[None], torch.zeros_like(mask), none, none)
    assert (seen - logits).abs().max() > 1e-3 * logits.abs().max(), "an image that saw the question would keep something else"


@torch.no_grad()
def test_a_model_of_several_key_heads_is_refused() -> None:
    finder = load_finder(None)[0]
    finder.lm.config.num_key_value_heads = 2
    with pytest.raises(ValueError, match="for 1 key and value head, got 2"):
        StepGraph(finder)
