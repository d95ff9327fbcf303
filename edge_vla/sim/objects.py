"""The things that stand on the simulated floor: each class drawn from a seed as coloured primitive parts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

Rgb = tuple[float, float, float]
Vec = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One MuJoCo geom of an object. Lengths in m, `euler` in degrees; `frustum` is (r_bottom, r_top, height), base at `pos`."""

    kind: str
    size: Vec
    pos: Vec
    role: str = "main"  # parts of one role share a colour
    euler: Vec = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Shape:
    """An object before it is placed. `half_x`, `half_y`, `height` bound it (m); `roles` says how each colour is drawn."""

    name: str
    parts: tuple[Part, ...]
    half_x: float
    half_y: float
    height: float
    roles: dict[str, str] = field(default_factory=dict)  # role -> palette name
    against_wall: bool = False

    @property
    def radius(self) -> float:
        return float(np.hypot(self.half_x, self.half_y))


def _vivid(rng: np.random.Generator) -> Rgb:
    hue, sat, val = rng.uniform(0, 6), rng.uniform(0.45, 1.0), rng.uniform(0.3, 0.95)
    i, f = int(hue), hue - int(hue)
    p, q, t = val * (1 - sat), val * (1 - sat * f), val * (1 - sat * (1 - f))
    return ((val, t, p), (q, val, p), (p, val, t), (p, q, val), (t, p, val), (val, p, q))[i % 6]


def _near(rng: np.random.Generator, rgb: Rgb, spread: float) -> Rgb:
    r, g, b = (float(np.clip(c * rng.uniform(1 - spread, 1 + spread), 0.02, 0.98)) for c in rgb)
    return (r, g, b)


def _one_of(*choices: Rgb) -> Callable[[np.random.Generator], Rgb]:
    return lambda rng: _near(rng, choices[int(rng.integers(len(choices)))], 0.2)


PALETTES: dict[str, Callable[[np.random.Generator], Rgb]] = {
    "any": _vivid,
    "cup": lambda rng: _vivid(rng) if rng.random() < 0.7 else _near(rng, (0.9, 0.9, 0.88), 0.1),
    "dark": _one_of((0.08, 0.07, 0.07), (0.2, 0.13, 0.08)),
    "white": _one_of((0.92, 0.92, 0.9)),
    "metal": _one_of((0.7, 0.7, 0.73), (0.55, 0.56, 0.6)),
    "cardboard": _one_of((0.72, 0.53, 0.33), (0.6, 0.43, 0.26)),
    "wood": _one_of((0.55, 0.36, 0.2), (0.35, 0.22, 0.13), (0.75, 0.58, 0.38), (0.85, 0.85, 0.83)),
    "seat": lambda rng: _vivid(rng) if rng.random() < 0.5 else _near(rng, (0.5, 0.33, 0.2), 0.35),
    "leaf": _one_of((0.13, 0.45, 0.15), (0.25, 0.55, 0.2), (0.1, 0.32, 0.16)),
    "pot": _one_of((0.7, 0.36, 0.22), (0.85, 0.83, 0.8), (0.25, 0.25, 0.28)),
    "orange": _one_of((0.98, 0.42, 0.06), (0.95, 0.3, 0.08)),
    "bottle": _one_of((0.1, 0.4, 0.2), (0.45, 0.24, 0.08), (0.35, 0.6, 0.8), (0.75, 0.85, 0.88)),
    "skin": _one_of((0.87, 0.67, 0.53), (0.55, 0.36, 0.25), (0.34, 0.22, 0.16)),
    "grey": _one_of((0.4, 0.4, 0.42), (0.65, 0.64, 0.62), (0.85, 0.84, 0.8)),
}


def _cup(rng: np.random.Generator) -> Shape:
    r, h = rng.uniform(0.045, 0.06), rng.uniform(0.1, 0.14)
    handle = [
        Part("capsule", (0.009, 0.018), (r + 0.02, 0, h * 0.78), euler=(0, 90, 0)),
        Part("capsule", (0.009, h * 0.22), (r + 0.038, 0, h * 0.53)),
        Part("capsule", (0.009, 0.022), (r + 0.014, 0, h * 0.28), euler=(0, 90, 0)),
    ]
    parts = [Part("frustum", (r * 0.78, r, h), (0, 0, 0)), Part("cylinder", (r * 0.86, 0.002), (0, 0, h), "inside"), *handle]
    return Shape("cup", tuple(parts), r + 0.045, r, h, {"main": "cup", "inside": "dark"})


