"""A PaliGemma of the published 3B's shape, random weights, all the way: exported to w4, opened, asked; its steps beside llama.cpp's.

    .venv/bin/python -m benchmarks.paligemma_3b ROOM --llama /somewhere/bin/python [--json benchmarks/results/paligemma_3b.json]

ROOM is a folder with 30 GB to spare; what is in it already is used again. `--llama` is a Python that has `llama-cpp-python` and `gguf`.
Every process is measured by its own VmHWM and VmRSS, mapped files included; times are taken in turn, one round of each after the other.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.big_checkpoint import PALIGEMMA_3B, write_checkpoint

PROMPT, STEPS = 260, 8  # tokens before, as many as a picture and a question are; and steps of one token in a round
EXPORT = """
import sys
from export.onnx import main
sys.exit(main(sys.argv[1:]))
"""
PEAK = "\nimport atexit\natexit.register(lambda: print(open('/proc/self/status').read(), file=sys.stderr))\n"
# Bundles: the head cut to loc rows, and the whole one with its matrix in 8 bits as is usual, in 4 as the rest, and left in float32.
HEADS = {"sliced": ["--rows", "loc"], "full": [], "full_4_bits": ["--logits-bits", "4"], "full_float32": ["--logits-bits", "32"]}


def memory(status: str, *names: str) -> list[int]:
    """Bytes of some lines of /proc/PID/status."""
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return [1024 * int(lines[name].split()[0]) for name in names]


def folder_bytes(folder: Path, pattern: str = "*") -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern))


def export(model: Path, out: Path, options: Sequence[str]) -> dict[str, Any]:
    """The real command in a process of its own: its peak, its time, and what it says of the bundle's answers."""
    start = time.monotonic()
    code = EXPORT.replace("import sys\n", "import sys" + PEAK, 1)
    command = [sys.executable, "-c", code, str(model), "--out", str(out), "--precision", "w4", "--as", "vlm", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not out.is_dir():
        raise SystemExit(f"the export ended with {done.returncode}:\n{done.stderr[-3000:]}")
    weights = folder_bytes(model, "*.safetensors")
    (peak,) = memory(done.stderr, "VmHWM")
    return {
        "peak_bytes": peak, "checkpoint_bytes": weights, "peak_per_weights": round(peak / weights, 3),
        "seconds": round(time.monotonic() - start), "bundle_bytes": folder_bytes(out),
    }  # fmt: skip


class Child:
    """A process that answers a line of JSON with a line of JSON."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin  # noqa: S101 - for mypy: both are pipes
        assert self.process.stdout  # noqa: S101
        self.said, self.told = self.process.stdin, self.process.stdout
        self.ready = self.read()

    def read(self) -> dict[str, Any]:
        line = self.told.readline()
        if not line:
            code = self.process.wait()
            self.end()
            raise SystemExit(f"{self.process.args}: ended with {code}")
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, **said: object) -> dict[str, Any]:
        self.said.write(json.dumps(said) + "\n")
        self.said.flush()
        return self.read()

    def end(self) -> None:
        with self.process:  # closes the pipes
            self.process.kill()

    @property
    def resident(self) -> int:
        (found,) = memory(Path(f"/proc/{self.process.pid}/status").read_text(), "VmRSS")
        return found


@contextmanager
def children(commands: dict[str, Sequence[str]]) -> Iterator[dict[str, Child]]:
    opened: dict[str, Child] = {}
    try:
        for name, command in commands.items():
            opened[name] = Child(command)
        yield opened
    finally:
        for child in opened.values():
            child.end()


def in_turn(asked: dict[str, Child], rounds: int) -> dict[str, dict[str, Any]]:
    """Milliseconds of a step and of a prefill of each, in as many rounds; the first round warms up."""
    steps: dict[str, list[list[float]]] = {name: [] for name in asked}
    prefills: dict[str, list[float]] = {name: [] for name in asked}
    for number in range(rounds + 1):
        for name, child in asked.items():
            told = child.ask(prompt=PROMPT, steps=STEPS)
            if number:
                steps[name].append(told["step_ms"])
                prefills[name].append(told["prefill_ms"])
    return {
        name: {
            "step_ms_p50": round(statistics.median(ms for one in steps[name] for ms in one), 1),
            "step_ms_best": round(min(ms for one in steps[name] for ms in one), 1),
            "tokens_per_s_p50": round(1e3 / statistics.median(ms for one in steps[name] for ms in one), 2),
            "prefill_ms_p50": round(statistics.median(prefills[name]), 1), "n": rounds * STEPS,
            "rounds_step_ms": [round(statistics.median(one), 1) for one in steps[name]],
        }
        for name in asked
    }  # fmt: skip


def ratio(found: dict[str, dict[str, Any]], slow: str, fast: str) -> float:
    """How many times as long a step of `slow` takes: the median over rounds, each against the same round's."""
    pairs = zip(found[slow]["rounds_step_ms"], found[fast]["rounds_step_ms"], strict=True)
    return round(statistics.median(a / b for a, b in pairs), 2)


def serve(folder: Path, threads: int) -> None:
    """A bundle's decoder, asked as llama_peer is: a prefill of random words, then steps of one."""
    from edge_vla.backends.bundle import Bundle, SpeakerManifest
    from edge_vla.parts import make_graphs

    bundle = Bundle(folder)
    graphs, told = make_graphs(bundle, threads), bundle.a(SpeakerManifest).decoder
    rows = np.load(folder / told.embeddings, mmap_mode="r")
    print(json.dumps({"ready": list(graphs.providers)}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        graphs.begin()
        took = []
        for new in [asked["prompt"], *[1] * asked["steps"]]:
            past = graphs.past
            words = np.random.default_rng(past).integers(0, len(rows), new)
            positions, seen = np.arange(past, past + new), np.arange(past + new)[None]
            mask = np.where(seen <= positions[:, None], np.float32(0), np.finfo(np.float32).min)[None, None]
            start = time.perf_counter()
            graphs.step({"embeddings": np.asarray(rows[words], np.float32)[None], "positions": positions[None], "mask": mask})
            took.append(1e3 * (time.perf_counter() - start))
        print(json.dumps({"prefill_ms": took[0], "step_ms": took[1:]}), flush=True)


def answer(folder: Path, threads: int) -> None:
    """Open a bundle, ask it twice, tell the answer and the memory of this process."""
    from edge_vla.backends.bundle import Bundle
    from edge_vla.parts import open_bundle
    from edge_vla.types import Frame

    start = time.monotonic()
    engine = open_bundle(Bundle(folder), threads)
    opened = time.monotonic() - start
    rgb = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    for _ in range(2):
        start = time.monotonic()
        reply = engine.ask(Frame(rgb, 0, 0), "detect cup")
    rss, peak = memory(Path("/proc/self/status").read_text(), "VmRSS", "VmHWM")
    size = folder_bytes(folder)
    print(json.dumps({
        "resident_bytes": rss, "peak_bytes": peak, "bundle_bytes": size, "resident_per_file": round(rss / size, 3),
        "open_s": round(opened, 1), "answer_s": round(time.monotonic() - start, 2), "answer": str(reply.text)[:200],
    }))  # fmt: skip


def ourselves(*words: object) -> list[str]:
    return [sys.executable, "-m", "benchmarks.paligemma_3b", *map(str, words)]


def measure(room: Path, llama: Path, threads: int, rounds: int) -> dict[str, Any]:
    model = room / "model"
    if not (model / "model.safetensors.index.json").exists():
        write_checkpoint(model, PALIGEMMA_3B)
    kept = room / "export.json"
    exports: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for name, options in HEADS.items():
        if name not in exports:
            exports[name] = export(model, room / name, options)
            kept.write_text(json.dumps(exports))
    asking = ourselves(room / "sliced", "--answer", "--threads", threads)
    answered = json.loads(subprocess.run(asking, stdout=subprocess.PIPE, check=True).stdout)
    commands: dict[str, Sequence[str]] = {name: ourselves(room / name, "--serve", "--threads", threads) for name in HEADS}
    peer = str(Path(__file__).with_name("llama_peer.py"))
    with children(commands | {"llama.cpp": [str(llama), peer, str(room / "gemma.gguf"), "--threads", str(threads)]}) as asked:
        steps = in_turn(asked, rounds)
        for name, child in asked.items():
            steps[name]["resident_bytes"] = child.resident
        llama_version = asked["llama.cpp"].ready["ready"]
    return {
        "what": "PaliGemma-3B's shape, random weights, w4 with 8-bit logits; llama.cpp's Q4_0 of a Gemma-2B's; 260 tokens before",
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "threads": threads},
        "versions": {name: version(name) for name in ("onnxruntime", "torch", "transformers")} | {"llama-cpp-python": llama_version},
        "export": exports, "answer": answered, "steps": steps,
        "times_sliced": {name: ratio(steps, name, "sliced") for name in steps if name != "sliced"},
    }  # fmt: skip


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("room", type=Path)
    cli.add_argument("--llama", type=Path)
    cli.add_argument("--threads", type=int, default=2)
    cli.add_argument("--rounds", type=int, default=12)
    cli.add_argument("--json", type=Path)
    cli.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    cli.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    args = cli.parse_args()
    if args.serve or args.answer:
        (serve if args.serve else answer)(args.room, args.threads)
        return
    if args.llama is None:
        cli.error("--llama: want a Python that has llama-cpp-python and gguf")
    found = json.dumps(measure(args.room, args.llama, args.threads, args.rounds), indent=1)
    print(found)
    if args.json:
        args.json.write_text(found + "\n")


if __name__ == "__main__":
    main()
