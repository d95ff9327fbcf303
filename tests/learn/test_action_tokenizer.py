"""Action tokens of real tokenizers: the reference's ids, however the tokenizer lists its special tokens."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from edge_vla.learn.action_tokenizer import ActionTokenizer, count_special_tokens

HERE = Path(__file__).resolve().parents[1] / "golden" / "robovlms"
GOLDEN = np.load(HERE / "action_tokenizer.npz")
CASES: list[dict[str, Any]] = next(
    case["tok_cases"] for case in json.loads((HERE / "golden.json").read_text())["cases"] if case["head"] == "ActionTokenizer"
)


def words(count: int, **special: Any) -> Any:
    vocabulary = models.WordLevel({f"w{i}": i for i in range(count)}, unk_token="w0")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(vocabulary), **special)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['bins']}bins_{case['special_tokens_count']}special")
def test_ids_and_words_are_the_references(case: dict[str, Any]) -> None:
    own = ActionTokenizer(words(case["vocab_size"], **case["special"]), case["bins"], case["min_action"], case["max_action"])
    for key in ("special_tokens_count", "tokenizer_orig_size", "action_token_begin_idx", "action_token_end_idx"):
        assert getattr(own, key) == case[key], key
    i = case["index"]
    assert own.encode_actions_to_token_ids(GOLDEN[f"{i}/actions"]) == GOLDEN[f"{i}/ids"].tolist()
    assert own.encode_actions_to_token_ids(GOLDEN[f"{i}/actions2d"]) == GOLDEN[f"{i}/ids2d"].tolist()
    for ids, decoded in (("ids", "decoded"), ("probe_ids", "probe_decoded")):
        np.testing.assert_allclose(own.decode_token_ids_to_actions(GOLDEN[f"{i}/{ids}"]), GOLDEN[f"{i}/{decoded}"], atol=1e-12)
    np.testing.assert_allclose(own.bins, GOLDEN[f"{i}/bins"], atol=1e-12)
    np.testing.assert_allclose(own.bin_centers, GOLDEN[f"{i}/bin_centers"], atol=1e-12)
    assert own.vocab_size == own.n_bins == case["bins"]
    spoken = np.array([case["min_action"], 0.0, case["max_action"]])
    assert own(spoken) == case["call_1d_example"]
    assert own(GOLDEN[f"{i}/actions2d"])[0].split() == [f"w{n}" for n in GOLDEN[f"{i}/ids2d"][0]]


def test_two_names_of_one_token_count_twice_and_version_4_lists_count_by_length() -> None:
    assert count_special_tokens(words(100, bos_token="w1", eos_token="w1", pad_token="w1")) == 3
    assert count_special_tokens(words(100, eos_token="w1", extra_special_tokens={"image_token": "w5"})) == 2
    version_4 = SimpleNamespace(vocab_size=100, special_tokens_map_extended={"eos_token": "w1", "additional_special_tokens": ["w2", "w3"]})
    assert count_special_tokens(version_4) == 3  # type: ignore[arg-type]


@given(st.lists(st.floats(-1.5, 1.5), min_size=1, max_size=9))
def test_tensors_lists_and_arrays_read_the_same(values: list[float]) -> None:
    own = ActionTokenizer(words(500, eos_token="w1"))
    ids = own.encode_actions_to_token_ids(values)
    assert (
        ids
        == own.encode_actions_to_token_ids(np.array(values))
        == own.encode_actions_to_token_ids(torch.tensor(values, dtype=torch.float64))
    )
    assert all(isinstance(row, int) and own.action_token_begin_idx < row < own.action_token_end_idx for row in ids)
    back = own.decode_token_ids_to_actions(torch.tensor(ids))
    np.testing.assert_array_equal(back, own.decode_token_ids_to_actions(ids))
    assert np.abs(back - np.clip(values, -1, 1)).max() <= 1 / 255 + 1e-12


def test_texts_have_the_shape_of_their_actions() -> None:
    own = ActionTokenizer(words(500, eos_token="w1"), 32)
    one = own(np.array([0.0, 1.0]))
    assert one == " ".join(f"w{row}" for row in own.encode_actions_to_token_ids([0.0, 1.0]))
    assert own(np.array([[0.0, 1.0], [1.0, 0.0]])) == [one, " ".join(reversed(str(one).split()))]
    assert own(np.zeros((2, 3, 2))) == [[own(np.zeros(2))] * 3] * 2
    assert own(np.zeros(0)) == ""
    assert own(np.zeros((0, 3))) == []
    with pytest.raises(ValueError, match=r"action: want \(A,\) or \(\.\.\., A\), got the number 0\.5"):
        own(0.5)


def test_the_references_flag_changes_nothing_as_there() -> None:
    one, other = (ActionTokenizer(words(500), 32, -1, 1, add_action_end_flag=flag) for flag in (True, False))
    assert one.encode_actions_to_token_ids([0.1, 0.7]) == other.encode_actions_to_token_ids([0.1, 0.7])


def test_a_vocabulary_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        ActionTokenizer(words(200))
