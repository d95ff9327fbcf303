"""`python -m export tensorrt`: what the builder is told, what is written, what is left where it fails. Under the doubles."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edge_vla.backends.bundle import Bundle
from edge_vla.backends.onnx import OnnxGraphs
from tests.export.tensorrt.conftest import Nvidia, pretended
from tests.export.tensorrt.test_graphs import conversation, picture

Built = Callable[..., Path]
Changed = Callable[..., Path]
PRECISION = {"FP16", "INT8", "BF16", "FP8", "INT4", "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"}
MIB = 2**20


def header(plan: Path) -> dict[str, Any]:
    """Of the double's plans: what the builder was told."""
    return dict(json.loads(plan.read_bytes().split(b"\n")[1]))


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(nvidia: Nvidia, capsys: pytest.CaptureFixture[str], *words: object, root: Path = Path("/")) -> str:
    """The one line on stderr that begins with the command's name."""
    capsys.readouterr()
    assert nvidia.export(*words, root=root) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tensorrt: ")]
    assert len(lines) == 1
    return lines[0].removeprefix("tensorrt: ")


# -- what the builder is told


@pytest.mark.parametrize(("tensorrt", "network"), [("10.3.0", 2), ("10.16.1.11", 2), ("11.0.0.114", 0), ("11.4.1", 0)])
def test_types_are_the_graphs_own_and_no_flag_says_otherwise(tiny: Path, tmp_path: Path, tensorrt: str, network: int) -> None:
    with pretended(tensorrt=tensorrt) as machine:
        assert machine.export(tiny, "--out", tmp_path / "out", "--refit", "--version-compatible", "--level", 5) == 0
        assert machine.gpu.networks == [network, network]  # 1 << STRONGLY_TYPED, which 11 has always on
        assert set(machine.gpu.flags) == {"REFIT", "VERSION_COMPATIBLE"}
        assert machine.gpu.cleared == ["TF32", "TF32"]
        assert header(tmp_path / "out" / "vision.plan")["typed"] is True


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ((), set()),
        (("--tf32",), {"TF32"}),
        (("--refit",), {"REFIT"}),
        (("--strip-plan",), {"STRIP_PLAN"}),
        (("--refit", "--strip-plan"), {"REFIT", "STRIP_PLAN"}),
        (("--version-compatible",), {"VERSION_COMPATIBLE"}),
    ],
)
def test_every_choice_is_one_flag(built: Built, words: tuple[str, ...], flags: set[str]) -> None:
    folder = built(*words)
    for name in ("vision", "lm_step"):
        assert set(header(folder / f"{name}.plan")["flags"]) == flags
    plan = Bundle(folder).manifest.plan
    assert plan is not None
    assert (plan.tf32, plan.version_compatible) == ("TF32" in flags, "VERSION_COMPATIBLE" in flags)
    assert plan.refittable is bool({"REFIT", "STRIP_PLAN"} & flags)
    assert not PRECISION & set(header(folder / "vision.plan")["flags"])


def test_workspace_and_level_reach_the_builder_and_the_manifest(built: Built) -> None:
    folder = built("--workspace-mb", "77", "--level", "1")
    told = header(folder / "lm_step.plan")
    assert (told["workspace"], told["level"]) == (77 * MIB, 1)
    plan = Bundle(folder).manifest.plan
    assert plan is not None
    assert (plan.workspace_mb, plan.optimization_level) == (77, 1)


