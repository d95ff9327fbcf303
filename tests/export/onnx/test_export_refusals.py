"""What cannot become a bundle says so in one line, and leaves nothing that looks like one."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edge_vla.backends.bundle import MANIFEST, Bundle
from edge_vla.errors import ConfigError, EngineError
from edge_vla.parts import open_bundle
from export import onnx as door

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def policy(paligemma: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint directory as the trainer writes it. Copy it to change it."""
    from edge_vla.learn.build import build_policy

    folder = tmp_path_factory.mktemp("policy") / "model"
    shutil.copytree(paligemma, folder / "vlm")
    config: dict[str, Any] = {
        "robovlm_name": "RoboPaligemma", "vlm": {"pretrained_model_name_or_path": "vlm"}, "window_size": 2, "fwd_pred_next_n": 2,
        "act_head": {
            "type": "MobileVLALSTMDecoder", "hidden_size": 16, "action_dim": 2, "action_space": "continuous", "down_sample": "none",
        },
        "action_layout": ["linear_x", "angular_z"],
    }  # fmt: skip
    torch.manual_seed(1)
    model = build_policy(config | {"vlm": {"pretrained_model_name_or_path": str(folder / "vlm")}})
    rest = {name: t.contiguous() for name, t in model.state_dict().items() if not name.startswith("backbone.")}
    save_file(rest, folder / "policy.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def made(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "bundle"
    assert door.main([str(policy), "--out", str(out), "--domain", "sim"]) == 0
    return out


def spoiled(policy: Path, folder: Path, file: str, tensor: str) -> Path:
    """A copy with one number that is none."""
    out = Path(shutil.copytree(policy, folder / "model"))
    tensors = load_file(out / file)
    tensors[tensor].view(-1)[3] = float("nan")
    save_file(tensors, out / file, {"format": "pt"})
    return out


def test_the_command_makes_a_bundle_that_drives(made: Path) -> None:
    bundle = Bundle(made)
    assert bundle.manifest.kind == "policy"
    assert bundle.manifest.policy.motion == {"linear_x": 0, "angular_z": 1}  # type: ignore[attr-defined]
    assert {path.name for path in made.iterdir()} == {*bundle.manifest.files, MANIFEST}
    assert not (made / MANIFEST).read_text().count(str(ROOT))
    open_bundle(bundle).close()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--camera", "wide"], "--camera 'wide': want WIDTHxHEIGHT"),
        (["--static", "3"], "--static 3: want 16 to 65536 positions"),
        (["--max-linear", "0.9"], "--max-linear 0.9: want above 0, at most 0.5"),
        (["--precision", "w8a8"], "--calib: want a set exactly for w8a8"),
        (["--calib", "set"], "--calib: want a set exactly for w8a8"),
        (["--rows", "loc"], "--rows: a policy's are those of its actions"),
        (["--actions", "linear_x"], "action layout 'linear_x': want 2 of"),
        (["--as", "vlm", "--actions", "linear_x,angular_z"], "--actions: only a policy acts"),
        (["--as", "vlm", "--rows", "loc"], "has no rows <loc0000> to <loc1023>"),
        (["--as", "vlm", "--rows", "9-3"], "rows '9-3': want FIRST-END"),
        (["--as", "vlm", "--rows", "390-900"], "this head has rows 0 to 399"),
    ],
)
def test_options_that_make_no_sense_are_refused(policy: Path, words: list[str], why: str, tmp_path: Path, capsys: Any) -> None:
    assert door.main([str(policy), "--out", str(tmp_path / "bundle"), *words]) == 2
    assert why in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("file", "tensor"), [("policy.safetensors", "act_head.rnn.weight_ih_l0"), ("vlm/model.safetensors", None)])
