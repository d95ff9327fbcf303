"""`python -m export default`: what it writes is complete, verified and grammatical; what it cannot verify it does not write."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

from edge_vla.backends.bundle import Bundle
from edge_vla.backends.finder import FinderEngine
from edge_vla.errors import ConfigError
from edge_vla.learn.data.shards import write_shard
from edge_vla.learn.data.views import View
from edge_vla.learn.finder.language import build_tokenizer
from edge_vla.parts import open_bundle
from edge_vla.sim.objects import CLASSES
from edge_vla.types import Frame
from export.default import TOLERANCE, export_default, load_finder, main, manifest_of
from export.finder.onnx import OPSET

Traced = Callable[..., None]
FILES = {"vision.onnx", "prefix.onnx", "lm_step.onnx", "tokenizer.json", "embeddings.npy", "reference.json"}
IMAGES_SEEN = 1234  # of the checkpoint in conftest.py


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def spoil(name: str, change: Callable[[np.ndarray], None]) -> Callable[[Path], None]:
    """An edit of a traced graph: `change` is applied to its largest weight of float32."""

    def edit(folder: Path) -> None:
        model = onnx.load(str(folder / name))
        weight = max((w for w in model.graph.initializer if w.data_type == 1), key=lambda w: len(w.raw_data))
        values = numpy_helper.to_array(weight).copy()
        change(values)
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        onnx.save(model, str(folder / name))

    return edit


# -- what is written


def test_torch_and_onnx_agree_and_the_manifest_says_how_well(fp32: Path) -> None:
    made = Bundle(fp32).manifest.made
    assert 0 < made["torch_onnx_max_abs"] < TOLERANCE == 2e-3
    assert made["images_seen"] == IMAGES_SEEN
    assert made["torch"] == torch.__version__
    assert re.fullmatch("[0-9a-f]{7,}", str(made["commit"]))


def test_the_manifest_is_complete(fp32: Path) -> None:
    m, tokenizer = Bundle(fp32).manifest, build_tokenizer()
    assert (m.name, m.kind, m.domain, m.backend, m.precision) == ("default", "vlm", "sim", "onnx", "fp32")
    assert m.targets == list(CLASSES)
    assert (m.free_distance_columns, m.free_distance_cap_m) == (16, 4.0)
    assert m.tokens.loc_start == tokenizer.token_to_id("<loc0000>")
    assert (m.tokens.bos, m.tokens.eos, m.tokens.pad, m.tokens.unk, m.tokens.loc_bins) == (2, 1, 0, 3, 1024)
    assert m.tokens.newline == tokenizer.token_to_id("\n")
    words = [tokenizer.id_to_token(row) for row in m.tokens.words]
    assert {*CLASSES, "yes", "no", "move", "forward", "."} <= set(words)
    assert not any(word.startswith("<") for word in words), "no loc and no special row is a word"
    assert (m.language.layers, m.language.kv_heads, m.language.head_dim, m.language.hidden, m.language.image_tokens) == (4, 1, 64, 256, 196)
    assert m.prompts.sentences == ["drive", "describe", "what is the main object?"]


def test_every_file_is_signed_and_nothing_else_lies_there(fp32: Path) -> None:
    manifest = Bundle(fp32).manifest
    assert {path.name for path in fp32.iterdir()} == FILES | {"manifest.json"}
    assert manifest.sha256 == {name: hashlib.sha256((fp32 / name).read_bytes()).hexdigest() for name in FILES}


@pytest.mark.parametrize("name", ["vision", "prefix", "lm_step"])
def test_the_manifest_names_the_tensors_the_graph_has(fp32: Path, name: str) -> None:
    told = Bundle(fp32).manifest.graphs[name]
    graph = ort.InferenceSession(str(fp32 / told.file), providers=["CPUExecutionProvider"])
    for tensors, nodes in ((told.inputs, graph.get_inputs()), (told.outputs, graph.get_outputs())):
        assert [t.name for t in tensors] == [node.name for node in nodes]
        assert [t.dtype for t in tensors] == [{"tensor(float)": "float32", "tensor(int64)": "int64"}[node.type] for node in nodes]
        assert [t.shape for t in tensors] == [list(node.shape) for node in nodes]


def test_only_text_and_cache_lengths_are_dynamic(fp32: Path) -> None:
    """T and P may vary, and P + T is whatever comes out: embeddings, positions, mask, keys and values."""
    vision, prefix, step = (Bundle(fp32).manifest.graphs[name] for name in ("vision", "prefix", "lm_step"))
    free = {t.name: [i for i, axis in enumerate(t.shape) if isinstance(axis, str)] for t in (*step.inputs, *step.outputs)}
    assert free == {
        "embeddings": [1], "positions": [1], "mask": [2, 3], "past_keys": [2], "past_values": [2],
        "logits": [], "keys": [2], "values": [2],
    }  # fmt: skip
    assert all(isinstance(axis, int) for graph in (vision, prefix) for t in (*graph.inputs, *graph.outputs) for axis in t.shape)


@pytest.mark.parametrize("name", ["vision.onnx", "prefix.onnx", "lm_step.onnx"])
def test_the_graphs_are_portable(fp32: Path, name: str) -> None:
    """Opset at most 20 and no runtime's own operators: what DESIGN §3 promises TensorRT."""
    model = onnx.load(str(fp32 / name))
    assert {o.domain: o.version for o in model.opset_import} == {"": OPSET}
    assert OPSET <= 20
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert not model.functions