@pytest.mark.parametrize("kv", ["dynamic", "static"])
def test_profiles_are_those_of_the_manifest(built: Built, kv: str) -> None:
    folder = built("--kv", kv)
    plan = Bundle(folder).manifest.plan
    assert plan is not None
    for name, profiles in plan.profiles.items():
        assert header(folder / f"{name}.plan")["profiles"] == [
            {key: [span.least, span.best, span.most] for key, span in profile.items()} for profile in profiles
        ]
    prefill, decode = plan.profiles["lm_step"]
    assert prefill["past_keys"].most == [1, 1, 0, 88]
    assert prefill["mask"].most == [1, 1, 11, 11]  # "is there an acorn?" behind four image tokens
    assert decode["embeddings"].most == [1, 1, 88]
    assert decode["past_keys"].least == [1, 1, 17 if kv == "static" else 1, 88]
    assert decode["past_keys"].most == [1, 1, 17, 88]
    assert decode["mask"].most == [1, 1, 1, 18]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--workspace-mb", "0"), "workspace 0 MiB: want 1 to 1048576"),
        (("--level", "6"), "optimisation level 6: want 0 to 5"),
        (("--max-prefill", "0"), "prefill 0: want 1 to 1000000"),
        (("--max-past", "5"), "past 5: want 11, the longest prefill, to 1000000"),
        (("--frames", "0"), "frames 0: want 1 to 4096"),
        (("--device", "orin"), "device 'orin': want one of orin-nano, orin-nx, agx-orin, thor"),
        (("--kv", "shared"), "--kv: invalid choice: 'shared'"),
    ],
)
def test_a_choice_that_is_none_is_refused(
    tiny: Path, tmp_path: Path, nvidia: Nvidia, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], why: str
) -> None:
    assert why in refused(nvidia, capsys, tiny, "--out", tmp_path / "out", *words)
    assert left_in(tmp_path) == []


# -- what is written


def test_the_new_bundle_has_everything_but_the_graphs_and_signs_it(tiny: Path, built: Built) -> None:
    folder = built()
    assert left_in(folder) == ["embeddings.npy", "layers.json", "lm_step.plan", "manifest.json", "tokenizer.json", "vision.plan"]
    manifest = Bundle(folder).manifest
    assert set(manifest.sha256) == set(left_in(folder)) - {"manifest.json"}
    assert (folder / "tokenizer.json").read_bytes() == (tiny / "tokenizer.json").read_bytes()
    source = Bundle(tiny).manifest
    assert manifest.graphs["vision"].inputs == source.graphs["vision"].inputs
    assert (manifest.backend, source.backend) == ("tensorrt", "onnx")
    assert manifest.plan is not None
    assert manifest.plan.source == hashlib.sha256((tiny / "manifest.json").read_bytes()).hexdigest()
    assert {"name", "targets", "calibration", "precision"} <= manifest.model_fields_set
    assert (manifest.name, manifest.precision) == (source.name, source.precision)


