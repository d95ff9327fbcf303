"""An engine on plans answers as the same engine on ONNX graphs. Under the doubles: it proves our code, no GPU."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_vla.backends.bundle import Bundle
from edge_vla.parts import open_bundle
from edge_vla.types import Frame, Reply
from tests.export.tensorrt.conftest import BLUE, GREY, RED, pretended

Built = Callable[..., Path]
Paint = Callable[..., Frame]
PROMPTS = ("detect cup", "detect ball", "is there a cup?", "is there an acorn?", "drive", "describe", "detect cup")


def said(engine: Any, frames: list[Frame], prompts: tuple[str, ...]) -> list[Reply]:
    return [engine.ask(frame, prompt) for frame in frames for prompt in prompts]


def same(got: list[Reply], want: list[Reply], within: float) -> None:
    assert [reply.text for reply in got] == [reply.text for reply in want]
    assert [reply.confidence for reply in got] == pytest.approx([reply.confidence for reply in want], rel=0, abs=within)
    assert [reply.free_distance_m for reply in got] == [reply.free_distance_m for reply in want]


@pytest.mark.parametrize(
    ("tensorrt", "integrated", "kv", "cuda_graphs"),
    [
        *(("10.3.0", *rest) for rest in itertools.product([True, False], ["dynamic", "static"], [True, False])),
        *((version, True, kv, True) for version in ("10.13.3.9", "11.4.1") for kv in ("dynamic", "static")),
    ],
)
def test_the_tiny_engine_answers_the_same(
    tiny: Path, built: Built, paint: Paint, tensorrt: str, integrated: bool, kv: str, cuda_graphs: bool
) -> None:
    """Caches that grow give the very same bits; behind a mask sums are longer by zeros."""
    frames = [paint(RED), paint(BLUE), paint(GREY), paint(RED, GREY), paint(RED)]
    want = said(open_bundle(Bundle(tiny)), frames, PROMPTS)
    assert len({reply.text for reply in want}) > 4
    words = () if cuda_graphs else ("--no-cuda-graphs",)
    folder = built("--kv", kv, *words, tensorrt=tensorrt)
    with pretended(tensorrt=tensorrt, integrated=integrated) as machine:
        engine = open_bundle(Bundle(folder))
        same(said(engine, frames, PROMPTS), want, 0.0 if kv == "dynamic" else 1e-6)
        assert engine.providers == (f"TensorRT {tensorrt}",)
        assert bool(machine.gpu.launched) is cuda_graphs
        assert bool(machine.gpu.copied) is not integrated


@pytest.mark.slow
@pytest.mark.parametrize("kv", ["dynamic", "static"])
def test_an_engine_of_the_default_shape_answers_the_same(fp32: Path, built: Built, frames: list[Frame], kv: str) -> None:
    """Four layers, 196 image tokens, boxes of 1024 bins; weights are seeded, so that other pictures and things get other boxes."""
    prompts = ("detect cup", "detect backpack", "is there a ball?", "describe")
    known = Bundle(fp32).manifest.targets
    assert {"cup", "ball", "backpack"} & set(known)
    prompts = tuple(p for p in prompts if p == "describe" or p.split()[-1].strip("?") in known)
    want = said(open_bundle(Bundle(fp32)), frames, prompts)
    assert len({reply.text for reply in want}) > 3
    folder = built("--kv", kv, source=fp32)
    with pretended():
        same(said(open_bundle(Bundle(folder)), frames, prompts), want, 0.0 if kv == "dynamic" else 1e-5)


def test_other_weights_give_other_answers(tiny: Path, built: Built, paint: Paint, changed: Callable[..., Path]) -> None:
    """The control: what is compared above can differ."""
    rows = np.load(tiny / "embeddings.npy")
    rows[[5, 6]] = rows[[6, 5]]  # "detect" and "is"
    buffer = io.BytesIO()
    np.save(buffer, rows)
    folder = changed(built(), files={"embeddings.npy": buffer.getvalue()})
    want = said(open_bundle(Bundle(tiny)), [paint(RED)], PROMPTS)
    with pretended():
        got = said(open_bundle(Bundle(folder)), [paint(RED)], PROMPTS)
    assert [reply.text for reply in got] != [reply.text for reply in want]


@pytest.mark.slow
def test_the_bundle_answers_as_it_did_at_export(fp32: Path, built: Built) -> None:
    """Its reference came along, and the exporter has asked it."""
    from edge_vla.parts import verify_engine

    folder = built(source=fp32)
    with pretended():
        assert verify_engine(open_bundle(Bundle(folder)), str(folder)) > 5
