"""Operations of every backbone, counted by torch while its tiny checkpoint runs, against those of the shapes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edge_vla.learn.backbones.flamingo import RoboFlamingo
from edge_vla.learn.backbones.qwen import RoboQwen
from edge_vla.learn.build import build_vlm
from edge_vla.learn.heads import HEADS
from edge_vla.learn.media import Media
from export.planning.layouts import Beyond, derive
from export.planning.policy_shapes import Policy
from export.planning.roofline import operations
from export.planning.shapes import Model
from export.planning.subject import find_subject
from tests.learn.backbones.conftest import (  # noqa: F401 - fixtures
    write_kosmos,
    write_llava,
    write_llava_mpt,
    write_paligemma,
)
from tests.learn.backbones.tiny_flamingo import write_flamingo
from tests.learn.backbones.tiny_moondream import write_moondream
from tests.learn.backbones.tiny_qwen import write_qwen25, write_qwen_v1
from tests.learn.backbones.tiny_uform import write_uform

WORDS = 11  # tokens of text


def counted(run: Callable[[], Any]) -> tuple[int, Any]:
    """What torch counts, in plain products: its counter knows no fused attention on a CPU."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        result = run()
    return counter.get_total_flops(), result


def check(model: Any, shapes: Model, *, folded: int = 0) -> None:
    """`folded` are operations on constants, which an exporter does once."""
    model = model.float().eval().requires_grad_(False)  # the counter walks modules and does not like no_grad
    seen, features = counted(lambda: model.model_encode_images(torch.zeros(1, 3, shapes.image_px, shapes.image_px)))
    assert seen - folded == sum(operations(shapes.vision, 0, 0, "fp32", "fp32").values())
    beside = {"media": Media(features[:, None], torch.ones(1, WORDS, dtype=torch.long))} if shapes.image_tokens == 0 else {}
    embeddings, mask, places = torch.zeros(1, WORDS, model.hidden_size), torch.ones(1, WORDS, dtype=torch.bool), torch.arange(WORDS)[None]
    said, _ = counted(lambda: model.run_text(embeddings, mask, places, **beside))
    assert said == sum(operations(shapes.text, WORDS, 0, "fp32", "fp32").values())


def check_folder(name: str, folder: Path, *, folded: int = 0) -> None:
    shapes = find_subject(str(folder)).model
    assert shapes is not None
    check(build_vlm({"name": name, "pretrained_model_name_or_path": str(folder)}, precision="fp32"), shapes, folded=folded)


@pytest.mark.parametrize("text", ["gemma", "gemma2"])
def test_paligemma(text: str, write_paligemma: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    check_folder("paligemma", write_paligemma(tmp_path, model_type=text))


def test_kosmos(write_kosmos: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    check_folder("kosmos", write_kosmos(tmp_path))


def test_llava(write_llava: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    """Its features are those before the last block, which is in no graph."""
    check_folder("llava", write_llava(tmp_path))


def test_llava_on_mpt(write_llava_mpt: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    check_folder("llava", write_llava_mpt(tmp_path))


def test_qwen_vl(tmp_path: Path) -> None:
    """Positions are stretched as it runs: of 16 patches by 256 in a width of 64, and by 16 queries in 256."""
    check_folder("qwen", write_qwen_v1(tmp_path), folded=2 * 16 * 256 * 64 + 2 * 16 * 16 * 256)


def test_qwen_2_5_vl(tmp_path: Path) -> None:
    folder = write_qwen25(tmp_path)
    model = RoboQwen({"vlm": {"pretrained_model_name_or_path": str(folder)}, "image_size": 48})
    check(model, derive(json.loads((folder / "config.json").read_text()), "tiny", Beyond(image_px=48)))


@pytest.mark.parametrize("layout", ["B", "C", "D"])
def test_moondream(layout: str, tmp_path: Path) -> None:
    write_moondream(tmp_path, layout)
    check_folder("moondream", tmp_path)


def test_uform(tmp_path: Path) -> None:
    """Positions are stretched as it runs: 36 of 16 in a width of 24."""
    write_uform(tmp_path)
    check_folder("uform", tmp_path, folded=2 * 36 * 16 * 24)


@pytest.mark.parametrize("kind", ["mosaic_gpt", "gpt_neox", "mpt"])
def test_flamingo(kind: str, tmp_path: Path) -> None:
    config = write_flamingo(tmp_path, kind)
    shapes = find_subject(config["vlm"]["pretrained_model_name_or_path"]).model
    assert shapes is not None
    check(RoboFlamingo(config), shapes)


@pytest.mark.parametrize("kind", ["FCDecoder", "GPTDecoder"])
@pytest.mark.parametrize("features", [16, 40])
def test_policy_heads(kind: str, features: int) -> None:
    """Over a window of 6 frames of 3 latents; torch's run says something at every frame, a graph at the newest. LSTMs it does not count."""
    sizes: dict[str, Any] = {"in_features": features, "hidden_size": 16, "action_dim": 4, "down_sample": "none", "latent": 3}
    sizes |= {"fwd_pred_next_n": 5} | ({} if kind == "FCDecoder" else {"window_size": 6})
    head = HEADS[kind](**sizes).eval().requires_grad_(False)
    frames = 6 if kind == "GPTDecoder" else 1
    parts = Policy(kind, features, 16, 4, 3, 6, 5, 4).parts(0)
    every = tuple(replace(part, tokens=frames) if part.name in {"arm", "gripper"} else part for part in parts)
    made, _ = counted(lambda: head(torch.zeros(1, frames, 3, features)))
    assert made == sum(operations(every, 1, 0, "fp32", "fp32").values())
