"""The doubles of TensorRT and CUDA in place of the real ones, and bundles built with them. See tests/doubles/pretended_gpu.py.

Everything here proves our code consistent with itself and with the rules that NVIDIA publishes. Nothing here ran on a GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edge_vla.backends.bundle import Bundle
from edge_vla.types import Frame
from tests.bundles import Manifest, copied

DOUBLES = Path(__file__).resolve().parents[2] / "doubles"
FOREIGN = ("tensorrt", "cuda", "pretended_gpu", "torch2trt")
OURS = {
    *(f"edge_vla.backends.{name}" for name in ("cuda", "plans", "passes", "device_cache", "tensorrt")),
    *(f"export.plans.{name}" for name in ("builder", "progress", "timing_cache", "layer_times", "engine_plans")),
    *(f"export.{name}" for name in ("jetson_check", "torch2trt")),
}
RED, BLUE, GREY = (255, 0, 0), (0, 0, 255), (127, 127, 127)


class Nvidia:
    """A machine that is not there, freshly imported: `gpu` counts what is done to it."""

    def __init__(self) -> None:
        self.pretended = import_module("pretended_gpu")
        self.gpu, self.memory = self.pretended.GPU, self.pretended.MEMORY
        self.trt, self.cudart = import_module("tensorrt"), import_module("cuda.bindings.runtime")

    def module(self, name: str) -> ModuleType:
        return import_module(name)

    def graphs(self, folder: Path, **options: Any) -> Any:
        return self.module("edge_vla.backends.tensorrt").TensorrtGraphs(Bundle(folder), **options)

    def export(self, *words: object, root: Path = Path("/")) -> int:
        """`python -m export tensorrt`."""
        return int(self.module("export.tensorrt").main([str(word) for word in words], root))


@contextmanager
def pretended(**knobs: Any) -> Iterator[Nvidia]:
    """Import the doubles and what imports them; afterwards nobody has."""

    def ours() -> list[str]:
        return [name for name in sys.modules if name.split(".")[0] in FOREIGN or name in OURS]

    before = {name: sys.modules.pop(name) for name in ours()}
    sys.path.insert(0, str(DOUBLES))
    try:
        chosen = import_module("pretended_gpu").GPU
        for name, value in knobs.items():
            assert hasattr(chosen, name), name
            setattr(chosen, name, value)
        yield Nvidia()
    finally:
        sys.path.remove(str(DOUBLES))
        for name in ours():
            del sys.modules[name]
        sys.modules.update(before)


@pytest.fixture
def nvidia() -> Iterator[Nvidia]:
    """JetPack 6.2 on an Orin, as far as the doubles go."""
    with pretended() as machine:
        yield machine


@pytest.fixture(scope="session")
def tiny(checkout: Path) -> Path:
    return checkout / "tests" / "golden" / "tiny_bundle"


Built = Callable[..., Path]


@pytest.fixture(scope="session")
def built(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """built("--kv", "static", source=..., sm=...): a bundle of plans, made once for the same words. Do not write into it."""
    known: dict[str, Path] = {}

    def make(*words: str, source: Path = tiny, **knobs: Any) -> Path:
        key = repr((words, source, sorted(knobs.items())))
        if key not in known:
            out = tmp_path_factory.mktemp("plans") / "bundle"
            with pretended(**knobs) as machine:
                assert machine.export(source, "--out", out, *words) == 0
            known[key] = out
        return known[key]

    return make


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """changed(bundle, edit, files): a copy, as of tests/bundles.py."""

    def make(bundle: Path, edit: Callable[[Manifest], object] = lambda _: None, files: dict[str, bytes] | None = None) -> Path:
        return copied(bundle, tmp_path / "changed", edit, files or {})

    return make


@pytest.fixture(scope="session")
def paint() -> Callable[..., Frame]:
    """paint(left, right): a 64 x 32 frame of two colours, as the tiny bundle sees them."""
    import numpy as np

    def make(left: tuple[int, int, int], right: tuple[int, int, int] | None = None) -> Frame:
        rgb = np.empty((32, 64, 3), np.uint8)
        rgb[:, :32], rgb[:, 32:] = left, right or left
        return Frame(rgb, 0, 0)

    return make


@pytest.fixture(scope="session")
def fp32(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default engine's shape in graphs that TensorRT reads: all of a prefill in one. Do not write into it."""
    from export.default import export_default
    from tests.export.conftest import exporting

    out = tmp_path_factory.mktemp("engines") / "portable"
    with exporting():
        export_default(checkpoint, out, "fp32", portable=True)
    return out
