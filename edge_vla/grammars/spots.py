"""Places whose numbers stand beside a model's rows, as Moondream's do, told as the text that its own `detect` returns."""

from __future__ import annotations

import json
from dataclasses import dataclass

from edge_vla.grammars.telling import Told


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in fractions of the picture: (x, y) or, around that middle, (x, y, width, height); how likely each number is."""

    values: tuple[float, ...]
    chances: tuple[float, ...]

    @property
    def box(self) -> dict[str, float]:
        x, y, width, height = self.values
        return {"x_min": x - width / 2, "y_min": y - height / 2, "x_max": x + width / 2, "y_max": y + height / 2}


@dataclass(frozen=True, slots=True)
class Located:
    """Places in the model's order, and P(the answer does not end before the first), whatever row is said instead of the end."""

    spots: tuple[Spot, ...]
    present: float


def told_of(located: Located) -> Told:
    """The answer to "detect" as its JSON. The chances of x, y, width and height stand at a box's four numbers, in this order."""
    tokens = [('{"objects": [', 1.0)]
    for spot in located.spots:
        tokens.append((", {" if len(tokens) > 1 else "{", 1.0))
        for k, ((edge, value), chance) in enumerate(zip(spot.box.items(), spot.chances, strict=True)):
            tokens += [(f'{", " if k else ""}"{edge}": ', 1.0), (json.dumps(value), min(1.0, chance))]
        tokens.append(("}", 1.0))
    tokens.append(("]}", 1.0))
    return Told("".join(text for text, _ in tokens), tuple(tokens), located.present, 1 - located.present)
