"""What is tried with a bundle on a device: each check says what it found, or raises. In the order they stand."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from edge_vla.backends.bundle import MANIFEST, Bundle, sha256
from edge_vla.backends.plan_contract import caches
from edge_vla.backends.tensorrt import TensorrtGraphs
from edge_vla.errors import ConfigError, EngineError
from edge_vla.machine.tree import Tree
from edge_vla.parts import make_host, open_bundle
from export.board.parity import Parity, compare_graphs
from export.board.report import Table
from export.board.timing import COLUMNS, engines, questions, time_engines
from export.plans.layer_times import LAYERS_FILE
from export.tensorrt import arguments, run

SLOWEST = 10  # layers that are listed
BUILD_S = 1800  # within which a build says that it has begun, and ends when it is stopped
EXIT_STOPPED = 130
OPEN = """
import sys
from pathlib import Path
from edge_vla.backends.bundle import Bundle
from edge_vla.errors import EngineError
from edge_vla.parts import open_bundle
try:
    open_bundle(Bundle(Path(sys.argv[1])))
except EngineError as err:
    sys.exit(f"refused: {err}")
"""


@dataclass(slots=True)
class Case:
    """One bundle, and where its plans go."""

    source: Bundle
    folder: Path
    looks: int
    tree: Tree
    tables: list[Table] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.source.manifest.name

    @property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Every form the caches of this bundle can have, as words of the command."""
        allowed = caches(self.source.manifest.graphs["lm_step"])
        return {kv: ("--kv", kv) if kv in {"dynamic", "static"} else () for kv in allowed}

    def plans(self, kind: str) -> Path:
        """Raises EngineError where that check has not made any."""
        found = self.folder / kind
        if not (found / MANIFEST).is_file():
            raise EngineError(f"no plans: the check that builds {kind} failed")
        return found

    def build(self, kind: str, *words: str) -> float:
        """Seconds. Raises what the command does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        given = [str(self.source.folder), "--out", str(self.folder / kind), "--timing-cache", str(self.folder / "timing.cache"), *words]
        started = time.monotonic()
        run(arguments().parse_args(given), self.tree, Console(stderr=True, highlight=False, soft_wrap=True))
        return time.monotonic() - started


def builds(case: Case) -> str:
    """Plans with every form of cache, held against what the bundle answered at export."""
    told = []
    for kind, words in case.kinds.items():
        seconds = case.build(kind, *words)
        size = sum(path.stat().st_size for path in (case.folder / kind).glob("*.plan"))
        verified = Bundle(case.folder / kind).manifest.verified
        told.append(f"{kind}: {seconds:.0f} s, {size / 2**20:.1f} MiB{'' if verified is None else ', verified'}")
    return "; ".join(told)


def builds_again(case: Case) -> str:
    """The timing cache holds: the same build a second time."""
    kind, words = next(iter(case.kinds.items()))
    return f"{case.build('again', *words):.0f} s with the timings of the first ({kind})"


def agrees(case: Case) -> str:
    """Every graph's tensors as ONNX Runtime has them, at two lengths, with keys and values carried on."""
    found = [compare_graphs(case.source, Bundle(case.plans(kind))) for kind in case.kinds]
    worst: Parity = max(found, key=lambda parity: parity.share)
    if not worst.passed:
        raise EngineError(str(worst))
    return str(worst)


def answers(case: Case) -> str:
    """The whole engine as ONNX Runtime's, question by question."""
    asked = questions(case.source)
    plain = open_bundle(case.source)
    want = [plain.ask(frame, prompt) for frame, prompt in asked]
    for kind in case.kinds:
        engine = open_bundle(Bundle(case.plans(kind)))
        try:
            got = [engine.ask(frame, prompt) for frame, prompt in asked]
        finally:
            engine.close()
        other = [prompt for (_, prompt), a, b in zip(asked, got, want, strict=True) if a.text != b.text]
        if other:
            raise EngineError(f"{kind}: {len(other)} of {len(asked)} answers are others, the first to {other[0]!r}")
    return f"{len(asked)} answers, the same words and corners with {', '.join(case.kinds)} caches"


def captures(case: Case) -> str:
    """Captured graphs answer as plain passes do."""
    asked, told = questions(case.source), []
    for kind in case.kinds:
        bundle = Bundle(case.plans(kind))
        replies = []
        for captured in (True, False):
            graphs = TensorrtGraphs(bundle, cuda_graphs=captured)
            host = make_host(bundle, graphs)
            replies.append([host.ask(frame, prompt) for frame, prompt in asked for _ in range(3)])
            if captured:
                told.append(f"{kind}: {', '.join(name for name, done in graphs.captured.items() if done)}")
            host.close()
        if [(a.text, a.confidence) for a in replies[0]] != [(b.text, b.confidence) for b in replies[1]]:
            raise EngineError(f"{kind}: captured and plain passes do not answer the same")
    return f"the same answers; replayed at last: {'; '.join(told)}"