def test_a_weight_that_is_no_number_is_refused_by_name(policy: Path, file: str, tensor: str | None, tmp_path: Path, capsys: Any) -> None:
    name = tensor or next(n for n in load_file(policy / file) if "mlp" in n)
    model = spoiled(policy, tmp_path, file, name)
    assert door.main([str(model), "--out", str(tmp_path / "bundle")]) == 2
    told = capsys.readouterr().err
    assert name.rpartition(".")[0].rpartition(".")[2] in told
    assert not (tmp_path / "bundle").exists()


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, capsys: Any) -> None:
    assert door.main([str(tmp_path / "nothing"), "--out", str(tmp_path / "bundle")]) == 2
    assert "no config.json" in capsys.readouterr().err
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert door.main([str(tmp_path), "--out", str(tmp_path / "bundle")]) == 2
    assert "model_type 'bert': want one of paligemma" in capsys.readouterr().err


def command(policy: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "export", "onnx", str(policy), "--out", str(out)]


def test_a_full_disk_leaves_nothing(policy: Path, tmp_path: Path) -> None:
    """Files may grow to 30 kB: the first that is larger fails as it would on a full disk."""

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    done = subprocess.run(command(policy, tmp_path / "bundle"), cwd=ROOT, capture_output=True, text=True, preexec_fn=small, check=False)
    assert done.returncode == 2, done.stderr
    assert "not written, File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_the_old_bundle_as_it_was(policy: Path, made: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(made, tmp_path / "bundle"))
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    with subprocess.Popen(
        command(policy, old), cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - jobs in the background ignore it
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:  # it says what it does: now it is at work
            if "tracing" in line:
                break
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
        assert process.wait(timeout=60) == 130, told
    assert "interrupted" in told
    assert "Traceback" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before


@pytest.mark.parametrize("file", ["vision.onnx", "lm_step.onnx", "head.onnx", "embeddings.npy", "tokenizer.json", "act.npy"])
def test_a_file_that_changed_or_is_gone_is_refused(made: Path, file: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "bundle"))
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ConfigError, match=rf"{file} has sha256 .*; export it again"):
        Bundle(folder)
    (folder / file).unlink()
    with pytest.raises(ConfigError, match=f"{file} is missing"):
        Bundle(folder)


def test_a_corrupt_graph_signed_as_right_is_refused(made: Path, tmp_path: Path) -> None:
    from edge_vla.backends.bundle import sha256

    folder = Path(shutil.copytree(made, tmp_path / "bundle"))
    (folder / "head.onnx").write_bytes((folder / "head.onnx").read_bytes()[:200])
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["sha256"]["head.onnx"] = sha256(folder / "head.onnx")
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(EngineError, match=r"head\.onnx"):
        open_bundle(Bundle(folder))


def test_weights_beside_a_graph_are_part_of_the_bundle(made: Path, tmp_path: Path) -> None:
    """A graph that keeps its weights elsewhere: without them the bundle is refused before anything is loaded."""
    import onnx

    from edge_vla.backends.bundle import sha256

    folder = Path(shutil.copytree(made, tmp_path / "bundle"))
    graph = onnx.load(folder / "lm_step.onnx")
    onnx.save(graph, folder / "lm_step.onnx", save_as_external_data=True, location="lm_step.onnx.data", size_threshold=1024)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["graphs"]["lm_step"]["data"] = "lm_step.onnx.data"
    manifest["sha256"] |= {name: sha256(folder / name) for name in ("lm_step.onnx", "lm_step.onnx.data")}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    open_bundle(Bundle(folder)).close()
    (folder / "lm_step.onnx.data").unlink()
    with pytest.raises(ConfigError, match=r"lm_step\.onnx\.data is missing"):
        Bundle(folder)


def test_the_same_checkpoint_gives_the_same_graphs(policy: Path, made: Path, tmp_path: Path) -> None:
    """Byte for byte: what was calibrated on one fits the other."""
    assert door.main([str(policy), "--out", str(tmp_path / "again"), "--domain", "sim"]) == 0
    for name in ("vision.onnx", "lm_step.onnx", "head.onnx", "embeddings.npy", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (made / name).read_bytes(), name
