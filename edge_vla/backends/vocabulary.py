"""A bundle's tokenizer and embedding rows, refused unless they hold what its manifest says. Knows no graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from edge_vla.backends.bundle import Bundle, FinderManifest
from edge_vla.errors import ConfigError, EngineError

YES_NO = ("yes", "no")  # a presence question's answers


def load_tokenizer(bundle: Bundle) -> Tokenizer:
    """The words of an engine of trained prompts. Raises EngineError for a file that is no tokenizer, ConfigError for another vocabulary."""
    path = bundle.path(bundle.a(FinderManifest).tokens.file)
    tokenizer = read_tokenizer(path)
    for why in _strangers(tokenizer, bundle.a(FinderManifest)):
        raise ConfigError(f"engine {path}: {why}")
    return tokenizer


def read_tokenizer(path: Path) -> Tokenizer:
    """Raises EngineError for a file that is none."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as err:  # what tokenizers raises is an Exception itself
        raise EngineError(f"{path}: {err}") from err


def load_embeddings(bundle: Bundle) -> NDArray[np.float32]:
    """(rows, hidden) of an engine of trained prompts. Raises as `read_embeddings` does."""
    language = bundle.a(FinderManifest).language
    return np.asarray(read_embeddings(bundle.path(language.embeddings), (bundle.manifest.rows, language.hidden)), dtype=np.float32)


def read_embeddings(path: Path, want: tuple[int, int]) -> NDArray[Any]:
    """float16 or float32 rows; those that are used come into memory. Raises EngineError for no array, ConfigError for another shape."""
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as err:
        raise EngineError(f"{path}: {err}") from err
    got = getattr(rows, "shape", None)  # an .npz is no array
    if got != want or rows.dtype not in (np.float16, np.float32):
        raise ConfigError(
            f"engine {path}: want float16 or float32 of shape {want}, got {getattr(rows, 'dtype', 'no array')} of shape {got}"
        )
    found: NDArray[Any] = rows
    return found


def encode(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The rows of a prompt as the engine was trained on it: <bos> prompt newline."""
    ids: list[int] = tokenizer.encode("<bos> " + prompt.replace("?", " ?").replace("  ", " ") + "\n").ids
    return ids


def _strangers(tokenizer: Tokenizer, m: FinderManifest) -> Iterator[str]:
    """Where the tokenizer and the manifest mean different rows."""
    last, t = max(tokenizer.get_vocab().values(), default=-1), m.tokens
    if last >= m.rows:
        yield f"want words in rows 0..{m.rows - 1}, which the graphs and embeddings have, got one in row {last}"
    bins = {f"<loc{k:04d}>": ("loc_start", t.loc_start + k) for k in (0, t.loc_bins - 1)}
    for word, (name, row) in {"<bos>": ("bos", t.bos), "\n": ("newline", t.newline), **bins}.items():
        if (got := tokenizer.token_to_id(word)) != row:
            yield f"want {word!r} in row {row}, as tokens.{name} says, got {got}"
    for i, row in enumerate(t.words):
        if tokenizer.id_to_token(row) is None:
            yield f"want a word in row {row}, as tokens.words.{i} says, got none"
    for word in YES_NO:
        if tokenizer.token_to_id(word) is None:
            yield f"want a row for {word!r}, the answer to prompts.presence, got none"
    questions = [template.replace("{thing}", thing) for template in (m.prompts.detect, m.prompts.presence) for thing in m.targets]
    for prompt in (*questions, *m.prompts.sentences):
        ids = encode(tokenizer, prompt)
        if ids[:1] != [t.bos] or ids[-1:] != [t.newline] or t.unk in ids or t.pad in ids:
            yield f"want {prompt!r} as bos ({t.bos}), words it knows, newline ({t.newline}), got rows {ids[:20]}"
