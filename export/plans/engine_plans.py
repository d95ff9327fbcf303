"""Plans become a bundle: built beside it, verified on this machine, then moved into place. What is not finished is not left."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import tensorrt as trt
from rich.console import Console

from edge_vla.backends.backbone_manifest import BackboneManifest
from edge_vla.backends.bundle import MANIFEST, Bundle, sha256
from edge_vla.backends.cuda import Gpu, found_gpu
from edge_vla.backends.manifest import Graph, Manifest, PlanInfo, Source
from edge_vla.backends.plans import Log
from edge_vla.errors import ConfigError, EngineError
from edge_vla.machine.board import read_board
from edge_vla.machine.power import read_power_mode
from edge_vla.machine.tree import Tree
from edge_vla.parts import open_bundle, verify_engine
from export.bundle.manifest import write_manifest
from export.bundle.verifying import verify
from export.plans.builder import Choices, Workshop, build_plan
from export.plans.layer_times import LAYERS_FILE, time_layers
from export.plans.progress import Progress, interruptible
from export.plans.timing_cache import TimingCache, usual_file

if TYPE_CHECKING:
    from export.tensorrt import Order


def make_plans(order: Order, choices: Choices, tree: Tree, console: Console) -> Manifest:
    """Raises ConfigError, EngineError, KeyboardInterrupt; then `order.out` is as it was."""
    gpu, source = found_gpu(), order.source
    with scratch_beside(order.out) as (new, old):
        timing = TimingCache(order.timing or usual_file(order.out.parent, gpu.sm))
        with Progress(console) as progress:
            shop = Workshop(choices, Log(), timing, progress)
            for name, graph in source.manifest.graphs.items():
                console.print(f"{name}: building with TensorRT {trt.__version__} for SM {gpu.sm}")
                started = time.monotonic()
                _write_plan(name, graph, order, shop, new)
                size = (new / plan_file(name)).stat().st_size
                console.print(f"{name}: built in {time.monotonic() - started:.0f} s, {size / 2**20:.1f} MiB")
        manifest = describe(order, choices, gpu, tree)
        _copy_rest(source, manifest, new)
        sign(new, manifest)
        prove(new, console, force=order.force)
        if order.out.exists():
            order.out.rename(old)
        new.rename(order.out)
    console.print(f"{order.out}: done")
    return manifest


@contextmanager
def scratch_beside(out: Path) -> Iterator[tuple[Path, Path]]:
    """(a new folder, a place for the old one), gone afterwards. Raises ConfigError for a disk that is full or may not be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".tensorrt-") as scratch:
            new = Path(scratch) / "new"  # of its own: the scratch folder is nobody else's to read
            new.mkdir()
            yield new, Path(scratch) / "old"
    except OSError as err:
        raise ConfigError(f"out {out}: cannot be written ({err.strerror or err}); nothing was kept") from err


def plan_file(name: str) -> str:
    return f"{name}.plan"


def _write_plan(name: str, graph: Graph, order: Order, shop: Workshop, new: Path) -> None:
    profiles = {str(key): value for key, value in order.profiles.items()}[name]
    source = order.source.path(graph.file)
    plan = interruptible(lambda: build_plan(source, graph, profiles, shop), shop.progress, shop.progress.console)
    if plan is None:
        raise KeyboardInterrupt
    with (new / plan_file(name)).open("wb") as file:
        file.write(plan)


def describe(order: Order, choices: Choices, gpu: Gpu, tree: Tree) -> Manifest:
    """The source's manifest, with plans for graphs. Signatures come later."""
    m, board, mode = order.source.manifest, read_board(tree), read_power_mode(tree)
    info = PlanInfo(
        tensorrt=trt.__version__, sm=gpu.sm, profiles=order.profiles, kv=order.kv, cuda_graphs=order.cuda_graphs,
        version_compatible=choices.version_compatible, refittable=choices.one_profile,
        stripped={name: Source(file=graph.file, data=graph.data) for name, graph in m.graphs.items()} if choices.strip else {},
        source=sha256(order.source.path(MANIFEST)), workspace_mb=choices.workspace_mb, optimization_level=choices.level,
        tf32=choices.tf32, cuda=gpu.cuda, board=board.model, jetpack=board.jetpack, l4t=board.l4t,
        power_mode="" if mode is None else mode.name,
    )  # fmt: skip
    graphs = {name: graph.model_copy(update={"file": plan_file(name), "data": None}) for name, graph in m.graphs.items()}
    return m.model_copy(update={"backend": "tensorrt", "graphs": graphs, "plan": info})


def _copy_rest(source: Bundle, manifest: Manifest, new: Path) -> None:
    """Everything but the graphs; of plans without weights the graphs too."""
    left = {name for graph in source.manifest.graphs.values() for name in (graph.file, graph.data)} - manifest.files
    for name in source.manifest.sha256:
        if name not in left:
            shutil.copyfile(source.path(name), new / name)


def sign(new: Path, manifest: Manifest) -> None:
    signatures = {path.name: sha256(path) for path in sorted(new.iterdir()) if path.name != MANIFEST}
    write_manifest(new, manifest.model_copy(update={"sha256": signatures}))


def prove(new: Path, console: Console, *, force: bool) -> None:
    """Open what was made as a robot will, hold it against its model or what the source answered, time its layers.

    Raises EngineError for plans that answer otherwise; `force` keeps those whose manifest then says so.
    """
    bundle = Bundle(new)
    engine = open_bundle(bundle)
    try:
        if hasattr(engine, "warm_up"):
            engine.warm_up()
        if isinstance(bundle.manifest, BackboneManifest):
            pass  # below, in an engine of its own
        elif bundle.manifest.reference is None:
            console.print("no reference answers in the bundle: what the plans answer is not verified")
        else:
            console.print(f"verified: {verify_engine(engine, str(new))} answers as at export")
    finally:
        engine.close()
    manifest = _verified(bundle, console, force=force) if isinstance(bundle.manifest, BackboneManifest) else bundle.manifest
    (new / LAYERS_FILE).write_text(json.dumps(time_layers(bundle), indent=1) + "\n")
    sign(new, manifest)


def _verified(bundle: Bundle, console: Console, *, force: bool) -> Manifest:
    """The manifest with what lies between the plans and the model."""
    if bundle.manifest.probes is None:
        console.print("no probes in the bundle: what the plans answer is not verified")
        return bundle.manifest.model_copy(update={"verified": None})
    found = verify(bundle, say=lambda line: console.print(f"  differs: {line}"))
    manifest = bundle.manifest.model_copy(update={"verified": found})
    if manifest.doubt and not force:
        raise EngineError(f"plans of {bundle.manifest.name}: {manifest.doubt}; --force keeps them, and a robot refuses them")
    console.print(manifest.doubt or f"verified: {found.agreeing} of {found.answers} answers and every graph as {found.peer} has them")
    return manifest