def is_timed(case: Case) -> str:
    """Latency of whole answers."""
    rows = time_engines(engines(case.source, {kind: case.plans(kind) for kind in case.kinds}), questions(case.source), case.looks)
    case.tables.append(Table(f"{case.name}: a whole answer, ms", COLUMNS, tuple(rows)))
    layers = json.loads((case.plans(next(iter(case.kinds))) / LAYERS_FILE).read_text())
    timed = [
        (name, str(number), layer["name"], f"{layer['mean_ms']:.3f}")
        for name, each in layers.items() for number, one in enumerate(each["passes"]) for layer in one["layers"]
    ]  # fmt: skip
    slowest = sorted(timed, key=lambda row: float(row[3]), reverse=True)[:SLOWEST]
    case.tables.append(Table(f"{case.name}: the slowest layers, ms", ("graph", "pass", "layer", "mean"), tuple(slowest)))
    return f"{case.looks} answers each"


def keeps_memory(case: Case) -> str:
    """Free memory of the machine before and after many answers."""
    asked = questions(case.source)
    engine = open_bundle(Bundle(case.plans(next(iter(case.kinds)))))
    for frame, prompt in asked:
        engine.ask(frame, prompt)
    before = resident_bytes(case.tree)
    for k in range(case.looks):
        engine.ask(*asked[k % len(asked)])
    grown = resident_bytes(case.tree) - before
    engine.close()
    if grown > 16 * 2**20:
        raise EngineError(f"{grown / 2**20:.1f} MiB more after {case.looks} answers")
    return f"{grown / 2**20:.1f} MiB more after {case.looks} answers"


def resident_bytes(tree: Tree) -> int:
    """Of this process."""
    text = tree.text("/proc/self/statm") or "0 0"
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def variant(kind: str, *words: str) -> Callable[[Case], str]:
    """Plans built with other words answer as the usual ones."""

    def built(case: Case) -> str:
        seconds = case.build(kind, *words)
        asked = questions(case.source)
        usual, other = (open_bundle(Bundle(case.plans(each))) for each in (next(iter(case.kinds)), kind))
        try:
            same = sum(usual.ask(frame, prompt).text == other.ask(frame, prompt).text for frame, prompt in asked)
        finally:
            usual.close()
            other.close()
        if same < len(asked):
            raise EngineError(f"{same} of {len(asked)} answers as of the usual plans")
        size = sum(path.stat().st_size for path in (case.folder / kind).glob("*.plan"))
        return f"{seconds:.0f} s, {size / 2**20:.1f} MiB, the same {same} answers"

    return built


def refuses_others(case: Case) -> str:
    """A manifest that names another TensorRT or GPU; a plan that ends early, in a process of its own."""
    told = []
    for field_, value in (("tensorrt", "1.0.0"), ("sm", "1.0")):
        folder = spoilt(case, f"other-{field_}")
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["plan"][field_] = value
        (folder / MANIFEST).write_text(json.dumps(manifest))
        try:
            open_bundle(Bundle(folder)).close()
        except ConfigError as err:
            told.append(str(err).partition("; ")[0].rpartition(": ")[2])
        else:
            raise EngineError(f"plans of {field_} {value} were opened")
    folder = spoilt(case, "short")
    plan = folder / Bundle(folder).manifest.graphs["vision"].file
    plan.write_bytes(plan.read_bytes()[: plan.stat().st_size // 2])
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["sha256"][plan.name] = sha256(plan)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    done = subprocess.run([sys.executable, "-c", OPEN, str(folder)], capture_output=True, text=True, check=False)
    if "refused: " not in done.stderr:
        raise EngineError(f"a plan cut in half: exit code {done.returncode}, {done.stderr.strip()[-200:]!r}")
    return "; ".join([*told, "half a plan is an error"])


def spoilt(case: Case, name: str) -> Path:
    """A copy of the plans to spoil."""
    folder = case.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(case.plans(next(iter(case.kinds))), folder)
    return folder


def stops(case: Case) -> str:
    """Ctrl-C while the builder works: it ends, nothing is left."""
    out = case.folder / "stopped"
    words = [sys.executable, "-m", "export", "tensorrt", str(case.source.folder), "--out", str(out), "--level", "5"]
    words += ["--timing-cache", str(case.folder / "no-timings.cache")]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2])
    assert process.stderr is not None  # noqa: S101 - for mypy: it was asked for
    for line in process.stderr:
        if "building with TensorRT" in line:
            break
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, told = process.communicate(timeout=BUILD_S)
    if process.returncode == 0:
        return "the build was done before it could be stopped"
    if process.returncode != EXIT_STOPPED or out.exists():
        raise EngineError(f"exit code {process.returncode}, {'a bundle' if out.exists() else 'nothing'} left: {told.strip()[-200:]!r}")
    return f"ended {time.monotonic() - started:.1f} s after Ctrl-C, nothing left"


CHECKS: dict[str, Callable[[Case], str]] = {
    "builds": builds,
    "builds again": builds_again,
    "graphs as ONNX Runtime": agrees,
    "answers as ONNX Runtime": answers,
    "captured graphs": captures,
    "latency": is_timed,
    "memory": keeps_memory,
    "refittable plans": variant("refit", "--refit"),
    "plans without weights": variant("stripped", "--strip-plan"),
    "version-compatible plans": variant("compatible", "--version-compatible"),
    "foreign plans": refuses_others,
    "Ctrl-C": stops,
}
