"""Builds that fail or must not begin: one clear line each, and what was there before is untouched. Under the doubles."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.export.tensorrt.conftest import Nvidia, pretended
from tests.export.tensorrt.test_build import header, left_in, refused

Built = Callable[..., Path]
Changed = Callable[..., Path]
Capture = pytest.CaptureFixture[str]
CACHE = "timing-10.3.0-sm87.cache"


def machine_with(tmp_path: Path, available_kib: int) -> Path:
    """The files of a machine with so much memory left."""
    root = tmp_path / "machine"
    (root / "proc").mkdir(parents=True)
    (root / "proc" / "meminfo").write_text(f"MemTotal: 7800000 kB\nMemAvailable: {available_kib} kB\n")
    return root


# -- what TensorRT refuses


def test_a_graph_that_the_parser_refuses(tiny: Path, tmp_path: Path, nvidia: Nvidia, capsys: Capture) -> None:
    nvidia.gpu.parse_error = "UNSUPPORTED_NODE: no plugin of that name"
    said = refused(nvidia, capsys, tiny, "--out", tmp_path / "out")
    assert said.startswith(f"{tiny / 'vision.onnx'}: TensorRT 10.3.0 does not parse it: ")
    assert "the double's operator \"the double's node\": UNSUPPORTED_NODE: no plugin of that name" in said
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("name", ["vision", "lm_step"])
def test_a_graph_that_the_builder_refuses(tiny: Path, tmp_path: Path, nvidia: Nvidia, capsys: Capture, name: str) -> None:
    nvidia.gpu.build_fails, nvidia.gpu.fails_for = "Error Code 2: OutOfMemory (Requested size was 999 bytes.)", name
    said = refused(nvidia, capsys, tiny, "--out", tmp_path / "out")
    assert said == f"{tiny / f'{name}.onnx'}: TensorRT 10.3.0 does not build it: Error Code 2: OutOfMemory (Requested size was 999 bytes.)"
    assert left_in(tmp_path) == ([] if name == "vision" else [CACHE])  # what was timed is kept


def test_plans_that_answer_with_no_number_are_not_kept(tiny: Path, tmp_path: Path, nvidia: Nvidia, capsys: Capture) -> None:
    nvidia.gpu.nan_output = "tokens"
    assert refused(nvidia, capsys, tiny, "--out", tmp_path / "out").endswith("vision.plan: output 'tokens' is not finite")
    assert left_in(tmp_path) == [CACHE]


@pytest.mark.slow
def test_plans_that_answer_otherwise_than_at_export_are_not_kept(
    fp32: Path, tmp_path: Path, nvidia: Nvidia, capsys: Capture, changed: Changed
) -> None:
    """The embeddings of two words changed places: the graphs are sound, the answers are not."""
    import io

    import numpy as np

    rows = np.load(fp32 / "embeddings.npy")
    buffer = io.BytesIO()
    np.save(buffer, rows[::-1])
    said = refused(nvidia, capsys, changed(fp32, files={"embeddings.npy": buffer.getvalue()}), "--out", tmp_path / "out")
    assert "this machine does not run the bundle as it was exported" in said
    assert left_in(tmp_path) == ["changed", CACHE]


def test_a_machine_without_a_gpu(tiny: Path, tmp_path: Path, capsys: Capture) -> None:
    with pretended(sm=(0, 0)) as machine:
        assert "no NVIDIA GPU answers: cudaErrorNoDevice" in refused(machine, capsys, tiny, "--out", tmp_path / "out")
    assert left_in(tmp_path) == []


# -- what the gate refuses


def test_a_graph_for_onnx_runtime_alone(checkout: Path, tmp_path: Path, nvidia: Nvidia, capsys: Capture) -> None:
    """The shipped policy has weights of 8 bits in blocks, which TensorRT does not parse."""
    said = refused(nvidia, capsys, checkout / "engines" / "policy-tiny", "--out", tmp_path / "out")
    assert "TensorRT 10.3 does not take " in said
    assert "MatMulNBits" in said
    assert "python -m export gate" in said
    assert nvidia.gpu.networks == []


def test_a_picture_read_ahead_is_for_onnx_runtime_alone(checkout: Path, tmp_path: Path, nvidia: Nvidia, capsys: Capture) -> None:
    """By the shipped engine."""
    said = refused(nvidia, capsys, checkout / "engines" / "default", "--out", tmp_path / "out")
    assert "reads a picture in a graph of its own, for ONNX Runtime; export it with --portable" in said
    assert nvidia.gpu.networks == []


def test_the_gate_is_that_of_the_tensorrt_found(tiny: Path, tmp_path: Path, capsys: Capture) -> None:
    with pretended(tensorrt="11.4.1") as machine:
        assert machine.export(tiny, "--out", tmp_path / "out") == 0
    assert "within TensorRT 11's rules" in capsys.readouterr().err


# -- what does not fit


def test_a_build_that_cannot_fit(tiny: Path, tmp_path: Path, nvidia: Nvidia, capsys: Capture) -> None:
    root = machine_with(tmp_path, 1_000_000)
    said = refused(nvidia, capsys, tiny, "--out", tmp_path / "out", root=root)
    assert said == (
        "tiny does not fit: building it takes 1.75 GiB, this machine has free 0.95 GiB; nearest that fits: --workspace-mb 208; "
        "--force builds it all the same"
    )
    assert nvidia.gpu.networks == []
    assert nvidia.export(tiny, "--out", tmp_path / "out", "--workspace-mb", 208, root=root) == 0


def test_nothing_smaller_fits(tiny: Path, tmp_path: Path, nvidia: Nvidia, capsys: Capture) -> None:
    said = refused(nvidia, capsys, tiny, "--out", tmp_path / "out", root=machine_with(tmp_path, 100_000))
    assert "shorter limits (--max-prefill, --max-past) or its model exported at a lower precision take less" in said


def test_a_build_that_is_forced(tiny: Path, tmp_path: Path, nvidia: Nvidia, capsys: Capture) -> None:
    assert nvidia.export(tiny, "--out", tmp_path / "out", "--force", root=machine_with(tmp_path, 100_000)) == 0
    assert "forced: tiny does not fit" in capsys.readouterr().err


def test_a_machine_that_does_not_say_what_is_free(tiny: Path, tmp_path: Path, nvidia: Nvidia, capsys: Capture) -> None:
    assert "does not say what memory is free" in refused(nvidia, capsys, tiny, "--out", tmp_path / "out", root=tmp_path)


def test_checking_needs_no_tensorrt_and_writes_nothing(
    tiny: Path, tmp_path: Path, nvidia: Nvidia, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "cuda", None)
    assert nvidia.export(tiny, "--out", tmp_path / "out", "--plan-check", "--device", "orin-nano") == 0
    told = capsys.readouterr().err
    assert "within TensorRT 10.3's rules" in told
    assert "within TensorRT 11's rules" in told
    assert "orin-nano has free 5.90 GiB" in told
    assert left_in(tmp_path) == []
    assert "no module tensorrt: it comes with JetPack" in refused(nvidia, capsys, tiny, "--out", tmp_path / "out")


# -- where it may not go, what it may not be


def test_a_bundle_of_plans_is_no_source(built: Built, tmp_path: Path, nvidia: Nvidia, capsys: Capture) -> None:
    assert "holds plans already; build from the bundle with its ONNX graphs" in refused(nvidia, capsys, built(), "--out", tmp_path / "out")


def test_a_folder_that_is_no_bundle_is_not_replaced(tiny: Path, tmp_path: Path, nvidia: Nvidia, capsys: Capture) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"x")
    assert "want a new folder, or another bundle's, which is replaced" in refused(nvidia, capsys, tiny, "--out", tmp_path / "photos")
    assert left_in(tmp_path / "photos") == ["holiday.jpg"]


def test_a_source_is_not_replaced_by_its_plans(tmp_path: Path, nvidia: Nvidia, capsys: Capture, tiny: Path, changed: Changed) -> None:
    source = changed(tiny)
    assert "want a new folder" in refused(nvidia, capsys, source, "--out", source)
    assert (source / "vision.onnx").is_file()
    assert nvidia.export(source) == 0
    assert left_in(tmp_path) == ["changed", "changed-tensorrt", CACHE]


def test_an_older_bundle_is_replaced_only_by_a_finished_one(tiny: Path, tmp_path: Path, nvidia: Nvidia, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert nvidia.export(tiny, "--out", out) == 0
    before = (out / "manifest.json").read_bytes()
    nvidia.gpu.build_fails, nvidia.gpu.fails_for = "no", "lm_step"
    refused(nvidia, capsys, tiny, "--out", out, "--kv", "static")
    assert (out / "manifest.json").read_bytes() == before
    nvidia.gpu.build_fails = ""
    assert nvidia.export(tiny, "--out", out, "--kv", "static") == 0
    assert left_in(tmp_path) == ["out", CACHE]
    assert header(out / "lm_step.plan")["profiles"][1]["past_keys"][0] == [1, 1, 17, 88]


# -- timings


def test_what_was_timed_is_not_timed_again(tiny: Path, tmp_path: Path, nvidia: Nvidia) -> None:
    assert nvidia.export(tiny, "--out", tmp_path / "out") == 0
    first = nvidia.gpu.timed
    assert first > 10
    assert (tmp_path / CACHE).is_file()
    assert nvidia.export(tiny, "--out", tmp_path / "out") == 0
    assert nvidia.gpu.timed == first
    assert nvidia.export(tiny, "--out", tmp_path / "out", "--timing-cache", tmp_path / "other" / "cache") == 0
    assert nvidia.gpu.timed == 2 * first
    assert left_in(tmp_path / "other") == ["cache"]


@pytest.mark.parametrize(
    "data", [b"no cache", b'{"sm": [8, 7], "version": "10.13.3.9", "keys": []}', b'{"sm": [8, 9], "version": "10.3.0", "keys": []}']
)
def test_timings_of_another_machine_are_refused(tiny: Path, tmp_path: Path, nvidia: Nvidia, capsys: Capture, data: bytes) -> None:
    cache = tmp_path / "cache"
    cache.write_bytes(data)
    said = refused(nvidia, capsys, tiny, "--out", tmp_path / "out", "--timing-cache", cache)
    assert said == f"timing cache {cache} is none of TensorRT 10.3.0 on this GPU; delete it, or name another"
    assert cache.read_bytes() == data
    assert left_in(tmp_path) == ["cache"]


def test_timings_that_cannot_be_read_or_written(tiny: Path, tmp_path: Path, nvidia: Nvidia, capsys: Capture) -> None:
    assert f"timing cache {tmp_path}: Is a directory" in refused(
        nvidia, capsys, tiny, "--out", tmp_path / "out", "--timing-cache", tmp_path
    )
    (tmp_path / "file").touch()
    said = refused(nvidia, capsys, tiny, "--out", tmp_path / "out", "--timing-cache", tmp_path / "file" / "cache")
    assert "file/cache: Not a directory" in said
