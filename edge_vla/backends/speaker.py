"""A published backbone on a bundle's graphs: asked in its own words about anything, answering in its own reply format.

A probability is one among the rows that logits has. With a head cut down to a few rows (`decoder.rows`) those are all there are: such an
engine finds things and answers no question in words.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_vla.backends.bundle import Bundle, SpeakerManifest
from edge_vla.backends.graphs import Array, Graphs
from edge_vla.backends.laps import Laps
from edge_vla.backends.region import Region, load_region, locate
from edge_vla.backends.stencil import Cut, Stencil, stencil
from edge_vla.backends.walk import Walk
from edge_vla.backends.wording import Wording
from edge_vla.errors import ConfigError, EngineError, ParseError
from edge_vla.grammars import Answer, Ask, Decoding, Spelling, Telling, Told, Vocabulary, grammar, together
from edge_vla.grammars.machine import Say, State
from edge_vla.grammars.spots import told_of
from edge_vla.layout import ActionSpace, Recipe
from edge_vla.parse.loc import box_to_locs
from edge_vla.pictures import Preparation, prepare
from edge_vla.types import Box, Frame, Reply

DETECT = re.compile(r"detect (?P<thing>.+)")
QUESTIONS = 16  # laid out and kept at a time
WARM_UP = "detect cup", "describe"


class SpeakerEngine:
    """Finds things and answers questions about frames."""

    targets = None  # its vocabulary is open

    def __init__(self, bundle: Bundle, graphs: Graphs) -> None:
        """Raises ConfigError for files that are not what the manifest says, EngineError for files that are none."""
        m = self.manifest = bundle.a(SpeakerManifest)
        self.laps, self.graphs = Laps(), graphs
        self._words = Wording(bundle, m)
        self._grammar = grammar(m.grammar)
        self._vocabulary = Vocabulary(self._words.tokens, m.ends, Spelling(m.spelling))
        self._picture = Preparation(**m.picture.model_dump())
        self._region: Region | None = None
        if m.region is not None:
            self._region = load_region(bundle.path(m.region.file), m.decoder.hidden, log_sizes=m.region.log_sizes)
        self._at = np.full(m.decoder.vocabulary, -1, np.int64)  # where in logits a row is
        rows = np.concatenate([np.arange(first, end) for first, end in m.decoder.rows or [[0, m.decoder.vocabulary]]])
        self._at[rows] = np.arange(len(rows))
        self._asked = lru_cache(maxsize=QUESTIONS)(self._lay_out)

    @property
    def providers(self) -> tuple[str, ...]:
        """What the graphs run on."""
        return self.graphs.providers

    @property
    def says_boxes(self) -> bool:
        """Whether it can be asked to detect: the other formats say on which side a thing is."""
        return self._grammar.says_boxes

    @property
    def says_words(self) -> bool:
        """Whether it can be asked in words."""
        return self.manifest.decoder.logits == self.manifest.decoder.vocabulary

    def warm_up(self) -> None:
        """Run every path once, before the first tick."""
        width, height = self.manifest.picture.camera or (self.manifest.picture.width, self.manifest.picture.height)
        grey = Frame(np.full((height, width, 3), 127, np.uint8), 0, 0)
        for prompt, can in zip(WARM_UP, (self.says_boxes, self.says_words), strict=True):
            if can:
                self.ask(grey, prompt)

    def ask(self, frame: Frame, prompt: str) -> Reply:
        """Boxes as `<locNNNN>` for "detect THING", the surest first; its own words for every other prompt.

        Raises ConfigError for what it cannot say and for a frame it cannot take, EngineError.
        """
        match = DETECT.fullmatch(prompt.strip())
        if match is None:
            text, confidence = self.speak(frame, prompt)
            return Reply(text, confidence, latency_s=self.laps.finish("reply"))
        if not self.says_boxes:
            raise ConfigError(
                f"engine {self.manifest.name!r} answers in the format {self.manifest.grammar!r}, which has no boxes: it cannot {prompt!r}; "
                "ask it in words, or use an engine that says boxes"
            )
        answer = self.find(frame, match["thing"])
        return Reply(in_locs(answer, match["thing"]), answer.confidence, latency_s=self.laps.finish("reply"))

    def find(self, frame: Frame, thing: str) -> Answer:
        """Where a thing is, in fractions of the frame: at most the manifest's `places`. Raises ConfigError, EngineError."""
        pictures = self._see(frame)
        picture = self._picture.map(frame.rgb.shape[1], frame.rgb.shape[0])
        answers: list[Told] = []
        try:
            asked = self._grammar.ask(thing, picture)
            while asked is not None:
                answers.append(self._tell(asked, pictures))
                asked = self._grammar.ask(thing, picture, "\n".join(answer.text for answer in answers))
            text, chances = together(answers)
            return self._grammar.parse(text, picture, thing, chances)
        except ParseError as err:
            raise EngineError(f"engine {self.manifest.name!r}: its answer about {thing!r} cannot be read: {err}") from err

    def speak(self, frame: Frame, question: str) -> tuple[str, float]:
        """Its likeliest words, and the geometric mean of the probabilities of them and of the end. Raises ConfigError, EngineError."""
        if not self.says_words:
            rows = f"{self.manifest.decoder.logits} of {self.manifest.decoder.vocabulary} rows"
            raise ConfigError(
                f"engine {self.manifest.name!r} has {rows} in its head: it cannot answer {question!r} in words; export it with all"
            )
        walk = self._read(self._asked(question.strip()), self._see(frame))
        said: list[int] = []
        surprise, count = 0.0, 0
        while True:
            logits = walk.told["logits"][0]
            row = int(logits.argmax())
            surprise, count = surprise - float(_logs(logits, np.array([row]))[0]), count + 1
            if row in self.manifest.ends:
                break
            said.append(row)
            if len(said) == self.manifest.decoder.max_new_tokens:
                break
            self._say(walk, row)
        return self._words.text(said), math.exp(-surprise / count)

    def close(self) -> None:
        self.graphs.close()

    def _see(self, frame: Frame) -> Array:
        """The picture's tokens (1, n, width)."""
        self.laps.start()
        image = prepare(frame.rgb, self._picture)[None]
        self.laps.lap("preprocess")
        pictures = np.array(self.graphs.run("vision", {"image": image})["tokens"], np.float32)
        self.laps.lap("vision")
        return pictures

    def _lay_out(self, question: str, *, places: bool = False) -> Stencil:
        """A question's sequence, in words or, of a model that has a template for it, for places."""
        m, segments = self.manifest, self.manifest.question
        if places and m.region is not None:
            segments = m.region.detect
        ids, lead = self._words.question(segments, question)
        recipe = Recipe(
            bos=m.sequence.bos, eos=False, image_tokens=m.sequence.image_tokens, action_space=ActionSpace.DISCRETE,
            image_brackets=m.sequence.brackets is not None, lead=lead,
        )  # fmt: skip
        return stencil(self._words, m.sequence, ids, recipe, cut=Cut(both_ways=m.sequence.both_ways))

    def _read(self, asked: Stencil, pictures: Array) -> Walk:
        walk = Walk(self.graphs, asked, pictures)
        self.laps.lap("prefill")
        return walk

    def _say(self, walk: Walk, row: int) -> None:
        walk.step(self._words.embedded([row])[0])
        self.laps.lap("decode")

    def _tell(self, asked: Ask, pictures: Array) -> Told:
        """The answer to one of the grammar's questions."""
        if self._region is not None:
            walk = self._read(self._asked(asked.text, places=True), pictures)
            located = locate(self._region, walk, self._where(list(self.manifest.ends)), min(self.manifest.places, asked.machine.most))
            self.laps.lap("decode")
            return told_of(located)
        machine = replace(asked.machine, most=min(self.manifest.places, asked.machine.most))
        telling, decoding = Telling(self._vocabulary, replace(asked, machine=machine)), Decoding.begin(self._vocabulary, machine)
        walk = self._read(self._asked(asked.text), pictures)
        while True:
            rows = self._allowed(telling)
            row = telling.take(_logs(walk.told["logits"][0], self._where(rows)).tolist())
            decoding = decoding.take(row)
            if telling.over or settled(decoding.state):
                return self._finished(telling)
            self._say(walk, row)

    def _finished(self, telling: Telling) -> Told:
        """The rest of an answer that can only go on in one way, said without asking the model."""
        while not telling.over:
            rows = self._allowed(telling)
            longest = max(rows, key=lambda row: 0 if row in self._vocabulary.ends else len(self._vocabulary.symbols(row)))
            telling.take([0.0 if row == longest else -math.inf for row in rows])
        return telling.told()

    def _allowed(self, telling: Telling) -> list[int]:
        try:
            return telling.allowed()
        except ConfigError as err:
            told = f"its tokenizer cannot answer in the format {self.manifest.grammar!r}"
            raise ConfigError(f"engine {self.manifest.name!r}: {told}: {err}") from err

    def _where(self, rows: list[int]) -> NDArray[np.int64]:
        """Of rows their places in logits. Raises ConfigError for one that the head was left without."""
        places = self._at[rows]
        if (places < 0).any():
            gone = [self._words.text([row]) for row, place in zip(rows, places, strict=True) if place < 0]
            raise ConfigError(
                f"engine {self.manifest.name!r}: its head was left without rows that the format {self.manifest.grammar!r} takes: "
                f"{', '.join(map(repr, gone[:8]))}{f' and {len(gone) - 8} more' if len(gone) > 8 else ''}; export it with these"
            )
        return places


def in_locs(answer: Answer, thing: str) -> str:
    """An answer's boxes as the pilot reads them, the surest first; "" for none."""
    surest = sorted(answer.places, key=lambda place: -place.confidence)
    return " ; ".join(f"{box_to_locs(place.where)} {thing}" for place in surest if isinstance(place.where, Box))


def settled(state: State) -> bool:
    """Whether an answer can only go on in one way, and no number is to come."""
    while not state.over:
        symbols = state.symbols()
        if not isinstance(state.machine.slots[state.at], Say) or len(symbols) + state.may_end != 1:
            return False
        if state.may_end:
            return True
        state = state.after(next(iter(symbols)))
    return True


def _logs(logits: Array, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Natural logarithms of the probabilities of some rows, among all."""
    top = logits.max()
    total = float(np.exp(logits - top).sum(dtype=np.float64))
    return np.asarray((logits[rows] - top).astype(np.float64) - math.log(total), np.float64)
