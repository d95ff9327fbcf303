"""A bundle is refused, in words, before anything in it is deserialised."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from edge_vla.backends.bundle import Bundle, FinderManifest
from edge_vla.errors import ConfigError, EngineError
from edge_vla.parts import make_engine

Make = Callable[..., Path]
Data = dict[str, Any]


def test_the_tiny_bundle_is_accepted_and_read(tiny: Path) -> None:
    m = Bundle(tiny).manifest
    assert (m.name, m.kind, m.domain, m.backend, m.precision, m.schema_version) == ("tiny", "vlm", "sim", "onnx", "fp32", 1)
    assert m.targets == ["cup", "ball", "acorn"]
    assert [t.name for t in m.graphs["lm_step"].inputs] == ["embeddings", "positions", "mask", "past_keys", "past_values"]
    assert m.graphs["lm_step"].inputs[2].shape == [1, 1, "T", "N"]
    assert (m.calibration.scale, m.calibration.shift) == (1.0, 0.0)
    assert sum(path.stat().st_size for path in tiny.iterdir()) < 200_000


def test_a_manifest_survives_being_written_and_read(tiny: Path) -> None:
    manifest = Bundle(tiny).manifest
    assert FinderManifest.model_validate_json(json.dumps(manifest.model_dump())) == manifest


def test_its_files_are_found_inside_it(tiny: Path) -> None:
    assert Bundle(tiny).path("vision.onnx") == tiny / "vision.onnx"


def put(*keys: str | int, value: object) -> Callable[[Data], None]:
    """An edit: manifest[keys...] = value."""

    def edit(manifest: Data) -> None:
        at: Any = manifest
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = value

    return edit


def drop(*keys: str | int) -> Callable[[Data], None]:
    def edit(manifest: Data) -> None:
        at: Any = manifest
        for key in keys[:-1]:
            at = at[key]
        del at[keys[-1]]

    return edit


MANIFESTS: dict[str, tuple[Callable[[Data], None], str]] = {
    "a later version": (put("schema_version", value=2), "schema_version: this edge_vla reads 1, got '2'; update edge_vla or export"),
    "no version": (drop("schema_version"), "schema_version: Field required"),
    "an unknown key": (put("colour", value="rgb"), "colour: Extra inputs are not permitted, got 'rgb'"),
    "an unknown key further in": (put("preprocess", "crop", value=3), "preprocess.crop: Extra inputs are not permitted, got '3'"),
    "a missing key": (drop("preprocess", "mean"), "preprocess.mean: Field required"),
    "an unknown kind": (put("kind", value="robot"), "kind: Input should be 'vlm', got 'robot'"),
    "an unknown backend": (put("backend", value="pickle"), "backend: Input should be 'onnx' or 'tensorrt', got 'pickle'"),
    "an unknown resize": (put("preprocess", "resize", value="nearest"), "preprocess.resize: .*got 'nearest'"),
    "an unknown graph": (put("graphs", "tail", value={}), "graphs.tail.*: Input should be 'vision', 'prefix', 'lm_step' or 'head'"),
    "a number in quotes": (put("language", "layers", value="4"), "language.layers: .*valid integer, got '4'"),
    "a std of zero": (put("preprocess", "std", 1, value=0.0), r"preprocess.std.1: .*greater than or equal to 0.001, got '0.0'"),
    "two means": (put("preprocess", "mean", value=[0.5, 0.5]), "preprocess.mean: .*at least 3 items"),
    "a mean that is no number": (put("preprocess", "mean", 0, value=float("nan")), "preprocess.mean.0: .*finite number"),
    "a confidence upside down": (put("calibration", value={"scale": -1.0}), "calibration.scale: .*greater than 0, got '-1.0'"),
    "no targets": (put("targets", value=[]), "targets: .*at least 1 item"),
    "a speed of nothing": (put("max_linear_mps", value=0.0), "max_linear_mps: .*greater than 0, got '0.0'"),
    "a speed over the ceiling": (put("max_linear_mps", value=0.51), "max_linear_mps: .*less than or equal to 0.5, got '0.51'"),
    "a turn over the ceiling": (put("max_angular_rps", value=1.01), "max_angular_rps: .*less than or equal to 1, got '1.01'"),
    "a picture of 8 pixels": (put("preprocess", "height", value=8), "preprocess.height: .*greater than or equal to 16, got '8'"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "why"), MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_manifest_that_breaks_its_contract_is_refused(make_bundle: Make, edit: Callable[[Data], None], why: str) -> None:
    folder = make_bundle(edit)
    with pytest.raises(ConfigError, match=why) as refusal:
        Bundle(folder)
    assert str(folder / "manifest.json") in str(refusal.value)


@pytest.mark.parametrize("limit", [("max_linear_mps", 0.5), ("max_angular_rps", 1.0), ("schema_version", 1)])
def test_a_manifest_at_its_limits_is_accepted(make_bundle: Make, limit: tuple[str, float]) -> None:
    Bundle(make_bundle(put(limit[0], value=limit[1])))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"schema_version: 1", b'{"schema_version": \xff}'])
def test_a_manifest_that_is_no_json_object_is_refused(make_bundle: Make, text: bytes) -> None:
    folder = make_bundle()
    (folder / "manifest.json").write_bytes(text)
    with pytest.raises(ConfigError, match=r"manifest\.json: file: "):
        Bundle(folder)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=rf"engine {folder}: no manifest\.json \(No such file.*made by `python -m export`"):
            Bundle(folder)


@pytest.mark.parametrize("name", ["vision.onnx", "lm_step.onnx", "embeddings.npy", "tokenizer.json"])
def test_one_changed_byte_is_refused(make_bundle: Make, name: str) -> None:
    folder = make_bundle()
    data = bytearray((folder / name).read_bytes())
    said = hashlib.sha256(data).hexdigest()
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    now = hashlib.sha256(data).hexdigest()
    with pytest.raises(ConfigError, match=rf"{name} has sha256 {now[:12]}\.\.\., the manifest says {said[:12]}\.\.\.; export it again"):
        Bundle(folder)


@pytest.mark.parametrize("name", ["vision.onnx", "lm_step.onnx", "embeddings.npy", "tokenizer.json"])
def test_a_missing_file_is_refused(make_bundle: Make, name: str) -> None:
    folder = make_bundle()
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=f"{folder}: {name} is missing"):
        Bundle(folder)


def test_a_folder_in_a_files_place_is_refused(make_bundle: Make) -> None:
    folder = make_bundle()
    (folder / "vision.onnx").unlink()
    (folder / "vision.onnx").mkdir()
    with pytest.raises(ConfigError, match=r"vision\.onnx is missing"):
        Bundle(folder)


@pytest.mark.parametrize("name", ["vision.onnx", "lm_step.onnx", "embeddings.npy", "tokenizer.json"])
def test_a_file_nobody_signed_is_refused(make_bundle: Make, name: str) -> None:
    with pytest.raises(ConfigError, match=f"no sha256 for {name}"):
        Bundle(make_bundle(drop("sha256", name)))


@pytest.mark.parametrize("where", ["../vision.onnx", "sub/vision.onnx", "{bundle}/vision.onnx", "./vision.onnx"])
def test_a_file_outside_the_bundle_is_refused_though_it_is_signed(make_bundle: Make, tiny: Path, where: str) -> None:
    """The path leads to the right bytes, so nothing else is wrong with it."""

    def edit(manifest: Data) -> None:
        manifest["graphs"]["vision"]["file"] = name
        manifest["sha256"][name] = manifest["sha256"].pop("vision.onnx")

    name = where.format(bundle=tiny)
    folder = make_bundle(edit)
    (folder / "sub").mkdir()
    for copy in (folder.parent / "vision.onnx", folder / "sub" / "vision.onnx"):
        copy.write_bytes((tiny / "vision.onnx").read_bytes())
    with pytest.raises(ConfigError, match=f"{name!r} lies outside the bundle"):
        Bundle(folder)


@pytest.mark.parametrize("name", ["..", ".", ""])
def test_a_name_that_is_no_file_is_refused(make_bundle: Make, name: str) -> None:
    with pytest.raises(ConfigError, match=r"is missing|outside the bundle"):
        Bundle(make_bundle(put("sha256", name, value="0" * 64)))


# -- nothing is deserialised before the check


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been deserialised. Each of the three ways in tells, and stops there."""
    seen: list[str] = []

    def trap(name: str) -> Callable[..., object]:
        def enter(*args: object, **kwargs: object) -> object:
            seen.append(name)
            raise RuntimeError(f"{name} was deserialised")

        return enter

    monkeypatch.setattr(onnxruntime, "InferenceSession", trap("graph"))
    monkeypatch.setattr(np, "load", trap("embeddings"))
    monkeypatch.setattr(Tokenizer, "from_file", trap("tokenizer"), raising=True)
    return seen


