"""Action arithmetic between a policy and a robot: scaling, bins, chunks, windows, tool frames. Knows no model, robot or tokenizer.

The last dimension of an action is its gripper (robovlms.md §4). Every function returns a new array of its argument's own
floating dtype (integers and lists become float64), computes in float64, and refuses what is not finite.
"""

# ruff: noqa: FBT001, FBT002 - the document's and the reference's signatures

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]  # of the argument's floating dtype
Wide = NDArray[np.float64]

EPS = 1e-6  # what the reference adds to a standard deviation
ROTATION_SCALE = 0.01  # an action's rotation is in hundredths of a radian (CALVIN's relative actions)
TOKEN_OFFSET = 10  # rows the reference leaves free above its action tokens
ARM_SIZE = 7  # x y z, three Euler angles, gripper


def _floats(name: str, values: ArrayLike) -> tuple[Wide, np.dtype[Any]]:
    """`values` in float64 with the dtype to give back. Raises ValueError for a scalar, nothing in the last dimension, nan or inf."""
    given = np.asarray(values)
    if given.dtype.kind not in "fiub":
        raise ValueError(f"{name}: want numbers, got dtype {given.dtype}")
    if given.ndim < 1 or given.shape[-1] == 0:
        raise ValueError(f"{name}: want (..., action_dim), got shape {given.shape}")
    wide = given.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ValueError(f"{name}: holds nan or inf")
    return wide, given.dtype if given.dtype.kind == "f" else np.dtype(np.float64)


def _range(action_min: float, action_max: float) -> tuple[float, float]:
    low, high = float(action_min), float(action_max)
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"want finite action_min < action_max, got {low} and {high}")
    return low, high


def _finish(result: Wide, raw: Wide, dtype: np.dtype[Any], maintain_last: bool, last_step: bool = False) -> Array:
    """Puts the gripper back as it was; `last_step` puts back the whole last row of the first axis instead."""
    if maintain_last and last_step:
        result[-1] = raw[-1]
    elif maintain_last:
        result[..., -1] = raw[..., -1]
    return result.astype(dtype)


def normalize_action(action: ArrayLike, action_min: float = -1, action_max: float = 1, maintain_last: bool = False) -> Array:
    """[action_min, action_max], clipped, to [-1, 1]. `maintain_last` leaves the gripper alone."""
    raw, dtype = _floats("action", action)
    low, high = _range(action_min, action_max)
    result = 2 * (np.clip(raw, low, high) - low) / (high - low) - 1
    return _finish(result, raw, dtype, maintain_last)


def unnormalize_action(action: ArrayLike, action_min: float = -1, action_max: float = 1, maintain_last: bool = False) -> Array:
    """[-1, 1] back to [action_min, action_max], not clipped. A binary gripper wants `maintain_last`, which the reference forgets."""
    raw, dtype = _floats("action", action)
    low, high = _range(action_min, action_max)
    result = 0.5 * (raw + 1) * (high - low) + low
    return _finish(result, raw, dtype, maintain_last)


def _statistics(x: Wide, x_mean: ArrayLike, x_std: ArrayLike) -> tuple[Wide, Wide]:
    mean, std = np.asarray(x_mean, np.float64), np.asarray(x_std, np.float64)
    for name, value in (("x_mean", mean), ("x_std", std)):
        if value.shape not in {(), (1,), x.shape[-1:]} or not np.isfinite(value).all():
            raise ValueError(f"{name}: want 1 or {x.shape[-1]} finite values, got shape {value.shape}: {value}")
    if (std < 0).any():
        raise ValueError(f"x_std: want no negative value, got {std}")
    return mean, std


def regularize_action(
    x: ArrayLike, x_mean: ArrayLike, x_std: ArrayLike, eps: float = EPS, maintain_last: bool = True, *, reference_last_step: bool = False
) -> Array:
    """Mean 0 and deviation 1 in each dimension; the gripper stays. `reference_last_step` keeps x[-1] instead, as old checkpoints saw it."""
    raw, dtype = _floats("x", x)
    mean, std = _statistics(raw, x_mean, x_std)
    result = (raw - mean) / (std + eps)
    return _finish(result, raw, dtype, maintain_last, reference_last_step)


def unregularize_action(
    x: ArrayLike, x_mean: ArrayLike, x_std: ArrayLike, eps: float = EPS, maintain_last: bool = True, *, reference_last_step: bool = False
) -> Array:
    """The inverse of `regularize_action` with the same flags."""
    raw, dtype = _floats("x", x)
    mean, std = _statistics(raw, x_mean, x_std)
    result = raw * (std + eps) + mean
    return _finish(result, raw, dtype, maintain_last, reference_last_step)


def _companding(mu: float) -> float:
    if not (np.isfinite(mu) and mu > 0):
        raise ValueError(f"mu: want a finite number > 0, got {mu}")
    return float(mu)


