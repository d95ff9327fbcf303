"""The benchmark's parts that need no three thousand million weights: its checkpoint when it is small, its clock, its arithmetic."""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.big_checkpoint import LOCS, PALIGEMMA_3B, hub_shapes, write_checkpoint
from benchmarks.paligemma_3b import Child, children, in_turn, memory, ratio
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.build import build_policy
from edge_vla.learn.checkpoint import as_stored
from export.bundle.checkpoints import rows_of
from export.files.headers import stored
from export.planning.published import published

ROWS, FIRST_LOC = 1500, 400


def tiny() -> dict[str, Any]:
    config: dict[str, Any] = deepcopy(PALIGEMMA_3B)
    config |= {"hidden_size": 64, "projection_dim": 64, "image_token_index": ROWS - 1}
    config["text_config"] |= {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 32, "vocab_size": ROWS
    }  # fmt: skip
    config["vision_config"] |= {
        "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "projection_dim": 64
    }  # fmt: skip
    return config


def load(folder: Path) -> BaseRoboVLM:
    with as_stored():
        return build_policy({"robovlm_name": "RoboPaligemma", "vlm": {"pretrained_model_name_or_path": str(folder)}, "act_head": None})


def test_it_is_a_checkpoint_as_the_hub_has_them(tmp_path: Path) -> None:
    count = write_checkpoint(tmp_path, tiny(), FIRST_LOC, shard_bytes=100_000)
    model = load(tmp_path)  # strict, and finite
    assert sum(p.numel() for p in model.backbone.parameters()) == count
    assert {p.dtype for p in model.backbone.parameters()} == {torch.bfloat16}
    kept = stored(tmp_path)
    assert kept is not None
    assert (kept.parameters, kept.nbytes) == (count, 2 * count)
    assert "vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight" in kept.shapes
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 2 * count
    assert sorted(set(index["weight_map"].values())) == sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(set(index["weight_map"].values())) > 3
    assert rows_of(model, ["loc"]) == [[1, 2], [10, 11], [FIRST_LOC, FIRST_LOC + LOCS]]


def test_weights_keep_lengths_and_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_checkpoint(tmp_path / name, tiny(), FIRST_LOC)
    first, second = ({n: p.detach() for n, p in load(tmp_path / name).backbone.named_parameters()} for name in ("a", "b"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    for name, value in first.items():
        if value.ndim == 1:
            assert value.unique().tolist() == [float("norm" in name and "vision" in name and "bias" not in name)], name
        else:
            assert value.float().std() * value[0].numel() ** 0.5 == pytest.approx(1, rel=0.1), name


def test_the_shape_is_the_published_ones() -> None:
    shapes = hub_shapes(PALIGEMMA_3B)
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == published("PaliGemma 3B").parameters == 2_923_466_480


def test_memory_is_read_in_bytes() -> None:
    assert memory("Name:\tx\nVmHWM:\t  12 kB\nVmRSS:\t7 kB\n", "VmRSS", "VmHWM") == [7 * 1024, 12 * 1024]


COUNTS = """
import json, sys
base, slower = float(sys.argv[1]), float(sys.argv[2])
print(json.dumps({"ready": "so"}), flush=True)
for k, line in enumerate(sys.stdin):
    steps = json.loads(line)["steps"]
    times = [base + slower * k] * (steps - 1) + [1000.0]
    print(json.dumps({"prefill_ms": 10 * base, "step_ms": times}), flush=True)
"""


def test_times_are_taken_in_turn_without_the_first_round() -> None:
    commands = {name: [sys.executable, "-c", COUNTS, str(base), str(slower)] for name, base, slower in (("a", 2.0, 1.0), ("b", 4.0, 2.0))}
    with children(commands) as asked:
        assert asked["a"].ready == {"ready": "so"}
        assert asked["a"].resident > 1_000_000
        found = in_turn(asked, 3)
    assert found["a"]["rounds_step_ms"] == [3.0, 4.0, 5.0]
    assert found["a"]["step_ms_p50"] == 4.0
    assert found["a"]["step_ms_best"] == 3.0
    assert found["a"]["n"] == 24
    assert found["b"]["prefill_ms_p50"] == 40.0
    assert ratio(found, "b", "a") == 2.0
    assert asked["a"].process.poll() is not None


def test_a_child_that_ends_is_said() -> None:
    with pytest.raises(SystemExit, match="ended with 3"):
        Child([sys.executable, "-c", "raise SystemExit(3)"])
