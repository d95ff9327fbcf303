"""One bundle traced from seeded weights, shared by all tests here; re-exports copy its graphs instead of tracing again."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_vla.types import Frame

if TYPE_CHECKING:
    from edge_vla.backends.finder import FinderEngine

GRAPHS = ("vision.onnx", "prefix.onnx", "lm_step.onnx")
IMAGES_SEEN = 1234


class WithoutTools(pytest.Module):
    def collect(self) -> list[pytest.Item]:
        pytest.skip("torch or onnx is not installed: make setup-learn", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return None if find_spec("torch") and find_spec("onnx") else WithoutTools.from_parent(parent, path=module_path)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Sums in one order, and no two pools at war on a busy machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeded weights made as uneven as trained ones, so that other pictures and other things get other boxes."""
    import torch
    from torch import nn

    from edge_vla.learn.finder.train import build

    torch.manual_seed(5)
    finder = build()
    for norm in (module for module in finder.vision.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.normal_(norm.running_mean, 0, 0.2)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
        nn.init.uniform_(norm.weight, 0.7, 1.4)
        nn.init.normal_(norm.bias, 0, 0.2)
    gains = {"lm.model.layers": 8, "vision.blocks": 3, "from_feature": 4, "from_dense": 4}
    with torch.no_grad():
        finder.lm.model.embed_tokens.weight[finder.loc_start :] *= 8
        for name, weight in finder.named_parameters():
            weight.mul_(next((gain for part, gain in gains.items() if name.startswith(part) and weight.ndim == 2), 1))
    path = tmp_path_factory.mktemp("checkpoint") / "last.pt"
    torch.save({"average": finder.state_dict(), "seen": IMAGES_SEEN}, path)
    return path


@contextmanager
def exporting() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated", category=FutureWarning)  # torch's own exporter
        yield


@pytest.fixture(scope="session")
def fp32(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported bundle. Do not write into it."""
    from export.default import export_default

    out = tmp_path_factory.mktemp("engines") / "fp32"
    with exporting():
        export_default(checkpoint, out, "fp32")
    return out


@pytest.fixture(scope="session")
def int8_folder(checkpoint: Path, pictures: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights in int8. Do not write into it."""
    from export.default import export_default

    out = tmp_path_factory.mktemp("engines") / "int8"
    with exporting():
        export_default(checkpoint, out, "int8", pictures)
    return out


@pytest.fixture
def traced(fp32: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """traced(edit): from here on tracing copies the graphs of `fp32`, then calls edit(folder). All else stays as it is."""
    import export.default

    def use(edit: Callable[[Path], None] = lambda _: None) -> None:
        def trace(modules: object, folder: Path) -> None:
            for name in GRAPHS:
                shutil.copy(fp32 / name, folder / name)
            edit(folder)

        monkeypatch.setattr(export.default, "trace", trace)

    return use


@pytest.fixture(scope="session")
def pictures(frames: list[Frame]) -> list[np.ndarray]:
    """What int8 scales are measured on, at the network's size."""
    import cv2

    return [cv2.resize(frame.rgb, (224, 224), interpolation=cv2.INTER_AREA) for frame in frames]


@pytest.fixture(scope="session")
def engine(fp32: Path) -> FinderEngine:
    from edge_vla.backends.bundle import Bundle
    from edge_vla.parts import open_bundle

    return open_bundle(Bundle(fp32))


@pytest.fixture(scope="session")
def frames(checkout: Path) -> list[Frame]:
    """Two rendered rooms, noise, and a gradient, at the camera's size or the network's."""
    import cv2

    rng = np.random.default_rng(0)
    rooms = [cv2.imread(str(path))[..., ::-1] for path in sorted((checkout / "tests" / "golden" / "frames").glob("*.jpg"))]
    noise = rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)
    ramp = np.broadcast_to(np.linspace(0, 255, 320, dtype=np.uint8)[None, :, None], (240, 320, 3))
    return [Frame(np.ascontiguousarray(rgb), 0, i) for i, rgb in enumerate([*rooms, noise, ramp])]
