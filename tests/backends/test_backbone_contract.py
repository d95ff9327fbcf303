"""Manifests of policies and of backbones that speak: what is refused, and that the kinds are told apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from edge_vla.backends.backbone_contract import contradiction
from edge_vla.backends.backbone_manifest import BackboneManifest, PolicyManifest, SpeakerManifest
from edge_vla.backends.bundle import Bundle, FinderManifest
from edge_vla.errors import ConfigError

Manifest = dict[str, Any]
Edit = Callable[[Manifest], object]
CACHE = {"dtype": "float32", "shape": [2, 4, "past", 8]}


def tensors(**told: list[Any]) -> list[Manifest]:
    """Floats; positions and the like by their names."""
    whole = {"positions", "act", "seen", "choice"}
    return [{"name": name, "dtype": "int64" if name in whole else "float32", "shape": shape} for name, shape in told.items()]


def graph(name: str, inputs: list[Manifest], outputs: list[Manifest]) -> Manifest:
    return {"file": f"{name}.onnx", "inputs": inputs, "outputs": outputs}


def step(*, acts: bool, rows: int | None = None) -> Manifest:
    """lm_step of a policy that reads hidden states, or with a cache and logits, of `rows` of its 50 rows."""
    inputs = tensors(embeddings=[1, "n", 32], positions=[1, "n"], mask=[1, 1, "n", "all"])
    if acts:
        return graph("lm_step", inputs + tensors(act=["frames", 2]), tensors(tokens=["frames", 2, 32]))
    told = tensors(logits=[1, rows or 50]) + (tensors(choice=[1]) if rows else []) + tensors(hidden=[1, 32])
    kept = [{"name": name, **CACHE} for name in ("past_keys", "past_values")]
    return graph("lm_step", inputs + kept, told + [{"name": name, **CACHE} for name in ("keys", "values")])


def backbone(**own: Any) -> Manifest:
    vision = graph("vision", tensors(image=[1, 3, 28, 28]), tensors(tokens=[1, 4, 32]))
    return {
        "schema_version": 1, "name": "tiny", "domain": "sim", "backend": "onnx", "precision": "fp32", "max_linear_mps": 0.2,
        "max_angular_rps": 0.5, "sha256": {},
        "picture": {"kind": "squash", "height": 28, "width": 28, "resample": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3},
        "sequence": {"tokenizer": "tokenizer.json", "adds_special": True, "bos": True, "eos": True, "image_tokens": 4},
        "decoder": {
            "layers": 2, "kv_heads": 4, "head_dim": 8, "hidden": 32, "embeddings": "embeddings.npy", "vocabulary": 50, "max_new_tokens": 8,
        },
        "graphs": {"vision": vision, **own.pop("graphs")}, **own,
    }  # fmt: skip


def policy() -> Manifest:
    head = graph("head", tensors(tokens=[1, "frames", 2, 32]), tensors(arm=[1, 5, 2], gripper=[1, 5, 1]))
    return backbone(
        kind="policy", instruction="do {text}", act="act.npy", graphs={"lm_step": step(acts=True), "head": head},
        policy={
            "head": "LSTMDecoder", "action_space": "continuous", "history": "post", "window": 8, "chunk": 5, "action_dim": 3, "latent": 2,
            "scaling": {"bounds": [-1.0, 1.0], "mean": [0.0, 0.1], "deviation": 1.0}, "motion": {"linear_x": 0, "angular_z": 1},
            "period_s": 0.2,
        },
    )  # fmt: skip


def discrete() -> Manifest:
    told = policy()
    told["policy"] |= {"action_space": "discrete", "bins": {"first_row": 30, "count": 10}}
    told["decoder"]["rows"] = [[30, 40]]
    told["graphs"] = {"vision": told["graphs"]["vision"], "lm_step": step(acts=False, rows=10)}
    told["act"] = None
    return told


def speaker() -> Manifest:
    question = [{"rows": [1]}, {}, {"text": "{text}\n"}]
    return backbone(
        kind="vlm", grammar="paligemma", spelling="pieces", ends=[1], question=question, graphs={"lm_step": step(acts=False)}
    )  # fmt: skip


def moondream() -> Manifest:
    detect = [{"rows": [0]}, {}, {"rows": [1, 2]}, {"text": " {text}"}, {"rows": [3]}]
    return speaker() | {"grammar": "moondream", "region": {"file": "region.npz", "log_sizes": True, "detect": detect}}


def mosaic(told: Manifest) -> None:
    told["picture"] |= {"kind": "mosaic", "crop": 28, "margin": 7, "most": 12, "camera": [40, 30], "height": 84, "width": 112}
    told["graphs"]["vision"]["inputs"][0]["shape"] = [1, 3, 84, 112]


def beside(told: Manifest) -> None:
    told["sequence"] |= {"image_tokens": 0, "mark": 7, "latents": [4, 16]}
    told["graphs"]["vision"]["outputs"][0]["shape"] = [1, 4, 16]
    told["graphs"]["lm_step"]["inputs"] += tensors(latents=[1, "pictures", 4, 16], seen=[1, "n"])


def read(told: Manifest) -> BackboneManifest:
    kind: type[BackboneManifest] = PolicyManifest if told["kind"] == "policy" else SpeakerManifest
    return kind.model_validate_json(json.dumps(told))


def changed(base: Manifest, edit: Edit) -> Manifest:
    told = deepcopy(base)
    edit(told)
    return told


def setting(path: str, value: Any) -> Edit:
    *where, last = path.split(".")

    def edit(told: Manifest) -> None:
        for part in where:
            told = told[int(part)] if isinstance(told, list) else told[part]
        told[int(last) if isinstance(told, list) else last] = value  # type: ignore[index]

    return edit


@pytest.mark.parametrize(
    "told",
    [policy(), discrete(), speaker(), moondream(), changed(speaker(), mosaic), changed(policy(), beside), changed(policy(), mosaic)],
    ids=["policy", "discrete", "speaker", "moondream", "mosaic", "beside", "mosaic policy"],
)
def test_a_whole_manifest_has_nothing_against_it(told: Manifest) -> None:
    assert contradiction(read(told)) == ""


def test_a_window_of_one_frame_may_be_fixed() -> None:
    told = changed(policy(), setting("graphs.head.inputs.0.shape", [1, 1, 2, 32]))
    assert contradiction(read(told)) == "graphs.head.inputs.tokens: want a dynamic size on axis 1, got tokens float32[1, 1, 2, 32]"
    assert contradiction(read(changed(told, setting("policy.window", 1)))) == ""


PICTURES: list[tuple[Edit, str]] = [
    (setting("picture.kind", "pad"), "picture.fill: want a colour exactly for pad, got None for pad"),
    (setting("picture.fill", [0.0, 0.5, 1.0]), "picture.fill: want a colour exactly for pad, got"),
    (setting("picture.rounded", True), "picture.rounded: want it for middle only, got squash"),
    (lambda m: m["picture"].update(kind="middle", width=42), "picture.width: want a square for middle, got 28 x 42"),
    (setting("picture.kind", "closest"), "picture.crop: want it exactly for closest and mosaic, got None for closest"),
    (setting("picture.camera", [40, 30]), "picture.camera: want it exactly for closest and mosaic, got [40, 30] for squash"),
    (setting("picture.most", 3), "picture.most: want a number exactly for mosaic, got 3 for squash"),
    (lambda m: (mosaic(m), m["picture"].update(margin=14)), "picture.margin: want less than half of 28, got 14"),
    (lambda m: (mosaic(m), m["picture"].update(camera=[40, 0])), "picture.camera: want a width and a height of at least 1, got [40, 0]"),
    (
        lambda m: (mosaic(m), m["picture"].update(camera=[640, 480])),
        "picture.height: want 112 x 84, as mosaic has a camera of [640, 480], got",
    ),
]
SEQUENCES: list[tuple[Edit, str]] = [
    (setting("sequence.mark", 7), "sequence.mark: want a row exactly where sequence.latents says what it stands for, got 7 and None"),
    (setting("sequence.image_tokens", 0), "sequence.image_tokens: want 0 exactly with latents beside the sequence, got 0 and None"),
    (setting("sequence.grid", [2, 3]), "sequence.grid: want two factors of 4 image tokens, got [2, 3]"),
    (setting("sequence.brackets", [3, 50]), "sequence.brackets: want rows below 50, got 50"),
    (lambda m: (beside(m), m["sequence"].update(mark=50)), "sequence.mark: want rows below 50, got 50"),
    (setting("decoder.rows", [[3, 2]]), "decoder.rows.0: want [first, end) in 0..50, in order, got [3, 2]"),
    (setting("decoder.rows", [[3, 9], [8, 12]]), "decoder.rows.1: want [first, end) in 9..50, in order, got [8, 12]"),
    (setting("decoder.rows", [[3, 51]]), "decoder.rows.0: want [first, end) in 0..50"),
    (setting("decoder.rows", [[3]]), "decoder.rows.0: want [first, end)"),
]
POLICIES: list[tuple[Edit, str]] = [
    (setting("instruction", "go"), "instruction: want {text} once, got 'go'"),
    (setting("policy.motion.linear_x", 2), "policy.motion.linear_x: want a dimension in 0..1, got 2"),
    (setting("policy.motion.linear_x", 1), "policy.motion: want a dimension of its own for each of linear_x, linear_y, angular_z, got"),
    (setting("policy.scaling.tool_frame", True), "policy.motion: want none with policy.scaling.tool_frame, which is an arm's, got"),
    (setting("policy.head", "MobileVLAClassificationDecoder"), "policy.motion: want none for MobileVLAClassificationDecoder, whose"),
    (setting("policy.scaling.mean", [0.0]), "policy.scaling.mean: want 1 or 2 numbers, got 1"),
    (setting("policy.scaling.deviation", [0.0] * 3), "policy.scaling.deviation: want 1 or 2 numbers, got 3"),
    (setting("policy.scaling.bounds", [1.0, 1.0]), "policy.scaling.bounds: want the first below the second, got [1.0, 1.0]"),
    (setting("policy.pool", True), "policy.pool: want it for down_sample only, got continuous"),
    (setting("policy.bins", {"first_row": 1, "count": 4}), "policy.bins: want them exactly for discrete actions, got"),
    (setting("act", None), "act: want a file exactly for continuous actions, got None for continuous"),
    (lambda m: (beside(m), m["policy"].update(history="video")), "policy.history: want post or pre, pictures beside the sequence"),
    (setting("policy.latent", 3), "graphs.lm_step.inputs.act: want 3 on axis 1, got act int64[?, 2]"),
    (setting("policy.chunk", 4), "graphs.head.outputs.arm: want 4"),
    (setting("policy.scaling.gripper", False), "policy.scaling.mean: want 1 or 3 numbers, got 2"),
]
DISCRETE: list[tuple[Edit, str]] = [
    (setting("policy.bins", None), "policy.bins: want them exactly for discrete actions, got None for discrete"),
    (setting("decoder.rows", None), "decoder.rows: want the rows of the discrete actions, got none"),
    (setting("policy.bins.low", 1.0), "policy.bins.low: want less than 1.0, got 1.0"),
    (setting("policy.bins.first_row", 41), "policy.bins: want rows below 50, got 10 from 41 on"),
    (setting("act", "act.npy"), "act: want a file exactly for continuous actions, got act.npy for discrete"),
]
SPEAKERS: list[tuple[Edit, str]] = [
    (setting("grammar", "loc"), "grammar: want one of kosmos, moondream, paligemma, qwen2_5_vl, qwen_vl, words, got 'loc'"),
    (setting("grammar", "moondream"), "region: want it exactly where rows do not spell numbers, got none for 'moondream'"),
    (setting("ends", [3, 50]), "ends.1: want a row below 50, got 50"),
    (setting("question.2.text", "what"), "question: want {text} once, got ['what']"),
    (setting("question.1", {"rows": [1], "text": "x"}), "question.1: want rows or a text, got both"),
    (setting("question.0", {"rows": [1], "skip": 1}), "question.0.skip: want it of a text only, got 1"),
    (setting("question.0.rows", [50]), "question.0.rows: want rows below 50, got [50]"),
    (setting("question.0", {}), "question: want one place for the picture, got 2"),
    (lambda m: m["question"].pop(1), "question: want one place for the picture, got 0"),
    (
        setting("decoder.rows", [[0, 10]]),
        "graphs.lm_step.outputs: want logits, choice, hidden, keys, values, got logits, hidden, keys, values",
    ),
]
MOONDREAMS: list[tuple[Edit, str]] = [
    (setting("grammar", "words"), "region: want it exactly where rows do not spell numbers, got one for 'words'"),
    (lambda m: m["region"]["detect"].pop(3), "region.detect: want {text} once, got []"),
]
ALL = [
    *((base, *case) for base in (policy, speaker) for case in (*PICTURES, *SEQUENCES)),
    *((policy, *case) for case in POLICIES), *((discrete, *case) for case in DISCRETE),
    *((speaker, *case) for case in SPEAKERS), *((moondream, *case) for case in MOONDREAMS),
]  # fmt: skip


@pytest.mark.parametrize(("base", "edit", "why"), ALL)
def test_the_first_contradiction_is_told(base: Callable[[], Manifest], edit: Edit, why: str) -> None:
    assert contradiction(read(changed(base(), edit))).startswith(why)


# -- in a folder


def written(told: Manifest, folder: Path) -> Path:
    m = read(told)
    for name in m.files:
        (folder / name).write_bytes(name.encode())
    signed = told | {"sha256": {name: hashlib.sha256(name.encode()).hexdigest() for name in m.files}}
    (folder / "manifest.json").write_text(json.dumps(signed))
    return folder


@pytest.mark.parametrize(
    ("told", "kind", "title"), [(policy(), PolicyManifest, "a policy"), (moondream(), SpeakerManifest, "own reply format")]
)
def test_a_bundle_knows_its_kind(tmp_path: Path, told: Manifest, kind: Any, title: str) -> None:
    bundle = Bundle(written(told, tmp_path))
    assert bundle.a(kind) is bundle.manifest
    with pytest.raises(ConfigError, match=f"is .*{title}: want an engine of trained prompts"):
        bundle.a(FinderManifest)


@pytest.mark.parametrize(("told", "name"), [(policy(), "act.npy"), (moondream(), "region.npz"), (speaker(), "tokenizer.json")])
def test_every_file_is_signed(tmp_path: Path, told: Manifest, name: str) -> None:
    folder = written(told, tmp_path)
    (folder / name).write_bytes(b"another")
    with pytest.raises(ConfigError, match=f"{name} has sha256 .*, the manifest says .*; export it again"):
        Bundle(folder)
    signed = json.loads((folder / "manifest.json").read_text())
    del signed["sha256"][name]
    (folder / "manifest.json").write_text(json.dumps(signed))
    with pytest.raises(ConfigError, match=f"no sha256 for {name}"):
        Bundle(folder)


def test_a_contradiction_refuses_the_bundle(tmp_path: Path) -> None:
    folder = written(changed(policy(), setting("policy.motion.linear_x", 1)), tmp_path)
    with pytest.raises(ConfigError, match=r"manifest.json: policy.motion: want a dimension of its own"):
        Bundle(folder)


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    folder = written(discrete(), tmp_path)
    told = json.loads((folder / "manifest.json").read_text())
    told["policy"]["first_row"] = 30
    (folder / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=r"policy.first_row: Extra inputs are not permitted"):
        Bundle(folder)
