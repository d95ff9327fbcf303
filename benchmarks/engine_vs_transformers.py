"""One `detect`, from the camera's picture to the box: the exported engine against torch and OpenVINO, with the same weights, in one run.

    .venv/bin/python -m benchmarks.engine_vs_transformers [--threads 2] [--out benchmarks/results/detect_2_threads.json]

Everybody answers the same questions about rendered rooms, one after the other, a question at a time, so that a machine that slows down
slows down all. Ratios are medians of the pairs. OpenVINO is left out, with a line that says so, where it is not installed.
"""

import argparse
import json
import logging
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
import transformers

from benchmarks.torch_peers import Bins, Peer, compiled, compiled_graphs, generating
from edge_vla.backends.bundle import Bundle
from edge_vla.backends.finder import FinderEngine
from edge_vla.learn.data.shards import read_shard
from edge_vla.learn.finder.batch import decode
from edge_vla.learn.finder.language import build_tokenizer, largest, token_id
from edge_vla.parts import open_bundle
from edge_vla.sim.objects import CLASSES
from edge_vla.types import Frame
from export.default import export_default, fold_batch_norms, load_finder, range_pictures
from export.finder.int8 import Picture

WARM_UP = 3  # rounds over all questions


@dataclass(frozen=True, slots=True)
class Asked:
    """A thing that is seen on a frame."""

    frame: Frame
    thing: str


Detect = Callable[[Asked], Bins]


def questions(views: Path, count: int, engine: FinderEngine) -> list[Asked]:
    """The largest thing of each frame, where the engine finds it: an answer of no box would take one token."""
    found = []
    for path in sorted(views.glob("*.npz")):
        for k, (jpeg, boxes, _) in enumerate(read_shard(path)):
            frame, best = Frame(np.ascontiguousarray(decode(jpeg)), 0, k), largest(boxes)
            thing = CLASSES[max(best, key=lambda c: float(best[c][5]))] if best else ""
            if thing and engine.ask(frame, f"detect {thing}").text:
                found.append(Asked(frame, thing))
            if len(found) == count:
                return found
    raise SystemExit(f"{views} holds {len(found)} frames on which something is found, want {count}: render some (make train-default)")


def of_engine(engine: FinderEngine) -> Detect:
    def detect(asked: Asked) -> Bins:
        return tuple(int(k) for k in re.findall(r"<loc(\d+)>", engine.ask(asked.frame, f"detect {asked.thing}").text)) or None

    return detect


def of_torch(peer: Peer, engine: FinderEngine) -> Detect:
    """With the engine's own preprocessing and words."""
    tokenizer = build_tokenizer()

    def detect(asked: Asked) -> Bins:
        ids = tokenizer.encode(f"<bos> detect {asked.thing}\n").ids
        return peer(torch.from_numpy(engine.preprocess(asked.frame.rgb)), ids, token_id(tokenizer, asked.thing))

    return detect


def contenders(checkpoint: Path | None, folder: Path, pictures: list[Picture], threads: int) -> dict[str, FinderEngine | Detect]:
    """Everybody by name, the engine first. Engines are their own host's; what is no engine answers `Asked`."""
    made: dict[str, FinderEngine | Detect] = {}
    for precision in ("fp32", "int8"):
        export_default(checkpoint, folder / precision, precision, pictures)
        made[f"engine {precision}"] = open_bundle(Bundle(folder / precision), threads)
    engine = made["engine fp32"]
    tokens = engine.manifest.tokens
    made["transformers eager"] = of_torch(generating(load_finder(checkpoint)[0], tokens), engine)
    made["torch.compile transformers"] = of_torch(compiled(load_finder(checkpoint)[0], tokens), engine)
    folded = load_finder(checkpoint)[0]
    fold_batch_norms(folded)
    made["torch.compile graphs"] = of_torch(compiled_graphs(folded, tokens), engine)
    if find_spec("openvino") is None:
        print("openvino is not installed: left out (pip install openvino)", file=sys.stderr, flush=True)
        return made
    from benchmarks.openvino_graphs import OpenvinoGraphs, write_int8

    (folder / "open").mkdir()
    write_int8(folded, pictures, folder / "open")
    for name, of, precision in (("f32", "fp32", "f32"), ("bf16", "fp32", "bf16"), ("int8", "open", "f32"), ("int8 bf16", "open", "bf16")):
        files = {graph: folder / of / f"{graph}.onnx" for graph in ("vision", "prefix", "lm_step")}
        made[f"openvino {name}"] = FinderEngine(Bundle(folder / "fp32"), OpenvinoGraphs(files, threads, precision))
    return made