def mu_law_companding(x: ArrayLike, mu: float = 255, maintain_last: bool = True, *, reference_last_step: bool = False) -> Array:
    """Stretches what is near zero; [-1, 1] stays [-1, 1]. The gripper stays, or x[-1] with `reference_last_step`."""
    raw, dtype = _floats("x", x)
    mu = _companding(mu)
    result = np.sign(raw) * np.log1p(mu * np.abs(raw)) / np.log1p(mu)
    return _finish(result, raw, dtype, maintain_last, reference_last_step)


def inverse_mu_law_companding(y: ArrayLike, mu: float = 255, maintain_last: bool = True, *, reference_last_step: bool = False) -> Array:
    """The inverse of `mu_law_companding` with the same flags."""
    raw, dtype = _floats("y", y)
    mu = _companding(mu)
    result = np.sign(raw) * np.expm1(np.abs(raw) * np.log1p(mu)) / mu
    return _finish(result, raw, dtype, maintain_last, reference_last_step)


@dataclass(frozen=True)
class ActionBins:
    """Which vocabulary row stands for which action value: higher actions have lower rows, the highest row ends at `orig_size` - 1.

    `vocab_size` counts no added tokens; `special_tokens_count` counts every named special token, and each of the additional ones.
    """

    vocab_size: int
    special_tokens_count: int = 0
    n_bins: int = 256
    min_action: float = -1
    max_action: float = 1

    def __post_init__(self) -> None:
        _range(self.min_action, self.max_action)
        if self.n_bins < 2:
            raise ValueError(f"bins: want at least 2 edges, got {self.n_bins}")
        if self.orig_size < self.n_bins:
            raise ValueError(
                f"{self.n_bins} bins do not fit {self.vocab_size} rows less {self.special_tokens_count} special tokens and {TOKEN_OFFSET}"
            )

    @property
    def orig_size(self) -> int:
        return self.vocab_size - self.special_tokens_count - TOKEN_OFFSET

    @property
    def begin_idx(self) -> int:
        """Action rows r have begin_idx < r < end_idx."""
        return self.orig_size - (self.n_bins + 1)

    @property
    def end_idx(self) -> int:
        return self.orig_size

    @cached_property
    def edges(self) -> Wide:
        return np.linspace(self.min_action, self.max_action, self.n_bins)

    @cached_property
    def centers(self) -> Wide:
        """(n_bins - 1,): there is one interval less than there are edges."""
        return (self.edges[:-1] + self.edges[1:]) / 2

    def encode(self, action: ArrayLike) -> NDArray[np.int64]:
        """Rows of any shape of actions, which are clipped to the range. Raises ValueError for nan, which would read as full speed."""
        values = np.asarray(action)
        if not np.isfinite(values).all():
            raise ValueError("action: holds nan or inf")
        # clipped in its own dtype: float32's 0.65 lies below the last edge, and the reference's rows say so
        clipped = np.clip(values, float(self.min_action), float(self.max_action))
        # float32's -0.1 lies below the first edge: bin 0, which has no row
        return np.asarray(self.orig_size - np.maximum(np.digitize(clipped, self.edges), 1), np.int64)

    def decode(self, ids: ArrayLike) -> Wide:
        """Middle of the bin of each row; rows outside the action rows read as the nearest of them."""
        rows = np.asarray(ids)
        if rows.dtype.kind not in "iu":
            raise ValueError(f"token ids: want integers, got dtype {rows.dtype}")
        return self.centers[np.clip(self.orig_size - rows.astype(np.int64) - 1, 0, len(self.centers) - 1)]


def _positive(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name}: want at least 1, got {value}")


def get_tensor_chunk(x: ArrayLike, fwd_pred_next_n: int) -> Array:
    """(N, ...) to (N - C + 1, C, ...): row t holds steps t .. t + C - 1."""
    steps = np.asarray(x)
    _positive(fwd_pred_next_n=fwd_pred_next_n)
    if steps.ndim < 1 or len(steps) < fwd_pred_next_n:
        raise ValueError(f"want at least {fwd_pred_next_n} steps to cut chunks of, got shape {steps.shape}")
    rows = np.arange(len(steps) - fwd_pred_next_n + 1)[:, None] + np.arange(fwd_pred_next_n)
    chunks: Array = steps[rows]
    return chunks


def generate_chunk_data(data: ArrayLike, window_size: int, chunk_size: int, *, after_current: bool = False) -> Array:
    """(b, W + C, ...) to (b, W, C, ...): row w holds steps w .. w + C - 1, or w + 1 .. w + C with `after_current`.

    The reference has both under one name: actions are cut the first way, future images the second.
    """
    steps: Array = np.asarray(data)
    _positive(window_size=window_size, chunk_size=chunk_size)
    if steps.ndim < 2 or steps.shape[1] != window_size + chunk_size:
        raise ValueError(f"want (batch, {window_size} + {chunk_size}, ...), got shape {steps.shape}")
    return steps[:, np.arange(window_size)[:, None] + np.arange(chunk_size) + int(after_current)]


unnoramalize_action, generate_chunck_data = unnormalize_action, generate_chunk_data  # as the reference spells them


