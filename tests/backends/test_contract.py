"""A manifest that contradicts itself is refused with the value and what would be right, before any graph is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from edge_vla.backends.bundle import Bundle
from edge_vla.errors import ConfigError

Make = Callable[..., Path]
Edit = Callable[[dict[str, Any]], object]
TENSORS = {
    ("vision", "inputs"): ["image"],
    ("vision", "outputs"): ["tokens", "free_distance"],
    ("lm_step", "inputs"): ["embeddings", "positions", "mask", "past_keys", "past_values"],
    ("lm_step", "outputs"): ["logits", "keys", "values"],
}
AXES = {
    "image": [1, 3, 16, 32], "tokens": [1, 4, 88], "free_distance": [1, 4], "embeddings": [1, "T", 88], "positions": [1, "T"],
    "mask": [1, 1, "T", "N"], "past_keys": [1, 1, "P", 88], "past_values": [1, 1, "P", 88], "logits": [1, 85], "keys": [1, 1, "N", 88],
    "values": [1, 1, "N", 88],
}  # fmt: skip


def tokens(**values: object) -> Edit:
    return lambda m: m["tokens"].update(values)


def language(**values: object) -> Edit:
    return lambda m: m["language"].update(values)


def prompts(**values: object) -> Edit:
    return lambda m: m["prompts"].update(values)


def top(**values: object) -> Edit:
    return lambda m: m.update(values)


def without(graph: str) -> Edit:
    return lambda m: m["graphs"].pop(graph)


def more(value: int) -> list[int]:
    """The tiny bundle's words and one row more."""
    return [*range(5, 21), value]


def prefix(tokens: int = 4, kept: int = 4, names: tuple[str, str] = ("keys", "values")) -> Edit:
    """A graph that reads the image alone; the tiny bundle has none."""

    def tensor(name: str, *shape: int) -> dict[str, object]:
        return {"name": name, "dtype": "float32", "shape": list(shape)}

    outputs = [tensor(name, 1, 1, kept, 88) for name in names]
    return lambda m: m["graphs"].update(prefix={"file": "lm_step.onnx", "inputs": [tensor("tokens", 1, tokens, 88)], "outputs": outputs})


