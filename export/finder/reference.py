"""Put reference answers into a bundle, asked of the bundle itself, and its latency on the machine that makes it."""

import hashlib
import os
import platform
from pathlib import Path

import cv2
import numpy as np

from edge_vla.backends.bundle import Bundle, Calibration
from edge_vla.backends.finder import FinderEngine
from edge_vla.backends.reference import BINS, CONFIDENCE, Answer, Picture, Reference, difference, verify
from edge_vla.parts import open_bundle
from edge_vla.types import Frame, Reply
from export.bundle.manifest import write_manifest

NAME = "reference.json"
FRAMES = Path(__file__).resolve().parents[2] / "tests" / "golden" / "frames"  # two rooms that nothing is trained on
NUDGE = 3  # of 255: an answer that changes with the light of the picture may change with the machine, and would prove nothing
THREADS = 1


def add_reference(folder: Path) -> None:
    """Write reference.json, sign it, and note the latency of `detect`. For a folder that nobody loads yet.

    An engine whose every answer hangs by a thread, as an untrained one's may, gets none.
    """
    rooms = sorted(FRAMES.glob("*.jpg"))
    if not rooms:
        raise SystemExit(f"{FRAMES} holds no picture to ask about: export from a complete checkout")
    bundle = Bundle(folder)
    manifest, bundle.manifest = bundle.manifest, bundle.manifest.model_copy(update={"calibration": Calibration()})  # answers are kept raw
    engine = open_bundle(bundle, THREADS)
    engine.warm_up()
    frames = [np.ascontiguousarray(cv2.imread(str(path))[..., ::-1]) for path in rooms]
    reference, latency_ms = _ask(engine, frames)
    changes: dict[str, object] = {"made": manifest.made | _latency(latency_ms)}
    if reference:
        text = reference.model_dump_json(indent=1) + "\n"
        (folder / NAME).write_text(text)
        signed = manifest.sha256 | {NAME: hashlib.sha256(text.encode()).hexdigest()}
        changes |= {"reference": NAME, "sha256": signed}
    write_manifest(folder, manifest.model_copy(update=changes))
    bundle = Bundle(folder)
    if reference:
        verify(open_bundle(bundle, THREADS), bundle)


def _ask(engine: FinderEngine, frames: list[np.ndarray]) -> tuple[Reference | None, list[float]]:
    """The answers about every frame that withstand a nudge, and how long each `detect` took, in ms."""
    pictures, answers, ms = [], [], []
    asked = engine.manifest.prompts
    detects = [asked.detect.format(thing=thing) for thing in engine.targets]
    others = [asked.presence.format(thing=f"a {engine.targets[0]}"), *asked.sentences]
    for k, rgb in enumerate(frames):
        for prompt in (*detects, *others):
            darker, reply, brighter = (engine.ask(_lit(rgb, by), prompt) for by in (-NUDGE, 0, NUDGE))
            if prompt in detects:
                ms += [1e3 * each.latency_s for each in (darker, reply, brighter)]
            if reply.confidence is not None and all(_same(other, reply) for other in (darker, brighter)):
                answers.append(Answer(picture=k, prompt=prompt, text=reply.text, confidence=round(reply.confidence, 6)))
        free = None if reply.free_distance_m is None else [round(d, 4) for d in reply.free_distance_m]
        png = cv2.imencode(".png", rgb[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
        pictures.append(Picture.model_construct(png=png, free_distance_m=free))  # validation would decode the base64 of what is none
    return Reference(pictures=pictures, answers=answers) if answers else None, ms


def _lit(rgb: np.ndarray, by: int) -> Frame:
    return Frame(np.clip(rgb.astype(np.int16) + by, 0, 255).astype(np.uint8), 0, 0)


def _same(one: Reply, two: Reply) -> bool:
    """Within half of what `verify` allows."""
    off = difference(one, two)
    return off is not None and off.bins <= BINS / 2 and off.confidence <= CONFIDENCE / 2


def _latency(ms: list[float]) -> dict[str, str | float | int]:
    """Of `detect`, whatever is there to find, on this machine."""
    return {
        "latency_p50_ms": round(float(np.median(ms)), 1),
        "latency_p99_ms": round(float(np.percentile(ms, 99)), 1),
        "latency_questions": len(ms),
        "latency_threads": THREADS,
        "latency_cpus": os.cpu_count() or 0,
        "latency_machine": platform.machine(),
    }
