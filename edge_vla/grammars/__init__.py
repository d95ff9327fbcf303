"""Native reply formats by name. A new one is a file here and a line in GRAMMARS; the contract suite then tests it.

How a backbone is asked where a thing is, what it may answer and what that means. Needs no torch: a bundle's engine can use it.
"""

from __future__ import annotations

from edge_vla.errors import ConfigError, did_you_mean
from edge_vla.grammars.grammar import Answer, Ask, Chances, Columns, Grammar, Place, Point, bearing
from edge_vla.grammars.kosmos import Kosmos
from edge_vla.grammars.moondream import Moondream
from edge_vla.grammars.paligemma import PaliGemma
from edge_vla.grammars.picture import PictureMap
from edge_vla.grammars.qwen2_5_vl import Qwen25VL
from edge_vla.grammars.qwen_vl import QwenVL
from edge_vla.grammars.telling import Telling, Told, together
from edge_vla.grammars.vocabulary import Decoding, Spelling, Vocabulary
from edge_vla.grammars.words import Words

__all__ = [
    "GRAMMARS", "Answer", "Ask", "Chances", "Columns", "Decoding", "Grammar", "PictureMap", "Place", "Point", "Spelling", "Telling", "Told",
    "Vocabulary", "bearing", "grammar", "together",
]  # fmt: skip

_ALL: tuple[Grammar, ...] = (Kosmos(), Moondream(), PaliGemma(), Qwen25VL(), QwenVL(), Words())
GRAMMARS: dict[str, Grammar] = {one.name: one for one in _ALL}


def grammar(name: str) -> Grammar:
    """The format of that name. Raises ConfigError with the nearest."""
    if name not in GRAMMARS:
        raise ConfigError(f"grammar {name!r}: want one of {', '.join(sorted(GRAMMARS))}{did_you_mean(name, GRAMMARS)}")
    return GRAMMARS[name]
