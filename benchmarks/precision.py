"""What each precision costs and saves: the default engine's graphs and one wide product, against fp32 in turn in the same run.

    .venv/bin/python -m benchmarks.precision [--checkpoint training/finder/last.pt] [--threads 1] [--runs 40]

Ratios are medians over pairs of runs, time here over time of fp32: below 1 is faster. Errors are of the largest value of each output, on a
picture and a prompt that nothing was measured on before. Fresh weights take as long as trained ones; their errors mean little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edge_vla.learn.finder.language import build_tokenizer
from edge_vla.learn.finder.model import Finder
from export.default import fold_batch_norms, load_finder
from export.files.onnx_file import OnnxFile
from export.finder.onnx import modules_of, trace
from export.precision.block_timing import measure, session, winners
from export.precision.half import halve
from export.precision.nbits import quantise_weights
from export.precision.qdq import quantise_qdq, tensors
from export.precision.rounding import Reference, relative

Feed = dict[str, NDArray[Any]]
Make = Callable[[Path, Path], object]
WIDE = (2048, 16384)  # a feed-forward product of Gemma-2B
BOUND = 1e-2


def ratio(base: ort.InferenceSession, other: ort.InferenceSession, feed: Feed, runs: int) -> float:
    """Time of `other` over time of `base`."""
    found = []
    for k in range(runs + 3):
        start = time.perf_counter()
        base.run(None, feed)
        middle = time.perf_counter()
        other.run(None, feed)
        end = time.perf_counter()
        if k >= 3:  # the first ones warm up
            found.append((end - middle) / (middle - start))
    return statistics.median(found)


def looks(finder: Finder, folder: Path, seeds: Sequence[int]) -> dict[str, list[Feed]]:
    """What the graphs are fed when pictures of soft blots are asked about: vision, a prefill, a step after it."""
    vision, step = (session(folder / name, 1) for name in ("vision.onnx", "lm_step.onnx"))
    config = finder.lm.config
    none = np.zeros((config.num_hidden_layers, config.num_key_value_heads, 0, config.head_dim), np.float32)
    ids = build_tokenizer().encode("<bos> detect cup\n").ids
    rows = finder.embed(torch.tensor([ids])).detach().numpy()
    found: dict[str, list[Feed]] = {"vision": [], "lm_step": []}
    for seed in seeds:
        coarse = np.random.default_rng(seed).uniform(-1, 1, (1, 3, 14, 14)).astype(np.float32)
        image = torch.nn.functional.interpolate(torch.from_numpy(coarse), size=(224, 224), mode="bilinear").numpy()
        tokens = vision.run(None, {"image": image})[0]
        total = tokens.shape[1] + len(ids)
        mask = np.zeros((1, 1, total, total), np.float32)
        mask[..., : tokens.shape[1], tokens.shape[1] :] = -1e9
        prefill = {
            "embeddings": np.concatenate([tokens, rows], 1), "positions": np.arange(total)[None], "mask": mask, "past_keys": none,
            "past_values": none,
        }  # fmt: skip
        _, keys, values = step.run(None, prefill)
        decode = {
            "embeddings": rows[:, -1:], "positions": np.array([[total]]), "mask": np.zeros((1, 1, 1, total + 1), np.float32),
            "past_keys": keys, "past_values": values,
        }  # fmt: skip
        found["vision"].append({"image": image})
        found["lm_step"] += [prefill, decode]
    return found


def error(base: ort.InferenceSession, other: ort.InferenceSession, feeds: Sequence[Feed]) -> float:
    return max(relative(want, got) for feed in feeds for want, got in zip(base.run(None, feed), other.run(None, feed), strict=True))


def passes(graph: Path, feeds: Sequence[Feed], threads: int) -> dict[str, Make]:
    """Each precision of one graph; w8a8 once with everything int8 and once with what is faster so."""
    spans = Reference(OnnxFile(graph), feeds, threads).spans
    ends = {name: (spans[name].low, spans[name].high) for name in tensors(graph)}
    faster = winners(measure(graph, feeds[:2], ends, threads))
    return {
        "fp16": lambda source, out: halve(source, out, feeds[:2], BOUND),
        "w8a8 all": lambda source, out: quantise_qdq(source, out, ends),
        "w8a8 measured": lambda source, out: quantise_qdq(source, out, ends, faster),
        "w8": lambda source, out: quantise_weights(source, out, 8),
        "w4": lambda source, out: quantise_weights(source, out, 4),
    }


def default_engine(checkpoint: Path | None, threads: int, runs: int) -> list[dict[str, object]]:
    finder, _ = load_finder(checkpoint)
    fold_batch_norms(finder)
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        trace(modules_of(finder, portable=True), folder)
        calibration, unseen = looks(finder, folder, range(8)), looks(finder, folder, [100, 101])
        for name in ("vision", "lm_step"):
            source, out = folder / f"{name}.onnx", folder / "out.onnx"
            base = session(source, threads)
            for precision, make in passes(source, calibration[name], threads).items():
                make(source, out)
                other = session(out, threads)
                timed = {"picture": 0} if name == "vision" else {"prefill": 0, "decode": 1}
                found.append(
                    {
                        "graph": name, "precision": precision, "size": round(out.stat().st_size / source.stat().st_size, 3),
                        **{f"time_{what}": round(ratio(base, other, unseen[name][k], runs), 3) for what, k in timed.items()},
                        "error": float(f"{error(base, other, unseen[name]):.2g}"),
                    }
                )  # fmt: skip
    return found


def wide_product(threads: int, runs: int) -> list[dict[str, object]]:
    """One product of 2048 by 16384, for a step of one position and a prefill of 64."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal(WIDE, np.float32) / 50
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "y")], "wide", [helper.make_tensor_value_info("x", 1, ["T", WIDE[0]])],
        [helper.make_tensor_value_info("y", 1, ["T", WIDE[1]])], [numpy_helper.from_array(w, "w")],
    )  # fmt: skip
    feeds: Mapping[str, Feed] = {what: {"x": rng.standard_normal((n, WIDE[0]), np.float32)} for what, n in (("prefill", 64), ("decode", 1))}
    makes: dict[str, Make] = {
        "w8a8": lambda source, out: quantise_qdq(source, out, {"x": (-5, 5)}),
        "w8": lambda source, out: quantise_weights(source, out, 8),
        "w4": lambda source, out: quantise_weights(source, out, 4),
        "w4 blocks of 128": lambda source, out: quantise_weights(source, out, 4, 128),
    }
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        source, out = Path(scratch) / "wide.onnx", Path(scratch) / "out.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), str(source))
        base = session(source, threads)
        for precision, make in makes.items():
            make(source, out)
            other = session(out, threads)
            data = out.with_name("out.onnx.data")
            size = out.stat().st_size + (data.stat().st_size if data.exists() else 0)
            found.append(
                {
                    "graph": "2048 x 16384", "precision": precision, "size": round(size / source.stat().st_size, 3),
                    **{f"time_{what}": round(ratio(base, other, feed, runs), 3) for what, feed in feeds.items()},
                    "error": float(f"{error(base, other, list(feeds.values())):.2g}"),
                }
            )  # fmt: skip
    return found


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__)
    cli.add_argument("--checkpoint", type=Path)
    cli.add_argument("--threads", type=int, default=1)
    cli.add_argument("--runs", type=int, default=40)
    args = cli.parse_args()
    torch.set_num_threads(args.threads)
    for line in (*default_engine(args.checkpoint, args.threads, args.runs), *wide_product(args.threads, args.runs)):
        print(json.dumps(line | {"threads": args.threads, "onnxruntime": ort.__version__}), flush=True)


if __name__ == "__main__":
    main()