def get_chunked_episode(
    window_sample: Literal["sliding", "range"],
    left_pad: bool,
    window_size: int,
    fwd_pred_next_n: int,
    episode_idx_range: ArrayLike,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """An episode's windows: indices (N, W + C) of steps t - W + 1 .. t + C, clipped to the episode, and which of them are inside it.

    Without `left_pad` the windows that begin before the episode are left out. "range" repeats each window W times and masks its
    history to the last W, W - 1 .. 1 steps.
    """
    episode = np.asarray(episode_idx_range)
    _positive(window_size=window_size, fwd_pred_next_n=fwd_pred_next_n)
    if window_sample not in {"sliding", "range"}:
        raise ValueError(f"window_sample: want sliding or range, got {window_sample!r}")
    if episode.ndim != 1 or len(episode) == 0:
        raise ValueError(f"episode_idx_range: want (steps,) with at least one, got shape {episode.shape}")
    columns = np.arange(window_size + fwd_pred_next_n)
    steps = np.arange(len(episode))[:, None] + columns - (window_size - 1)
    steps = steps[0 if left_pad else window_size - 1 :]
    inside = (steps >= 0) & (steps < len(episode))
    steps = steps.clip(0, len(episode) - 1)
    if window_sample == "range":
        kept = np.arange(window_size)[:, None] <= columns
        inside = (inside[:, None] & kept).reshape(-1, len(columns))
        steps = steps.repeat(window_size, axis=0)
    return episode[steps], inside


def _rotation(angles: Wide) -> Wide:
    """(..., 3) angles about x, then the new y, then the new z, to matrices (..., 3, 3)."""
    (ca, cb, cc), (sa, sb, sc) = np.moveaxis(np.cos(angles), -1, 0), np.moveaxis(np.sin(angles), -1, 0)
    rows = [
        [cb * cc, -cb * sc, sb],
        [ca * sc + sa * sb * cc, ca * cc - sa * sb * sc, -sa * cb],
        [sa * sc - ca * sb * cc, sa * cc + ca * sb * sc, ca * cb],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _angles(rotation: Wide, near: Wide) -> Wide:
    """The angles of a rotation: of its two readings the one closer to `near`, as differences from `near` in [-pi, pi]."""
    a = np.arctan2(-rotation[..., 1, 2], rotation[..., 2, 2])
    b = np.arctan2(rotation[..., 0, 2], np.hypot(rotation[..., 0, 0], rotation[..., 0, 1]))
    c = np.arctan2(-rotation[..., 0, 1], rotation[..., 0, 0])
    readings = np.stack([np.stack([a, b, c], -1), np.stack([a + np.pi, np.pi - b, c + np.pi], -1)])
    off = readings - near
    off -= 2 * np.pi * np.round(off / (2 * np.pi))
    first = np.abs(off[0]).sum(-1) <= np.abs(off[1]).sum(-1)
    chosen: Wide = np.where(first[..., None], off[0], off[1])
    return chosen


def _poses(action: ArrayLike, robot_obs: ArrayLike) -> tuple[Wide, Wide, np.dtype[Any]]:
    moves, dtype = _floats("action", action)
    state, _ = _floats("robot_obs", robot_obs)
    if moves.shape[-1] != ARM_SIZE or state.shape[-1] < ARM_SIZE - 1 or moves.shape[:-1] != state.shape[:-1]:
        raise ValueError(f"want action (..., {ARM_SIZE}) and robot_obs (..., 6 or more) alike, got {moves.shape} and {state.shape}")
    return moves, state[..., 3:6], dtype


def _action(place: Wide, turn: Wide, moves: Wide, dtype: np.dtype[Any]) -> Array:
    return np.concatenate([place[..., 0], turn / ROTATION_SCALE, moves[..., 6:]], -1).astype(dtype)


def world_to_tcp_frame(action: ArrayLike, robot_obs: ArrayLike) -> Array:
    """A relative action (..., 7) in world axes, seen from the tool at robot_obs[..., 3:6] (Euler XYZ, rad). The gripper stays."""
    moves, euler, dtype = _poses(action, robot_obs)
    tool = _rotation(euler)
    moved = _rotation(euler + moves[..., 3:6] * ROTATION_SCALE)
    place = np.swapaxes(tool, -1, -2) @ moves[..., :3, None]
    turn = _angles(np.swapaxes(moved, -1, -2) @ tool, np.zeros_like(euler))
    return _action(place, turn, moves, dtype)


def tcp_to_world_frame(action: ArrayLike, robot_obs: ArrayLike) -> Array:
    """The inverse of `world_to_tcp_frame` (the reference's own does not run). Ill-conditioned where the tool's middle angle is ±pi/2."""
    moves, euler, dtype = _poses(action, robot_obs)
    tool = _rotation(euler)
    place = tool @ moves[..., :3, None]
    moved = tool @ np.swapaxes(_rotation(moves[..., 3:6] * ROTATION_SCALE), -1, -2)
    turn = _angles(moved, euler)
    return _action(place, turn, moves, dtype)
