"""Vocabularies to decode with: every byte, some longer tokens that cross what a grammar cuts, and the marks of all formats."""

from __future__ import annotations

import random

from edge_vla.grammars import Decoding, Grammar, PictureMap, Vocabulary

END = 0
LONGER = (
    *"12 23 99 100 447 448 640 999 json ```json ``` b box bbox_2 _2d cup c u p cu up yes no Ye left right middle Left Le ft ef".split(),
    *"[ ], }, } , ),( )( ),(9 ,1 ; detect Yes No < > <loc </ 007 00".split(),
    "```json\n[", "```json\n[\n", "\n\t{", '{"', '": [', "]\n", "\n]\n```", "]\n```", "}\n", '], "label": "', '"cup', 'cup"}',
)  # fmt: skip
SPACED = (" cup", " c", " yes", " Yes", " no", " left", " ; ", ", ", " 1", " ", '], "label": "cup"}')
MARKS = (
    "<ref>", "</ref>", "<box>", "</box>", "<object>", "</object>", "</delimiter_of_multi_objects/>", "<phrase>", "</phrase>", "<coord>",
    "<size>", "<quad>", "<pad>", *(f"<loc{k:04d}>" for k in range(1024)), *(f"<patch_index_{k:04d}>" for k in range(1024)), "<seg000>",
)  # fmt: skip


def vocabulary(*, longer: bool = True) -> Vocabulary:
    """The end is row 0; tokens in no particular order."""
    texts = [chr(k) for k in range(1, 128)] + ([*LONGER, *SPACED] if longer else [])
    tokens = list(dict.fromkeys(["<eos>", *texts, *MARKS]))
    return Vocabulary({token: row for row, token in enumerate(tokens) if token}, [END])


def walk(decoding: Decoding, rng: random.Random) -> Decoding:
    """A legal answer at random; it ends as soon as it may, two times in three."""
    while not decoding.ended:
        rows = decoding.allowed()
        decoding = decoding.take(END if END in rows and rng.random() < 0.67 else rng.choice(rows))
    return decoding


def converse(grammar: Grammar, thing: str, picture: PictureMap, words: Vocabulary, rng: random.Random) -> str:
    """Answers at random to all that a grammar asks."""
    said: list[str] = []
    while ask := grammar.ask(thing, picture, "\n".join(said) if said else None):
        said.append(walk(Decoding.begin(words, ask.machine), rng).text)
    return "\n".join(said)
