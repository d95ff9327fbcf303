"""The committed tiny bundle is what its script writes, so that nobody has to trust bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from tokenizers import Tokenizer

from edge_vla.backends.bundle import Bundle
from edge_vla.parts import open_bundle
from edge_vla.types import Frame


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    subprocess.run([sys.executable, str(checkout / "tests" / "golden" / "make_tiny_bundle.py"), str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def committed(checkout: Path) -> Path:
    return checkout / "tests" / "golden" / "tiny_bundle"


@pytest.mark.parametrize("name", ["vision.onnx", "lm_step.onnx"])
def test_its_graphs(written: Path, committed: Path, name: str) -> None:
    assert onnx.load(str(written / name)) == onnx.load(str(committed / name))


def test_its_embeddings(written: Path, committed: Path) -> None:
    assert (np.load(written / "embeddings.npy") == np.load(committed / "embeddings.npy")).all()


def test_its_words(written: Path, committed: Path) -> None:
    one, two = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (written, committed))
    assert one.get_vocab() == two.get_vocab()
    assert one.encode("<bos> is there a cup ?\n").ids == two.encode("<bos> is there a cup ?\n").ids


def test_its_manifest(written: Path, committed: Path) -> None:
    """All but the hashes: another version of onnx or tokenizers may write the same thing in other bytes."""
    one, two = (json.loads((folder / "manifest.json").read_text()) for folder in (written, committed))
    assert one.pop("sha256").keys() == two.pop("sha256").keys()
    assert one == two


def test_a_bundle_need_not_know_free_distances(committed: Path, tmp_path: Path) -> None:
    """Without that output it answers all the same, and says that it knows none."""
    folder = Path(shutil.copytree(committed, tmp_path / "blinder"))
    graph = onnx.load(str(folder / "vision.onnx"))
    del graph.graph.output[1]
    onnx.save(graph, str(folder / "vision.onnx"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"free_distance_columns": 0, "free_distance_cap_m": 0.0}
    manifest["graphs"]["vision"]["outputs"].pop()
    manifest["sha256"]["vision.onnx"] = hashlib.sha256((folder / "vision.onnx").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    frame = Frame(np.full((32, 64, 3), (255, 0, 0), np.uint8), 0, 0)
    seeing, blind = (open_bundle(Bundle(of)).ask(frame, "detect cup") for of in (committed, folder))
    assert (seeing.text, seeing.confidence) == (blind.text, blind.confidence)
    assert seeing.free_distance_m is not None
    assert blind.free_distance_m is None
