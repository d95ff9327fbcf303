"""`python -m export verify` and what the runtime makes of its verdict."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge_vla.backends.bundle import MANIFEST, Bundle, sha256
from edge_vla.errors import ConfigError
from edge_vla.parts import make_engine
from export import verify as door
from export.bundle.bundling import Wanted, export_model
from export.bundle.probes import load_probes, save_probes
from export.bundle.verifying import verify
from tests.learn.backbones.test_matrix import make, tiny  # noqa: F401 - a fixture

Config = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[[str], Config]) -> Path:  # noqa: F811
    """A verified policy bundle. Copy it to change it."""
    model = make(tiny("RoboPaligemma"), "RoboPaligemma", "MobileVLALSTMDecoder", "post").eval()
    out = tmp_path_factory.mktemp("made") / "bundle"
    export_model(model, Wanted(out, policy=True, layout=["linear_x", "angular_z", "-", "-"], domain="sim"))
    return out


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "bundle"))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    manifest["sha256"] = {name: sha256(folder / name) for name in manifest["sha256"]}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def bend(folder: Path, by: float) -> None:
    """Every weight of the head's first matrix a little larger, and signed as if it were right."""
    model = onnx.load(folder / "head.onnx")
    weight = max(model.graph.initializer, key=lambda one: int(np.prod(one.dims)))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(by), weight.name))
    onnx.save(model, folder / "head.onnx")
    edit(folder, lambda m: None)


def test_it_agrees_and_says_so(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(bundle, lambda m: m.update(verified=None))
    assert door.main([str(bundle)]) == 0
    told = capsys.readouterr()
    assert "4 of 4 answers as the model's, want 100%" in told.out or "6 of 6 answers" in told.out
    assert "agrees with" in told.err
    found = Bundle(bundle).manifest.verified
    assert found is not None
    assert found.passed


def test_a_bent_weight_is_found_and_the_runtime_refuses_the_bundle(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bend(bundle, 0.05)
    assert door.main([str(bundle)]) == 1
    assert "too far" in capsys.readouterr().out
    found = Bundle(bundle).manifest.verified
    assert found is not None
    assert not found.passed
    with pytest.raises(
        ConfigError, match=r"differs from its model: head\.\w+ is .* off, 0\.0001 is allowed; .*; --allow-unverified drives it"
    ):
        make_engine(str(bundle), threads=1, domain="sim")
    make_engine(str(bundle), threads=1, domain="sim", allow_unverified=True)


def test_a_bundle_that_was_never_verified_is_refused(bundle: Path) -> None:
    edit(bundle, lambda m: m.update(verified=None))
    with pytest.raises(ConfigError, match="was never verified: python -m export verify"):
        make_engine(str(bundle), threads=1, domain="sim")


def test_the_flag_is_told_at_every_start(bundle: Path) -> None:
    bend(bundle, 0.05)
    door.main([str(bundle)])
    command = [
        sys.executable,
        "-m",
        "edge_vla.run",
        "--goal",
        "find_object",
        "--target",
        "cup",
        "--engine",
        str(bundle),
        "--timeout-s",
        "1",
    ]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert refused.returncode == 2
    assert "--allow-unverified drives it all the same" in refused.stderr
    forced = subprocess.run([*command, "--allow-unverified"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert forced.returncode in {0, 1}, forced.stderr
    assert "UNVERIFIED engine" in forced.stdout + forced.stderr


def test_a_graph_that_does_not_look_at_its_inputs_is_refused(bundle: Path) -> None:
    """Its one answer is the right one for the first seed, and would be so for every other."""
    probes = load_probes(bundle / "probes.npz")
    first = next(p for p in probes if p.graph == "head" and p.case == "first")
    node = onnx.helper.make_node
    model = onnx.load(bundle / "head.onnx")
    name, values = next(iter(first.outputs.items()))
    fixed = numpy_helper.from_array(values.astype(np.float32), "fixed")
    graph = onnx.helper.make_graph(
        [node("Identity", ["fixed"], [name])], "stuck", list(model.graph.input), list(model.graph.output), [fixed]
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9), bundle / "head.onnx")
    edit(bundle, lambda m: None)
    with pytest.raises(ConfigError, match="graph head says the same of two seeds"):
        verify(Bundle(bundle))


def test_a_missing_probe_is_told(bundle: Path) -> None:
    save_probes([p for p in load_probes(bundle / "probes.npz") if p.case != "later"], bundle / "probes.npz")
    edit(bundle, lambda m: None)
    with pytest.raises(ConfigError, match=r"no probes of \w+ later, \w+ later, \w+ later; export it again"):
        verify(Bundle(bundle))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"nonsense"])
def test_probes_that_are_none_are_told(bundle: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "probes.npz").write_bytes(content)
    edit(bundle, lambda m: None)
    assert door.main([str(bundle)]) == 2
    assert "probes.npz" in capsys.readouterr().err


def test_a_bundle_without_probes_cannot_be_verified(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main([str(checkout / "tests" / "golden" / "tiny_bundle")]) == 2
    assert "holds no probes to verify it with" in capsys.readouterr().err


def test_a_plan_counts_every_graph_of_a_policy(bundle: Path) -> None:
    from export.planning.bundles import plan_bundle
    from export.planning.workload import Workload

    found = plan_bundle(Bundle(bundle), Workload(prompt=5), 1 << 28)
    assert [stage.name for stage in found.stages] == ["vision", "prefill", "head"]
    assert set(found.footprint.weights) == {"vision", "lm_step", "head"}
    assert found.footprint.cache == 0
    assert found.footprint.rows == (bundle / "embeddings.npy").stat().st_size
    assert (found.precision, found.engine, found.notes) == ("fp32", "TensorRT", ())
