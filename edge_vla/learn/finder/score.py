"""How good an engine is on labelled views it has not seen: boxes, presence, free distance, latency; and its calibration.

Runs the exported bundle, not the training model, so what is measured is what drives.
"""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_vla.learn.data.shards import read_shard
from edge_vla.learn.finder.batch import decode
from edge_vla.learn.finder.language import certainly_absent, largest
from edge_vla.parse.loc import parse_detections
from edge_vla.parts import make_engine
from edge_vla.sim.objects import CLASSES
from edge_vla.types import Engine, Frame

SMALL_PX, LARGE_PX = 100, 1000  # visible pixels of 320x240: the limits of "small", "middle" and "large"


@dataclass(slots=True)
class Score:
    """Everything counted over the views."""

    iou: list[float] = field(default_factory=list)
    pixels: list[float] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)  # raw, of every answer that was a box
    right: list[bool] = field(default_factory=list)  # and whether its IoU was above 0.4
    absent: int = 0
    false_boxes: int = 0
    free_log_error: list[float] = field(default_factory=list)
    latency_s: list[float] = field(default_factory=list)


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Of two y0 x0 y1 x1 boxes."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inter = float(np.prod(np.clip(high - low, 0, None)))
    return inter / max(1e-9, float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - inter)


def score(engine: Engine, folder: Path, limit: int, seed: int = 0) -> Score:
    """Ask about every visible thing and two absent ones in up to `limit` views."""
    rng, out = np.random.default_rng(seed), Score()
    samples = [sample for path in sorted(folder.glob("*.npz")) for sample in read_shard(path)]
    for index in rng.permutation(len(samples))[:limit]:
        jpeg, boxes, free = samples[int(index)]
        frame = Frame(np.ascontiguousarray(decode(jpeg)), 0, int(index))
        best, absent = largest(boxes), certainly_absent(boxes)
        for c in [*best, *rng.permutation(absent)[:2].tolist()]:
            reply = engine.ask(frame, f"detect {CLASSES[c]}")
            found = parse_detections(reply.text)
            out.latency_s.append(reply.latency_s)
            got = np.array([found[0].y_min, found[0].x_min, found[0].y_max, found[0].x_max]) if found else np.zeros(4)
            if c in best:
                out.iou.append(iou(got, best[c][1:5].astype(float)))
                out.pixels.append(float(best[c][5]))
                out.names.append(CLASSES[c])
            else:
                out.absent += 1
                out.false_boxes += bool(found)
            if found:
                out.confidence.append(reply.confidence or 0.0)
                out.right.append(c in best and out.iou[-1] > 0.4)
        out.free_log_error.append(float(np.abs(np.log(np.array(reply.free_distance_m) + 0.1) - np.log(free + 0.1)).mean()))
    return out


def calibrate(confidence: list[float], right: list[bool]) -> tuple[float, float]:
    """(scale, shift) of the logistic fit of being right on the logit of the confidence; Newton's method."""
    p = np.clip(np.array(confidence), 1e-6, 1 - 1e-6)
    x = np.stack([np.log(p / (1 - p)), np.ones(len(p))], 1)
    y, w = np.array(right, float), np.array([1.0, 0.0])
    for _ in range(30):
        q = 1 / (1 + np.exp(-x @ w))
        slope = x.T @ (y - q) - 1e-3 * (w - (1, 0))
        w = w + np.linalg.solve(x.T @ (x * (q * (1 - q))[:, None]) + 1e-3 * np.eye(2), slope)
    return float(w[0]), float(w[1])


def report(out: Score) -> dict[str, object]:
    """The figures, ready to print."""
    ious, pixels, names = np.array(out.iou), np.array(out.pixels), np.array(out.names)
    sizes = {"small": pixels < SMALL_PX, "middle": (pixels >= SMALL_PX) & (pixels < LARGE_PX), "large": pixels >= LARGE_PX}
    ms = np.array(out.latency_s) * 1e3
    return {
        "iou": round(float(ious.mean()), 3), "iou_over_half": round(float((ious > 0.5).mean()), 3),
        "recall": round(float((ious > 0).mean()), 3), "false_boxes": round(out.false_boxes / max(1, out.absent), 3),
        "free_log_error": round(float(np.mean(out.free_log_error)), 3),
        "by_size": {k: [_mean(ious[m]), _mean(ious[m] > 0), int(m.sum())] for k, m in sizes.items() if m.any()},
        "by_class": {c: [round(float(ious[names == c].mean()), 2), int((names == c).sum())] for c in CLASSES if (names == c).any()},
        "latency_ms_p50": round(float(np.median(ms)), 1), "questions": len(ms), "calibration": calibrate(out.confidence, out.right),
    }  # fmt: skip


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return round(float(np.mean(values)), 3)


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description="Score an engine bundle on labelled views.")
    cli.add_argument("--engine", type=Path, default=Path("engines/default"))
    cli.add_argument("--data", type=Path, default=Path("data/validation"))
    cli.add_argument("--limit", type=int, default=400)
    args = cli.parse_args()
    print(json.dumps(report(score(make_engine(str(args.engine), threads=1, domain="sim"), args.data, args.limit)), indent=1))
