"""Surface, light and colour randomisation on a compiled room, without recompiling it."""

import mujoco
import numpy as np
from numpy.typing import NDArray

from edge_vla.sim.objects import PALETTES
from edge_vla.sim.rooms import Room

FLOORS = ((0.55, 0.42, 0.3), (0.35, 0.26, 0.2), (0.6, 0.6, 0.58), (0.42, 0.45, 0.5), (0.75, 0.7, 0.62), (0.3, 0.3, 0.32))
WALLS = ((0.85, 0.84, 0.8), (0.7, 0.78, 0.82), (0.82, 0.76, 0.66), (0.6, 0.66, 0.6), (0.9, 0.9, 0.9), (0.55, 0.55, 0.62))


def pattern(rng: np.random.Generator, size: int, base: tuple[float, float, float]) -> NDArray[np.uint8]:
    """A (size, size, 3) uint8 surface: planks, tiles, stripes, blotches or plain, with grain."""
    image = np.ones((size, size, 3)) * base
    kind = rng.integers(5)
    y, x = np.mgrid[0:size, 0:size]
    if kind == 0:  # planks
        row = y * int(rng.integers(4, 9)) // size
        image *= (1 + 0.16 * rng.standard_normal(row.max() + 1)[row])[..., None]
        image *= 1 - 0.25 * (np.diff(row, axis=0, prepend=row[:1]) > 0)[..., None]
    elif kind == 1:  # tiles
        n = int(rng.integers(2, 7))
        a, b = y * n // size, x * n // size
        image *= (1 + 0.12 * rng.standard_normal((n, n))[a, b])[..., None]
        image *= 1 - 0.3 * ((y * n % size < n * 1.5) | (x * n % size < n * 1.5))[..., None]
    elif kind == 2:  # two-colour checks or stripes
        n, other = int(rng.integers(2, 6)), np.clip(np.array(base) * rng.uniform(0.6, 1.3, 3), 0, 1)
        mask = ((x * n * 2 // size) + (y * n * 2 // size if rng.random() < 0.5 else 0)) % 2 == 0
        image[mask] = other
    elif kind == 3:  # blotches
        cells = int(rng.integers(3, 12))
        coarse = rng.standard_normal((cells + 1, cells + 1))
        image *= (1 + 0.15 * coarse[y * cells // size, x * cells // size])[..., None]
    image *= 1 + rng.uniform(0.0, 0.08) * rng.standard_normal((size, size, 1))
    return np.clip(image * 255, 0, 255).astype(np.uint8)


def _jitter(rng: np.random.Generator, choices: tuple[tuple[float, float, float], ...]) -> tuple[float, float, float]:
    r, g, b = np.clip(np.array(choices[int(rng.integers(len(choices)))]) * rng.uniform(0.7, 1.25, 3), 0.05, 1.0).tolist()
    return (r, g, b)


def paint_surfaces(model: mujoco.MjModel, rng: np.random.Generator) -> None:
    """New floor, wall and cloth textures; the renderer must upload them afterwards."""
    for name, choices in (("floor", FLOORS), ("wall", WALLS), ("cloth", ((0.95, 0.95, 0.95),))):
        tex = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_TEXTURE, name)
        size, start = int(model.tex_width[tex]), int(model.tex_adr[tex])
        model.tex_data[start : start + size * size * 3] = pattern(rng, size, _jitter(rng, choices)).ravel()
        mat = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_MATERIAL, name)
        model.mat_texrepeat[mat] = rng.uniform(0.4, 1.6) if name != "cloth" else rng.uniform(3, 9)
        model.mat_specular[mat] = rng.uniform(0.0, 0.4)
        model.mat_shininess[mat] = rng.uniform(0.1, 0.8)


def paint_lights(model: mujoco.MjModel, rng: np.random.Generator) -> None:
    """New lamp places, directions and strengths, a little off white."""
    for k in range(model.nlight):
        model.light_pos[k] = (*rng.uniform(-1.8, 1.8, 2), rng.uniform(2.0, 3.5))
        model.light_dir[k] = (*rng.uniform(-0.5, 0.5, 2), -1.0)
        model.light_diffuse[k] = rng.uniform(0.15, 0.75) * rng.uniform(0.85, 1.0, 3)
    model.vis.headlight.ambient[:] = rng.uniform(0.2, 0.5) * rng.uniform(0.9, 1.0, 3)
    model.vis.headlight.diffuse[:] = rng.uniform(0.05, 0.4)


def paint_things(model: mujoco.MjModel, room: Room, rng: np.random.Generator) -> None:
    """New colours for every object, drawn from its class's palettes."""
    for i, thing in enumerate(room.things):
        colours = {role: PALETTES[palette](rng) for role, palette in thing.shape.roles.items()}
        for j, part in enumerate(thing.shape.parts):
            model.geom_rgba[mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, f"t{i}_{j}"), :3] = colours[part.role]
