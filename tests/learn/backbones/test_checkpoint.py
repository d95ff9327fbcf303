"""Weights on disk: what is whole is read, what is not is one clear error, and no pickle runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edge_vla.errors import ConfigError
from edge_vla.learn.checkpoint import check_weights, load_strict, read_config, read_torch_file, read_weights, rename

A, B = {"a.weight": torch.arange(6.0).reshape(2, 3)}, {"b.weight": torch.ones(4), "count": torch.tensor(3)}


def shards(folder: Path, kind: str = "safetensors") -> Path:
    """A and B in two shards with an index."""
    stem, index = ("model", "model.safetensors.index.json") if kind == "safetensors" else ("pytorch_model", "pytorch_model.bin.index.json")
    names: dict[str, str] = {}
    for k, part in enumerate((A, B), 1):
        file = f"{stem}-0000{k}-of-00002.{kind}"
        save_file(part, folder / file, {"format": "pt"}) if kind == "safetensors" else torch.save(part, folder / file)
        names |= dict.fromkeys(part, file)
    (folder / index).write_text(json.dumps({"weight_map": names}))
    return folder


def same(found: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> bool:
    return found.keys() == want.keys() and all(torch.equal(found[k], want[k]) for k in want)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_are_read_whole(kind: str, tmp_path: Path) -> None:
    assert same(read_weights(shards(tmp_path, kind)), A | B)
    check_weights(tmp_path)


def test_a_file_and_a_folder_with_one_file_are_read(tmp_path: Path) -> None:
    save_file(A, tmp_path / "model.safetensors")
    assert same(read_weights(tmp_path), A)
    assert same(read_weights(tmp_path / "model.safetensors"), A)


def test_of_several_the_one_that_transformers_reads_is_checked(tmp_path: Path) -> None:
    shards(tmp_path, "bin")
    save_file(A, tmp_path / "model.safetensors")
    assert same(read_weights(tmp_path), A)


@pytest.mark.parametrize("wrap", ["state_dict", "model_state_dict", "module"])
def test_a_wrapped_state_dict_is_unwrapped(wrap: str, tmp_path: Path) -> None:
    torch.save({wrap: A, "epoch": 3, "lr": [0.1]}, tmp_path / "x.pt")
    assert same(read_torch_file(tmp_path / "x.pt"), A)


Break = Callable[[Path], None]


def _cut(file: str) -> Break:
    return lambda folder: (folder / file).write_bytes((folder / file).read_bytes()[:-9])


def _index(**changes: Any) -> Break:
    def change(folder: Path) -> None:
        (folder / "model.safetensors.index.json").write_text(json.dumps(changes))

    return change


def _second(tensors: dict[str, torch.Tensor]) -> Break:
    return lambda folder: save_file(tensors, folder / "model-00002-of-00002.safetensors")


MAP = {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (
            lambda folder: (folder / "model-00002-of-00002.safetensors").unlink(),
            r"1 of 2 shards are missing: model-00002-of-00002\.safetensors",
        ),
        (_cut("model-00002-of-00002.safetensors"), "not a whole safetensors file"),
        (_second({"b.weight": torch.ones(4)}), "its shards lack count and have besides none"),
        (_second(B | {"more": torch.ones(1)}), "its shards lack none and have besides more"),
        (_second(B | A), "is in an earlier shard too"),
        (_second(B | {"count": torch.tensor([1.0, float("nan")])}), "1 tensors hold nan or inf: count"),
        (_second(B | {"count": torch.tensor([float("-inf")]).half()}), "1 tensors hold nan or inf: count"),
        (_second(B | {"count": torch.tensor([float("nan")]).to(torch.float8_e4m3fn)}), "1 tensors hold nan or inf: count"),
        (_index(weight_map={**MAP, "count": "../elsewhere.safetensors"}), "has to name files of its own folder"),
        (_index(weight_map=[1]), "has to name files of its own folder"),
        (_index(), "not an index of shards"),
    ],
    ids=["missing shard", "cut", "lacks a key", "has one more", "doubled", "nan", "inf", "nan in 8 bits", "outside", "a list", "no map"],
)
def test_what_is_not_whole_is_one_clear_error(broken: Break, said: str, tmp_path: Path) -> None:
    broken(shards(tmp_path))
    for read in (read_weights, check_weights):
        with pytest.raises(ConfigError, match=said):
            read(tmp_path)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_torch_file_that_is_cut_is_named(legacy: bool, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(400)}, tmp_path / "x.bin", _use_new_zipfile_serialization=not legacy)
    whole = (tmp_path / "x.bin").read_bytes()
    for size in (0, 1, 40, len(whole) // 2, len(whole) - 30):
        (tmp_path / "x.bin").write_bytes(whole[:size])
        with pytest.raises(ConfigError, match=r"x\.bin: not a whole torch file \("):
            read_torch_file(tmp_path / "x.bin")


class Runs:
    """A pickle that would make a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_carries_code_is_refused_and_not_run(legacy: bool, tmp_path: Path) -> None:
    torch.save({"state_dict": A, "x": Runs(tmp_path / "made")}, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ConfigError, match=r"refused, a checkpoint may hold tensors only; it wants to run posix\.mkdir"):
        read_torch_file(tmp_path / "x.pt")
    assert not (tmp_path / "made").exists()
    torch.load(tmp_path / "x.pt", weights_only=False)
    assert (tmp_path / "made").exists(), "it would have"