def test_an_export_can_be_read_by_others_than_its_maker(fp32: Path) -> None:
    assert fp32.stat().st_mode & stat.S_IROTH
    assert all(path.stat().st_mode & stat.S_IROTH for path in fp32.iterdir())


# -- what it answers


@pytest.mark.parametrize("thing", CLASSES)
def test_a_detection_is_grammatical(engine: FinderEngine, frames: list[Frame], thing: str) -> None:
    for frame in frames:
        reply = engine.ask(frame, f"detect {thing}")
        assert re.fullmatch(rf"((<loc\d{{4}}>){{4}} {thing})?", reply.text)
        y_min, x_min, y_max, x_max = (int(k) for k in re.findall(r"\d{4}", reply.text) or (0, 0, 1, 1))
        assert 0 <= y_min < y_max <= 1023
        assert 0 <= x_min < x_max <= 1023
        assert 0 <= reply.confidence <= 1
        assert len(reply.free_distance_m) == 16
        assert all(0 < d < 4 for d in reply.free_distance_m)


def test_a_sentence_is_made_of_words(engine: FinderEngine, frames: list[Frame]) -> None:
    m, tokenizer = engine.manifest, build_tokenizer()
    known = {tokenizer.id_to_token(row) for row in m.tokens.words}
    for prompt in m.prompts.sentences:
        words = re.findall(r"\w+|\S", engine.ask(frames[0], prompt).text)
        assert set(words) <= known
        assert 0 < len(words) <= m.language.max_new_tokens
    assert engine.ask(frames[0], "is there a cup?").text in {"yes", "no"}


def test_what_it_was_not_trained_on_is_refused(engine: FinderEngine, frames: list[Frame]) -> None:
    with pytest.raises(ConfigError, match=rf"does not know 'zebra'. It knows: {', '.join(CLASSES)}"):
        engine.ask(frames[0], "detect zebra")
    with pytest.raises(ConfigError, match=r"it answers 'detect {thing}', 'is there {thing}\?', 'drive', 'describe', 'what is the main"):
        engine.ask(frames[0], "sing")


# -- int8


@pytest.fixture(scope="module")
def int8(int8_folder: Path) -> FinderEngine:
    return open_bundle(Bundle(int8_folder))


def off(got: np.ndarray, want: np.ndarray) -> float:
    """The error's size relative to the spread of what it should be."""
    return float((got - want).std() / want.std())


