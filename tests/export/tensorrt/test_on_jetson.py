"""What only a device can prove, with its own TensorRT: `python -m pytest -m jetson`. No doubles here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_vla.backends.bundle import Bundle
from edge_vla.parts import make_graphs
from tests.export.tensorrt.test_graphs import feed, picture

pytestmark = [pytest.mark.jetson, pytest.mark.slow]


@pytest.fixture(scope="module", params=["dynamic", "static"])
def plans(request: pytest.FixtureRequest, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle, built by the command as a user would."""
    out = tmp_path_factory.mktemp("plans") / "bundle"
    words = ["tensorrt", str(checkout / "tests" / "golden" / "tiny_bundle"), "--out", str(out), "--kv", request.param]
    done = subprocess.run([sys.executable, "-m", "export", *words], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_graphs_are_onnx_runtimes(plans: Path, tiny: Path) -> None:
    ours, theirs = make_graphs(Bundle(plans)), make_graphs(Bundle(tiny))
    for seed in range(3):
        for name, want in theirs.run("vision", picture(seed)).items():
            np.testing.assert_allclose(ours.run("vision", picture(seed))[name], want, rtol=1e-4, atol=1e-4)
        for first in (11, 5):
            for graphs in (ours, theirs):
                graphs.begin()
            for new in (first, 1, 1, 1, 1):
                got, want = (graphs.step(feed(new, graphs.past, seed))["logits"] for graphs in (ours, theirs))
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)
    ours.close()


def test_the_whole_check_holds(checkout: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    words = ["jetson-check", "--report", str(report)]
    done = subprocess.run([sys.executable, "-m", "export", *words], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{report.read_text() if report.exists() else ''}"
