"""What a signed bundle can still get wrong is found when the engine is made, not at the first tick."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_vla.backends.bundle import Bundle
from edge_vla.backends.finder import FinderEngine
from edge_vla.backends.providers import session
from edge_vla.errors import ConfigError, EngineError
from edge_vla.parts import open_bundle

MakeEngine = Callable[..., FinderEngine]


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["vision.onnx", "lm_step.onnx"])
def test_a_signed_file_that_is_no_graph_is_an_engine_error(make_engine_of: MakeEngine, name: str) -> None:
    with pytest.raises(EngineError, match=name):
        make_engine_of(files={name: b"not a graph"})


def wider(manifest: dict[str, Any]) -> None:
    """Another picture, in the whole manifest."""
    manifest["preprocess"]["width"] = manifest["graphs"]["vision"]["inputs"][0]["shape"][3] = 64


def blinder(manifest: dict[str, Any]) -> None:
    """No free distances, in the whole manifest."""
    manifest |= {"free_distance_columns": 0, "free_distance_cap_m": 0.0}
    manifest["graphs"]["vision"]["outputs"].pop()


@pytest.mark.parametrize(
    ("edit", "has", "said"),
    [
        (wider, "inputs image float32[1, 3, 16, 32]", "image float32[1, 3, 16, 64]"),
        (blinder, "outputs tokens float32[1, 4, 88], free_distance float32[1, 4]", "tokens float32[1, 4, 88]"),
    ],
)
def test_a_graph_that_is_not_what_its_manifest_says_is_refused(
    make_engine_of: MakeEngine, edit: Callable[[dict[str, Any]], None], has: str, said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        make_engine_of(edit)
    assert str(refused.value).endswith(f"vision.onnx has the {has}; its manifest says {said}")


def test_one_graph_in_the_others_place_is_refused(make_engine_of: MakeEngine, tiny: Path) -> None:
    with pytest.raises(ConfigError, match=r"vision\.onnx has the inputs embeddings .*; its manifest says image "):
        make_engine_of(files={"vision.onnx": (tiny / "lm_step.onnx").read_bytes()})


def test_a_dynamic_axis_may_have_another_name(make_engine_of: MakeEngine) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        for tensor in manifest["graphs"]["lm_step"]["inputs"]:
            tensor["shape"] = [n if isinstance(n, int) else f"other_{n}" for n in tensor["shape"]]

    make_engine_of(edit)


def test_embeddings_that_are_a_pickle_are_not_loaded(make_engine_of: MakeEngine) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return pytest.fail, ("the pickle was run",)

    with pytest.raises(EngineError, match=r"embeddings\.npy"):
        make_engine_of(files={"embeddings.npy": npy(np.array([Bomb()], dtype=object))})


@pytest.mark.parametrize(
    "table", [np.eye(85, 87, dtype=np.float16), np.eye(84, 88, dtype=np.float16), np.eye(85, 88, dtype=np.int64), np.zeros(85, np.float16)]
)
def test_embeddings_of_another_shape_or_kind_are_not_loaded(make_engine_of: MakeEngine, table: NDArray[Any]) -> None:
    got = re.escape(f"got {table.dtype} of shape {table.shape}")
    with pytest.raises(ConfigError, match=rf"embeddings\.npy: want float16 or float32 of shape \(85, 88\), {got}"):
        make_engine_of(files={"embeddings.npy": npy(table)})


def renamed(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    """An edit of tokenizer.json: a word becomes another one, in the same row."""

    def edit(words: dict[str, Any]) -> None:
        words["model"]["vocab"] = {new if word == old else word: row for word, row in words["model"]["vocab"].items()}
        for added in words["added_tokens"]:
            added["content"] = new if added["content"] == old else added["content"]

    return edit


def longer(words: dict[str, Any]) -> None:
    words["model"]["vocab"]["beyond"] = 85


def short_breathed(words: dict[str, Any]) -> None:
    words["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (longer, "want words in rows 0..84, which the graphs and embeddings have, got one in row 85"),
        (renamed("<bos>", "<s>"), "want '<bos>' in row 2, as tokens.bos says, got None"),
        (renamed("\n", "\t"), r"want '\n' in row 4, as tokens.newline says, got None"),
        (renamed("<loc0000>", "<loc>"), "want '<loc0000>' in row 21, as tokens.loc_start says, got None"),
        (renamed("<loc0063>", "<loc>"), "want '<loc0063>' in row 84, as tokens.loc_start says, got None"),
        (renamed("no", "nein"), "want a row for 'no', the answer to prompts.presence, got none"),
        (renamed("acorn", "nut"), "want 'detect acorn' as bos (2), words it knows, newline (4), got rows [2, 5, 3, 4]"),
        (short_breathed, "want 'detect cup' as bos (2), words it knows, newline (4), got rows [2, 5, 18]"),
    ],
    ids=["too many rows", "bos", "newline", "first bin", "last bin", "no", "a thing", "truncation"],
)
def test_a_tokenizer_of_another_vocabulary_is_refused(
    make_engine_of: MakeEngine, tiny: Path, edit: Callable[[dict[str, Any]], None], why: str
) -> None:
    words = json.loads((tiny / "tokenizer.json").read_text())
    edit(words)
    with pytest.raises(ConfigError) as refused:
        make_engine_of(files={"tokenizer.json": json.dumps(words).encode()})
    assert str(refused.value).endswith(f"tokenizer.json: {why}")


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda m: m["tokens"].update(bos=0, pad=2), "want '<bos>' in row 0, as tokens.bos says, got 2"),
        (lambda m: m["tokens"].update(loc_start=20, words=[5]), "want '<loc0000>' in row 20, as tokens.loc_start says, got 21"),
        (lambda m: m["prompts"]["sentences"].append("sing"), "want 'sing' as bos (2), words it knows, newline (4), got rows [2, 3, 4]"),
        (lambda m: m["targets"].append("zebra"), "want 'detect zebra' as bos (2), words it knows, newline (4), got rows [2, 5, 3, 4]"),
    ],
)
def test_a_manifest_of_another_vocabulary_is_refused(make_engine_of: MakeEngine, edit: Callable[[dict[str, Any]], None], why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make_engine_of(edit)
    assert str(refused.value).endswith(f"tokenizer.json: {why}")


def test_a_word_without_a_name_is_refused(make_engine_of: MakeEngine, tiny: Path) -> None:
    """A vocabulary may have gaps; a sentence may not be made of them."""
    words = json.loads((tiny / "tokenizer.json").read_text())
    assert words["added_tokens"].pop()["content"] == "<loc0063>"
    with pytest.raises(ConfigError, match=r"want a word in row 84, as tokens\.words\.1 says, got none"):
        make_engine_of(lambda m: m["tokens"].update(loc_bins=32, words=[5, 84]), {"tokenizer.json": json.dumps(words).encode()})


def test_a_tokenizer_that_is_none_is_an_engine_error(make_engine_of: MakeEngine) -> None:
    with pytest.raises(EngineError, match=r"tokenizer\.json"):
        make_engine_of(files={"tokenizer.json": b"{}"})


@pytest.mark.parametrize("threads", [1, 2])
def test_its_sessions_take_the_threads_they_are_given_and_do_not_spin_between_two_passes(tiny: Path, threads: int) -> None:
    options = session(tiny / "vision.onnx", threads).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads, 1)
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_closing_twice_is_no_error(tiny: Path) -> None:
    engine = open_bundle(Bundle(tiny))
    engine.close()
    engine.close()
