"""Every layout loaded as it is stored: the same numbers as widened ones, in half the memory, where the files are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.build import load_policy
from edge_vla.learn.checkpoint import as_stored, read_weights
from tests.learn.backbones import engines

HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture
def written(
    write_paligemma: Callable[..., Path], write_kosmos: Callable[..., Path], write_llava: Callable[..., Path],
    write_llava_mpt: Callable[..., Path], tmp_path: Path,
) -> Callable[..., engines.Config]:  # fmt: skip
    """written(name, dtype): a tiny model whose files hold that type, and its configuration."""
    writers = {"paligemma": write_paligemma, "kosmos": write_kosmos, "llava": write_llava, "llava_mpt": write_llava_mpt}

    def get(name: str, dtype: torch.dtype) -> engines.Config:
        folder = tmp_path / name
        config = engines.write(name, folder, writers)
        for file in folder.parent.rglob("*"):
            narrow(file, dtype)
        return config

    return get


def narrow(file: Path, dtype: torch.dtype) -> None:
    if file.suffix == ".safetensors":
        save_file(narrowed(load_file(file), dtype), file, {"format": "pt"})
    elif file.suffix in (".bin", ".pt"):
        torch.save(narrowed(torch.load(file, weights_only=True), dtype), file)


def narrowed(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: t.to(dtype) if t.is_floating_point() and t.ndim else t for name, t in tensors.items()}  # GPT-NeoX's mask is -1e9


def both(config: engines.Config) -> tuple[BaseRoboVLM, BaseRoboVLM]:
    """As stored, and widened as ever."""
    with as_stored():
        kept = engines.load(config)
    return kept, engines.load(config)


def aliases(model: BaseRoboVLM) -> set[frozenset[str]]:
    """Which names mean one parameter."""
    found: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found.setdefault(id(parameter), set()).add(name)
    return {frozenset(names) for names in found.values()}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", engines.NAMES)
def test_it_holds_what_is_stored_and_nothing_else(name: str, dtype: torch.dtype, written: Callable[..., engines.Config]) -> None:
    kept, wide = both(written(name, dtype))
    types = {p.dtype for p in kept.backbone.parameters()}
    assert types == {dtype}
    assert {p.dtype for p in wide.backbone.parameters()} == {torch.float32}
    assert aliases(kept) == aliases(wide)
    narrow_ones, wide_ones = dict(kept.named_parameters()), dict(wide.named_parameters())
    assert list(narrow_ones) == list(wide_ones)
    for key, value in narrow_ones.items():
        assert torch.equal(value.float(), wide_ones[key]), key


@pytest.mark.parametrize("name", engines.NAMES)
def test_tables_are_as_exact_as_ever(name: str, written: Callable[..., engines.Config]) -> None:
    """Angles and scales are made, not read, and not in the type of the weights."""
    kept, wide = both(written(name, torch.bfloat16))
    ours, theirs = dict(kept.named_buffers()), dict(wide.named_buffers())
    assert list(ours) == list(theirs)
    for key, value in ours.items():
        assert value.dtype == theirs[key].dtype, key
        assert torch.equal(value, theirs[key]), key


@pytest.mark.parametrize("name", engines.NAMES)
def test_widened_it_answers_the_same(name: str, written: Callable[..., engines.Config]) -> None:
    kept, wide = both(written(name, torch.bfloat16))
    rgb = engines.camera(90, 60)
    with torch.no_grad():
        picture = wide.preprocess(rgb)[None]
        seen = wide.encode_images(picture)
        assert torch.equal(kept.float().encode_images(picture), seen)
        ids = torch.tensor([wide.ids("go to")])
        assert torch.equal(kept.word_embedding(ids), wide.word_embedding(ids))
    assert kept.generate("go", rgb, 3) == wide.generate("go", rgb, 3)


def mapped(tensor: Tensor) -> str:
    """The file that a tensor's memory is, if it is one."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        ends, *_, last = line.split(maxsplit=5)
        first, end = (int(place, 16) for place in ends.split("-"))
        if first <= tensor.data_ptr() < end:
            return last
    return ""


