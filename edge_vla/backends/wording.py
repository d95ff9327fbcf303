"""A bundle's words: text to rows of the vocabulary, rows to embeddings and back to text. Knows no graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_vla.backends.backbone_manifest import BackboneManifest, Segment
from edge_vla.backends.bundle import Bundle
from edge_vla.backends.graphs import Array
from edge_vla.backends.vocabulary import read_embeddings, read_tokenizer
from edge_vla.errors import ConfigError


class Wording:
    """What its tokenizer and its embeddings say, as the model was taught."""

    def __init__(self, bundle: Bundle, m: BackboneManifest) -> None:
        """Raises EngineError for files that are none, ConfigError for embeddings of another shape."""
        path = bundle.path(m.sequence.tokenizer)
        self._tokenizer = read_tokenizer(path)
        self._tokenizer.no_truncation()  # a file may say how a trainer cut and padded its batches
        self._tokenizer.no_padding()
        self._path, self._special = path, m.sequence.adds_special
        self._rows = read_embeddings(bundle.path(m.decoder.embeddings), (m.decoder.vocabulary, m.decoder.hidden))

    @property
    def tokens(self) -> dict[str, int]:
        """Rows by what they are written as; of those that the language model has."""
        return {token: row for token, row in self._tokenizer.get_vocab().items() if row < len(self._rows)}

    def ids(self, text: str, *, special: bool = True, most: int | None = None) -> list[int]:
        """Rows of a text, with the tokenizer's own special tokens where the model wants them; of `most` the last words are left out.

        Raises ConfigError for words that the language model has no row for.
        """
        if most is not None:
            self._tokenizer.enable_truncation(most, strategy="only_first")
        try:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special and self._special).ids
        finally:
            self._tokenizer.no_truncation()
        beyond = [row for row in ids if row >= len(self._rows)]
        if beyond:
            said = ", ".join(repr(self._tokenizer.id_to_token(row)) for row in beyond)
            raise ConfigError(f"engine {self._path}: {said} in {text[:80]!r}: want one of the language model's {len(self._rows)} rows")
        return ids

    def question(self, segments: Sequence[Segment], text: str) -> tuple[list[int], int]:
        """Rows of a question, and how many of them come before the picture."""
        ids: list[int] = []
        lead = 0
        for segment in segments:
            if segment.rows is not None:
                ids += segment.rows
            elif segment.text is not None:
                ids += self.ids(segment.text.replace("{text}", text), special=segment.special)[segment.skip :]
            else:
                lead = len(ids)
        return ids, lead

    def embedded(self, ids: Sequence[int]) -> Array:
        """(n, hidden) of rows."""
        return np.asarray(self._rows[list(ids)], np.float32)

    def text(self, ids: Sequence[int]) -> str:
        """An answer, with the tokens a grounding format is made of."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False)).strip()
