"""Plans that must not be loaded, and what is said instead: one clear error each, and nothing left behind. Under the doubles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_vla.backends.bundle import Bundle
from edge_vla.backends.manifest import PlanInfo
from edge_vla.backends.plan_contract import unfit
from edge_vla.errors import ConfigError, EngineError
from edge_vla.parts import make_engine
from tests.export.tensorrt.conftest import Nvidia, pretended

Built = Callable[..., Path]
Changed = Callable[..., Path]
Manifest = dict[str, Any]
FIX = r"; run `python -m export tensorrt` on this device"


# -- another machine's


@pytest.mark.parametrize(
    ("here", "why"),
    [
        ({"tensorrt": "10.13.3.9"}, "its plans are for TensorRT 10.3.0, this machine has TensorRT 10.13.3.9" + FIX),
        ({"tensorrt": "11.4.1"}, "its plans are for TensorRT 10.3.0, this machine has TensorRT 11.4.1" + FIX),
        ({"tensorrt": "10.3.0.30"}, "its plans are for TensorRT 10.3.0, this machine has TensorRT 10.3.0.30" + FIX),
        ({"sm": (11, 0)}, r"its plans are for a GPU of SM 8\.7, this one is SM 11\.0" + FIX),
        ({"sm": (8, 6)}, r"its plans are for a GPU of SM 8\.7, this one is SM 8\.6" + FIX),
    ],
)
def test_plans_of_another_machine_are_refused_before_anything_is_read(built: Built, here: dict[str, Any], why: str) -> None:
    folder = built()
    with pretended(**here) as machine:
        with pytest.raises(ConfigError, match=why):
            make_engine(str(folder), threads=1, domain="sim")
        assert machine.gpu.deserialised == 0  # a plan is code
        assert not machine.memory.device


def info(**changes: Any) -> PlanInfo:
    base = {"tensorrt": "10.3.0", "sm": "8.7", "profiles": {}, "kv": "none", "cuda_graphs": True, "source": "", "workspace_mb": 1}
    return PlanInfo(**base, optimization_level=3, **changes)


@pytest.mark.parametrize(
    ("here", "fits"),
    [("10.3.0", True), ("10.3.1", True), ("10.13.3.9", True), ("11.0.0.114", True), ("11.4.1", True), ("10.2.0", False), ("12.0.0", False)],
)
def test_version_compatible_plans_run_with_later_tensorrts_up_to_the_next_major(here: str, fits: bool) -> None:
    assert (unfit(info(version_compatible=True), here, "8.7") == "") is fits
    assert (unfit(info(), here, "8.7") == "") is (here == "10.3.0")
    assert "SM 8.9" in unfit(info(version_compatible=True), here, "8.9")


def test_a_version_compatible_bundle_is_opened_by_a_later_tensorrt(built: Built) -> None:
    folder = built("--version-compatible")
    with pretended(tensorrt="10.13.3.9"):
        make_engine(str(folder), threads=1, domain="sim").close()


def test_without_a_gpu(built: Built) -> None:
    folder = built()
    with pretended(sm=(0, 0)), pytest.raises(EngineError, match="no NVIDIA GPU answers: cudaErrorNoDevice"):
        make_engine(str(folder), threads=1, domain="sim")


@pytest.mark.parametrize(
    ("module", "fix"), [("tensorrt", "it comes with JetPack: sudo apt-get"), ("cuda", r"pip install 'edge_vla\[jetson\]'")]
)
def test_a_machine_without_the_libraries_is_told_where_they_are(
    built: Built, monkeypatch: pytest.MonkeyPatch, nvidia: Nvidia, module: str, fix: str
) -> None:
    import sys

    from edge_vla.config import load_profile
    from edge_vla.opening import open_engine

    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    profile = load_profile(Path(__file__).resolve().parents[3] / "launch" / "sim.toml")
    with pytest.raises(ConfigError, match=f"needs {module}: {fix}"):
        open_engine(str(built()), profile)


# -- broken files


def test_a_file_that_was_changed_is_refused_before_it_is_read(built: Built, changed: Changed, nvidia: Nvidia) -> None:
    folder = changed(built())
    plan = folder / "vision.plan"
    plan.write_bytes(plan.read_bytes()[:-1] + b"\0")
    with pytest.raises(ConfigError, match=r"vision\.plan has sha256 .*, the manifest says .*; export it again"):
        Bundle(folder)
    assert nvidia.gpu.deserialised == 0


def test_a_plan_that_is_missing_is_refused(built: Built, changed: Changed) -> None:
    folder = changed(built())
    (folder / "lm_step.plan").unlink()
    with pytest.raises(ConfigError, match=r"lm_step\.plan is missing"):
        Bundle(folder)


@pytest.mark.parametrize("data", [b"not a plan", b"", b"THE DOUBLE'S PLAN\n{}\n"])
def test_a_signed_file_that_is_no_plan_is_an_engine_error(built: Built, changed: Changed, nvidia: Nvidia, data: bytes) -> None:
    folder = changed(built(), files={"vision.plan": data})
    with pytest.raises(EngineError, match=r"vision\.plan: "):
        nvidia.graphs(folder)
    assert not nvidia.memory.device
    assert not nvidia.memory.host


def test_a_signed_plan_of_another_tensorrt_is_an_engine_error_with_its_reason(built: Built, changed: Changed) -> None:
    """A manifest that was made to say what this machine wants to hear."""
    other = built(tensorrt="10.13.3.9")

    def lie(manifest: Manifest) -> None:
        manifest["plan"]["tensorrt"] = "10.3.0"

    with (
        pretended() as machine,
        pytest.raises(EngineError, match=r"vision\.plan: not a plan of TensorRT 10\.3\.0: Version tag does not match"),
    ):
        machine.graphs(changed(other, lie))


def test_a_plan_in_the_others_place_is_refused(built: Built, changed: Changed, nvidia: Nvidia) -> None:
    folder = changed(built(), files={"vision.plan": (built() / "lm_step.plan").read_bytes()})
    with pytest.raises(ConfigError, match=r"vision\.plan has the inputs embeddings float32.*; its manifest says image float32"):
        nvidia.graphs(folder)


def test_a_plan_with_other_profiles_is_refused(built: Built, changed: Changed, nvidia: Nvidia) -> None:
    other = built("--max-prefill", "9")
    folder = changed(built(), files={"lm_step.plan": (other / "lm_step.plan").read_bytes()})
    with pytest.raises(
        ConfigError, match=r"lm_step\.plan takes embeddings of .*\[1, 9, 88\]\] in profile 0; its manifest says .*\[1, 11, 88\]\]"
    ):
        nvidia.graphs(folder)


def test_a_plan_with_fewer_profiles_is_refused(built: Built, changed: Changed, nvidia: Nvidia) -> None:
    folder = changed(built(), files={"lm_step.plan": (built("--refit") / "lm_step.plan").read_bytes()})
    with pytest.raises(ConfigError, match=r"lm_step\.plan has 1 profiles; its manifest says 2"):
        nvidia.graphs(folder)


def test_a_plan_whose_sizes_hang_on_numbers_is_refused(built: Built, nvidia: Nvidia) -> None:
    nvidia.gpu.on_host = "positions"
    with pytest.raises(ConfigError, match=r"lm_step\.plan wants positions in the host's memory"):
        nvidia.graphs(built())


@pytest.mark.parametrize("left", [0, 10_000, 29_500, 31_000])
@pytest.mark.parametrize("integrated", [True, False])
def test_without_memory_nothing_is_kept(built: Built, left: int, integrated: bool) -> None:
    folder = built()
    with pretended(memory_bytes=left, integrated=integrated) as machine:
        with pytest.raises(EngineError, match="cudaErrorMemoryAllocation"):
            machine.graphs(folder)
        assert not machine.memory.device
        assert not machine.memory.host
        assert not machine.cudart.HANDLES


# -- a manifest that contradicts itself


def set_at(*keys: str | int, value: object) -> Callable[[Manifest], None]:
    def edit(manifest: Manifest) -> None:
        at: Any = manifest
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = value

    return edit


PROFILES = ("plan", "profiles")


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (set_at("plan", value=None), "plan: want this section exactly for backend 'tensorrt', got none for 'tensorrt'"),
        (set_at("backend", value="onnx"), "plan: want this section exactly for backend 'tensorrt', got one for 'onnx'"),
        (set_at("backend", value="rknn"), "backend: Input should be 'onnx' or 'tensorrt'"),
        (set_at("plan", "tensorrt", value="ten"), r"plan\.tensorrt: .*, got 'ten'"),
        (set_at("plan", "sm", value="87"), r"plan\.sm: .*, got '87'"),
        (set_at("plan", "clock", value=1), r"plan\.clock: Extra inputs are not permitted"),
        (set_at("plan", "kv", value="none"), r"plan\.kv: want dynamic or static for this lm_step, got 'none'"),
        (lambda m: m["plan"]["profiles"].pop("vision"), r"plan\.profiles: want vision, lm_step, got lm_step"),
        (lambda m: m["plan"]["profiles"]["lm_step"].pop(), r"plan\.profiles\.lm_step: want 2 \(prefill and decode\), got 1"),
        (set_at("plan", "refittable", value=True), r"plan\.profiles\.lm_step: want 1 \(a refittable plan has but one\), got 2"),
        (lambda m: m["plan"]["profiles"]["lm_step"][1].pop("mask"), r"plan\.profiles\.lm_step\.1: want embeddings, .*, got embeddings, "),
        (set_at(*PROFILES, "vision", 0, "image", "best", value=[1, 3, 16]), r"plan\.profiles\.vision\.0\.image: want 4 sizes, got "),
        (
            set_at(*PROFILES, "vision", 0, "image", "most", value=[1, 3, 16, 64]),
            r"image: want size 32, which the graph has, got 32, 32, 64",
        ),
        (set_at(*PROFILES, "lm_step", 0, "positions", "least", value=[1, 20]), r"positions: want sizes that do not fall, got 20, 11, 11"),
        (set_at(*PROFILES, "lm_step", 0, "positions", "least", value=[1, -1]), r"positions: want sizes that do not fall, got -1, 11, 11"),
        (
            set_at("plan", "stripped", value={"head": {"file": "x"}}),
            r"no sha256 for x|plan\.stripped: want some of vision, lm_step, got head",
        ),
        (
            set_at("plan", "stripped", value={"vision": {"file": "tokenizer.json"}}),
            r"plan\.refittable: want true for plans without weights",
        ),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(built: Built, changed: Changed, edit: Callable[[Manifest], None], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Bundle(changed(built(), edit))


def test_the_manifest_as_it_was_written_does_not(built: Built) -> None:
    manifest = json.loads((built() / "manifest.json").read_text())
    assert manifest["plan"]["kv"] == "dynamic"
    assert Bundle(built()).manifest.plan is not None
