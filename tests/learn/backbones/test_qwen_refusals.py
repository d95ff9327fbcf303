"""Folders RoboQwen does not read, and what it says of them: another model, other weights, shards that are missing or cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.qwen import RoboQwen
from tests.learn.backbones.tiny_qwen import policy, random_weights, v1_config, v1_shapes, write_qwen25, write_qwen_v1, write_shards


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"v1": write_qwen_v1(tmp_path_factory.mktemp("v1")), "v2_5": write_qwen25(tmp_path_factory.mktemp("v2_5"))}


def test_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_vl"}))
    with pytest.raises(ConfigError, match=r"model_type 'qwen2_vl', this backbone reads qwen, qwen2_5_vl"):
        RoboQwen(policy(tmp_path))


def copy_v1(tmp_path: Path, change: Callable[[dict[str, Tensor]], Any] | None = None, **config: Any) -> Path:
    folder = write_qwen_v1(tmp_path, **config)
    tensors = random_weights(v1_shapes(v1_config()))
    if change is not None:
        change(tensors)
    write_shards(folder, tensors)
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        RoboQwen(policy(folder))
    return str(caught.value)


NORM = "transformer.ln_f.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(NORM), "1 missing: transformer.ln_f.weight"),
        (lambda t: t.update({"transformer.h.0.attn.q_norm.weight": torch.ones(4)}), "1 unexpected: transformer.h.0.attn.q_norm.weight"),
        (lambda t: t.update({NORM: torch.ones(255)}), "transformer.ln_f.weight (255,), want (256,)"),
        (lambda t: t[NORM].fill_(float("nan")), "1 tensors hold nan or inf: transformer.ln_f.weight"),
    ],
    ids=["missing", "unexpected", "shape", "nan"],
)
def test_other_weights_are_refused_by_name(tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], said: str) -> None:
    assert said in refused(copy_v1(tmp_path, change))


def test_tables_of_old_transformers_are_left_out(tmp_path: Path) -> None:
    tables = {"transformer.rotary_emb.inv_freq": torch.ones(32), "transformer.h.1.attn.masked_bias": torch.tensor(-1e4)}
    RoboQwen(policy(copy_v1(tmp_path, lambda t: t.update(tables))))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write_qwen_v1(tmp_path)
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    assert "1 of 2 shards are missing: pytorch_model-00002-of-00002.bin" in refused(folder)


def test_a_cut_shard_is_named(tmp_path: Path) -> None:
    file = write_qwen_v1(tmp_path) / "pytorch_model-00001-of-00002.bin"
    file.write_bytes(file.read_bytes()[:-5000])
    assert "pytorch_model-00001-of-00002.bin: not a whole torch file" in refused(tmp_path)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"quantization_config": {"bits": 4}}, "its weights are quantised"),
        ({"rotary_pct": 0.5}, "rotary_pct 0.5, want 1.0"),
        ({"kv_channels": 32}, "kv_channels 32"),
        ({"visual": {"heads": 4}}, "visual.image_size"),
        ({"vocab_size": 500}, "vocab_size 500"),
        ({"visual": v1_config()["visual"] | {"image_start_id": 7}}, "image_start_id 7"),
    ],
    ids=["quantised", "rotary", "channels", "visual", "vocabulary", "image token"],
)
def test_other_configurations_are_refused(folders: dict[str, Path], tmp_path: Path, config: dict[str, Any], said: str) -> None:
    for file in folders["v1"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(v1_config() | config))
    assert said in refused(tmp_path)


def test_a_chat_format_nobody_knows_is_refused(tmp_path: Path) -> None:
    folder = write_qwen_v1(tmp_path)
    (folder / "generation_config.json").write_text('{"chat_format": "alpaca"}')
    assert "chat_format 'alpaca'" in refused(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("model.norm.weight"), "1 missing: model.language_model.norm.weight"),
        (lambda t: t.update({"visual.extra": torch.ones(1)}), "1 unexpected"),
        (lambda t: t["model.norm.weight"].fill_(float("inf")), "1 tensors hold nan or inf: model.norm.weight"),
    ],
    ids=["missing", "unexpected", "inf"],
)
def test_other_weights_of_qwen25_are_refused_by_name(
    folders: dict[str, Path], tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], said: str
) -> None:
    for file in folders["v2_5"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    assert said in refused(tmp_path)


def test_a_cut_safetensors_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    for file in folders["v2_5"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "model.safetensors: not a whole safetensors file" in refused(tmp_path)