@pytest.fixture
def orin(tmp_path: Path) -> Path:
    """The files of an Orin Nano with JetPack 6.2, as far as they are read."""
    root = tmp_path / "orin"
    files = {
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic, EABI: aarch64\n",
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
        "proc/meminfo": "MemTotal: 7800000 kB\nMemAvailable: 5000000 kB\n",
        "proc/cpuinfo": "processor : 0\nCPU part : 0xd42\n",
        "var/lib/nvpmodel/status": "pmode:0002",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_manifest_says_where_it_was_built(tiny: Path, tmp_path: Path, nvidia: Nvidia, orin: Path) -> None:
    assert nvidia.export(tiny, "--out", tmp_path / "out", root=orin) == 0
    plan = Bundle(tmp_path / "out").manifest.plan
    assert plan is not None
    assert (plan.tensorrt, plan.sm, plan.cuda) == ("10.3.0", "8.7", "12.6")
    assert (plan.jetpack, plan.l4t, plan.power_mode) == ("6.2", "36.4.3", "MAXN_SUPER")
    assert plan.board == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"


def test_layers_are_timed_pass_by_pass(built: Built) -> None:
    told = json.loads((built(layer_ms=0.5) / "layers.json").read_text())
    assert {name: len(each["passes"]) for name, each in told.items()} == {"vision": 1, "lm_step": 2}
    layers = told["vision"]["passes"][0]["layers"]
    assert len({layer["name"] for layer in layers}) == len(layers) > 3
    assert {layer["mean_ms"] for layer in layers} == {0.5}
    assert told["vision"]["made"]["Layers"]


# -- weights beside the graph, weights left out


@pytest.fixture
def beside(tiny: Path, tmp_path: Path) -> Path:
    """The tiny bundle with the weights of lm_step in a file of their own."""
    folder = tmp_path / "beside"
    shutil.copytree(tiny, folder)
    model = onnx.load(str(folder / "lm_step.onnx"))
    (folder / "lm_step.onnx").unlink()
    onnx.save(model, str(folder / "lm_step.onnx"), save_as_external_data=True, location="lm_step.onnx.data", size_threshold=1024)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["graphs"]["lm_step"]["data"] = "lm_step.onnx.data"
    for name in ("lm_step.onnx", "lm_step.onnx.data"):
        manifest["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_weights_beside_a_graph_are_found(tiny: Path, beside: Path, tmp_path: Path, nvidia: Nvidia) -> None:
    assert nvidia.export(beside, "--out", tmp_path / "out") == 0
    assert "lm_step.onnx.data" not in left_in(tmp_path / "out")
    got, want = (conversation(each, 5, 3) for each in (nvidia.graphs(tmp_path / "out"), OnnxGraphs(Bundle(tiny))))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_that_are_missing_are_an_error(beside: Path, tmp_path: Path, nvidia: Nvidia, capsys: pytest.CaptureFixture[str]) -> None:
    (beside / "lm_step.onnx.data").unlink()
    assert refused(nvidia, capsys, beside, "--out", tmp_path / "out").endswith("lm_step.onnx.data is missing")
    manifest = json.loads((beside / "manifest.json").read_text())
    manifest["graphs"]["lm_step"]["data"] = None
    del manifest["sha256"]["lm_step.onnx.data"]
    (beside / "manifest.json").write_text(json.dumps(manifest))
    assert "its weights are in lm_step.onnx.data, which is not beside it" in refused(nvidia, capsys, beside, "--out", tmp_path / "out")
    assert left_in(tmp_path) == ["beside"]


@pytest.mark.parametrize("source", ["tiny", "beside"])
def test_plans_without_weights_take_them_from_the_graphs(
    tiny: Path, tmp_path: Path, nvidia: Nvidia, request: pytest.FixtureRequest, source: str
) -> None:
    """The double's stripped plans have zeros for weights: nothing but a refit makes these answers."""
    folder = request.getfixturevalue(source)
    out = tmp_path / "out"
    assert nvidia.export(folder, "--out", out, "--strip-plan") == 0
    assert {"vision.onnx", "lm_step.onnx"} <= set(left_in(out))
    assert ("lm_step.onnx.data" in left_in(out)) is (source == "beside")
    ours, theirs = nvidia.graphs(out), OnnxGraphs(Bundle(tiny))
    np.testing.assert_array_equal(ours.run("vision", picture())["free_distance"], theirs.run("vision", picture())["free_distance"])
    for a, b in zip(conversation(ours, 5, 3), conversation(theirs, 5, 3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_that_do_not_fit_a_plan_are_an_engine_error(built: Built, changed: Changed, nvidia: Nvidia) -> None:
    from edge_vla.errors import EngineError

    folder = changed(built("--strip-plan"), files={"vision.onnx": b"not a graph"})
    with pytest.raises(EngineError, match=r"vision\.onnx: a plan without weights cannot take them from here: REFIT_FAILED"):
        nvidia.graphs(folder)


@pytest.mark.parametrize("kv", ["dynamic", "static"])
def test_a_refittable_step_has_one_profile_and_answers_the_same(tiny: Path, built: Built, nvidia: Nvidia, kv: str) -> None:
    """TensorRT takes no second one for such a plan."""
    folder = built("--refit", "--kv", kv)
    assert len(header(folder / "lm_step.plan")["profiles"]) == 1
    for a, b in zip(conversation(nvidia.graphs(folder), 5, 6), conversation(OnnxGraphs(Bundle(tiny)), 5, 6), strict=True):
        np.testing.assert_allclose(a, b, rtol=0 if kv == "dynamic" else 1e-5)
