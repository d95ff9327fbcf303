"""The route by torch2trt: our call fits its signature, which is held here as data; what it makes is proven as any other plan is."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_vla.backends.bundle import Bundle
from edge_vla.errors import ConfigError
from tests.export.tensorrt.conftest import Nvidia, pretended
from tests.export.tensorrt.test_build import left_in

Built = Callable[..., Path]
Capture = pytest.CaptureFixture[str]
SIGNATURE = json.loads(Path(__file__).with_name("torch2trt.json").read_text())


def told(library: Any) -> dict[str, tuple[list[str], list[str]]]:
    """Name to (parameters, those without a default), as the module has them."""
    found = {}
    for name in SIGNATURE["parameters"]:
        parameters = inspect.signature(getattr(library, name)).parameters.values()
        required = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
        found[name] = ([p.name for p in parameters], required)
    return found


def wanted() -> dict[str, tuple[list[str], list[str]]]:
    return {name: (SIGNATURE["parameters"][name], SIGNATURE["without_default"][name]) for name in SIGNATURE["parameters"]}


@pytest.mark.jetson
def test_the_library_has_the_signature() -> None:
    """Where it is installed: on a device with torch and TensorRT 10."""
    import torch2trt

    assert told(torch2trt) == wanted()


def test_the_double_has_the_signature(nvidia: Nvidia) -> None:
    assert told(nvidia.module("torch2trt")) == wanted()


@pytest.fixture
def without_cuda(nvidia: Nvidia, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The route with its tensors on the processor."""
    route = nvidia.module("export.torch2trt")
    convert = route.convert
    monkeypatch.setattr(route, "convert", lambda vision, graph: convert(vision, graph, device="cpu"))
    return route


@pytest.mark.slow
def test_a_tower_takes_the_plans_place(
    checkpoint: Path, fp32: Path, built: Built, tmp_path: Path, nvidia: Nvidia, without_cuda: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the bundle answers as at export, which the command asks itself."""
    plans = built(source=fp32)
    assert without_cuda.main([str(plans), str(checkpoint), "--out", str(tmp_path / "out")]) == 0
    assert "answers as at export" in capsys.readouterr().err
    found = Bundle(tmp_path / "out").manifest
    assert found.made["vision"] == "torch2trt, float32"
    assert found.sha256["vision.plan"] != Bundle(plans).manifest.sha256["vision.plan"]
    assert found.sha256["lm_step.plan"] == Bundle(plans).manifest.sha256["lm_step.plan"]
    assert not {"FP16", "INT8"} & set(nvidia.gpu.flags)


@pytest.fixture
def other(without_cuda: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The route with a tower whose outputs are not what the manifest says."""
    import torch

    class Tower(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return image.mean((2, 3)), image.mean((1, 2))

    monkeypatch.setattr(without_cuda, "vision_of", lambda _: Tower())
    return without_cuda


def test_another_tower_is_refused(built: Built, tmp_path: Path, other: Any, capsys: Capture) -> None:
    assert other.main([str(built()), "model", "--out", str(tmp_path / "out")]) == 2
    assert "vision.plan has the outputs tokens float32[1, 3]" in capsys.readouterr().err
    assert left_in(tmp_path) == []


def test_what_is_not_converted_is_told(built: Built, tmp_path: Path, nvidia: Nvidia, other: Any, capsys: Capture) -> None:
    nvidia.gpu.parse_error = "no converter"
    assert other.main([str(built()), "model", "--out", str(tmp_path / "out")]) == 2
    assert "torch2trt does not convert this tower: AttributeError: 'Tensor' object has no attribute '_trt'" in capsys.readouterr().err
    nvidia.gpu.parse_error, nvidia.gpu.build_fails = "", "no"
    assert other.main([str(built()), "model", "--out", str(tmp_path / "out")]) == 2
    assert "TensorRT did not build it" in capsys.readouterr().err
    assert left_in(tmp_path) == []


def test_it_ends_with_tensorrt_10(tiny: Path) -> None:
    import torch

    with pretended(tensorrt="11.4.1") as machine, pytest.raises(ConfigError, match="torch2trt names calibrators that TensorRT 11 has not"):
        machine.module("export.torch2trt").convert(torch.nn.Identity(), Bundle(tiny).manifest.graphs["vision"], "cpu")


def test_without_it_there_is_a_command(tiny: Path, nvidia: Nvidia, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setitem(sys.modules, "torch2trt", None)
    with pytest.raises(ConfigError, match=r"no module torch2trt: pip install git\+https://github.com/NVIDIA-AI-IOT/torch2trt"):
        nvidia.module("export.torch2trt").convert(torch.nn.Identity(), Bundle(tiny).manifest.graphs["vision"], "cpu")


def test_only_plans_with_their_weights_are_taken(tiny: Path, built: Built, tmp_path: Path, nvidia: Nvidia, capsys: Capture) -> None:
    main = nvidia.module("export.torch2trt").main
    for bundle in (tiny, built("--strip-plan")):
        assert main([str(bundle), "model", "--out", str(tmp_path / "out")]) == 2
        assert "want plans with their weights, made by `python -m export tensorrt`" in capsys.readouterr().err
