"""Where a thing is, asked of a backbone in its own reply format: only what the format allows is said, and how likely it was is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_vla.errors import ConfigError
from edge_vla.goals import clean_target
from edge_vla.grammars import Answer, Ask, Telling, Told, grammar, together
from edge_vla.learn import speaker
from edge_vla.learn.trainable import resting
from edge_vla.pictures import check

if TYPE_CHECKING:
    from edge_vla.learn.backbones.base import BaseRoboVLM

MOST = 8  # places of an answer unless told otherwise


def find(model: BaseRoboVLM, thing: str, rgb: NDArray[np.uint8], most: int = MOST) -> Answer:
    """What the model answers about a thing in an (H, W, 3) uint8 picture, the places in fractions of that picture.

    An answer ends after `most` places. Raises ConfigError for a thing that cannot be asked for, for what is no picture, and for a
    tokenizer that lacks the rows the format takes.
    """
    check(rgb)
    if most < 1:
        raise ConfigError(f"most {most}: want at least 1 place")
    one, picture = grammar(model.grammar), model.picture_map(rgb.shape[1], rgb.shape[0])
    asked, answers = one.ask(thing, picture), list[Told]()
    with resting(model):
        features = speaker.see(model, rgb)
        while asked is not None:
            answers.append(model.tell(asked, features, most))
            asked = one.ask(thing, picture, "\n".join(answer.text for answer in answers))
    text, chances = together(answers)
    return one.parse(text, picture, clean_target(thing), chances)


def tell(model: BaseRoboVLM, asked: Ask, features: Tensor, most: int) -> Told:
    """The answer to one question about a picture's features, row by row as `Telling` takes them."""
    machine = replace(asked.machine, most=min(most, asked.machine.most))
    telling = Telling(model.vocabulary, replace(asked, machine=machine))
    rows = _allowed(model, telling)
    walk = speaker.ask(model, model.question_ids(asked.text), model.question_lead(), features)
    while True:
        row = telling.take(walk.logits[0].double().log_softmax(-1)[rows].tolist())
        if telling.over:
            return telling.told()
        walk.say(torch.tensor([row], device=model.device))
        rows = _allowed(model, telling)


def _allowed(model: BaseRoboVLM, telling: Telling) -> list[int]:
    try:
        return telling.allowed()
    except ConfigError as err:
        raise ConfigError(f"model {model.model_path}: its tokenizer cannot answer in the format {model.grammar!r}: {err}") from err
