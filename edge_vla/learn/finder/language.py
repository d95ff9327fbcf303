"""Finder's words: its tokenizer, what it can be asked, and the true answers to a labelled view."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from edge_vla.sim.objects import CLASSES

LOC_BINS = 1024
PAD, EOS, BOS, UNK = 0, 1, 2, 3
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")
WORDS = (
    "detect is there a an drive describe what the main object ? . , and yes no none on in left right middle near far "
    "move forward turn slightly stop slowly to way clear blocked nothing here i see"
).split()

MIN_PIXELS = 14  # of 320x240: fewer visible pixels is neither seen nor absent, and is left out of training
WALK_M = 0.9  # free way ahead (m) from which "move forward" is the answer
CRAWL_M = 0.5  # below it there is no way on


def build_tokenizer() -> Tokenizer:
    """Word-level, with PaliGemma's 1024 `<locNNNN>` tokens and a newline that ends the prompt."""
    plain = [*SPECIAL, "\n", *dict.fromkeys((*WORDS, *CLASSES))]
    vocab = {word: i for i, word in enumerate(plain)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in SPECIAL])
    tokenizer.add_tokens([AddedToken("\n", normalized=False)])
    tokenizer.add_tokens([AddedToken(f"<loc{i:04d}>", normalized=False) for i in range(LOC_BINS)])
    return tokenizer


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The row of a token. Raises ValueError for one the tokenizer does not have."""
    row = tokenizer.token_to_id(token)
    if row is None:
        raise ValueError(f"the tokenizer has no {token!r}")
    return int(row)


def article(word: str) -> str:
    return ("an " if word[0] in "aeiou" else "a ") + word


def largest(boxes: NDArray[np.float32]) -> dict[int, NDArray[np.float32]]:
    """The most visible instance of each class that is visible enough."""
    best: dict[int, NDArray[np.float32]] = {}
    for row in boxes:
        if row[5] >= MIN_PIXELS and (int(row[0]) not in best or row[5] > best[int(row[0])][5]):
            best[int(row[0])] = row
    return best


def certainly_absent(boxes: NDArray[np.float32]) -> list[int]:
    """Classes of which not a single pixel is visible."""
    return sorted(set(range(len(CLASSES))) - {int(row[0]) for row in boxes})


def side(row: NDArray[np.float32]) -> str:
    centre = float(row[2] + row[4]) / 2
    return "on the left" if centre < 0.36 else "on the right" if centre > 0.64 else "in the middle"


def describe(boxes: NDArray[np.float32]) -> str:
    """One sentence naming up to three things, biggest first."""
    best = sorted(largest(boxes).values(), key=lambda row: -float(row[5]))[:3]
    if not best:
        return "nothing here ."
    said = [f"{article(CLASSES[int(row[0])])} {side(row)}" for row in best]
    return (" and ".join([" , ".join(said[:-1]), said[-1]]) if len(said) > 1 else said[0]) + " ."


def main_object(boxes: NDArray[np.float32]) -> str:
    best = largest(boxes)
    if not best:
        return "nothing ."
    return article(CLASSES[max(best, key=lambda c: float(best[c][5]))]) + " ."


def drive(free_m: NDArray[np.float32]) -> str:
    """One movement sentence from the free distances, left to right."""
    n = len(free_m)
    ahead = float(free_m[n // 2 - 2 : n // 2 + 2].min())
    if ahead >= WALK_M:
        return "move forward ." if ahead >= 1.6 else "move forward slowly ."
    left, right = float(np.median(free_m[: n // 3])), float(np.median(free_m[-(n // 3) :]))
    turn = "left" if left > right else "right"
    return f"turn slightly {turn} ." if ahead >= CRAWL_M else f"turn {turn} ."


@dataclass(frozen=True, slots=True)
class Query:
    """A prompt with its true answer. `box` is (y_min, x_min, y_max, x_max) of a detection, fractions of the image."""

    prompt: str
    answer: str
    box: tuple[float, float, float, float] | None = None
    detects: bool = False


def detect_query(index: int, best: dict[int, NDArray[np.float32]]) -> Query:
    name = CLASSES[index]
    if index not in best:
        return Query(f"detect {name}", "", None, detects=True)
    y0, x0, y1, x1 = (float(v) for v in best[index][1:5])
    return Query(f"detect {name}", name, (y0, x0, y1, x1), detects=True)


def other_query(rng: np.random.Generator, boxes: NDArray[np.float32], free_m: NDArray[np.float32]) -> Query:
    """A question answered in words."""
    kind = int(rng.integers(4))
    best, absent = largest(boxes), certainly_absent(boxes)
    if kind == 0 and (best or absent):
        yes = bool(best) and (not absent or rng.random() < 0.5)
        index = int(rng.choice(list(best) if yes else absent))
        return Query(f"is there {article(CLASSES[index])} ?", "yes" if yes else "no")
    if kind == 1:
        return Query("drive", drive(free_m))
    if kind == 2:
        return Query("what is the main object ?", main_object(boxes))
    return Query("describe", describe(boxes))
