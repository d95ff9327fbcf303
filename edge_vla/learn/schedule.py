"""Learning-rate schedules as factors of the peak rate, by iteration. Each takes what it does not use, so they are interchangeable."""

import math
from collections.abc import Callable


def _check(iteration: int, warmup_iters: float, iters: float, min_lr_scale: float) -> None:
    if iteration < 0 or not 0 <= warmup_iters <= iters or not 0 <= min_lr_scale <= 1:
        raise ValueError(
            "want 0 <= iteration, 0 <= warmup_iters <= iters, 0 <= min_lr_scale <= 1, "
            f"got {iteration}, {warmup_iters}, {iters}, {min_lr_scale}"
        )


def half_cosine(iteration: int, *, warmup_iters: float, iters: float, min_lr_scale: float = 0.01) -> float:
    """0 to 1 in a line over the warm-up, then half a cosine down to `min_lr_scale` at `iters`, and there it stays.

    The reference's climbs again after `iters`.
    """
    _check(iteration, warmup_iters, iters, min_lr_scale)
    if iteration < warmup_iters:
        return iteration / warmup_iters
    progress = min(1.0, (iteration - warmup_iters) / (iters - warmup_iters)) if iters > warmup_iters else 1.0
    return min_lr_scale + (1 - min_lr_scale) * 0.5 * (1 + math.cos(math.pi * progress))


def cosine(iteration: int, *, warmup_iters: float, iters: float, min_lr_scale: float = 0.0) -> float:
    """`half_cosine` down to nothing, whatever `min_lr_scale` says: `transformers`' cosine schedule."""
    _check(iteration, warmup_iters, iters, min_lr_scale)
    return half_cosine(iteration, warmup_iters=warmup_iters, iters=iters, min_lr_scale=0.0)


def constant(iteration: int, *, warmup_iters: float, iters: float, min_lr_scale: float = 0.0) -> float:
    """0 to 1 in a line over the warm-up, then 1: what every shipped configuration of RoboVLMs trains with."""
    _check(iteration, warmup_iters, iters, min_lr_scale)
    return min(1.0, iteration / warmup_iters) if warmup_iters else 1.0


SCHEDULES: dict[str, Callable[..., float]] = {"constant": constant, "half-cosine": half_cosine, "cosine": cosine}