REFUSED: dict[str, tuple[Edit, str]] = {
    "no lm_step": (without("lm_step"), "graphs: want vision and lm_step, got vision"),
    "no vision": (without("vision"), "graphs: want vision and lm_step, got lm_step"),
    "no graphs": (top(graphs={}), "graphs: want vision and lm_step, got none"),
    # sizes that the graphs do not have
    "image_tokens": (
        language(image_tokens=5),
        "graphs.vision.outputs.tokens: want 5, as language.image_tokens says, on axis 1, got tokens float32[1, 4, 88]",
    ),
    "hidden": (
        language(hidden=87),
        "graphs.vision.outputs.tokens: want 87, as language.hidden says, on axis 2, got tokens float32[1, 4, 88]",
    ),
    "layers": (
        language(layers=2),
        "graphs.lm_step.inputs.past_keys: want 2, as language.layers says, on axis 0, got past_keys float32[1, 1, ?, 88]",
    ),
    "kv_heads": (
        language(kv_heads=2),
        "graphs.lm_step.inputs.past_keys: want 2, as language.kv_heads says, on axis 1, got past_keys float32[1, 1, ?, 88]",
    ),
    "head_dim": (
        language(head_dim=44),
        "graphs.lm_step.inputs.past_keys: want 44, as language.head_dim says, on axis 3, got past_keys float32[1, 1, ?, 88]",
    ),
    "height": (
        lambda m: m["preprocess"].update(height=32),
        "graphs.vision.inputs.image: want 32, as preprocess.height says, on axis 2, got image float32[1, 3, 16, 32]",
    ),
    "width": (
        lambda m: m["preprocess"].update(width=16),
        "graphs.vision.inputs.image: want 16, as preprocess.width says, on axis 3, got image float32[1, 3, 16, 32]",
    ),
    "columns": (
        top(free_distance_columns=5),
        "graphs.vision.outputs.free_distance: want 5, as free_distance_columns says, on axis 1, got free_distance float32[1, 4]",
    ),
    "no columns": (
        top(free_distance_columns=0, free_distance_cap_m=0.0),
        "graphs.vision.outputs: want tokens with free_distance_columns = 0, got tokens, free_distance",
    ),
    "no free distance": (
        lambda m: m["graphs"]["vision"]["outputs"].pop(),
        "graphs.vision.outputs: want tokens, free_distance with free_distance_columns = 4, got tokens",
    ),
    "a tensor too many": (
        lambda m: m["graphs"]["lm_step"]["outputs"].append({"name": "more", "dtype": "float32", "shape": [1]}),
        "graphs.lm_step.outputs: want logits, keys, values, got logits, keys, values, more",
    ),
    "another order": (
        lambda m: m["graphs"]["lm_step"]["outputs"].reverse(),
        "graphs.lm_step.outputs: want logits, keys, values, got values, keys, logits",
    ),
    "fewer logits": (
        lambda m: m["graphs"]["lm_step"]["outputs"][0]["shape"].__setitem__(1, 84),
        "tokens.loc_start: want 0..20 for 64 bins of 84 rows, got 21",
    ),
    "no logits": (
        lambda m: m["graphs"]["lm_step"]["outputs"][0]["shape"].__setitem__(1, 0),
        "graphs.lm_step.outputs.logits: want a fixed size of at least 1 on axis 1, got logits float32[1, 0]",
    ),
    "unknown logits": (
        lambda m: m["graphs"]["lm_step"]["outputs"][0]["shape"].__setitem__(1, "V"),
        "graphs.lm_step.outputs.logits: want a fixed size of at least 1 on axis 1, got logits float32[1, ?]",
    ),
    # the graph that only saves time
    "a prefix of other tokens": (
        prefix(tokens=5),
        "graphs.prefix.inputs.tokens: want 4, as language.image_tokens says, on axis 1, got tokens float32[1, 5, 88]",
    ),
    "a prefix that keeps too little": (
        prefix(kept=3),
        "graphs.prefix.outputs.keys: want 4, as language.image_tokens says, on axis 2, got keys float32[1, 1, 3, 88]",
    ),
    "a prefix that keeps no values": (prefix(names=("keys", "queries")), "graphs.prefix.outputs: want keys, values, got keys, queries"),
    "a prefix and no lm_step": (
        lambda m: (prefix()(m), m["graphs"].pop("lm_step")),
        "graphs: want vision, prefix and lm_step, got vision, prefix",
    ),
    # rows
    "loc_start": (tokens(loc_start=22), "tokens.loc_start: want 0..21 for 64 bins of 85 rows, got 22"),
    "loc_start far out": (tokens(loc_start=10**12), "tokens.loc_start: want 0..21 for 64 bins of 85 rows, got 1000000000000"),
    "loc_bins": (tokens(loc_bins=48), "tokens.loc_bins: want a divisor of 1024, got 48"),
    "eos": (tokens(eos=85), "tokens.eos: want a row in 0..84 outside the loc rows 21..84, got 85"),
    "eos that is a loc": (tokens(eos=84), "tokens.eos: want a row in 0..84 outside the loc rows 21..84, got 84"),
    "eos that is the newline": (tokens(eos=4), "tokens.eos: want a row of its own, got 4, which is bos, unk or newline too"),
    "bos": (tokens(bos=85), "tokens.bos: want a row in 0..84 outside the loc rows 21..84, got 85"),
    "pad": (tokens(pad=99), "tokens.pad: want a row in 0..84 outside the loc rows 21..84, got 99"),
    "unk": (tokens(unk=21), "tokens.unk: want a row in 0..84 outside the loc rows 21..84, got 21"),
    "newline": (tokens(newline=85), "tokens.newline: want a row in 0..84 outside the loc rows 21..84, got 85"),
    "a word beyond": (tokens(words=more(85)), "tokens.words.16: want a row in 0..84 outside the loc rows 21..84, got 85"),
    "a word that is a loc": (tokens(words=more(21)), "tokens.words.16: want a row in 0..84 outside the loc rows 21..84, got 21"),
    "a word that is the end": (tokens(words=more(1)), "tokens.words.16: want a word, got 1, which is eos"),
    "a word that is unknown": (tokens(words=more(3)), "tokens.words.16: want a word, got 3, which is unk"),
    "a word twice": (tokens(words=more(7)), "tokens.words: want each row once, got 7 twice"),
    # prompts and targets
    "detect nothing": (prompts(detect="detect"), "prompts.detect: want {thing} once and no other brace, got 'detect'"),
    "detect two": (prompts(detect="{thing} {thing}"), "prompts.detect: want {thing} once and no other brace, got '{thing} {thing}'"),
    "detect with a brace": (
        prompts(detect="detect {thing} {x}"),
        "prompts.detect: want {thing} once and no other brace, got 'detect {thing} {x}'",
    ),
    "presence of nothing": (prompts(presence="is it there?"), "prompts.presence: want {thing} once and no other brace, got 'is it there?'"),
    "presence is detect": (
        prompts(presence="detect {thing}"),
        "prompts.presence: want another question than prompts.detect, got 'detect {thing}'",
    ),
    "a sentence of spaces": (prompts(sentences=["drive", " "]), "prompts.sentences.1: want words and no brace, got ' '"),
    "a sentence with a brace": (prompts(sentences=["say {thing}"]), "prompts.sentences.0: want words and no brace, got 'say {thing}'"),
    "a sentence that detects": (
        prompts(sentences=["detect cup"]),
        "prompts.sentences.0: want no sentence that prompts.detect answers, got 'detect cup'",
    ),
    "a sentence about presence": (
        prompts(sentences=["is there a way?"]),
        "prompts.sentences.0: want no sentence that prompts.presence answers, got 'is there a way?'",
    ),
    "a presence that swallows": (
        prompts(presence="{thing}"),
        "prompts.sentences.0: want no sentence that prompts.presence answers, got 'drive'",
    ),
    "a sentence twice": (prompts(sentences=["drive", "drive"]), "prompts.sentences: want each once, got 'drive' twice"),
    "a target twice": (top(targets=["cup", "ball", "cup"]), "targets: want each once, got 'cup' twice"),
    "a target of nothing": (
        top(targets=["cup", ""]),
        "targets.1: want 1..64 printable small letters without an article or any of < > { } ;, got ''",
    ),
    "a target with a loc": (
        top(targets=["<loc0001>"]),
        "targets.0: want 1..64 printable small letters without an article or any of < > { } ;, got '<loc0001>'",
    ),
    "two targets in one": (
        top(targets=["cup;ball"]),
        "targets.0: want 1..64 printable small letters without an article or any of < > { } ;, got 'cup;ball'",
    ),
    "a target in capitals": (
        top(targets=["Cup"]),
        "targets.0: want 1..64 printable small letters without an article or any of < > { } ;, got 'Cup'",
    ),
    "a target with an article": (
        top(targets=["a cup"]),
        "targets.0: want 1..64 printable small letters without an article or any of < > { } ;, got 'a cup'",
    ),
    "a target with a space": (
        top(targets=["cup "]),
        "targets.0: want 1..64 printable small letters without an article or any of < > { } ;, got 'cup '",
    ),
    # free distance
    "no cap": (top(free_distance_cap_m=0.0), "free_distance_cap_m: want more than 0 for 4 columns, got 0.0"),
    # ranges, in pydantic's words
    "cap": (top(free_distance_cap_m=-5.0), "free_distance_cap_m: Input should be greater than or equal to 0, got '-5.0'"),
    "columns below": (top(free_distance_columns=-1), "free_distance_columns: Input should be greater than or equal to 0, got '-1'"),
    "words": (tokens(words=[]), "tokens.words: List should have at least 1 item after validation, not 0, got '[]'"),
    "a word below": (tokens(words=[-1]), "tokens.words.0: Input should be greater than or equal to 0, got '-1'"),
    "eos below": (tokens(eos=-1), "tokens.eos: Input should be greater than or equal to 0, got '-1'"),
    "loc_start below": (tokens(loc_start=-21), "tokens.loc_start: Input should be greater than or equal to 0, got '-21'"),
    "one bin": (tokens(loc_bins=1), "tokens.loc_bins: Input should be greater than or equal to 2, got '1'"),
    "too many bins": (tokens(loc_bins=2048), "tokens.loc_bins: Input should be less than or equal to 1024, got '2048'"),
    "max_new_tokens": (language(max_new_tokens=-1), "language.max_new_tokens: Input should be greater than or equal to 1, got '-1'"),
    "no new tokens": (language(max_new_tokens=0), "language.max_new_tokens: Input should be greater than or equal to 1, got '0'"),
    "no layers": (language(layers=0), "language.layers: Input should be greater than or equal to 1, got '0'"),
    "a mean in bytes": (
        lambda m: m["preprocess"].update(mean=[127.5] * 3),
        "preprocess.mean.0: Input should be less than or equal to 1, got '127.5'",
    ),
    "no name": (top(name=""), "name: String should have at least 1 character, got ''"),
    "calibration": (top(calibration={"shift": float("inf")}), "calibration.shift: Input should be a finite number, got 'inf'"),
    "calibration by nan": (top(calibration={"scale": float("nan")}), "calibration.scale: Input should be a finite number, got 'nan'"),
    # another version first, whatever else is new
    "a later version of everything": (
        lambda m: (m.clear(), m.update(schema_version=3, engine={})),
        "schema_version: this edge_vla reads 1, got '3'; update edge_vla or export it again",
    ),
}


