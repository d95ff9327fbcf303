"""Tests of the learn fence: without torch they are skipped by name. Hand-made views, and one Finder for those who only look."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_vla.learn.finder.language import build_tokenizer
from edge_vla.sim.objects import CLASSES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from edge_vla.learn.finder.batch import Sample
    from edge_vla.learn.finder.model import Finder

Boxes = NDArray[np.float32]
COLUMNS = 16


class WithoutTorch(pytest.Module):
    def collect(self) -> list[pytest.Item]:
        pytest.skip("torch is not installed: make setup-learn", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return None if find_spec("torch") else WithoutTorch.from_parent(parent, path=module_path)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Sums in one order, and no two pools at war on a busy machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return build_tokenizer()


@pytest.fixture(scope="session")
def make_boxes() -> Callable[..., Boxes]:
    """make_boxes(("cup", y0, x0, y1, x1, pixels), ...): a view's labels."""

    def make(*rows: tuple[str, float, float, float, float, float]) -> Boxes:
        return np.array([(CLASSES.index(name), *rest) for name, *rest in rows], np.float32).reshape(-1, 6)

    return make


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., Sample]:
    """make_sample(boxes): a view on which each class is a rectangle of its own colour."""

    def make(boxes: Boxes, free_m: float = 2.0) -> Sample:
        image = np.full((224, 224, 3), 60, np.uint8)
        for c, y0, x0, y1, x1, _ in boxes:
            hue = np.array([[[int(c) * 15, 230, 230]]], np.uint8)
            image[int(y0 * 224) : int(y1 * 224), int(x0 * 224) : int(x1 * 224)] = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)
        jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].ravel()
        return jpeg, boxes, np.linspace(free_m, 0.3, COLUMNS, dtype=np.float32)

    return make


@pytest.fixture(scope="session")
def finder() -> Finder:
    """Fresh weights, seeded, in evaluation mode. Do not train it."""
    import torch

    from edge_vla.learn.finder.train import build

    torch.manual_seed(0)
    return build().eval()
