"""The benchmark answers --help without an engine, a simulator or jetson-stats, and never loads training code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["edge_vla.bench.__main__", "edge_vla.doctor.__main__"])
def test_nothing_heavy_is_loaded_by_importing_it(checkout: Path, name: str) -> None:
    heavy = "{'torch', 'transformers', 'safetensors', 'onnxruntime', 'mujoco', 'jtop', 'export', 'calib'}"
    script = f"import sys, {name}; print({{m.split('.')[0] for m in sys.modules}} & {heavy}, 'edge_vla.learn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "set() False", done.stderr


@pytest.mark.parametrize(("name", "option"), [("bench", "--compare"), ("doctor", "--json")])
def test_help_tells_the_exit_codes(checkout: Path, name: str, option: str) -> None:
    done = subprocess.run([sys.executable, "-m", f"edge_vla.{name}", "--help"], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert option in done.stdout
    assert "exit codes: 0" in done.stdout
