"""The predicted peak of an export against a process that exports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from export.decoders import Decoder, gated
from export.footprint import export_peak

DECODER = Decoder(width=2048, inner=8192, layers=3, heads=8, kv_heads=1, head_dim=256)
VOCABULARY = 32000
# VmHWM is the process's own; ru_maxrss would begin with that of the one that started it.
EXPORT = """
import sys, warnings
warnings.simplefilter("ignore")
import torch
from transformers import GemmaConfig, GemmaForCausalLM
from export.graphs import StepGraph

layers, width, inner, heads, vocabulary, file = *map(int, sys.argv[1:6]), sys.argv[6]
class Holder: pass
holder = Holder()
holder.lm = GemmaForCausalLM(GemmaConfig(
    vocab_size=vocabulary, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
    num_key_value_heads=1, head_dim=256)).eval()
past = torch.zeros(layers, 1, 7, 256)
inputs = torch.zeros(1, 5, width), torch.arange(7, 12)[None], torch.zeros(1, 1, 5, 12), past, past.clone()
dim = torch.export.Dim.DYNAMIC
torch.onnx.export(
    StepGraph(holder).eval(), inputs, file, input_names=["embeddings", "positions", "mask", "past_keys", "past_values"], opset_version=18,
    dynamo=True, external_data=True, verbose=False, dynamic_shapes={
        "embeddings": {1: dim}, "positions": {1: dim}, "mask": {2: dim, 3: dim}, "past_keys": {2: dim}, "past_values": {2: dim}})
print([1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


@pytest.mark.slow
def test_the_exports_peak_is_within_a_quarter(tmp_path: Path, checkout: Path) -> None:
    """1.1 GB of weights, more than twice what the process has besides."""
    d = DECODER
    sizes = [str(n) for n in (d.layers, d.width, d.inner, d.heads, VOCABULARY)]
    result = subprocess.run(
        [sys.executable, "-c", EXPORT, *sizes, str(tmp_path / "step.onnx")], cwd=checkout, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    measured = int(result.stdout.splitlines()[-1])
    parameters = gated(d).parameters + VOCABULARY * d.width
    assert parameters * 4 == pytest.approx(sum(file.stat().st_size for file in tmp_path.iterdir()), rel=0.01)
    assert export_peak(parameters, d.layers, 4) == pytest.approx(measured, rel=0.25)
    assert parameters * 4 > 1.8 * export_peak(0, 0, 4)
