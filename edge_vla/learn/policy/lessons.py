"""Views and episodes to batches: pictures of a few frames, an instruction, what the teacher would do about each frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_vla.action_scaling import ActionScaling
from edge_vla.config import RobotProfile
from edge_vla.errors import ConfigError
from edge_vla.goals import Goal, get_instruction
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.data.shards import read_shard
from edge_vla.learn.finder.batch import flip
from edge_vla.learn.finder.language import largest
from edge_vla.learn.finder.patches import patch_targets
from edge_vla.learn.policy.episodes import THINGS, Episode, read_episodes
from edge_vla.learn.policy.student import GRID, SIDE_PX, WINDOW, config
from edge_vla.learn.policy.teacher import Lesson, lesson
from edge_vla.robot import camera_pose
from edge_vla.sim.objects import CLASSES
from edge_vla.types import Box

GOALS = (Goal.FIND_OBJECT, Goal.NAVIGATE)  # told in either's words
OTHER = 0.2  # share of an episode's windows whose instruction is about another thing than it was driven for
ABSENT = 0.35  # share of the views that are asked about a thing that is not in them
View = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]  # JPEG bytes, boxes, free distances


@dataclass(slots=True)
class Batch:
    """One step's tensors: b rows of l frames."""

    pictures: Tensor  # (b, l, 3, SIDE_PX, SIDE_PX) uint8
    text: Tensor  # (b, t) ids, padded on the right
    mask: Tensor  # (b, t) bool
    actions: Tensor  # (b, l, CHUNK, 2) as the head should say them
    patch_class: Tensor  # (b * l, GRID * GRID, classes)
    patch_box: Tensor  # (b * l, GRID * GRID, 4)
    free_m: Tensor  # (b * l, columns)


class Lessons:
    """Draws rows from views and episodes, mirrors half of them, and asks the teacher."""

    def __init__(self, model: BaseRoboVLM, views: Sequence[Path], episodes: Sequence[Path], seed: int) -> None:
        """Raises ConfigError where there is neither."""
        self.views: list[View] = [view for path in views for view in read_shard(path)]
        self.episodes = [episode for path in episodes for episode in read_episodes(path) if len(episode.views) >= WINDOW]
        if not (self.views or self.episodes):
            raise ConfigError("nothing to learn from: want a folder of views or of episodes with a shard in it")
        self._ends = [(k, t) for k, episode in enumerate(self.episodes) for t in range(WINDOW, len(episode.views) + 1)]
        self._rng = np.random.default_rng(seed)
        self._camera, self._scaling = camera_pose(RobotProfile()), ActionScaling.from_config(config())
        self._ids = {
            thing: [model.instruction_ids(get_instruction(goal, thing)) for goal in GOALS] for thing in THINGS
        }  # fmt: skip

    def __len__(self) -> int:
        return len(self.views) + len(self._ends)

    def views_of(self, frames: int) -> Batch:
        """So many views, one a row; frames of episodes where there are no views."""
        return self._joined([self._single() for _ in range(frames)])

    def windows_of(self, frames: int) -> Batch:
        """So many frames of episodes, a window a row; views where there are no episodes."""
        return self._joined([self._window() for _ in range(frames // WINDOW)]) if self.episodes else self.views_of(frames)

    def _single(self) -> tuple[str, Sequence[View]]:
        if not self.views:
            thing, window = self._window()
            return thing, window[-1:]
        view = self.views[int(self._rng.integers(len(self.views)))]
        there = [CLASSES[c] for c in largest(view[1]) if CLASSES[c] in THINGS]
        things = there if there and self._rng.random() > ABSENT else [thing for thing in THINGS if thing not in there] or there
        return things[int(self._rng.integers(len(things)))], [view]

    def _window(self) -> tuple[str, Sequence[View]]:
        number, end = self._ends[int(self._rng.integers(len(self._ends)))]
        episode: Episode = self.episodes[number]
        own = episode.thing in THINGS and self._rng.random() > OTHER
        thing = episode.thing if own else THINGS[int(self._rng.integers(len(THINGS)))]
        return thing, episode.views[end - WINDOW : end]

    def _joined(self, rows: Sequence[tuple[str, Sequence[View]]]) -> Batch:
        texts = [self._ids[thing][int(self._rng.integers(len(GOALS)))] for thing, _ in rows]
        longest = max(map(len, texts))
        shown = [self._shown(thing, views, mirrored=bool(self._rng.random() < 0.5)) for thing, views in rows]
        frames = [frame for row in shown for frame in row]
        shape = len(rows), len(frames) // len(rows)
        pictures, actions, classes, boxes, free = (np.stack(part) for part in zip(*frames, strict=True))
        return Batch(
            torch.from_numpy(pictures).permute(0, 3, 1, 2).unflatten(0, shape),
            torch.tensor([ids + [0] * (longest - len(ids)) for ids in texts]),
            torch.tensor([[True] * len(ids) + [False] * (longest - len(ids)) for ids in texts]),
            torch.from_numpy(self._scaling.encode(actions)).unflatten(0, shape),
            torch.from_numpy(classes), torch.from_numpy(boxes), torch.from_numpy(free),
        )  # fmt: skip

    def _shown(
        self, thing: str, views: Sequence[View], *, mirrored: bool
    ) -> list[tuple[NDArray[np.uint8], Lesson, Lesson, Lesson, Lesson]]:
        """(picture, lesson, patch classes, patch boxes, free distances) of each frame."""
        shown = []
        for jpeg, true_boxes, true_free_m in views:
            view = (small(jpeg), true_boxes, true_free_m)
            rgb, boxes, free_m = flip(*view) if mirrored else view
            told = lesson(box_of(boxes, thing), free_m.tolist(), self._camera)
            shown.append((np.ascontiguousarray(rgb), told, *patch_targets(boxes, len(CLASSES), GRID), np.ascontiguousarray(free_m)))
        return shown


def small(jpeg: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(SIDE_PX, SIDE_PX, 3) RGB of a view, which is twice as large. Raises ValueError for bytes that are no such picture."""
    image = cv2.imdecode(jpeg, cv2.IMREAD_REDUCED_COLOR_2)
    if image is None or image.shape != (SIDE_PX, SIDE_PX, 3):
        raise ValueError(f"want a JPEG of {2 * SIDE_PX} x {2 * SIDE_PX}, got {None if image is None else image.shape} at half its size")
    return np.asarray(image[..., ::-1], dtype=np.uint8)


def box_of(boxes: NDArray[np.float32], thing: str) -> Box | None:
    """The most visible thing of that name, None where too little of it is to be seen."""
    row = largest(boxes).get(CLASSES.index(thing))
    if row is None:
        return None
    y_min, x_min, y_max, x_max = (float(v) for v in row[1:5])
    return Box(y_min, x_min, y_max, x_max, thing)