def answers(engine: FinderEngine, frame: Frame, tokens: np.ndarray | None = None) -> list[np.ndarray]:
    """Tokens, free distances, keys and values of the image, and logits after a question, the last three from `tokens` where given."""
    seen = {name: array.copy() for name, array in engine.graphs.run("vision", {"image": engine.preprocess(frame.rgb)}).items()}
    kept = engine.graphs.run("prefix", {"tokens": seen["tokens"] if tokens is None else tokens})
    rows = engine._rows[build_tokenizer().encode("<bos> detect cup\n").ids][None]
    engine.graphs.begin(kept)
    fed = {"embeddings": rows, "positions": np.arange(196, 200)[None], "mask": np.zeros((1, 1, 4, 200), np.float32)}
    logits = engine.graphs.step(fed)["logits"]
    return [array.copy() for array in (seen["tokens"], seen["free_distance"], kept["keys"], kept["values"], logits)]


def test_int8_stays_within_its_tolerance_of_fp32(engine: FinderEngine, int8: FinderEngine, frames: list[Frame]) -> None:
    """Tokens within 12 %, and from the same tokens keys, values and logits within 20 % of their spread; free distances within 2 cm.

    These weights are rougher than trained ones, which are nearer; other weights are off by more than 100 %.
    """
    for frame in frames:
        tokens, free, keys, values, logits = answers(engine, frame)
        tokens8, free8, keys8, values8, logits8 = answers(int8, frame, tokens)
        assert 0 < off(tokens8, tokens) < 0.12
        assert np.abs(free8 - free).max() < 0.02
        assert 0 < off(keys8, keys) < 0.2
        assert 0 < off(values8, values) < 0.2
        assert 0 < off(logits8, logits) < 0.2


def test_int8_is_smaller_and_says_so(fp32: Path, int8: FinderEngine, int8_folder: Path, pictures: list[np.ndarray]) -> None:
    assert int8.manifest.precision == "int8"
    assert int8.manifest.made["int8_pictures"] == len(pictures)
    assert int8.manifest.made["torch_onnx_max_abs"] < TOLERANCE < int8.manifest.made["torch_int8_max_abs"]
    sizes = [sum(path.stat().st_size for path in folder.iterdir()) for folder in (fp32, int8_folder)]
    assert sizes[1] < 0.45 * sizes[0]
    assert sizes[1] < 12e6
    assert {path.name for path in int8_folder.iterdir()} == FILES | {"manifest.json"}


# -- portable


def test_a_portable_bundle_says_the_same_without_the_graph_that_saves_time(
    checkpoint: Path, traced: Traced, tmp_path: Path, engine: FinderEngine, frames: list[Frame]
) -> None:
    traced(lambda folder: (folder / "prefix.onnx").unlink())
    export_default(checkpoint, tmp_path / "portable", "fp32", portable=True)
    portable = open_bundle(Bundle(tmp_path / "portable"))
    assert [*portable.manifest.graphs] == ["vision", "lm_step"]
    assert [*engine.manifest.graphs] == ["vision", "prefix", "lm_step"]
    said = set()
    for frame in frames:
        for prompt in (*(f"detect {thing}" for thing in CLASSES[::3]), "drive", "is there a cup?"):
            one, two = engine.ask(frame, prompt), portable.ask(frame, prompt)
            assert one.text == two.text
            assert one.confidence == pytest.approx(two.confidence, abs=1e-4)
            said.add(one.text)
    assert len(said) > 8


# -- what is not written


BROKEN: dict[str, Callable[[Path], None]] = {
    "a weight of the vision tower": spoil("vision.onnx", lambda w: w.__setitem__((0,) * w.ndim, w.flat[0] + 1.0)),
    "a weight of the decoder": spoil("lm_step.onnx", lambda w: w.__setitem__((0,) * w.ndim, w.flat[0] + 1.0)),
    "a weight of the image's keys": spoil("prefix.onnx", lambda w: w.__setitem__((0,) * w.ndim, w.flat[0] + 1.0)),
    "a decoder that says nan": spoil("lm_step.onnx", lambda w: w.fill(np.nan)),
    "a tower that says nan": spoil("vision.onnx", lambda w: w.fill(np.nan)),
}


@pytest.mark.parametrize("edit", BROKEN.values(), ids=BROKEN.keys())
def test_a_graph_that_is_not_the_model_is_not_exported(
    checkpoint: Path, traced: Traced, tmp_path: Path, edit: Callable[[Path], None]
) -> None:
    out = tmp_path / "default"
    out.mkdir()
    (out / "manifest.json").write_text("the old one")
    traced(edit)
    with pytest.raises(SystemExit, match=r"torch and ONNX differ by (\S+), allowed is 2e-03: nothing was exported"):
        export_default(checkpoint, out, "fp32")
    assert contents(tmp_path) == {"default/manifest.json": b"the old one"}, "no scratch folder is left either"


