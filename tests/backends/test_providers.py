"""What runs a graph is what was named, or nothing does. CUDA is absent from the wheel these tests run with: that is half of them."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime as ort
import pytest

from edge_vla.backends.bundle import Bundle
from edge_vla.backends.onnx import OnnxGraphs
from edge_vla.backends.providers import PROVIDERS, require, require_first, session
from edge_vla.bench.__main__ import parse_args, profile_of
from edge_vla.config import EngineProfile, load_profile
from edge_vla.errors import ConfigError
from edge_vla.opening import open_engine
from edge_vla.parts import make_engine, make_graphs
from tests.bundles import copied

ABSENT = [name for name, long in PROVIDERS.items() if long not in ort.get_available_providers()]


def test_cpu_is_what_it_says(tiny: Path) -> None:
    assert require("cpu") == "CPUExecutionProvider"
    assert OnnxGraphs(Bundle(tiny), provider="cpu").providers == ("CPUExecutionProvider",)


@pytest.mark.parametrize("name", ABSENT)
def test_a_provider_that_is_not_here_is_refused_with_those_that_are(tiny: Path, name: str) -> None:
    want = rf"^engine provider '{name}': onnxruntime {ort.__version__} here has cpu; .*onnxruntime-gpu"
    with pytest.raises(ConfigError, match=want):
        OnnxGraphs(Bundle(tiny), provider=name)
    with pytest.raises(ConfigError, match=want):
        make_engine(str(tiny), threads=1, domain="sim", provider=name)


def test_cuda_is_absent_from_what_the_tests_run_with() -> None:
    """Otherwise the refusals above were not tested."""
    assert "cuda" in ABSENT


def test_a_name_that_is_none_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="engine provider 'cudo': want one of cpu, cuda, tensorrt; did you mean 'cuda'"):
        require("cudo")


def test_a_session_that_opened_on_another_provider_is_refused(tiny: Path) -> None:
    """Without CUDA's libraries ONNX Runtime warns, opens on the CPU, and says so only when asked."""
    found = session(tiny / "vision.onnx", 1).get_providers()
    require_first(found, "cpu", tiny)
    with pytest.raises(ConfigError, match=r"provider 'cuda': onnxruntime runs .*tiny_bundle on CPUExecutionProvider; are its libraries"):
        require_first(found, "cuda", tiny)
    require_first(["CUDAExecutionProvider", "CPUExecutionProvider"], "cuda", tiny)
    with pytest.raises(ConfigError, match="on none"):
        require_first([], "cpu", tiny)


def test_a_runtime_that_gives_way_is_found_out(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ort.InferenceSession
    monkeypatch.setattr(ort, "get_available_providers", lambda: list(PROVIDERS.values()))
    monkeypatch.setattr(ort, "InferenceSession", lambda path, options, providers: real(path, providers=["CPUExecutionProvider"]))
    session(tiny / "vision.onnx", 1, "cpu")
    with pytest.raises(ConfigError, match=r"provider 'cuda': onnxruntime runs .*vision\.onnx on CPUExecutionProvider"):
        session(tiny / "vision.onnx", 1, "cuda")


def test_nodes_that_would_fall_to_the_cpu_are_an_error(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's provider is in every wheel and runs none of these nodes: what CUDA does to an operator it lacks."""
    monkeypatch.setitem(PROVIDERS, "azure", "AzureExecutionProvider")
    with pytest.raises(
        ConfigError, match=r"engine provider 'azure' cannot run all of .*vision\.onnx: .*fallback to CPU EP has been explicitly"
    ):
        session(tiny / "vision.onnx", 1, "azure")


def test_no_other_provider_takes_over_later(tiny: Path) -> None:
    assert session(tiny / "vision.onnx", 1)._enable_fallback is False


def test_a_profile_names_it_and_the_door_refuses_it(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "robot.toml"
    path.write_text('[engine]\nprovider = "cuda"\n')
    profile = load_profile(path)
    assert profile.engine == EngineProfile(provider="cuda")
    with pytest.raises(ConfigError, match="provider 'cuda'"):
        open_engine(str(tiny), profile)
    path.write_text('[engine]\nprovider = "gpu"\n')
    with pytest.raises(ConfigError, match=r"cpu.*cuda.*tensorrt"):
        load_profile(path)


def test_the_bench_takes_it_instead_of_the_profiles(tmp_path: Path) -> None:
    path = tmp_path / "robot.toml"
    path.write_text('[engine]\nthreads = 3\nprovider = "cuda"\n')
    said = [profile_of(parse_args(["--robot", str(path), *more])).engine for more in ([], ["--provider", "cpu"])]
    assert said == [EngineProfile(threads=3, provider="cuda"), EngineProfile(threads=3, provider="cpu")]


def test_plans_choose_no_provider(tiny: Path, tmp_path: Path) -> None:
    bundle = Bundle(copied(tiny, tmp_path / "plans", lambda _: None, {}))
    bundle.manifest = bundle.manifest.model_copy(update={"backend": "tensorrt"})
    with pytest.raises(ConfigError, match=r"holds TensorRT plans: engine.provider = 'cuda' is for ONNX graphs alone"):
        make_graphs(bundle, provider="cuda")


def test_the_default_is_the_cpu() -> None:
    assert EngineProfile().provider == "cpu"
    assert json.loads(EngineProfile().model_dump_json()) == {"threads": 1, "provider": "cpu"}
