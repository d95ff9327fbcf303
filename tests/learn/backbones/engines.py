"""Every tiny backbone with the rows its reply format takes, and a rig that makes a model prefer an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_vla.grammars import Decoding, Vocabulary, grammar
from edge_vla.grammars.machine import Machine
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.build import build_policy
from tests.learn.backbones.tiny_flamingo import write_flamingo
from tests.learn.backbones.tiny_moondream import write_moondream
from tests.learn.backbones.tiny_qwen import write_qwen25, write_qwen_v1
from tests.learn.backbones.tiny_uform import write_uform

Config = dict[str, Any]
Writers = dict[str, Callable[..., Path]]  # conftest's, by what they write
LETTERS = (*"yesnoYNlftmidrghLMRTcup;", "▁")
WORDS = ("yes", "No", "▁Yes", "▁no", "left", "▁middle", "Right")
LOCS = tuple(f"<loc{k:04d}>" for k in range(1024))
FIRST_LOC = 400  # behind the row that stands for a picture in transformers' own forward
QWEN_SIZE = 128  # px: two of them are near enough
NAMES = (
    "paligemma", "paligemma2", "kosmos", "llava", "llava_mpt", "qwen_v1", "qwen_v1_chat", "qwen25", "flamingo", "flamingo_neox",
    "moondream_b", "moondream_c", "moondream_d", "uform",
)  # fmt: skip
BOXES = ("paligemma", "paligemma2", "kosmos", "qwen_v1", "qwen_v1_chat", "qwen25")  # whose rows spell boxes
SIDES = ("llava", "llava_mpt", "flamingo", "flamingo_neox", "moondream_b", "moondream_c", "uform")


def name_rows(folder: Path, tokens: Sequence[str], first: int | None = None) -> Path:
    """Give spare rows of a tokenizer of conftest's, those called w0 and on, other names; or add rows from `first` on."""
    file = folder / "tokenizer.json"
    told = json.loads(file.read_text())
    rows: dict[str, int] = told["model"]["vocab"]
    for k, token in enumerate(token for token in tokens if token not in rows):
        rows[token] = rows.pop(f"w{k}") if first is None else first + k
    file.write_text(json.dumps(told))
    return folder


def at(name: str, folder: Path, **rest: Any) -> Config:
    return {"robovlm_name": name, "vlm": {"pretrained_model_name_or_path": str(folder), **rest.pop("vlm", {})}, "act_head": None} | rest


def write(name: str, folder: Path, writers: Writers, seed: int = 0) -> Config:
    """The model of that name in `folder`, and the configuration that loads it."""
    if name.startswith("paligemma"):
        second = {"model_type": "gemma2", "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]}
        writers["paligemma"](folder, seed, vocab_size=1500, **(second if name == "paligemma2" else {}))
        return at("RoboPaligemma", name_rows(name_rows(folder, ("▁cup", "▁;", *LETTERS)), LOCS, FIRST_LOC))
    if name == "kosmos":
        return at("RoboKosMos", writers["kosmos"](folder, seed))
    if name in ("llava", "llava_mpt"):
        words = WORDS if name == "llava" else tuple(word.replace("▁", "Ġ") for word in WORDS)
        letters = LETTERS if name == "llava" else (*LETTERS[:-1], "Ġ")
        return at("RoboLLaVA", name_rows(writers[name](folder, seed), (*words, *letters)))
    if name.startswith("qwen_v1"):
        return at("RoboQwen", write_qwen_v1(folder, seed=seed, chat=name == "qwen_v1_chat"))
    if name == "qwen25":
        return at("RoboQwen", write_qwen25(folder, seed=seed), image_size=QWEN_SIZE)
    if name.startswith("flamingo"):
        return write_flamingo(folder, "gpt_neox" if name == "flamingo_neox" else "mpt", seed) | {"act_head": None}
    if name == "uform":
        write_uform(folder, seed)
        return at("RoboUform", folder)
    write_moondream(folder, name[-1].upper(), seed)
    return at("RoboMoonDream", folder)


def load(config: Config) -> BaseRoboVLM:
    return build_policy(config).eval()


def spell(vocabulary: Vocabulary, machine: Machine, text: str) -> list[int]:
    """The rows that say an answer, the longest that fits each time, up to where it is over."""
    decoding, rows, raw = Decoding.begin(vocabulary, machine), list[int](), text.encode()
    while not (decoding.ended or decoding.state.over):
        rest = raw[len(decoding.said) :]
        said = {row: b"" if row in vocabulary.ends else b"".join(vocabulary.symbols(row)) for row in decoding.allowed()}
        rows.append(max((len(said[row]), row) for row in said if (rest.startswith(said[row]) if said[row] else not rest))[1])
        decoding = decoding.take(rows[-1])
    return rows


def answers(model: BaseRoboVLM, thing: str, size: tuple[int, int], text: str) -> list[list[int]]:
    """The rows of an answer about a picture of (width, height), by the questions it answers."""
    one, picture, told = grammar(model.grammar), model.picture_map(*size), list[list[int]]()
    ask = one.ask(thing, picture)
    while ask is not None:
        told.append(spell(model.vocabulary, ask.machine, text.split("\n")[len(told)] if model.grammar == "words" else text))
        ask = one.ask(thing, picture, "\n".join(text.split("\n")[: len(told)]))
    return told


class Rig:
    """While it lasts the model's logits are listened to, and those of the rows it is to say lifted `margin` above the best of all."""

    def __init__(self, model: BaseRoboVLM, said: Sequence[Sequence[int]], margin: float) -> None:
        """`said`: the rows of its answers, one after the other."""
        self.model, self.rows, self.margin = model, list(chain(*said)), margin
        self.plain: list[Tensor] = []  # (vocabulary,) of each step as the model gave them
        self.heard: list[Tensor] = []  # and as they were used
        self.logits = model.logits

    def __enter__(self) -> Rig:
        self.model.logits = self.lift  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        del self.model.logits

    def lift(self, hidden: Tensor) -> Tensor:
        out = self.logits(hidden).clone()
        self.plain.append(out[0, -1].clone())
        if len(self.heard) < len(self.rows):
            out[..., self.rows[len(self.heard)]] = out.amax(-1) + self.margin
        self.heard.append(out[0, -1].clone())
        return out

    def chances(self) -> list[np.ndarray]:
        """The probabilities of all rows, step by step."""
        return [np.asarray(torch.softmax(step.double(), -1)) for step in self.heard]


def camera(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
