"""What int8 changes: boxes of an int8 bundle against those of the fp32 bundle of the same weights, on rooms never trained on.

    .venv/bin/python -m benchmarks.int8_agreement --fp32 engines/fp32 --int8 engines/default [--views data/validation] [--limit 600]

Every visible thing and two absent ones are asked for. A box within IoU 0.9 of the other agrees; a box that one of them does not see does
not. "main" counts one question a frame, for the thing with the most visible pixels; "all" counts every visible thing.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_vla.learn.data.shards import read_shard
from edge_vla.learn.finder.batch import decode
from edge_vla.learn.finder.language import certainly_absent, largest
from edge_vla.learn.finder.score import iou
from edge_vla.parse.loc import parse_detections
from edge_vla.parts import make_engine
from edge_vla.sim.objects import CLASSES
from edge_vla.types import Engine, Frame

AGREES = 0.9
NARROW = 80  # of 1024 bins: the shorter side of a box that a bin or two of difference take below AGREES
Box = NDArray[np.float64]


def ask(engine: Engine, frame: Frame, thing: str) -> Box | None:
    found = parse_detections(engine.ask(frame, f"detect {thing}").text)
    return np.array([found[0].y_min, found[0].x_min, found[0].y_max, found[0].x_max]) if found else None


class Tally:
    """Both engines' answers, counted."""

    def __init__(self) -> None:
        self.agree: dict[str, list[float]] = {"all": [], "main": [], "narrow": []}  # IoU with the fp32 box
        self.edges: list[float] = []  # of these boxes, how far the furthest edge moved, in 1/1024
        self.right: dict[str, list[float]] = {"fp32": [], "int8": []}  # IoU with the truth
        self.false = {"fp32": 0, "int8": 0}
        self.absent = 0

    def visible(self, truth: Box, boxes: dict[str, Box | None], *, main: bool) -> None:
        for name, box in boxes.items():
            self.right[name].append(0.0 if box is None else iou(box, truth))
        one, two = boxes["fp32"], boxes["int8"]
        if one is None:
            return
        same = 0.0 if two is None else iou(two, one)
        self.agree["all"].append(same)
        if main:
            self.agree["main"].append(same)
        if min(one[2] - one[0], one[3] - one[1]) < NARROW / 1024:
            self.agree["narrow"].append(same)
        if two is not None:
            self.edges.append(float(np.abs(one - two).max() * 1024))

    def missing(self, boxes: dict[str, Box | None]) -> None:
        self.absent += 1
        for name, box in boxes.items():
            self.false[name] += box is not None

    def told(self) -> dict[str, object]:
        right = {name: np.array(found) for name, found in self.right.items()}
        return {
            "agree": {name: [round(float(np.mean(np.array(found) >= AGREES)), 4), len(found)] for name, found in self.agree.items()},
            "furthest_edge_of_1024": {f"p{q}": round(float(np.percentile(self.edges, q)), 1) for q in (50, 90, 99)},
            "recall": {name: round(float((found > 0).mean()), 4) for name, found in right.items()},
            "recall_iou_over_half": {name: round(float((found > 0.5).mean()), 4) for name, found in right.items()},
            "mean_iou": {name: round(float(found.mean()), 4) for name, found in right.items()},
            "false_boxes": {name: round(count / max(1, self.absent), 4) for name, count in self.false.items()},
            "visible": len(right["fp32"]), "absent": self.absent,
        }  # fmt: skip


def compare(engines: dict[str, Engine], views: Path, limit: int) -> Tally:
    rng, tally = np.random.default_rng(0), Tally()
    samples = [sample for path in sorted(views.glob("*.npz")) for sample in read_shard(path)]
    for index in rng.permutation(len(samples))[:limit]:
        jpeg, boxes, _ = samples[int(index)]
        frame = Frame(np.ascontiguousarray(decode(jpeg)), 0, int(index))
        best = largest(boxes)
        main = max(best, key=lambda c: float(best[c][5]), default=None)
        for c in best:
            said = {name: ask(engine, frame, CLASSES[c]) for name, engine in engines.items()}
            tally.visible(best[c][1:5].astype(float), said, main=c == main)
        for c in rng.permutation(certainly_absent(boxes))[:2].tolist():
            tally.missing({name: ask(engine, frame, CLASSES[c]) for name, engine in engines.items()})
    return tally


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--fp32", type=Path, required=True, help="bundle")
    cli.add_argument("--int8", type=Path, default=Path("engines/default"), help="bundle of the same weights")
    cli.add_argument("--views", type=Path, default=Path("data/validation"))
    cli.add_argument("--limit", type=int, default=600, help="frames")
    cli.add_argument("--out", type=Path, help="write the figures there as well")
    args = cli.parse_args()
    engines = {name: make_engine(str(path), threads=1, domain="sim") for name, path in (("fp32", args.fp32), ("int8", args.int8))}
    told = json.dumps({"frames": args.limit, **compare(engines, args.views, args.limit).told()}, indent=1)
    print(told)
    if args.out:
        args.out.write_text(told + "\n")


if __name__ == "__main__":
    main()
