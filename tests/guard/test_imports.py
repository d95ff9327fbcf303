"""The guard's process loads the standard library, pyserial and its own few modules: nothing that can crash, stall or grow it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("module", ["edge_vla.guard.__main__", "edge_vla.guard.client", "edge_vla.guard.local", "edge_vla.bases.port"])
def test_what_is_loaded(checkout: Path, module: str) -> None:
    script = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], cwd=checkout, capture_output=True, text=True, check=True)
    loaded = set(json.loads(result.stdout))
    assert not loaded & {"numpy", "pydantic", "cv2", "torch"}
    own = {name for name in loaded if name.startswith("edge_vla.")}
    assert {".".join(name.split(".")[:2]) for name in own} <= {"edge_vla.guard", "edge_vla.bases", "edge_vla.errors"}
