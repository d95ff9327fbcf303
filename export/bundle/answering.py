"""What a model itself answers about two rooms that nothing is trained on: the questions a bundle is verified with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_vla.backends.answers import Answers, Case
from edge_vla.backends.backbone_manifest import BackboneManifest, PolicyManifest, SpeakerManifest
from edge_vla.backends.reference import Picture
from edge_vla.backends.speaker import in_locs
from edge_vla.errors import ConfigError
from edge_vla.grammars import grammar
from edge_vla.learn.backbones.base import BaseRoboVLM

FRAMES = Path(__file__).resolve().parents[2] / "tests" / "golden" / "frames"
THINGS = ("cup",)
SENTENCES = ("describe",)
TASKS = ("go to the cup", "find the red ball")
Rgb = NDArray[np.uint8]


def rooms(camera: tuple[int, int]) -> list[Rgb]:
    """The golden rooms at a camera's (width, height), each with its mirror image. Raises ConfigError in a checkout without them."""
    files = sorted(FRAMES.glob("*.jpg"))
    if not files:
        raise ConfigError(f"{FRAMES} holds no picture to ask about: export from a complete checkout")
    read = (cv2.imread(str(path)) for path in files)
    sized = [cv2.resize(bgr, camera, interpolation=cv2.INTER_AREA)[..., ::-1] for bgr in read if bgr is not None]
    return [np.ascontiguousarray(rgb) for one in sized for rgb in (one, one[:, ::-1])]


def answers_of(model: BaseRoboVLM, manifest: BackboneManifest, pictures: Sequence[Rgb]) -> Answers:
    """What a policy does or a speaker says about these pictures."""
    if isinstance(manifest, PolicyManifest):
        return acted(model, manifest, pictures)
    assert isinstance(manifest, SpeakerManifest)  # noqa: S101 - for mypy: a manifest is of one kind or the other
    return spoken(model, manifest, pictures)


def spoken(model: BaseRoboVLM, manifest: SpeakerManifest, pictures: Sequence[Rgb]) -> Answers:
    """Where a cup is, in each picture and its mirror image, and with a whole vocabulary a sentence about each."""
    rows, most, cases = manifest.decoder.rows, manifest.decoder.max_new_tokens, list[Case]()
    with only(model, rows) if rows else nullcontext():
        for k, rgb in enumerate(pictures):
            if grammar(manifest.grammar).says_boxes:
                for thing in THINGS:
                    found = model.find(thing, rgb, manifest.places)
                    cases.append(Case(pictures=[k], prompt=f"detect {thing}", text=in_locs(found, thing), confidence=found.confidence))
            if not rows:
                cases += [Case(pictures=[k], prompt=said, text=model.generate(said, rgb, most)) for said in SENTENCES]
    return Answers(pictures=_kept(pictures), cases=cases)


def acted(model: BaseRoboVLM, manifest: PolicyManifest, pictures: Sequence[Rgb]) -> Answers:
    """What the head says at an episode's first frame, in its middle, and when its window is full and has moved on."""
    window = manifest.policy.window
    counts = sorted({1, max(1, window // 2), window + 1})
    cases = []
    for task in TASKS:
        for count in counts:
            shown = [k % len(pictures) for k in range(count)]
            says = says_of(model, manifest, [pictures[k] for k in shown], task)
            cases.append(Case(pictures=shown, prompt=task, says=[[float(v) for v in row] for row in says]))
    return Answers(pictures=_kept(pictures), cases=cases)


@torch.no_grad()
def says_of(model: BaseRoboVLM, manifest: PolicyManifest, frames: Sequence[Rgb], task: str) -> NDArray[Any]:
    """(chunk, action_dim) that the model says after these frames, oldest first, shown one by one as a robot shows them."""
    kind = next(model.parameters()).dtype
    ids = torch.tensor([model.instruction_ids(task)])
    seen = torch.stack([model.preprocess(rgb) for rgb in frames]).to(kind)[None]
    batch = {"lang_x": ids, "attention_mask": torch.ones_like(ids, dtype=torch.bool)}
    if manifest.policy.action_space == "discrete":
        with only(model, manifest.decoder.rows or []):
            return np.asarray(model.inference(seen[:, -1:], **batch)["action"])[0]
    assert model.act_head is not None  # noqa: S101 - for mypy: a policy has one
    model.act_head.reset()
    if manifest.policy.history == "post":
        outputs = [model.inference(seen[:, k : k + 1], **batch)["action"] for k in range(len(frames))]
    else:
        outputs = [model.inference(seen[:, -manifest.policy.window :], **batch)["action"]]
    model.act_head.reset()
    arm, gripper = outputs[-1]
    newest = [part.reshape(-1, *part.shape[-2:])[-1] for part in (arm, gripper) if part is not None]
    return torch.cat([part.float() for part in newest], -1).numpy()


@contextmanager
def only(model: BaseRoboVLM, rows: Sequence[Sequence[int]]) -> Iterator[None]:
    """While it lasts no row but these is likely, as with a head that has no others."""
    plain = model.logits

    def allowed(hidden: Tensor) -> Tensor:
        found = plain(hidden)
        out = torch.full_like(found, torch.finfo(found.dtype).min)
        for first, end in rows:
            out[..., first:end] = found[..., first:end]
        return out

    model.logits = allowed  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.logits


def _kept(pictures: Sequence[Rgb]) -> list[Picture]:
    """As PNG; validation would decode the base64 of what is none."""
    pngs = [cv2.imencode(".png", rgb[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes() for rgb in pictures]
    return [Picture.model_construct(png=png, free_distance_m=None) for png in pngs]
