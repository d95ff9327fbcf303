"""Whether a manifest of trained prompts agrees with itself: graph shapes, rows, prompts, targets.

Reads no file: what those hold is checked as they open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from edge_vla.backends.manifest import LOC_BINS, FinderManifest
from edge_vla.backends.tensors import Axis, disagreement

MAX_TARGET_CHARS = 64  # as a goal's
_MARK = "{thing}"

# What the host feeds and reads. An axis is a number, "?" (dynamic), "vocabulary" (any size), or the manifest's field that says its size.
_CACHE = ("float32", "language.layers", "language.kv_heads", "?", "language.head_dim")
_IMAGE = ("float32", "language.layers", "language.kv_heads", "language.image_tokens", "language.head_dim")
_FREE = "free_distance"
_TENSORS: dict[tuple[str, str], dict[str, tuple[Axis, ...]]] = {
    ("vision", "inputs"): {"image": ("float32", 1, 3, "preprocess.height", "preprocess.width")},
    ("vision", "outputs"): {
        "tokens": ("float32", 1, "language.image_tokens", "language.hidden"),
        _FREE: ("float32", 1, "free_distance_columns"),
    },
    ("prefix", "inputs"): {"tokens": ("float32", 1, "language.image_tokens", "language.hidden")},
    ("prefix", "outputs"): {"keys": _IMAGE, "values": _IMAGE},
    ("lm_step", "inputs"): {
        "embeddings": ("float32", 1, "?", "language.hidden"), "positions": ("int64", 1, "?"), "mask": ("float32", 1, 1, "?", "?"),
        "past_keys": _CACHE, "past_values": _CACHE,
    },
    ("lm_step", "outputs"): {"logits": ("float32", 1, "vocabulary"), "keys": _CACHE, "values": _CACHE},
}  # fmt: skip


def contradiction(m: FinderManifest) -> str:
    """The first place where the manifest contradicts itself, with what would be right; "" for none."""
    return next(chain(_graphs(m), _rows(m), _prompts(m), _targets(m), _free_distance(m)), "")


def question(template: str, *, article: bool = False) -> re.Pattern[str]:
    """A prompt with a thing in it, read backwards."""
    return re.compile(re.escape(template).replace(re.escape(_MARK), f"{'(?:an? )?' if article else ''}(?P<thing>.+?)"))


def _graphs(m: FinderManifest) -> Iterator[str]:
    free = "" if m.free_distance_columns else _FREE
    graphs = {key: tensors for key, tensors in _TENSORS.items() if key[0] != "prefix" or "prefix" in m.graphs}  # it only saves time
    wanted = {key: {name: axes for name, axes in tensors.items() if name != free} for key, tensors in graphs.items()}
    note = f" with free_distance_columns = {m.free_distance_columns}"
    yield from disagreement(m, wanted, {("vision", "outputs"): note})


def _rows(m: FinderManifest) -> Iterator[str]:
    t, last = m.tokens, m.rows - 1
    first_loc, last_loc = t.loc_start, t.loc_start + t.loc_bins - 1
    if LOC_BINS % t.loc_bins:
        yield f"tokens.loc_bins: want a divisor of {LOC_BINS}, got {t.loc_bins}"
    if last_loc > last:
        yield f"tokens.loc_start: want 0..{m.rows - t.loc_bins} for {t.loc_bins} bins of {m.rows} rows, got {t.loc_start}"
    special = {"bos": t.bos, "eos": t.eos, "pad": t.pad, "unk": t.unk, "newline": t.newline}
    for name, row in special.items():
        if row > last or first_loc <= row <= last_loc:
            yield f"tokens.{name}: want a row in 0..{last} outside the loc rows {first_loc}..{last_loc}, got {row}"
    unsaid = {t.bos: "bos", t.eos: "eos", t.pad: "pad", t.unk: "unk"}
    if t.eos in {t.bos, t.unk, t.newline}:
        yield f"tokens.eos: want a row of its own, got {t.eos}, which is bos, unk or newline too"
    for i, row in enumerate(t.words):
        if row > last or first_loc <= row <= last_loc:
            yield f"tokens.words.{i}: want a row in 0..{last} outside the loc rows {first_loc}..{last_loc}, got {row}"
        if row in unsaid:
            yield f"tokens.words.{i}: want a word, got {row}, which is {unsaid[row]}"
    if (twice := _twice(t.words)) is not None:
        yield f"tokens.words: want each row once, got {twice} twice"


def _prompts(m: FinderManifest) -> Iterator[str]:
    p = m.prompts
    for name, template in (("detect", p.detect), ("presence", p.presence)):
        if template.count(_MARK) != 1 or set(template.replace(_MARK, "", 1)) & set("{}"):
            yield f"prompts.{name}: want {_MARK} once and no other brace, got {template!r}"
    if p.detect == p.presence:
        yield f"prompts.presence: want another question than prompts.detect, got {p.presence!r}"
    asked = {"detect": question(p.detect), "presence": question(p.presence, article=True)}
    for i, sentence in enumerate(p.sentences):
        if not sentence.strip() or set(sentence) & set("{}"):
            yield f"prompts.sentences.{i}: want words and no brace, got {sentence!r}"
        for name, pattern in asked.items():
            if pattern.fullmatch(sentence):
                yield f"prompts.sentences.{i}: want no sentence that prompts.{name} answers, got {sentence!r}"
    if (twice := _twice(p.sentences)) is not None:
        yield f"prompts.sentences: want each once, got {twice!r} twice"


def _targets(m: FinderManifest) -> Iterator[str]:
    for i, thing in enumerate(m.targets):
        words = thing.casefold().split()
        fit = " ".join(words) == thing and thing.isprintable() and not set(thing) & set("<>{};")
        article = len(words) > 1 and words[0] in {"a", "an", "the"}
        if not (fit and 0 < len(thing) <= MAX_TARGET_CHARS) or article:  # a goal's target is cleaned to this before it is asked for
            allowed = f"1..{MAX_TARGET_CHARS} printable small letters without an article or any of < > {{ }} ;"
            yield f"targets.{i}: want {allowed}, got {thing[:80]!r}"
    if (twice := _twice(m.targets)) is not None:
        yield f"targets: want each once, got {twice!r} twice"


def _free_distance(m: FinderManifest) -> Iterator[str]:
    if bool(m.free_distance_columns) != (m.free_distance_cap_m > 0):
        want = "more than 0" if m.free_distance_columns else "0"
        yield f"free_distance_cap_m: want {want} for {m.free_distance_columns} columns, got {m.free_distance_cap_m}"


def _twice(values: list[int] | list[str]) -> int | str | None:
    """The first value that came before."""
    seen: set[int | str] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None
