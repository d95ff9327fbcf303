"""The committed tiny bundle is what its script writes, so that nobody has to trust bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from tokenizers import Tokenizer


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