BAD: dict[str, Callable[[Data], None]] = {name: edit for name, (edit, _) in MANIFESTS.items()} | {
    f"a wrong hash of {name}": put("sha256", name, value="0" * 64)
    for name in ("vision.onnx", "lm_step.onnx", "embeddings.npy", "tokenizer.json")
}


@pytest.mark.parametrize("edit", BAD.values(), ids=BAD.keys())
def test_nothing_of_a_refused_bundle_is_deserialised(make_bundle: Make, opened: list[str], edit: Callable[[Data], None]) -> None:
    with pytest.raises(ConfigError):
        make_engine(str(make_bundle(edit)), threads=1, domain="sim")
    assert opened == []


def test_a_bundle_for_another_domain_is_not_deserialised(tiny: Path, opened: list[str]) -> None:
    with pytest.raises(ConfigError):
        make_engine(str(tiny), threads=1, domain="real")
    assert opened == []


def test_the_trap_catches_a_bundle_that_is_accepted(tiny: Path, opened: list[str]) -> None:
    with pytest.raises(EngineError, match="graph was deserialised"):
        make_engine(str(tiny), threads=1, domain="sim")
    assert opened == ["graph"]


# -- what it knows


@pytest.mark.parametrize("thing", ["cup", "ball", "acorn"])
def test_a_known_thing_is_let_through(tiny: Path, thing: str) -> None:
    Bundle(tiny).require_target(thing)


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        ("cups", "engine 'tiny' does not know 'cups'; did you mean 'cup'? It knows: cup, ball, acorn"),
        ("zebra", "engine 'tiny' does not know 'zebra'. It knows: cup, ball, acorn"),
        ("Cup", "engine 'tiny' does not know 'Cup'; did you mean 'cup'? It knows: cup, ball, acorn"),
        ("", "engine 'tiny' does not know ''. It knows: cup, ball, acorn"),
    ],
)
def test_an_unknown_thing_is_refused_with_the_list_and_the_nearest(tiny: Path, thing: str, message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        Bundle(tiny).require_target(thing)
    assert str(refusal.value) == message