@pytest.mark.parametrize("name", engines.NAMES)
def test_weights_are_the_files_themselves(name: str, written: Callable[..., engines.Config]) -> None:
    """But what a layout packs otherwise: OpenAI's towers of open_clip, embeddings that get more rows."""
    config = written(name, torch.bfloat16)
    with as_stored():
        kept = engines.load(config)
    copied = [key for key, p in kept.backbone.named_parameters() if Path(mapped(p)).suffix not in (".safetensors", ".bin", ".pt")]
    assert copied == []


def test_types_that_differ_are_all_widened_where_transformers_loads(written: Callable[..., engines.Config]) -> None:
    """transformers gives a model one type; which of two would lose nothing is the wider."""
    config = written("kosmos", torch.bfloat16)
    file = Path(config["vlm"]["pretrained_model_name_or_path"]) / "model.safetensors"
    tensors = load_file(file)
    first = next(name for name in tensors if name.endswith("layer_norm.weight"))
    save_file(tensors | {first: tensors[first].float() + 1e-4}, file, {"format": "pt"})
    kept, wide = both(config)
    assert {p.dtype for p in kept.backbone.parameters()} == {torch.float32}
    assert all(torch.equal(p, q) for p, q in zip(kept.parameters(), wide.parameters(), strict=True))


def test_types_that_differ_stay_where_we_load(written: Callable[..., engines.Config]) -> None:
    config = written("uform", torch.bfloat16)
    for file in Path(config["vlm"]["pretrained_model_name_or_path"]).glob("*.safetensors"):
        save_file({k: t.float() if t.ndim == 1 else t for k, t in load_file(file).items()}, file, {"format": "pt"})
    kept, _ = both(config)
    assert {p.ndim == 1: p.dtype for p in kept.backbone.parameters()} == {True: torch.float32, False: torch.bfloat16}


def test_eight_bits_are_widened(tmp_path: Path) -> None:
    """No processor computes with them."""
    from edge_vla.learn.checkpoint import load_strict

    save_file({"weight": torch.full((2, 3), 1.5).to(torch.float8_e4m3fn), "bias": torch.zeros(2).half()}, tmp_path / "model.safetensors")
    layer = torch.nn.Linear(3, 2)
    with as_stored():
        load_strict(layer, read_weights(tmp_path), "it")
    assert (layer.weight.dtype, layer.bias.dtype) == (torch.float32, torch.float16)
    assert layer.weight.tolist() == [[1.5] * 3] * 2


def test_a_policy_is_loaded_so_too(paligemma: Path, tmp_path: Path) -> None:
    import json
    import shutil

    from edge_vla.learn.build import build_policy

    shutil.copytree(paligemma, tmp_path / "vlm")
    narrow(tmp_path / "vlm" / "model.safetensors", torch.bfloat16)
    config: dict[str, Any] = {
        "robovlm_name": "RoboPaligemma", "window_size": 2, "fwd_pred_next_n": 2,
        "act_head": {"type": "LSTMDecoder", "hidden_size": 16, "action_dim": 3, "action_space": "continuous", "down_sample": "none"},
    }  # fmt: skip
    model = build_policy(config | {"vlm": {"pretrained_model_name_or_path": str(tmp_path / "vlm")}})
    tensors = {name: value.half() for name, value in model.state_dict().items() if not name.startswith("backbone.")}
    save_file(tensors, tmp_path / "policy.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config | {"vlm": {"pretrained_model_name_or_path": "vlm"}}))
    with as_stored():
        kept = load_policy(tmp_path)
    assert {p.dtype for p in kept.act_head.parameters()} == {kept.action_token.dtype} == {torch.float16}
    wide = load_policy(tmp_path)
    tokens = torch.randn(1, 2, 1, wide.hidden_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for got, want in zip(kept.float().act_head.whole(tokens), wide.act_head.whole(tokens), strict=True):
            assert torch.equal(got, want)


def test_it_ends_with_its_block(written: Callable[..., engines.Config]) -> None:
    config = written("uform", torch.bfloat16)
    with contextlib.suppress(ZeroDivisionError), as_stored():
        raise ZeroDivisionError
    assert {p.dtype for p in engines.load(config).parameters()} == {torch.float32}