def test_a_good_graph_takes_the_old_ones_place(checkpoint: Path, traced: Traced, tmp_path: Path, fp32: Path) -> None:
    """The same copy, unspoilt, is exported: it is the spoiling that was refused above."""
    out = tmp_path / "engines" / "default"
    traced()
    for leftover in ("stale.onnx", "stale.npy"):
        out.mkdir(parents=True, exist_ok=True)
        (out / leftover).write_text("of an older export")
        export_default(checkpoint, out, "fp32")
    assert [path.name for path in out.parent.iterdir()] == ["default"]
    assert {name: data for name, data in contents(out).items() if name != "manifest.json"} == {
        name: data for name, data in contents(fp32).items() if name != "manifest.json"
    }


def test_an_export_that_fails_late_leaves_the_old_one(
    checkpoint: Path, traced: Traced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "default"
    out.mkdir()
    (out / "manifest.json").write_text("the old one")
    traced()

    def full(*args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="no space left"):
        export_default(checkpoint, out, "fp32")
    assert contents(tmp_path) == {"default/manifest.json": b"the old one"}


@pytest.mark.parametrize("name", sorted(FILES))
def test_an_exported_file_that_changes_afterwards_is_refused(fp32: Path, tmp_path: Path, name: str) -> None:
    for file, data in contents(fp32).items():
        (tmp_path / file).write_bytes(data)
    Bundle(tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 0x40
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=f"{name} has sha256 .* export it again"):
        Bundle(tmp_path)


# -- the door


def test_the_command_exports_a_checkpoint_as_int8(
    checkpoint: Path, traced: Traced, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traced()
    views = tmp_path / "views"
    views.mkdir()
    for k in range(3):
        write_shard(
            views / f"{k}.npz", [View(np.full((224, 224, 3), 60 * k, np.uint8), np.zeros((0, 6), np.float32), np.ones(16, np.float32))]
        )
    words = ["--limit", "0", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "default"), "--ranges", str(views)]
    main(words)
    manifest = Bundle(tmp_path / "default").manifest
    assert (manifest.precision, manifest.made["int8_pictures"]) == ("int8", 3)
    assert re.search(rf"default: \d+\.\d MB, .*'images_seen': {IMAGES_SEEN}", capsys.readouterr().out)


def test_int8_wants_pictures(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"empty holds no views to measure int8 scales on: render some"):
        main(["--checkpoint", str(checkpoint), "--out", str(tmp_path / "default"), "--ranges", str(tmp_path / "empty")])
    assert not (tmp_path / "default").exists()


def test_only_fp32_is_portable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--portable"])
    assert "--portable: want --precision fp32 with it, got int8" in capsys.readouterr().err


def test_the_untrained_control_is_always_the_same_and_no_trained_one(checkpoint: Path) -> None:
    (one, seen), (two, _), (trained, trained_seen) = load_finder(None), load_finder(None), load_finder(checkpoint)
    assert (seen, trained_seen) == (0, IMAGES_SEEN)
    weights = [finder.state_dict() for finder in (one, two, trained)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert not torch.equal(weights[0]["vision.position"], weights[2]["vision.position"])
    assert not any(finder.training for finder in (one, two, trained))


def test_a_manifest_of_changed_files_signs_what_is_there(fp32: Path, tmp_path: Path, checkpoint: Path) -> None:
    for file, data in contents(fp32).items():
        (tmp_path / file).write_bytes(data)
    (tmp_path / "tokenizer.json").write_text(json.dumps(json.loads((tmp_path / "tokenizer.json").read_text())))
    manifest, before = manifest_of(load_finder(checkpoint)[0], tmp_path, "fp32", {}), Bundle(fp32).manifest
    assert {*manifest.sha256} == FILES - {"reference.json"}
    assert [name for name, said in manifest.sha256.items() if said != before.sha256[name]] == ["tokenizer.json"]
