"""Training: the schedule, the averaged weights, resuming to the same step, and that it learns at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from edge_vla.learn.data.shards import write_shard
from edge_vla.learn.data.views import View
from edge_vla.learn.finder.batch import Batch, Packer, Sample
from edge_vla.learn.finder.train import EMA_DECAY, REPORT_STEPS, WARMUP_IMAGES, Progress, Shards, Training, colour_jitter, learning_rate
from edge_vla.sim.objects import CLASSES

MakeBoxes = Callable[..., NDArray[np.float32]]


@pytest.fixture(scope="module")
def batch(tokenizer: Tokenizer, make_sample: Callable[..., Sample], make_boxes: MakeBoxes) -> Batch:
    """Two views that are easy to tell apart."""
    one = make_boxes(("cup", 0.3, 0.1, 0.7, 0.4, 900))
    two = make_boxes(("door", 0.1, 0.55, 0.9, 0.95, 4000), ("ball", 0.6, 0.1, 0.8, 0.3, 300))
    return Packer(tokenizer, len(CLASSES), seed=0)([make_sample(one), make_sample(two, free_m=1.0)], flips=False)


# -- the schedule


@pytest.mark.parametrize(
    ("seen", "cooldown", "want"),
    [
        (0, None, 0.0),
        (1000, None, 0.25),
        (WARMUP_IMAGES - 1, None, (WARMUP_IMAGES - 1) / WARMUP_IMAGES),
        (WARMUP_IMAGES, None, 1.0),
        (10**7, None, 1.0),
        (50_000, (50_000, 70_000), 1.0),
        (55_000, (50_000, 70_000), 0.75),
        (69_000, (50_000, 70_000), 0.05),
        (69_600, (50_000, 70_000), 0.02),
        (69_601, (50_000, 70_000), 0.02),  # a fiftieth is the least
        (70_000, (50_000, 70_000), 0.02),
        (90_000, (50_000, 70_000), 0.02),
        (2_000, (0, 4_000), 0.25),  # half warm, half cooled down
    ],
)
def test_the_learning_rate(seen: int, cooldown: tuple[int, int] | None, want: float) -> None:
    assert learning_rate(seen, 1.5e-3, cooldown) == pytest.approx(1.5e-3 * want, rel=1e-9)


def test_a_step_uses_the_rate_of_the_images_seen_before_it(tmp_path: Path, batch: Batch) -> None:
    training = Training(tmp_path, rate=1e-3)
    before = training.model.lm.model.norm.weight.detach().clone()
    assert training.step(batch, None)["rate"] == 0.0
    assert torch.equal(training.model.lm.model.norm.weight, before), "the first step is a rehearsal"
    assert training.seen == 2
    assert training.step(batch, None)["rate"] == pytest.approx(1e-3 * 2 / WARMUP_IMAGES)
    assert [group["lr"] for group in training.optimiser.param_groups] == pytest.approx([1e-3 * 2 / WARMUP_IMAGES])
    assert not torch.equal(training.model.lm.model.norm.weight, before)


# -- the averaged weights


@pytest.mark.parametrize("seen", [2, 64, 10_000, 100_000])
def test_the_average_follows_its_formula(tmp_path: Path, seen: int) -> None:
    training = Training(tmp_path, rate=1e-3)
    name = "vision.position"
    old, counter = training.average[name].clone(), "vision.stem.0.1.num_batches_tracked"
    with torch.no_grad():
        training.model.vision.position += 1.0
        training.model.state_dict()[counter].fill_(17)
    training.seen = seen
    training._average()
    decay = min(EMA_DECAY, seen / (seen + 64))
    assert torch.allclose(training.average[name], old + (1 - decay), atol=1e-6)
    assert int(training.average[counter]) == 17, "a count is copied, not averaged"


# -- resuming


def test_a_resumed_training_takes_the_step_the_first_one_would_have_taken(tmp_path: Path, batch: Batch) -> None:
    first = Training(tmp_path, rate=1e-3)
    first.seen = WARMUP_IMAGES
    torch.manual_seed(1)
    first.step(batch, None)
    first.save()
    second = Training(tmp_path, rate=1e-3)
    assert second.resume()
    assert second.seen == first.seen == WARMUP_IMAGES + 2
    steps = []
    for training, seed in ((first, 2), (second, 2)):
        torch.manual_seed(seed)
        steps.append(training.step(batch, None))
    assert steps[0] == steps[1]
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
        assert torch.equal(first.average[name], second.average[name]), name
    third = Training(tmp_path, rate=1e-3)
    third.resume()
    torch.manual_seed(3)
    assert third.step(batch, None)["loc"] != steps[0]["loc"], "another seed is another jitter: the equality above means something"


def test_without_a_checkpoint_there_is_nothing_to_resume(tmp_path: Path) -> None:
    training = Training(tmp_path / "new", rate=1e-3)
    assert not training.resume()
    assert training.seen == 0


def test_an_interrupted_save_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(tmp_path, rate=1e-3)
    training.seen = 64
    training.save()

    def interrupted(state: object, path: Path) -> None:
        path.write_bytes(b"half a checkpoint")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    training.seen = 128
    with pytest.raises(KeyboardInterrupt):
        training.save()
    again = Training(tmp_path, rate=1e-3)
    assert again.resume()
    assert again.seen == 64


def test_a_checkpoint_holds_no_code(tmp_path: Path) -> None:
    training = Training(tmp_path, rate=1e-3)
    training.save()
    kept = torch.load(training.checkpoint, weights_only=True)
    assert set(kept) == {"model", "average", "optimiser", "seen"}
    assert set(kept["average"]) == set(kept["model"]) == set(training.model.state_dict())


def test_a_borrowed_vision_tower_comes_alone(tmp_path: Path) -> None:
    donor, taker = Training(tmp_path / "donor", rate=1e-3), Training(tmp_path / "taker", rate=1e-3)
    with torch.no_grad():
        donor.average["vision.position"].fill_(7.0)
    donor.save()
    words = taker.model.lm.model.embed_tokens.weight.detach().clone()
    taker.borrow_vision(donor.checkpoint)
    assert (taker.model.vision.position == 7.0).all()
    assert (taker.average["vision.position"] == 7.0).all()
    assert torch.equal(taker.model.lm.model.embed_tokens.weight, words)
    assert taker.seen == 0


# -- it learns


def test_it_learns_two_pictures_by_heart(tmp_path: Path, batch: Batch) -> None:
    torch.manual_seed(0)
    training = Training(tmp_path, rate=1e-3)
    training.seen = WARMUP_IMAGES
    history = [training.step(batch, None) for _ in range(30)]
    first, last = ({k: np.mean([h[k] for h in part]) for k in history[0]} for part in (history[:3], history[-3:]))
    for part, factor in {"words": 6, "present": 4, "coordinate": 3, "dense_class": 20, "dense_box": 2, "free": 3}.items():
        assert last[part] * factor < first[part], (part, first[part], last[part])


# -- jitter


def test_colour_jitter_stays_in_range_and_differs_from_picture_to_picture() -> None:
    image = torch.arange(256, dtype=torch.uint8).repeat(3 * 224 * 224 // 256).reshape(1, 3, 224, 224).repeat(6, 1, 1, 1)
    torch.manual_seed(0)
    once = colour_jitter(image)
    assert once.shape == image.shape
    assert once.abs().max() <= 1
    assert once.dtype == torch.float32
    means = once.mean((1, 2, 3))
    assert len(set(means.tolist())) == 6
    assert means.abs().max() < 0.6
    torch.manual_seed(0)
    assert torch.equal(colour_jitter(image), once)
    assert not torch.equal(colour_jitter(image), once)


def test_colour_jitter_keeps_what_is_bright_brighter() -> None:
    torch.manual_seed(1)
    image = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
    image[..., 16:] = 160
    jittered = colour_jitter(image)
    assert (jittered[..., 16:].mean((2, 3)) > jittered[..., :16].mean((2, 3)) + 0.5).all()


# -- reading shards


def shard(folder: Path, name: str, views: int, boxes: NDArray[np.float32]) -> None:
    view = View(np.zeros((224, 224, 3), np.uint8), boxes, np.ones(16, np.float32))
    write_shard(folder / name, [view] * views)


def test_a_growing_folder_is_read_as_it_grows(tmp_path: Path, make_boxes: MakeBoxes) -> None:
    shard(tmp_path, "0.npz", 3, make_boxes())
    shards = Shards(tmp_path, seed=0)
    shards.refresh()
    shard(tmp_path, "1.npz", 2, make_boxes())
    assert len(shards.samples) == 3
    shards.refresh()
    shards.refresh()
    assert len(shards.samples) == 5


def test_a_pass_shows_every_view_once_in_another_order_each_time(tmp_path: Path, make_boxes: MakeBoxes) -> None:
    write_shard(tmp_path / "0.npz", [View(np.zeros((224, 224, 3), np.uint8), make_boxes(), np.full(16, k, np.float32)) for k in range(6)])
    batches = Shards(tmp_path, seed=0).batches(2)
    passes = [[int(free[0]) for _ in range(3) for _, _, free in next(batches)] for _ in range(4)]
    assert all(sorted(one) == list(range(6)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1


def test_too_few_views_for_a_batch_say_so(tmp_path: Path, make_boxes: MakeBoxes) -> None:
    shard(tmp_path, "0.npz", 3, make_boxes())
    with pytest.raises(SystemExit, match="holds 3 views, a batch takes 4: render some first"):
        next(Shards(tmp_path, seed=0).batches(4))


def test_progress_is_a_line_of_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(tmp_path / "log.jsonl", seen=0)
    for k in range(2 * REPORT_STEPS):
        progress.add({"loc": float(k)}, seen=32 * (k + 1), samples=500)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["loc"] for line in lines] == [(REPORT_STEPS - 1) / 2, REPORT_STEPS + (REPORT_STEPS - 1) / 2]
    assert [line["seen"] for line in lines] == [32 * REPORT_STEPS, 64 * REPORT_STEPS]
    assert len(capsys.readouterr().out.splitlines()) == 2