def _bottle(rng: np.random.Generator) -> Shape:
    r, h = rng.uniform(0.04, 0.055), rng.uniform(0.26, 0.36)
    parts = (
        Part("cylinder", (r, h * 0.3), (0, 0, h * 0.3)),
        Part("cylinder", (r * 1.02, h * 0.12), (0, 0, h * 0.32), "label"),
        Part("frustum", (r, r * 0.36, h * 0.16), (0, 0, h * 0.6)),
        Part("cylinder", (r * 0.36, h * 0.09), (0, 0, h * 0.84)),
        Part("cylinder", (r * 0.42, h * 0.04), (0, 0, h * 0.95), "cap"),
    )
    return Shape("bottle", parts, r, r, h, {"main": "bottle", "label": "any", "cap": "any"})


def _ball(rng: np.random.Generator) -> Shape:
    r = rng.uniform(0.08, 0.15)
    tilt = (float(rng.uniform(0, 180)), float(rng.uniform(0, 180)), 0.0)
    parts = [Part("sphere", (r,), (0, 0, r))]
    if rng.random() < 0.7:
        parts.append(Part("cylinder", (r * 1.004, r * 0.12), (0, 0, r), "band", tilt))
    return Shape("ball", tuple(parts), r, r, 2 * r, {"main": "any", "band": "any" if rng.random() < 0.5 else "white"})


def _box(rng: np.random.Generator) -> Shape:
    x, y, z = rng.uniform(0.1, 0.2), rng.uniform(0.1, 0.2), rng.uniform(0.09, 0.19)
    parts = (
        Part("box", (x, y, z), (0, 0, z)),
        Part("box", (x + 0.002, y * 0.14, z * 0.5), (0, 0, z * 1.52), "tape"),
        Part("box", (x * 0.4, y + 0.002, z * 0.25), (x * 0.3, 0, z * 0.8), "tape"),
    )
    return Shape("box", parts, x, y, 2 * z, {"main": "cardboard" if rng.random() < 0.75 else "any", "tape": "white"})


def _can(rng: np.random.Generator) -> Shape:
    r, h = rng.uniform(0.038, 0.05), rng.uniform(0.13, 0.18)
    parts = (
        Part("cylinder", (r * 0.94, h / 2), (0, 0, h / 2), "metal"),
        Part("cylinder", (r, h * 0.41), (0, 0, h * 0.5)),
        Part("cylinder", (r * 1.01, h * 0.07), (0, 0, h * 0.6), "stripe"),
    )
    return Shape("can", parts, r, r, h, {"main": "any", "metal": "metal", "stripe": "white"})


def _book(rng: np.random.Generator) -> Shape:
    w, h, t = rng.uniform(0.08, 0.11), rng.uniform(0.11, 0.15), rng.uniform(0.02, 0.035)
    if rng.random() < 0.65:  # standing, covers left and right of the pages
        parts = [
            Part("box", (w, t * 0.7, h * 0.97), (0, 0, h), "pages"),
            Part("box", (w * 1.03, t * 0.18, h), (0, t * 0.85, h)),
            Part("box", (w * 1.03, t * 0.18, h), (0, -t * 0.85, h)),
            Part("box", (t * 0.15, t, h), (-w * 1.02, 0, h)),
            Part("box", (w * 0.6, t * 1.06, h * 0.15), (0, 0, h * 1.4), "title"),
        ]
        return Shape("book", tuple(parts), w * 1.05, t * 1.1, 2 * h, {"main": "any", "pages": "white", "title": "white"})
    parts, roles, z = [], {"pages": "white"}, 0.0
    for k in range(int(rng.integers(2, 5))):
        turn = (0.0, 0.0, float(rng.uniform(-20, 20)))
        parts += [
            Part("box", (h * 0.97, w * 0.97, t * 0.7), (0, 0, z + t), "pages", turn),
            Part("box", (h, w, t * 0.16), (0, 0, z + t * 0.16), f"cover{k}", turn),
            Part("box", (h, w, t * 0.16), (0, 0, z + t * 1.84), f"cover{k}", turn),
            Part("box", (h, t * 0.16, t), (0, -w, z + t), f"cover{k}", turn),
        ]
        roles[f"cover{k}"] = "any"
        z += 2 * t
    return Shape("book", tuple(parts), h * 1.1, w * 1.2, z, roles)