def test_a_graph_that_reads_the_image_alone_may_be_there(make_bundle: Make) -> None:
    assert [*Bundle(make_bundle(prefix())).manifest.graphs] == ["vision", "lm_step", "prefix"]


@pytest.mark.parametrize(("edit", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_with_what_would_be_right(make_bundle: Make, monkeypatch: pytest.MonkeyPatch, edit: Edit, why: str) -> None:
    for owner, name in ((onnxruntime, "InferenceSession"), (np, "load"), (Tokenizer, "from_file")):
        monkeypatch.setattr(owner, name, lambda *_, **__: pytest.fail("something was deserialised"))
    folder = make_bundle(edit)
    with pytest.raises(ConfigError) as refusal:
        Bundle(folder)
    assert str(refusal.value) == f"engine {folder / 'manifest.json'}: {why}"


@pytest.mark.parametrize(
    ("where", "axis"),
    [
        ((graph, side, i), axis)
        for (graph, side), names in TENSORS.items()
        for i, name in enumerate(names)
        for axis in range(len(AXES[name]))
    ],
)
def test_every_axis_of_every_tensor_counts(make_bundle: Make, where: tuple[str, str, int], axis: int) -> None:
    """A fixed axis that is dynamic, and a dynamic one that was baked in, are both refused."""
    graph, side, i = where
    name = TENSORS[graph, side][i]

    def edit(manifest: dict[str, Any]) -> None:
        shape = manifest["graphs"][graph][side][i]["shape"]
        assert shape == AXES[name]
        shape[axis] = 9 if isinstance(shape[axis], str) else "X"

    with pytest.raises(ConfigError, match=rf"graphs\.{graph}\.{side}\.{name}: want .* on axis {axis}, got {name} "):
        Bundle(make_bundle(edit))


@pytest.mark.parametrize(("where"), [(graph, side, i) for (graph, side), names in TENSORS.items() for i in range(len(names))])
@pytest.mark.parametrize("what", ["name", "dtype", "axes"])
def test_every_tensor_has_its_name_its_dtype_and_its_axes(make_bundle: Make, where: tuple[str, str, int], what: str) -> None:
    graph, side, i = where

    def edit(manifest: dict[str, Any]) -> None:
        tensor = manifest["graphs"][graph][side][i]
        if what == "axes":
            tensor["shape"].append(1)
        else:
            tensor[what] = {"name": "another", "dtype": "float16"}[what]

    with pytest.raises(ConfigError, match=rf"graphs\.{graph}\.{side}\b.*: want .*, got "):
        Bundle(make_bundle(edit))


ACCEPTED: dict[str, Edit] = {
    "fewer words": tokens(words=[5]),
    "pad that is eos": tokens(pad=1),
    "fewer bins": tokens(loc_bins=32),
    "no sentences": prompts(sentences=[]),
    "the thing in the middle": prompts(detect="find {thing} here"),
    "one target": top(targets=["cup"]),
    "one new token": language(max_new_tokens=1),
    "the largest cap": top(free_distance_cap_m=100.0),
}


@pytest.mark.parametrize("edit", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_is_at_a_limit_is_accepted(make_bundle: Make, edit: Edit) -> None:
    Bundle(make_bundle(edit))


def test_the_shipped_engine_is_accepted(checkout: Path) -> None:
    assert Bundle(checkout / "engines" / "default").manifest.rows == 1080
