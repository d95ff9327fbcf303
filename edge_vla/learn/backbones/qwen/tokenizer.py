"""Qwen-VL's tokenizer: byte pairs and their ranks in `qwen.tiktoken`, special tokens by convention behind them."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from edge_vla.errors import ConfigError

FILE = "qwen.tiktoken"
END, START_TURN, END_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IMAGE_START, IMAGE_END = "<img>", "</img>"
# Ids follow the last rank in this order.
SPECIAL = (
    END, START_TURN, END_TURN, *(f"<|extra_{k}|>" for k in range(205)),
    "<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", IMAGE_START, IMAGE_END, "<imgpad>",
)  # fmt: skip
# Where a text is cut before byte pairs are merged: contractions, words, single digits, punctuation, line ends, spaces.
CUTS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

Ranks = dict[bytes, int]


def load_qwen_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """No bos and no eos, as the original has none; pads with END, on the right. Raises ConfigError."""
    ranks = read_ranks(folder / FILE)
    letters = _letters()
    spelled = {token: "".join(letters[byte] for byte in token) for token in ranks}
    vocabulary = {spelled[token]: rank for token, rank in ranks.items()} | {token: len(ranks) + k for k, token in enumerate(SPECIAL)}
    merges = [(spelled[left], spelled[right]) for left, right in _merges(ranks)]
    core = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(CUTS), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token=END, padding_side="right", clean_up_tokenization_spaces=False)


def read_ranks(file: Path) -> Ranks:
    """Byte strings by rank: a line each, in base64, with its rank. Raises ConfigError."""
    try:
        pairs = [line.split() for line in file.read_bytes().splitlines() if line]
        ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
    except OSError as err:
        raise ConfigError(f"model {file.parent}: no {file.name} ({err.strerror})") from err
    except (ValueError, binascii.Error) as err:
        raise ConfigError(f"{file}: not lines of base64 and rank ({err})") from err
    if sorted(ranks.values()) != list(range(len(pairs))) or any(bytes([byte]) not in ranks for byte in range(256)):
        raise ConfigError(f"{file}: {len(ranks)} tokens; want ranks from 0 without a gap, and every single byte among them")
    return ranks


def _merges(ranks: Ranks) -> list[tuple[bytes, bytes]]:
    """The pair that makes each longer token, in order of rank: what merging only earlier pairs leaves of it."""
    found = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = _merge_below(token, ranks, rank)
        if len(parts) == 2:
            found.append((parts[0], parts[1]))
    return found


def _merge_below(token: bytes, ranks: Ranks, limit: int) -> list[bytes]:
    """Byte pairs of `token` merged, the lowest rank first, as long as it is below `limit`."""
    parts = [token[k : k + 1] for k in range(len(token))]
    pairs = [ranks.get(parts[k] + parts[k + 1], limit) for k in range(len(parts) - 1)]
    while pairs and (best := min(pairs)) < limit:
        at = pairs.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        del pairs[at]
        for k in range(max(at - 1, 0), min(at + 1, len(pairs))):
            pairs[k] = ranks.get(parts[k] + parts[k + 1], limit)
    return parts


def _letters() -> list[str]:
    """A printable character for each byte, as byte-level tokenizers spell them: its own, or one beyond 255."""
    own = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    spare = iter(range(256, 512))
    return [chr(byte) if byte in own else chr(next(spare)) for byte in range(256)]