def test_what_holds_no_state_dict_is_named(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "x.pt")
    with pytest.raises(ConfigError, match="holds a list, want a state dict"):
        read_torch_file(tmp_path / "x.pt")
    with pytest.raises(ConfigError, match="no such file or folder"):
        read_weights(tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"no weights; want one of model\.safetensors, "):
        read_weights(tmp_path)


def test_loading_is_strict_and_all_or_nothing() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    good = {name: torch.full_like(tensor, 7) for name, tensor in before.items()}
    bad = {name: tensor for name, tensor in good.items() if name != "1.bias"} | {"0.weight": torch.ones(2, 4), "2.bias": torch.ones(1)}
    with pytest.raises(ConfigError) as caught:
        load_strict(module, bad, "x.pt")
    want = "1 missing: 1.bias; 1 unexpected: 2.bias; 1 of another shape: 0.weight (2, 4), want (2, 3)"
    assert str(caught.value) == f"x.pt: these weights are not of this model; {want}"
    assert same(module.state_dict(), before)
    load_strict(module, {name: t for name, t in good.items() if name != "1.bias"}, "x.pt", optional=["1.bias"])
    assert torch.equal(module.state_dict()["0.weight"], good["0.weight"])
    assert torch.equal(module.state_dict()["1.bias"], before["1.bias"])


def test_many_keys_are_counted_not_listed() -> None:
    with pytest.raises(ConfigError, match=r"30 unexpected: k00, .*k11 and 18 more"):
        load_strict(torch.nn.Identity(), {f"k{k:02d}": torch.ones(1) for k in range(30)}, "x")


def test_renaming_drops_none_and_refuses_a_clash() -> None:
    assert rename(A | B, lambda name: None if name == "count" else f"x.{name}").keys() == {"x.a.weight", "x.b.weight"}
    with pytest.raises(ConfigError, match=r"two tensors would become 'y', the second is 'b\.weight'"):
        rename(A | B, lambda _: "y")


@pytest.mark.parametrize(("text", "said"), [("{", "not JSON"), ("[]", "holds a list"), (None, "no config.json")])
def test_a_config_that_is_none_is_named(text: str | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_config(tmp_path)


# -- through a native backbone


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("language_model.model.norm.weight"), r"1 missing: model\.language_model\.norm\.weight"),
        (lambda w: w.update({"vision_tower.vision_model.more": torch.ones(2)}), "1 unexpected: .*more"),
        (lambda w: w.update({"language_model.model.norm.weight": torch.ones(31)}), r"norm\.weight \(31,\), want \(32,\)"),
        (
            lambda w: w["language_model.model.norm.weight"].fill_(float("nan")),
            r"1 tensors hold nan or inf: language_model\.model\.norm\.weight",
        ),
    ],
    ids=["missing", "unexpected", "shape", "nan"],
)
def test_a_native_model_with_other_weights_is_refused(
    change: Callable[[dict[str, torch.Tensor]], object], said: str, write_paligemma: Callable[[Path], Path], tmp_path: Path, capfd: Any
) -> None:
    from transformers import PaliGemmaForConditionalGeneration

    from edge_vla.learn.backbones.native import load_native

    file = write_paligemma(tmp_path) / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, {"format": "pt"})
    capfd.readouterr()
    with pytest.raises(ConfigError, match=said):
        load_native(PaliGemmaForConditionalGeneration, tmp_path, ("paligemma",))
    assert capfd.readouterr() == ("", ""), "one error, and no table of keys beside it"
