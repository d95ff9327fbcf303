"""Train Finder on rendered shards. Resumable: kill it at any time, start it again, and it goes on from the last checkpoint."""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge_vla.learn.data.shards import read_shard
from edge_vla.learn.data.views import COLUMNS
from edge_vla.learn.finder.batch import Batch, Packer, Sample
from edge_vla.learn.finder.language import build_tokenizer, token_id
from edge_vla.learn.finder.losses import Weights, dense_losses, free_loss, language_losses
from edge_vla.learn.finder.model import IMAGE_TOKENS, Finder
from edge_vla.sim.objects import CLASSES

WARMUP_IMAGES = 4_000
WIDE_BINS, NARROW_BINS = 48, 8
ANNEAL_IMAGES = 48_000  # loc targets narrow from WIDE_BINS to NARROW_BINS over this many images
EMA_DECAY = 0.998
REPORT_STEPS = 50


def build() -> Finder:
    """A fresh Finder for the simulator's classes."""
    tokenizer = build_tokenizer()
    return Finder(tokenizer.get_vocab_size(), token_id(tokenizer, "<loc0000>"), len(CLASSES), COLUMNS)


def attention_mask(text_open: Tensor) -> Tensor:
    """Additive (B, 1, N, N): patches see patches, text sees every patch and what its block opens."""
    b, t, _ = text_open.shape
    n = IMAGE_TOKENS + t
    allowed = torch.zeros(b, n, n, dtype=torch.bool)
    allowed[:, :, :IMAGE_TOKENS] = True
    allowed[:, IMAGE_TOKENS:, IMAGE_TOKENS:] = text_open
    return torch.zeros(b, 1, n, n).masked_fill(~allowed[:, None], -1e9)


def colour_jitter(image: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 to -1..1 floats with random gain, tint, contrast and noise per image."""
    b = len(image)
    x = image.float() / 127.5 - 1
    gain = torch.exp(torch.randn(b, 1, 1, 1) * 0.15) * torch.exp(torch.randn(b, 3, 1, 1) * 0.06)
    x = (x * torch.exp(torch.randn(b, 1, 1, 1) * 0.1) + 1) * gain - 1 + torch.randn(b, 1, 1, 1) * 0.05
    return (x + torch.randn_like(x) * torch.rand(b, 1, 1, 1) * 0.03).clamp(-1, 1)


def total_loss(model: Finder, batch: Batch, image: Tensor, width_bins: float, weights: Weights) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum and its parts. `image` (B, 3, 224, 224) in -1..1; bf16 where autocast allows it."""
    with torch.autocast("cpu", torch.bfloat16):
        tokens, logits, boxes, free = model.image_tokens(image)
        embeddings = torch.cat([tokens, model.embed(batch.ids).to(tokens.dtype)], 1)
        positions = torch.cat([torch.arange(IMAGE_TOKENS).expand(len(image), -1), batch.position], 1)
        words = model.decode(embeddings, attention_mask(batch.open).to(embeddings.dtype), positions, first=IMAGE_TOKENS)
    dense_class, dense_box = dense_losses(logits, boxes, batch)
    parts = language_losses(words.float(), batch, model.loc_start, width_bins)
    parts |= {"dense_class": dense_class, "dense_box": dense_box, "free": free_loss(free, batch.free_m)}
    total = torch.stack([getattr(weights, name) * value for name, value in parts.items()]).sum()
    return total, {name: value.item() for name, value in parts.items()}


class Shards:
    """Shuffled samples from a folder that may still be growing."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.rng = folder, np.random.default_rng(seed)
        self.samples: list[Sample] = []
        self._known: set[Path] = set()

    def refresh(self) -> None:
        """Read the shards that are new since the last time."""
        for path in sorted(self.folder.glob("*.npz")):
            if path not in self._known:
                self._known.add(path)
                self.samples += read_shard(path)

    def batches(self, size: int) -> Iterator[list[Sample]]:
        """Endless shuffled passes, looking for new shards before each. Raises SystemExit with too few samples."""
        while True:
            self.refresh()
            if len(self.samples) < size:
                raise SystemExit(f"{self.folder} holds {len(self.samples)} views, a batch takes {size}: render some first")
            order = self.rng.permutation(len(self.samples))
            for start in range(0, len(order) - size + 1, size):
                yield [self.samples[i] for i in order[start : start + size]]


def learning_rate(seen: int, peak: float, cooldown: tuple[int, int] | None) -> float:
    """Warm up, hold, and fall linearly to 2 % between the two image counts of `cooldown`."""
    rate = peak * min(1.0, seen / WARMUP_IMAGES)
    if cooldown and seen > cooldown[0]:
        rate *= max(0.02, 1 - (seen - cooldown[0]) / (cooldown[1] - cooldown[0]))
    return rate


class Training:
    """Model, averaged weights, optimiser and progress: what a checkpoint holds."""

    def __init__(self, out: Path, rate: float) -> None:
        self.out, self.rate, self.seen = out, rate, 0
        self.model = build()
        self.average = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=0.03, betas=(0.9, 0.98))
        self.weights = Weights()
        out.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        return self.out / "last.pt"

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return False
        kept = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(kept["model"])
        self.average, self.seen = kept["average"], kept["seen"]
        self.optimiser.load_state_dict(kept["optimiser"])
        return True

    def borrow_vision(self, checkpoint: Path) -> None:
        """Start from another training's vision tower."""
        kept = torch.load(checkpoint, weights_only=True)["average"]
        self.model.vision.load_state_dict({k.removeprefix("vision."): v for k, v in kept.items() if k.startswith("vision.")})
        self.average = {name: value.clone() for name, value in self.model.state_dict().items()}

    def save(self) -> None:
        """All or nothing: an interrupted save leaves the previous checkpoint."""
        part = self.checkpoint.with_suffix(".part")
        state = {"model": self.model.state_dict(), "average": self.average, "optimiser": self.optimiser.state_dict(), "seen": self.seen}
        torch.save(state, part)
        part.rename(self.checkpoint)

    def step(self, batch: Batch, cooldown: tuple[int, int] | None) -> dict[str, float]:
        """One optimiser step; returns the parts of the loss."""
        rate = learning_rate(self.seen, self.rate, cooldown)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        width = NARROW_BINS + (WIDE_BINS - NARROW_BINS) * max(0.0, 1 - self.seen / ANNEAL_IMAGES)
        image = colour_jitter(batch.image).contiguous(memory_format=torch.channels_last)
        loss, parts = total_loss(self.model, batch, image, width, self.weights)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.seen += len(batch.image)
        self._average()
        return parts | {"rate": rate}

    def _average(self) -> None:
        """Exponential moving average, faster while there is little to average."""
        decay = min(EMA_DECAY, 1 - 64 / (self.seen + 64))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1 - decay)
                else:
                    self.average[name] = value.clone()


