"""The student: what it is told, what it is shown, that it learns and remembers, and that it drives as it was trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_vla.action_scaling import ActionScaling
from edge_vla.config import RobotProfile
from edge_vla.errors import ConfigError
from edge_vla.goals import GOALS, Goal, get_instruction
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.build import load_policy
from edge_vla.learn.config import check_config
from edge_vla.learn.data.shards import write_shard
from edge_vla.learn.data.views import View
from edge_vla.learn.policy.driver import Driver
from edge_vla.learn.policy.lessons import Batch, Lessons, box_of, small
from edge_vla.learn.policy.student import GRID, SIDE_PX, WINDOW, config, release, seeded
from edge_vla.learn.policy.teacher import CHUNK, SPEED_MPS, TURN_RPS, lesson
from edge_vla.learn.policy.train import Training
from edge_vla.robot import camera_pose
from edge_vla.sim.objects import CLASSES
from edge_vla.types import Frame, acting

CONE = CLASSES.index("cone")
SCALING = ActionScaling.from_config(config())


def view(left: float, right: float, shade: int = 200) -> View:
    """An orange rectangle between two image fractions, its foot at 0.75 of the height, 300 pixels."""
    rgb = np.full((224, 224, 3), 60, np.uint8)
    rgb[80:168, int(left * 224) : int(right * 224)] = (shade, 90, 20)
    boxes = np.array([[CONE, 80 / 224, left, 0.75, right, 300]], np.float32)
    return View(rgb, boxes, np.linspace(1.0, 3.0, 16, dtype=np.float32))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(views, episodes): a cone in eight places; one episode in which it moves to the left, a grey level a look."""
    folder = tmp_path_factory.mktemp("data")
    write_shard(folder / "views.npz", [view(k / 10, k / 10 + 0.15) for k in range(8)])
    way = [view(0.7 - 0.1 * k, 0.85 - 0.1 * k, 100 + 20 * k) for k in range(6)]
    write_shard(folder / "way.npz", way, episode_end=np.array([6]), thing=np.array([CONE]))
    return folder / "views.npz", folder / "way.npz"


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> BaseRoboVLM:
    """Fresh, seed 0. Do not train it."""
    return seeded(0, tmp_path_factory.mktemp("student")).eval()


@pytest.fixture
def lessons(student: BaseRoboVLM, shards: tuple[Path, Path]) -> Lessons:
    return Lessons(student, [shards[0]], [shards[1]], seed=5)


# -- what it is told and shown


def test_its_configuration_is_one() -> None:
    assert check_config(config()) == config()


def test_every_instruction_and_every_thing_has_its_words(student: BaseRoboVLM) -> None:
    unknown = student.tokenizer.unk_token_id
    for goal, spec in GOALS.items():
        for thing in CLASSES if spec.instruction and goal is not Goal.COMMAND else ():
            ids = student.instruction_ids(get_instruction(goal, thing))
            assert unknown not in ids
            assert ids[0] == student.tokenizer.eos_token_id
    told = {tuple(student.instruction_ids(f"find the {thing}")) for thing in CLASSES}
    assert len(told) == len(CLASSES)


def test_what_the_teacher_says_is_within_its_reach() -> None:
    label = SCALING.encode(np.array([[SPEED_MPS, TURN_RPS], [0.0, -TURN_RPS]], np.float32))
    assert label == pytest.approx(np.array([[0.8, 0.8], [0.0, -0.8]]), abs=1e-4)


def test_a_batch_of_views_is_what_the_teacher_says_of_each(lessons: Lessons, student: BaseRoboVLM) -> None:
    batch = lessons.views_of(12)
    assert batch.pictures.shape == (12, 1, 3, SIDE_PX, SIDE_PX)
    assert batch.actions.shape == (12, 1, CHUNK, 2)
    assert batch.patch_class.shape == (12, GRID * GRID, len(CLASSES))
    assert set(batch.free_m[:, 0].tolist()) == {1.0, 3.0}  # as it was, and mirrored
    for row in range(12):
        orange = batch.pictures[row, 0, 0].numpy().astype(int)[60] > 100
        (columns,) = np.nonzero(orange)
        left, right = columns[0] / SIDE_PX, (columns[-1] + 1) / SIDE_PX
        boxes = np.array([[CONE, 80 / 224, left, 0.75, right, 300]], np.float32)
        told = SCALING.encode(lesson(box_of(boxes, "cone"), batch.free_m[row].tolist(), camera_pose(RobotProfile())))
        assert batch.actions[row, 0].numpy() == pytest.approx(told, abs=0.1)
        assert batch.patch_class[row, :, CONE].max() == 1
    words = {tuple(ids[mask].tolist()) for ids, mask in zip(batch.text, batch.mask, strict=True)}
    assert words <= {tuple(student.instruction_ids(f"{verb} the cone")) for verb in ("find", "go to")}


def test_a_window_is_frames_in_order(lessons: Lessons) -> None:
    batch = lessons.windows_of(2 * WINDOW)
    assert batch.pictures.shape == (2, WINDOW, 3, SIDE_PX, SIDE_PX)
    shade = batch.pictures[:, :, 0].amax((2, 3)).int()
    assert (shade.diff(dim=1) > 10).all()
    place = (batch.pictures[:, :, 0, 60] > 80).float().argmax(-1)  # the rectangle's left edge
    moved = place.diff(dim=1)
    assert ((moved < 0).all(1) | (moved > 0).all(1)).all()  # to the left, or mirrored to the right
    turns = batch.actions[:, :, 0, 1]
    assert (torch.sign(turns.diff(dim=1)) == -torch.sign(moved)).all()  # further left, more to the left