def _legs(x: float, y: float, h: float, thick: float, *, square: bool) -> list[Part]:
    kind, size = ("box", (thick, thick, h / 2)) if square else ("cylinder", (thick, h / 2))
    return [Part(kind, size, (sx * x, sy * y, h / 2), "frame") for sx in (-1, 1) for sy in (-1, 1)]


def _chair(rng: np.random.Generator) -> Shape:
    a, seat, top = rng.uniform(0.19, 0.23), rng.uniform(0.4, 0.47), rng.uniform(0.8, 0.98)
    back = top - seat
    parts = [
        Part("box", (a, a, 0.022), (0, 0, seat)),
        *_legs(a * 0.9, a * 0.9, seat, rng.uniform(0.015, 0.024), square=rng.random() < 0.5),
        *(Part("box", (0.015, 0.015, back / 2), (-a * 0.93, s * a * 0.88, seat + back / 2), "frame") for s in (-1, 1)),
        Part("box", (0.012, a * 0.9, back * 0.22), (-a * 0.93, 0, seat + back * 0.74)),
    ]
    if rng.random() < 0.5:
        parts.append(Part("box", (0.01, a * 0.9, back * 0.07), (-a * 0.93, 0, seat + back * 0.3), "frame"))
    return Shape("chair", tuple(parts), a, a, top, {"main": "seat", "frame": "wood" if rng.random() < 0.6 else "metal"})


def _table(rng: np.random.Generator) -> Shape:
    x, y, h = rng.uniform(0.35, 0.6), rng.uniform(0.28, 0.42), rng.uniform(0.45, 0.75)
    thick = rng.uniform(0.02, 0.035)
    parts = [
        Part("box", (x, y, 0.02), (0, 0, h)),
        Part("box", (x * 0.9, y * 0.9, 0.03), (0, 0, h - 0.05), "frame"),
        *_legs(x * 0.88, y * 0.85, h, thick, square=rng.random() < 0.7),
    ]
    return Shape("table", tuple(parts), x, y, h, {"main": "wood", "frame": "wood"})


def _plant(rng: np.random.Generator) -> Shape:
    r, pot = rng.uniform(0.1, 0.15), rng.uniform(0.16, 0.26)
    top = pot + rng.uniform(0.35, 0.75)
    leaves = []
    for k in range(int(rng.integers(6, 11))):
        turn, tilt = rng.uniform(0, 360), rng.uniform(15, 70)
        reach, up = rng.uniform(0.06, 0.16), rng.uniform(pot + 0.12, top - 0.08)
        pos = (reach * np.cos(np.radians(turn)), reach * np.sin(np.radians(turn)), up)
        leaves.append(Part("ellipsoid", (0.14, 0.055, 0.018), pos, f"leaf{k % 2}", (0.0, -tilt, float(turn))))
    parts = [
        Part("frustum", (r * 0.72, r, pot), (0, 0, 0), "pot"),
        Part("cylinder", (r * 0.9, 0.004), (0, 0, pot), "soil"),
        Part("cylinder", (0.014, (top - pot) / 2), (0, 0, (top + pot) / 2), "stem"),
        *leaves,
    ]
    roles = {"pot": "pot", "soil": "dark", "stem": "wood", "leaf0": "leaf", "leaf1": "leaf"}
    return Shape("plant", tuple(parts), 0.2, 0.2, top, roles)


def _cone(rng: np.random.Generator) -> Shape:
    r, h = rng.uniform(0.11, 0.16), rng.uniform(0.32, 0.48)
    cut = (0.0, 0.32, 0.55, 0.75, 1.0)
    rings = [
        Part("frustum", (r * (1 - 0.85 * a), r * (1 - 0.85 * b), h * (b - a)), (0, 0, 0.02 + h * a), "main" if k % 2 == 0 else "band")
        for k, (a, b) in enumerate(pairwise(cut))
    ]
    foot = Part("box", (r * 1.15, r * 1.15, 0.012), (0, 0, 0.012), "foot")
    roles = {"main": "orange", "band": "white", "foot": "orange" if rng.random() < 0.5 else "dark"}
    return Shape("cone", (foot, *rings), r * 1.15, r * 1.15, h + 0.02, roles)