class Progress:
    """A line of means every REPORT_STEPS steps, printed and appended to log.jsonl."""

    def __init__(self, path: Path, seen: int) -> None:
        self._path, self._sums, self._steps = path, Counter[str](), 0
        self._mark, self._marked = time.monotonic(), seen

    def add(self, parts: dict[str, float], seen: int, samples: int) -> None:
        self._sums.update(parts)
        self._steps += 1
        if self._steps < REPORT_STEPS:
            return
        speed = (seen - self._marked) / (time.monotonic() - self._mark)
        means = {name: round(total / self._steps, 5) for name, total in self._sums.items()}
        line = json.dumps({"seen": seen, "images_per_s": round(speed, 1), "samples": samples, **means})
        print(line, flush=True)
        with self._path.open("a") as log:
            log.write(line + "\n")
        self._sums, self._steps, self._mark, self._marked = Counter(), 0, time.monotonic(), seen


def train(args: argparse.Namespace) -> None:
    """Until killed, or until the cool-down is over."""
    torch.set_num_threads(args.threads)
    training = Training(args.out, args.rate)
    if training.resume():
        print(f"resumed at {training.seen} images", flush=True)
    elif args.vision:
        training.borrow_vision(args.vision)
    cooldown = (args.images - args.cooldown, args.images) if args.cooldown else None
    packer = Packer(build_tokenizer(), len(CLASSES), seed=time.time_ns() % 2**31)
    shards, progress = Shards(args.data, seed=training.seen + 1), Progress(args.out / "log.jsonl", training.seen)
    training.model.train()
    saved = time.monotonic()
    for views in shards.batches(args.batch):
        parts = training.step(packer(views, flips=True), cooldown)
        progress.add(parts, training.seen, len(shards.samples))
        done = bool(args.images and training.seen >= args.images)
        if done or time.monotonic() - saved > args.save_s:
            training.save()
            saved = time.monotonic()
        if done:
            print(f"done at {training.seen} images", flush=True)
            return


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description="Train the default engine's model; run again to resume.")
    cli.add_argument("--data", type=Path, default=Path("data/train"))
    cli.add_argument("--out", type=Path, default=Path("training/finder"))
    cli.add_argument("--batch", type=int, default=32)
    cli.add_argument("--rate", type=float, default=1.5e-3)
    cli.add_argument("--threads", type=int, default=2)
    cli.add_argument("--save-s", type=float, default=120.0)
    cli.add_argument("--images", type=int, default=0, help="stop after this many images seen in all; 0 goes on until killed")
    cli.add_argument("--cooldown", type=int, default=0, help="let the learning rate fall over the last so many of --images")
    cli.add_argument("--vision", type=Path, help="a checkpoint whose vision tower a new training starts from")
    given = cli.parse_args()
    if not 0 <= given.cooldown <= given.images:
        cli.error(f"--cooldown {given.cooldown}: want 0 to --images ({given.images})")
    train(given)
