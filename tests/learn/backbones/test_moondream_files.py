"""Moondream on disk: published sizes, packings, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.moondream import Moondream, RoboMoonDream, load_moondream
from edge_vla.learn.backbones.moondream_layout import Release, own_names
from edge_vla.learn.build import build_policy
from tests.learn.backbones.tiny_moondream import (
    END,
    FULL,
    HALF_BILLION,
    shapes,
    write_moondream,
)

LAYOUTS = ["B", "C", "D"]
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("moondream")
    for layout in LAYOUTS:
        write_moondream(root / layout, layout)
    return {layout: root / layout for layout in LAYOUTS}


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """copy(layout): a folder that a test may spoil."""
    return lambda layout: Path(shutil.copytree(folders[layout], tmp_path / layout))


def policy(folder: Path, **vlm: str) -> RoboMoonDream:
    return RoboMoonDream({"vlm": {"pretrained_model_name_or_path": str(folder), **vlm}})


@pytest.mark.parametrize(("layout", "sizes"), [*((layout, FULL) for layout in LAYOUTS), ("D", HALF_BILLION)])
def test_the_published_sizes_fit_name_by_name(layout: str, sizes: dict[str, int]) -> None:
    """On the meta device: no memory."""
    region = {"coord_feat_dim": 256, "coord_out_dim": 1024, "size_feat_dim": 512, "size_out_dim": 2048, "inner_dim": 8192}
    config: dict[str, Any] = {"model_type": "moondream1", "text_config": {"model_type": "phi"}}
    if layout == "D":
        config = {"model_type": "moondream1", "config": {}}
    if sizes is HALF_BILLION:  # moondream/config/config_md05.json
        text = {"dim": 1024, "ff_dim": 4096, "n_layers": 24, "vocab_size": 51200, "max_context": 2048, "n_heads": 16, "prefix_attn": 730}
        vision = {"enc_dim": 720, "enc_ff_dim": 2690, "enc_n_heads": 10, "proj_out_dim": 1024, "proj_inner_dim": 8192}
        config["config"] = {"text": text, "vision": vision, "region": region | {"dim": 1024}}
    with torch.device("meta"):
        tensors = {n: torch.empty(s) for n, s in shapes(layout, sizes, region=region | {"dim": sizes["dim"]}).items()}
        release = Release.read(config, tensors, Path("folder"))
        model = Moondream(release)
    own = {name: tuple(tensor.shape) for name, tensor in own_names(tensors, release).items()}
    assert own == {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    millions = sum(p.numel() for p in model.parameters()) // 10**6
    assert millions == ({"B": 1857, "C": 1866, "D": 1927}[layout] if sizes is FULL else 631)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_keys_left_by_compilation_and_buffers_change_nothing(copy: Callable[[str], Path], layout: str) -> None:
    folder = copy(layout)
    before = load_moondream(folder).state_dict()
    for file in folder.glob("*.safetensors"):
        tensors = {name.replace(".blocks.0.", ".blocks.0._orig_mod."): t for name, t in load_file(file).items()}
        extra = {"D": "model.text.blocks.0.kv_cache.k_cache"}.get(layout, "region_model.coordinate_encoder.weight")
        save_file(tensors | ({extra: torch.ones(2)} if layout != "B" else {}), file)
        (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    if layout == "B":
        save_file({n: t for f in sorted(folder.glob("model-*")) for n, t in load_file(f).items()}, folder / "model.safetensors")
    after = load_moondream(folder).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_int4_weights_are_unpacked(copy: Callable[[str], Path]) -> None:
    """As moondream/torch/layers.py packs them: halves of the rows in the two nibbles of a byte, 128 weights to a scale."""
    folder, random = copy("D"), np.random.default_rng(0)
    tensors = load_file(folder / "model.safetensors")
    name = "model.text.blocks.1.mlp.fc1"
    out, into = tensors[name + ".weight"].shape
    codes = random.integers(0, 16, (out * into // 128, 128)).astype(np.uint8)
    scale, zero = random.random((len(codes), 1)).astype(np.float32), random.integers(0, 16, (len(codes), 1)).astype(np.float32)
    half = len(codes) // 2
    del tensors[name + ".weight"]
    tensors |= {
        name + ".weight.packed": torch.from_numpy((codes[:half] << 4) | codes[half:]),
        name + ".weight.scale": torch.from_numpy(scale), name + ".weight.zero_point": torch.from_numpy(zero),
    }  # fmt: skip
    save_file(tensors, folder / "model.safetensors")
    found = load_moondream(folder).text_model.layers[1].mlp.fc1.weight
    np.testing.assert_allclose(found.detach().numpy(), ((codes - zero) * scale).reshape(out, into), rtol=1e-6)
    del tensors[name + ".weight.scale"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ConfigError, match=r"fc1\.weight\.packed: packed int4 without its '.*scale'"):
        load_moondream(folder)


def spoil(folder: Path, change: Callable[[Tensors], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("text_model.transformer.h.1.ln.bias"), r"1 missing: text_model\.layers\.1\.input_layernorm\.bias"),
        (lambda t: t.update({"text_model.extra": torch.ones(1)}), r"1 unexpected: text_model\.extra"),
        (lambda t: t.update({"text_model.lm_head.ln.bias": torch.ones(3)}), r"lm_head\.ln\.bias \(3,\), want \(32,\)"),
        (lambda t: t["text_model.lm_head.ln.bias"].fill_(torch.nan), r"1 tensors hold nan or inf: text_model\.lm_head\.ln\.bias"),
        (lambda t: t.update({"text_model.transformer.h.0.mixer.Wqkv.weight": torch.ones(5, 32)}), r"qkv\.weight \(5, 32\): want 96 rows"),
        (lambda t: t.pop("vision_encoder.projection.mlp.fc1.weight"), "not of a Moondream"),
    ],
)
def test_other_weights_are_one_clear_error(copy: Callable[[str], Path], change: Callable[[Tensors], object], said: str) -> None:
    folder = copy("C")
    spoil(folder, change)
    with pytest.raises(ConfigError, match=said):
        load_moondream(folder)


def test_missing_and_truncated_files_are_one_clear_error(copy: Callable[[str], Path]) -> None:
    sharded, single = copy("B"), copy("C")
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ConfigError, match="1 of 2 shards are missing: model-00002"):
        load_moondream(sharded)
    file = single / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="not a whole safetensors file"):
        load_moondream(single)


@pytest.mark.parametrize(
    ("layout", "config", "said"),
    [
        ("C", {"model_type": "llava"}, "model_type 'llava', this backbone reads moondream1"),
        ("C", {"vision": {"enc_din": 3}}, "vision has unknown enc_din"),
        ("D", {"config": {"text": {"moe": 8}}}, "text has unknown moe"),
    ],
)
def test_other_configurations_are_one_clear_error(copy: Callable[[str], Path], layout: str, config: dict[str, Any], said: str) -> None:
    folder = copy(layout)
    found = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(found | config))
    with pytest.raises(ConfigError, match=said):
        load_moondream(folder)


def test_tokenizer_and_release_have_to_agree(copy: Callable[[str], Path]) -> None:
    folder = copy("D")
    with pytest.raises(ConfigError, match="want a date like 2024-08-26"):
        policy(folder, revision="main")
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace(END, "<|over|>"))
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ConfigError, match="tokenizer"):
        policy(folder)


def test_fewer_keys_than_queries_split_where_the_queries_end(copy: Callable[[str], Path]) -> None:
    """Grouped queries came to D's code on 2025-03-27."""
    folder = copy("D")
    config = json.loads((folder / "config.json").read_text())
    config["config"]["text"]["n_kv_heads"] = 1
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    fused = {name: t[:64].clone() for name, t in tensors.items() if ".text." in name and ".attn.qkv." in name}
    save_file(tensors | fused, folder / "model.safetensors")
    layer = load_moondream(folder).text_model.layers[1].self_attn
    whole = tensors["model.text.blocks.1.attn.qkv.weight"].float()
    for part, rows in ((layer.q_proj, slice(0, 32)), (layer.k_proj, slice(32, 48)), (layer.v_proj, slice(48, 64))):
        assert torch.equal(part.weight, whole[rows])


def test_a_configuration_may_name_its_release(folders: dict[str, Path]) -> None:
    vlm = {"pretrained_model_name_or_path": str(folders["B"])}
    first, newest = (build_policy({"robovlm_name": "RoboMoonDream", "vlm": vlm | given}) for given in ({"revision": "2024-03-13"}, {}))
    assert first.end_ids() > newest.end_ids()