def measure(
    made: dict[str, FinderEngine | Detect], asked: list[Asked], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[Bins]]]:
    """Milliseconds and answers of each, question by question."""
    took: dict[str, list[float]] = {name: [] for name in made}
    said: dict[str, list[Bins]] = {name: [] for name in made}
    doors = {name: of_engine(one) if isinstance(one, FinderEngine) else one for name, one in made.items()}
    for number in range(-WARM_UP, rounds):
        for question in asked:
            for name, door in doors.items():
                start = time.perf_counter()
                answer = door(question)
                if number >= 0:
                    took[name].append((time.perf_counter() - start) * 1e3)
                    said[name].append(answer)
    return took, said


def report(took: dict[str, list[float]], said: dict[str, list[Bins]]) -> dict[str, object]:
    want = said["engine fp32"]
    torch_compiled = [min(pair) for pair in zip(took["torch.compile transformers"], took["torch.compile graphs"], strict=True)]
    ratios = {}
    for mine in ("engine fp32", "engine int8"):
        pairs = {name: ms for name, ms in took.items() if name not in ("engine fp32", "engine int8")} | {
            "torch.compile, the faster": torch_compiled
        }
        ratios[mine] = {name: round(statistics.median(b / a for a, b in zip(took[mine], ms, strict=True)), 2) for name, ms in pairs.items()}
    return {
        "ms": {
            name: {"p50": round(statistics.median(ms), 2), "p99": round(float(np.percentile(ms, 99)), 2), "least": round(min(ms), 2)}
            for name, ms in took.items()
        },
        "times_as_fast": ratios,
        "same_box_as_engine_fp32": {name: [sum(a == b for a, b in zip(each, want, strict=True)), len(want)] for name, each in said.items()},
    }  # fmt: skip


def machine() -> dict[str, object]:
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else None
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "load": [round(each, 2) for each in os.getloadavg()],
    }


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--checkpoint", type=Path, default=Path("training/finder/last.pt"))
    cli.add_argument("--views", type=Path, default=Path("data/validation"), help="labelled views to ask about")
    cli.add_argument("--ranges", type=Path, default=Path("data/train"), help="views whose pictures int8 scales are measured on")
    cli.add_argument("--threads", type=int, default=2, help="of everybody")
    cli.add_argument("--questions", type=int, default=20)
    cli.add_argument("--rounds", type=int, default=5)
    cli.add_argument("--out", type=Path, help="write the figures there as well")
    args = cli.parse_args()
    logging.getLogger().setLevel(logging.ERROR)  # onnxruntime's quantiser turns everybody's notes on
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        made = contenders(args.checkpoint, Path(scratch), range_pictures(args.ranges), args.threads)
        asked = questions(args.views, args.questions, made["engine fp32"])
        before = machine()
        figures = report(*measure(made, asked, args.rounds))
    versions = {"onnxruntime": ort.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
    if "openvino f32" in made:
        versions["openvino"] = made["openvino f32"].providers[0].removeprefix("OpenVINO ")
    facts = {
        "threads": args.threads,
        "n": args.questions * args.rounds,
        "warm_up": args.questions * WARM_UP,
        "machine": before,
        "versions": versions,
    }
    told = json.dumps(facts | figures, indent=1)
    print(told)
    if args.out:
        args.out.write_text(told + "\n")


if __name__ == "__main__":
    main()
