"""The predicted peak of an export against the command itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from benchmarks.big_checkpoint import LOCS, PALIGEMMA_3B, write_checkpoint
from export.planning.footprint import export_peak, footprint
from export.planning.number_formats import PRECISIONS
from export.planning.subject import find_subject
from export.planning.workload import Workload

# Few layers, since the time of a trace goes by these.
SHAPES: dict[str, dict[str, dict[str, int]]] = {
    "wide inside": {  # 0.46 thousand million weights, a quarter of them words
        "text": {"hidden_size": 2048, "intermediate_size": 24576, "num_hidden_layers": 2, "num_attention_heads": 8, "vocab_size": 60_000},
        "vision": {"hidden_size": 576, "intermediate_size": 2152, "num_hidden_layers": 2, "num_attention_heads": 8},
    },
    "wide": {  # 0.49 thousand million, a third of them words
        "text": {"hidden_size": 4096, "intermediate_size": 10240, "num_hidden_layers": 2, "num_attention_heads": 16, "vocab_size": 40_000},
        "vision": {"hidden_size": 576, "intermediate_size": 2152, "num_hidden_layers": 1, "num_attention_heads": 8},
    },
}  # fmt: skip
# VmHWM is the process's own, mapped files included; ru_maxrss would begin with that of the one that started it.
EXPORT = """
import sys
from pathlib import Path
from export.onnx import main

main(sys.argv[1:])
status = Path("/proc/self/status").read_text().splitlines()
print("VmHWM", 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM")))
"""
Written = Callable[[str], Path]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """written(shape): a checkpoint in bfloat16, made once."""
    made: dict[str, Path] = {}

    def get(shape: str) -> Path:
        if shape not in made:
            config: dict[str, Any] = deepcopy(PALIGEMMA_3B)
            text, vision = (SHAPES[shape][part] for part in ("text", "vision"))
            config["text_config"] |= text
            config["vision_config"] |= vision | {"projection_dim": text["hidden_size"]}
            width, rows = text["hidden_size"], text["vocab_size"]
            config |= {"hidden_size": width, "projection_dim": width, "image_token_index": rows - 1}
            made[shape] = tmp_path_factory.mktemp(shape)
            write_checkpoint(made[shape], config, first_loc=rows - 2 * LOCS)
        return made[shape]

    return get


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "precision"), [("wide inside", "w4"), ("wide", "fp32")])
def test_the_exports_peak_is_within_a_quarter(shape: str, precision: str, written: Written, tmp_path: Path, checkout: Path) -> None:
    """At w4 the checkpoint is what takes most, at fp32 the bundle; each as much as the process has besides, or more."""
    words = [str(written(shape)), "--out", str(tmp_path / "bundle"), "--precision", precision, "--as", "vlm", "--rows", "loc"]
    result = subprocess.run([sys.executable, "-c", EXPORT, *words], cwd=checkout, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    measured = int(result.stdout.split()[-1])
    subject = find_subject(str(written(shape)))
    assert subject.model is not None
    found = footprint(subject.model, Workload(rows=LOCS + 3), PRECISIONS[precision], stored_bytes=subject.checkpoint_bytes)
    print(shape, precision, found.export_bytes, measured)
    assert found.export_bytes == pytest.approx(measured, rel=0.25)
    assert found.export_bytes is not None
    assert found.export_bytes > 1.9 * export_peak(0, 0, 0, precision)
    graphs = sum(file.stat().st_size for file in (tmp_path / "bundle").glob("*.onnx*"))
    assert graphs == pytest.approx(found.weight_bytes, rel=0.2)  # of a few weights no quantiser makes less than the plan's half precision
