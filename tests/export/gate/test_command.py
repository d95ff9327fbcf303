"""The command: bundles and files, what it prints, what it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from export.gate import check, main
from tests.bundles import Manifest, copied
from tests.export.gate.cases import model


def as_json(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    assert main([*words, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_fp32_export_passes(fp32: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(fp32)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "TensorRT 10.3: vision.onnx, prefix.onnx, lm_step.onnx: passed", "TensorRT 11: vision.onnx, prefix.onnx, lm_step.onnx: passed",
    ]  # fmt: skip


def test_the_default_engine_is_refused_with_what_to_do(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, str(checkout / "engines" / "default"), "--tensorrt", "10.3", code=2)
    findings = [each for file in found["targets"]["10.3"].values() for each in file["findings"]]
    assert {"DynamicQuantizeLinear", "MatMulInteger", "MatMulNBits"} <= {finding["op"] for finding in findings}
    told = "explicit QuantizeLinear and DequantizeLinear: export it as fp32, fp16 or w8a8"
    assert {finding["allowed"] for finding in findings if finding["rule"] == "operator"} == {told}
    assert {file: set(each["by_rule"]) for file, each in found["targets"]["10.3"].items()} == {
        "vision.onnx": {"dtype", "quantised", "symmetric", "operator", "uint8"}, "prefix.onnx": {"operator"},
        "lm_step.onnx": {"domain", "uint8"},
    }  # fmt: skip
    assert not found["passed"]


def test_what_a_person_reads(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(checkout / "engines" / "default" / "prefix.onnx"), "--tensorrt", "11"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3  # each kind once
    assert lines[0].startswith("TensorRT 11: prefix.onnx: DynamicQuantizeLinear 'mul_QuantizeLinear': DynamicQuantizeLinear, which")
    assert "export it as fp32, fp16 or w8a8" in lines[0]
    assert lines[0].endswith(" ...")
    assert lines[-1] == "TensorRT 11: prefix.onnx: refused, 29 findings"


def test_one_file_against_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "one.onnx"
    onnx.save(model("(float[2,4] x) => (y) <float[4] s = {1.0, 1.0, 1.0, 1.0}>", "y = RMSNormalization(x, s)", opset=23), str(path))
    found = as_json(capsys, str(path), code=2)
    assert {target: files["one.onnx"]["by_rule"] for target, files in found["targets"].items()} == {
        "10.3": {"opset": 1, "operator": 1}, "11": {},
    }  # fmt: skip
    assert set(found["tables"]) == {"10.3", "11"}
    assert as_json(capsys, str(path), "--tensorrt", "11")["passed"]


def test_the_findings_of_the_command_are_those_of_check(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkout / "engines" / "default" / "lm_step.onnx"
    found = as_json(capsys, str(path), "--tensorrt", "10.3", code=2)
    assert found["targets"]["10.3"]["lm_step.onnx"]["findings"] == [finding.as_json() for finding in check(path, "10.3")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "want an ONNX file, or a bundle with its manifest.json"),
        ("broken", "not an ONNX graph"),
        ("spoilt", "vision.onnx has sha256"),
    ],
)
def test_what_it_cannot_read(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str) -> None:
    copied(checkout / "tests" / "golden" / "tiny_bundle", tmp_path / "spoilt", lambda _: None, {})
    (tmp_path / "spoilt" / "vision.onnx").write_bytes(b"x")
    (tmp_path / "broken").write_bytes(b"no graph")
    assert as_json(capsys, str(tmp_path / name), code=2)["refused"].count(message) == 1
    assert main([str(tmp_path / name)]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("gate: ")
    assert message in told.err
    assert told.out == ""


def test_needs_neither_torch_nor_onnxruntime(checkout: Path) -> None:
    script = (
        "import sys; from export.gate import main; code = main(['engines/default/vision.onnx']); "
        "sys.exit(3 if {'torch', 'onnxruntime'} & set(sys.modules) else code)"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=checkout, capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr


def test_through_the_package(checkout: Path) -> None:
    words = [sys.executable, "-m", "export", "gate", "tests/golden/tiny_bundle", "--tensorrt", "10.3"]
    result = subprocess.run(words, cwd=checkout, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "TensorRT 10.3: vision.onnx, lm_step.onnx: passed\n"), result.stderr


def as_plans(manifest: Manifest) -> None:
    """The manifest of a bundle that was built."""
    profiles: dict[str, list[dict[str, dict[str, list[int]]]]] = {}
    for name, graph in manifest["graphs"].items():
        spans = {}
        for tensor in graph["inputs"]:
            shape = [size if isinstance(size, int) else 1 for size in tensor["shape"]]
            spans[tensor["name"]] = {"least": shape, "best": shape, "most": shape}
        profiles[name] = [spans] * (2 if any(tensor["name"] == "past_keys" for tensor in graph["inputs"]) else 1)
    manifest["backend"] = "tensorrt"
    manifest["plan"] = {
        "tensorrt": "10.3.0", "sm": "8.7", "profiles": profiles, "kv": "dynamic", "cuda_graphs": True, "source": "0" * 64,
        "workspace_mb": 256, "optimization_level": 3,
    }  # fmt: skip


def test_a_bundle_of_plans_has_no_graphs_left_to_judge(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied(checkout / "tests" / "golden" / "tiny_bundle", tmp_path / "plans", as_plans, {})
    assert main([str(tmp_path / "plans")]) == 2
    assert "a bundle of tensorrt; the gate reads ONNX, from before plans are built" in capsys.readouterr().err