def _door(rng: np.random.Generator) -> Shape:
    w, h = rng.uniform(0.4, 0.48), rng.uniform(1.95, 2.1)
    side = 1 if rng.random() < 0.5 else -1
    parts = [
        Part("box", (0.025, w, h / 2), (0, 0, h / 2)),
        *(Part("box", (0.05, 0.05, h / 2), (0.01, s * (w + 0.05), h / 2), "frame") for s in (-1, 1)),
        Part("box", (0.05, w + 0.1, 0.05), (0.01, 0, h + 0.05), "frame"),
        Part("box", (0.004, w * 0.62, h * 0.16), (0.027, 0, h * 0.26), "panel"),
        Part("box", (0.004, w * 0.62, h * 0.2), (0.027, 0, h * 0.72), "panel"),
        Part("sphere", (0.035,), (0.06, side * w * 0.8, h * 0.48), "handle"),
    ]
    roles = {"main": "wood" if rng.random() < 0.6 else "any", "frame": "white", "panel": "wood", "handle": "metal"}
    return Shape("door", tuple(parts), 0.07, w + 0.1, h + 0.1, roles, against_wall=True)


def _person(rng: np.random.Generator) -> Shape:
    tall = rng.uniform(1.55, 1.85)
    leg, hip, wide = tall * 0.47, tall * 0.055, tall * 0.115
    stride = rng.uniform(0.0, 0.08)
    parts: list[Part] = []
    for s in (-1, 1):
        parts += [
            Part("box", (0.12, 0.045, 0.035), (0.04 + s * stride, s * hip, 0.035), "shoe"),
            Part("capsule", (0.06, leg / 2 - 0.06), (s * stride * 0.6, s * hip, leg / 2 + 0.02), "trousers"),
            Part("capsule", (0.042, tall * 0.15), (0, s * (wide + 0.03), tall * 0.64), "shirt"),
            Part("sphere", (0.045,), (0, s * (wide + 0.04), tall * 0.47), "skin"),
        ]
    parts += [
        Part("ellipsoid", (0.1, wide, tall * 0.2), (0, 0, tall * 0.66), "shirt"),
        Part("sphere", (tall * 0.065,), (0, 0, tall * 0.92), "skin"),
        Part("sphere", (tall * 0.064,), (-0.02, 0, tall * 0.935), "hair"),
    ]
    roles = {"shoe": "dark", "trousers": "any", "shirt": "any", "skin": "skin", "hair": "dark"}
    return Shape("person", tuple(parts), 0.18, wide + 0.08, tall, roles)


def _cabinet(rng: np.random.Generator) -> Shape:
    x, y, z = rng.uniform(0.18, 0.25), rng.uniform(0.4, 0.7), rng.uniform(0.4, 0.9)
    drawers = [Part("box", (0.006, y * 0.9, z * 0.26), (x, 0, z * (0.4 + 0.62 * k)), "front") for k in range(3)]
    return Shape("", (Part("box", (x, y, z), (0, 0, z)), *drawers), x, y, 2 * z, {"main": "wood", "front": "wood"}, against_wall=True)


def _sofa(rng: np.random.Generator) -> Shape:
    x, y = rng.uniform(0.35, 0.42), rng.uniform(0.6, 0.95)
    parts = (
        Part("box", (x, y, 0.2), (0, 0, 0.2)),
        Part("box", (0.09, y, 0.22), (-x + 0.09, 0, 0.58)),
        *(Part("box", (x, 0.08, 0.3), (0, s * (y - 0.08), 0.3), "arm") for s in (-1, 1)),
    )
    roles = {"main": "any" if rng.random() < 0.5 else "grey", "arm": "grey"}
    return Shape("", parts, x, y, 0.8, roles, against_wall=True)


def _pillar(rng: np.random.Generator) -> Shape:
    r = rng.uniform(0.1, 0.18)
    return Shape("", (Part("cylinder", (r, 1.2), (0, 0, 1.2)),), r, r, 2.4, {"main": "grey"})


NAMED: dict[str, Callable[[np.random.Generator], Shape]] = {
    "cup": _cup, "bottle": _bottle, "ball": _ball, "box": _box, "can": _can, "book": _book,
    "chair": _chair, "table": _table, "plant": _plant, "cone": _cone, "door": _door, "person": _person,
}  # fmt: skip
"""The classes an engine can be asked for. Add a class here; rooms, training data and evaluation pick it up."""

FURNITURE: tuple[Callable[[np.random.Generator], Shape], ...] = (_cabinet, _sofa, _pillar)
CLASSES: tuple[str, ...] = tuple(NAMED)
