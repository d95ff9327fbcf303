"""The commit of a checkout, and only of a checkout of ours."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import numpy as np

from edge_vla.bench.versions import commit, versions


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout.strip()


def test_what_is_installed_is_named() -> None:
    told = versions()
    assert told.python == platform.python_version()
    assert told.packages["numpy"] == np.__version__
    assert "onnxruntime" in told.packages or "onnxruntime-gpu" in told.packages


def test_a_commit_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a")
    git(tmp_path, "tag", "v1")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit(tmp_path) == head
    (tmp_path / "a").write_text("2")
    assert commit(tmp_path) == f"{head}-dirty"


def test_a_wheel_inside_somebody_elses_repository_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a", "--allow-empty")
    (tmp_path / "site-packages").mkdir()
    assert commit(tmp_path / "site-packages") is None