def test_without_views_frames_of_episodes_stand_for_them(student: BaseRoboVLM, shards: tuple[Path, Path]) -> None:
    assert Lessons(student, [], [shards[1]], seed=5).views_of(3).pictures.shape == (3, 1, 3, SIDE_PX, SIDE_PX)
    assert Lessons(student, [shards[0]], [], seed=5).windows_of(3).pictures.shape == (3, 1, 3, SIDE_PX, SIDE_PX)
    with pytest.raises(ConfigError, match="nothing to learn from"):
        Lessons(student, [], [], seed=5)


def test_a_thing_that_is_hardly_seen_is_not() -> None:
    boxes = np.array([[CONE, 0.1, 0.2, 0.3, 0.4, 13], [CONE, 0.5, 0.5, 0.6, 0.6, 20], [0, 0.0, 0.0, 1.0, 1.0, 900]], np.float32)
    found = box_of(boxes, "cone")
    assert found is not None
    assert (found.y_min, found.x_max) == (pytest.approx(0.5), pytest.approx(0.6))
    assert box_of(boxes[:1], "cone") is None
    with pytest.raises(ValueError, match="want a JPEG of 224 x 224"):
        small(np.zeros(8, np.uint8))


# -- that it learns, and remembers


def taught(batch: Batch) -> Batch:
    return replace(batch, pictures=batch.pictures.clone())


def test_it_learns_to_see_and_then_to_act(tmp_path: Path, lessons: Lessons) -> None:
    training = Training(tmp_path, steps=40, seed=0)
    batch = lessons.windows_of(4 * WINDOW)
    seen = [training.learn(taught(batch), act=False) for _ in range(12)]
    assert set(seen[0]) == {"see_window"}
    assert seen[-1]["see_window"] < 0.9 * seen[0]["see_window"]
    head = [p.clone() for p in training.model.act_head.parameters()]  # type: ignore[union-attr]
    acted = [training.learn(taught(batch), act=True) for _ in range(20)]
    assert set(acted[0]) == {"see_window", "act_window"}
    assert acted[-1]["act_window"] < 0.5 * acted[0]["act_window"]
    assert any((old != new).any() for old, new in zip(head, training.model.act_head.parameters(), strict=True))  # type: ignore[union-attr]


def test_it_goes_on_where_it_stopped(tmp_path: Path, lessons: Lessons) -> None:
    training, batch = Training(tmp_path, steps=10, seed=0), lessons.views_of(4)
    for _ in range(3):
        training.learn(taught(batch), act=True)
    training.save()
    again = Training(tmp_path, steps=10, seed=1)
    assert again.resume()
    assert (again.step, again.schedule.last_epoch) == (3, 3)
    for name, value in training.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    assert again.optimiser.state_dict()["state"][0]["step"] == 3
    assert not Training(tmp_path / "other", steps=10, seed=0).resume()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "last.pt", "other"]


def test_a_released_student_is_the_policy_that_was_trained(tmp_path: Path, student: BaseRoboVLM, lessons: Lessons) -> None:
    release(student, tmp_path)
    loaded, batch = load_policy(tmp_path), lessons.windows_of(WINDOW)
    pictures = batch.pictures.float() / 127.5 - 1
    told = [model.inference(pictures, batch.text, batch.mask)["action"][0] for model in (student, loaded, seeded(1, tmp_path / "another"))]
    assert torch.equal(told[0], told[1])
    assert (told[0] - told[2]).abs().max() > 1e-3


# -- that it drives as it was trained


@pytest.fixture
def frames() -> Callable[[int], list[Frame]]:
    rng = np.random.default_rng(2)
    return lambda count: [Frame(rng.integers(0, 255, (240, 320, 3), dtype=np.uint8), k, k) for k in range(count)]


def test_it_drives_on_the_frames_of_its_window(student: BaseRoboVLM, frames: Callable[[int], list[Frame]]) -> None:
    driver, seen = Driver(student), frames(WINDOW + 2)
    assert acting(driver)
    chunks = [driver.ask(frame, "find the cone").chunk for frame in seen]
    text = torch.tensor([student.instruction_ids("find the cone")])
    window = torch.stack([student.preprocess(frame.rgb) for frame in seen[-WINDOW:]])[None]
    said = SCALING.decode(np.asarray(student.inference(window, text)["action"][0][0, -1].double()))
    assert chunks[-1] is not None
    assert np.array([(t.linear_x, t.angular_z) for t in chunks[-1].twists]) == pytest.approx(said)
    assert (chunks[-1].period_s, chunks[-1].execute) == (config()["action_period_s"], config()["action_execute"])
    assert chunks[0] != Driver(student).ask(seen[1], "find the cone").chunk


def test_it_forgets(student: BaseRoboVLM, frames: Callable[[int], list[Frame]]) -> None:
    driver, (first, second) = Driver(student), frames(2)
    fresh = driver.ask(first, "find the cone").chunk
    assert driver.ask(second, "find the cone").chunk != fresh
    driver.forget()
    assert driver.ask(first, "find the cone").chunk == fresh
    assert driver.ask(first, "go to the cone").chunk != fresh
