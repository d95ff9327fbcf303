"""qwen.tiktoken: ids against byte-pair merging spelled out here, special tokens, and files that are no such file."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import regex

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.qwen.tokenizer import load_qwen_tokenizer
from tests.learn.backbones.tiny_qwen import WORDS, ranks, write_qwen_v1

CUT = regex.compile(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
GROUNDING = ["<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", "<img>", "</img>", "<imgpad>"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_qwen_v1(tmp_path_factory.mktemp("v1"))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return load_qwen_tokenizer(folder)


def by_hand(text: str) -> list[int]:
    """As tiktoken: cut, then merge the neighbours of lowest rank until none are in the table."""
    table, found = ranks(), []
    for piece in CUT.findall(unicodedata.normalize("NFC", text)):
        parts = [bytes([byte]) for byte in piece.encode()]
        while True:
            known = [(table[parts[k] + parts[k + 1]], k) for k in range(len(parts) - 1) if parts[k] + parts[k + 1] in table]
            if not known:
                break
            k = min(known)[1]
            parts[k : k + 2] = [parts[k] + parts[k + 1]]
        found += [table[part] for part in parts]
    return found


def test_ids_are_tiktokens(tokenizer: Any) -> None:
    rng = random.Random(0)
    texts = ["What action to go to the cup", "it's  two\n\n\tcups: 1234 击掌", "e\u0301 is one letter", " the", "the the"]
    texts += [
        "".join(rng.choice([*WORDS, "a", "T", "'s", " ", "\n", "7", "빨", "é", "😀"]) for _ in range(rng.randrange(1, 20)))
        for _ in range(300)
    ]
    for text in texts:
        assert tokenizer(text).input_ids == by_hand(text), text
        assert tokenizer.decode(tokenizer(text).input_ids) == unicodedata.normalize("NFC", text)


def test_special_tokens_follow_the_ranks(tokenizer: Any) -> None:
    n = len(ranks())
    order = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{k}|>" for k in range(205)), *GROUNDING]
    assert [tokenizer.convert_tokens_to_ids(token) for token in order] == list(range(n, n + len(order)))
    # with the public 151643 ranks: 151857 for <img>, as its config.json says
    assert 151643 + order.index("<img>") == 151857
    assert len(tokenizer) == tokenizer.vocab_size == n + len(order)
    assert tokenizer("<ref>the</ref><box>(1,2)").input_ids[0] == n + order.index("<ref>")


def test_it_has_no_bos_and_no_eos(tokenizer: Any) -> None:
    assert tokenizer.bos_token is None
    assert tokenizer.eos_token is None
    assert tokenizer.pad_token == "<|endoftext|>"
    padded = tokenizer(["the cup", "the"], padding="longest", return_tensors="np")
    assert padded.input_ids[1, -1] == tokenizer.pad_token_id
    assert padded.attention_mask[1].tolist() == [1] * (padded.input_ids.shape[1] - 1) + [0]


def test_an_unfinished_letter_is_replaced(tokenizer: Any) -> None:
    assert tokenizer.decode([0xE5]) == "\ufffd"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"IQ== 0\n", "every single byte"),
        (b"!!! 0\n", "base64"),
        (b"IQ==\n", "base64 and rank"),
        (b"", "want ranks from 0"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "qwen.tiktoken").write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        load_qwen_tokenizer(tmp_path)


def test_a_gap_in_the_ranks_is_refused(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "qwen.tiktoken").read_bytes().splitlines()
    (tmp_path / "qwen.tiktoken").write_bytes(b"\n".join(lines[:-2] + lines[-1:]))
    with pytest.raises(ConfigError, match="without a gap"):
        load_qwen_tokenizer(tmp_path)


def test_a_folder_without_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no qwen\.tiktoken"):
        load_qwen_tokenizer(tmp_path)
