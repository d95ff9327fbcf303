"""The command as a process of its own, stopped or out of disk in the middle of a build: nothing half-written is left. Under the doubles."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_vla.backends.bundle import Bundle
from tests.export.tensorrt.conftest import DOUBLES

CACHE = "timing-10.3.0-sm87.cache"


def run(*words: object, limit: Callable[[], None] | None = None, **knobs: object) -> subprocess.CompletedProcess[str]:
    """`python -m export ...` on the machine that the knobs describe."""
    checkout = DOUBLES.parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{DOUBLES}", "PRETENDED_GPU": json.dumps(knobs)}
    command = [sys.executable, "-m", "export", *map(str, words)]
    return subprocess.run(
        command, cwd=checkout, env=environment, preexec_fn=limit, capture_output=True, text=True, timeout=300, check=False
    )


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_command_builds(tiny: Path, tmp_path: Path) -> None:
    done = run("tensorrt", tiny, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert left_in(tmp_path) == ["out", CACHE]
    assert Bundle(tmp_path / "out").manifest.backend == "tensorrt"


def test_ctrl_c_stops_the_builder_and_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    """The double sends itself SIGINT in the third of a million steps: only our answer to its next one ends it."""
    done = run("tensorrt", tiny, "--out", tmp_path / "out", interrupt_at=2, build_steps=1_000_000)
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "tensorrt: stopped; nothing was written"
    assert "stopping; TensorRT ends its step first" in done.stderr
    assert "Traceback" not in done.stderr
    assert left_in(tmp_path) == [CACHE]  # what was timed until then


def test_ctrl_c_leaves_an_older_bundle_as_it_was(tiny: Path, tmp_path: Path) -> None:
    assert run("tensorrt", tiny, "--out", tmp_path / "out").returncode == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert run("tensorrt", tiny, "--out", tmp_path / "out", "--kv", "static", interrupt_at=0, build_steps=1_000_000).returncode == 130
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert left_in(tmp_path) == ["out", CACHE]


@pytest.mark.parametrize(("nbytes", "what"), [(1_000, "vision.plan"), (20_000, "lm_step.plan")])
def test_a_full_disk_leaves_nothing(tiny: Path, tmp_path: Path, nbytes: int, what: str) -> None:
    """No file may be longer than this: writing fails in the middle, as on a disk without room."""
    sizes = {"vision.plan": 1_900, "lm_step.plan": 36_000}
    assert nbytes < sizes[what]
    done = run("tensorrt", tiny, "--out", tmp_path / "out", limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, nbytes)))
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("tensorrt: ")]
    assert said in (
        [f"tensorrt: out {tmp_path / 'out'}: cannot be written (File too large); nothing was kept"],
        [f"tensorrt: timing cache {tmp_path / CACHE}: File too large"],
    )
    assert "Traceback" not in done.stderr
    assert set(left_in(tmp_path)) <= {CACHE}


def test_a_folder_that_may_not_be_written(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("tensorrt", tiny, "--out", tmp_path / "file" / "out")
    assert done.returncode == 2
    assert "cannot be written (" in done.stderr
    assert "Traceback" not in done.stderr


def test_neither_torch_nor_onnx_runtime_is_imported(tmp_path: Path) -> None:
    """Of all that builds and runs plans. The double itself needs ONNX Runtime, but not before it executes."""
    names = ["export.tensorrt", "export.plans.engine_plans", "export.plans.room", "edge_vla.backends.tensorrt", "export.jetson_check"]
    script = f"import sys, importlib; [importlib.import_module(name) for name in {names}]; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=DOUBLES.parents[1], env={**os.environ, "PYTHONPATH": f"{DOUBLES}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert {"tensorrt", "cuda", "numpy"} <= loaded
    assert not loaded & {"torch", "transformers", "onnxruntime", "safetensors"}
