"""Teach the student by imitation. `python -m edge_vla.learn.policy.train`; run again to resume.

At its end, and whenever it is interrupted and run with --release, OUT/model is what `python -m export onnx` takes.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge_vla.learn.finder.losses import dense_losses, free_loss
from edge_vla.learn.finder.train import colour_jitter
from edge_vla.learn.optimisation import build_optimiser, build_schedule, clip_gradients
from edge_vla.learn.policy.lessons import Batch, Lessons
from edge_vla.learn.policy.student import GRID, VISION, build_student, release, write_student
from edge_vla.learn.trainable import autocast
from edge_vla.sim.objects import CLASSES

COLUMNS = 16
FRAMES = 32  # pictures a step
REPORT_STEPS = 100
SIGHT_RATIO = 0.3  # of what the tower is taught to see, beside what the student is taught to do
ACTION_RATIO = 4.0
HOW = {
    "learning_rate": 1e-3, "weight_decay": 0.02, "optimizer": "adamw", "scheduler": "half-cosine", "warmup_steps": 200,
    "min_lr_scale": 0.01, "gradient_clip_val": 1.0,
}  # fmt: skip


class Sight(nn.Module):
    """What the tower's patches say of things and free distances while it learns; thrown away afterwards."""

    def __init__(self) -> None:
        super().__init__()
        width = int(VISION["hidden_size"])
        self.says = nn.Linear(width, len(CLASSES) + 4)
        nn.init.constant_(self.says.bias[: len(CLASSES)], -4.0)
        self.squeeze, self.spread = nn.Linear(width, 16), nn.Linear(GRID * 16, COLUMNS // GRID)
        centre = (torch.arange(GRID) + 0.5) / GRID
        self.centre: Tensor
        self.register_buffer("centre", torch.stack(torch.meshgrid(centre, centre, indexing="ij"), -1).reshape(1, GRID * GRID, 2))

    def forward(self, features: Tensor, batch: Batch) -> Tensor:
        """Loss of features (n, GRID * GRID, width)."""
        said = self.says(features)
        reach = nn.functional.softplus(said[..., len(CLASSES) :]) * 0.2
        boxes = torch.cat([self.centre - reach[..., :2], self.centre + reach[..., 2:]], -1)
        classes, corners = dense_losses(said[..., : len(CLASSES)], boxes, batch)
        columns = self.squeeze(features).unflatten(1, (GRID, GRID)).transpose(1, 2).flatten(2)
        free = 4.0 * torch.sigmoid(self.spread(columns).flatten(1))
        return classes + corners + free_loss(free, batch.free_m)


class Training:
    """Student, optimiser, schedule and progress: what a checkpoint holds."""

    def __init__(self, out: Path, steps: int, seed: int) -> None:
        self.out, self.step = out, 0
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        write_student(out / "fresh")
        self.model, self.sight = build_student(out / "fresh"), Sight()
        self.model.train_setup_configs = {**self.model.train_setup_configs, "precision": "bf16"}
        how: dict[str, Any] = HOW | {"trainer": {"max_steps": steps}}
        self.how = how
        self.optimiser = build_optimiser(nn.ModuleList([self.model, self.sight]), how)
        self.schedule = build_schedule(self.optimiser, how, 1.0)
        self._features: list[Tensor] = []
        self.model.vision_tower.register_forward_hook(lambda _module, _given, out: self._features.append(out.last_hidden_state))

    @property
    def checkpoint(self) -> Path:
        return self.out / "last.pt"

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return False
        kept = torch.load(self.checkpoint, weights_only=True)
        for name in ("model", "sight", "optimiser", "schedule"):
            getattr(self, name).load_state_dict(kept[name])
        self.step = kept["step"]
        return True

    def save(self) -> None:
        """All or nothing: an interrupted save leaves the previous checkpoint."""
        part = self.checkpoint.with_suffix(".part")
        parts = {name: getattr(self, name).state_dict() for name in ("model", "sight", "optimiser", "schedule")}
        torch.save(parts | {"step": self.step}, part)
        part.rename(self.checkpoint)

    def learn(self, batch: Batch, *, act: bool) -> dict[str, float]:
        """One optimiser step; returns the parts of the loss. Without `act` the tower alone learns, to see."""
        self.model.train()
        shape = batch.pictures.shape[:2]
        pictures = colour_jitter(batch.pictures.flatten(0, 1)).unflatten(0, shape)
        self._features.clear()
        with autocast(self.model):
            loss = self._acted(pictures, batch) if act else self.model.vision_tower(pictures.flatten(0, 1)).last_hidden_state.sum() * 0
        seen = self.sight(self._features[0].float(), batch)
        self.optimiser.zero_grad(set_to_none=True)
        (ACTION_RATIO * loss + SIGHT_RATIO * seen).backward()
        clip_gradients(nn.ModuleList([self.model, self.sight]), self.how)
        self.optimiser.step()
        self.schedule.step()
        self.step += 1
        name = "window" if shape[1] > 1 else "view"
        return {f"see_{name}": seen.item()} | ({f"act_{name}": loss.item()} if act else {})

    def _acted(self, pictures: Tensor, batch: Batch) -> Tensor:
        loss: Tensor = self.model(pictures, batch.text, batch.mask, action_labels=(batch.actions, None))["loss"]
        return loss


def train(args: argparse.Namespace) -> None:
    """Until the last step, or until killed."""
    torch.set_num_threads(args.threads)
    training = Training(args.out, args.steps, args.seed)
    if training.resume():
        print(f"resumed at step {training.step}", flush=True)
    if not args.release:
        _go_on(training, args)
    release(training.model, args.out / "model")
    print(f"step {training.step} released as {args.out / 'model'}", flush=True)


def _go_on(training: Training, args: argparse.Namespace) -> None:
    views, episodes = sorted(args.views.glob("*.npz"))[: args.view_shards], sorted(args.episodes.glob("*.npz"))
    lessons = Lessons(training.model, views, episodes, seed=args.seed + training.step)
    print(f"{len(lessons.views)} views, {len(lessons.episodes)} episodes", flush=True)
    sums, counts, saved, mark = Counter[str](), Counter[str](), time.monotonic(), time.monotonic()
    while training.step < args.steps:
        acts = training.step >= args.see
        batch = lessons.windows_of(FRAMES) if acts and training.step % 2 else lessons.views_of(FRAMES)
        parts = training.learn(batch, act=acts)
        if not all(map(math.isfinite, parts.values())):
            raise SystemExit(f"step {training.step}: the loss is {parts}; the checkpoint before it stays")
        sums.update(parts)
        counts.update(parts.keys())
        if training.step % REPORT_STEPS == 0:
            means = {name: round(total / counts[name], 5) for name, total in sums.items()}
            rate = round(REPORT_STEPS * FRAMES / (time.monotonic() - mark), 1)
            line = json.dumps({"step": training.step, "images_per_s": rate, **means})
            print(line, flush=True)
            with (args.out / "log.jsonl").open("a") as log:
                log.write(line + "\n")
            sums, counts, mark = Counter(), Counter(), time.monotonic()
        if time.monotonic() - saved > args.save_s:
            training.save()
            saved = time.monotonic()
    training.save()


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description="Teach a small policy to go to things in simulated rooms; run again to resume.")
    cli.add_argument("--views", type=Path, default=Path("data/train"), help="shards of python -m edge_vla.learn.data.shards")
    cli.add_argument("--view-shards", type=int, default=64, help="at most so many of them; each is held in memory")
    cli.add_argument("--episodes", type=Path, default=Path("data/policy"), help="shards of python -m edge_vla.learn.policy.episodes")
    cli.add_argument("--out", type=Path, default=Path("training/policy"))
    cli.add_argument("--see", type=int, default=5000, help="steps at the beginning in which the vision tower learns alone")
    cli.add_argument("--steps", type=int, default=13000)
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--threads", type=int, default=1)
    cli.add_argument("--save-s", type=float, default=120.0)
    cli.add_argument("--release", action="store_true", help="learn nothing more; write OUT/model from the checkpoint")
    train(cli.parse_args())
