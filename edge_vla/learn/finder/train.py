"""Train Finder on rendered shards. Resumable: kill it at any time, start it again, and it goes on from the last checkpoint."""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_vla.learn.data.shards import read_shard
from edge_vla.learn.data.views import COLUMNS
from edge_vla.learn.finder.batch import Batch, Packer
from edge_vla.learn.finder.language import build_tokenizer
from edge_vla.learn.finder.losses import Weights, dense_losses, free_loss, language_losses
from edge_vla.learn.finder.model import IMAGE_TOKENS, Finder
from edge_vla.sim.objects import CLASSES

Sample = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]
WARMUP_IMAGES = 4_000
ANNEAL_IMAGES = 60_000  # loc targets narrow from 48 to 8 bins over this many images
EMA_DECAY = 0.998


def build() -> tuple[Finder, Packer]:
    tokenizer = build_tokenizer()
    model = Finder(tokenizer.get_vocab_size(), tokenizer.token_to_id("<loc0000>"), len(CLASSES), COLUMNS)
    return model, Packer(tokenizer, len(CLASSES), seed=int(time.time_ns() % 2**31))


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
    with torch.autocast("cpu", torch.bfloat16):
        tokens, logits, boxes, free = model.image_tokens(image)
        embeddings = torch.cat([tokens, model.embed(batch.ids).to(tokens.dtype)], 1)
        positions = torch.cat([torch.arange(IMAGE_TOKENS).expand(len(image), -1), batch.position], 1)
        hidden = model.lm.model(
            inputs_embeds=embeddings, attention_mask=attention_mask(batch.open).to(embeddings.dtype), position_ids=positions, use_cache=False
        ).last_hidden_state[:, IMAGE_TOKENS:]
        words = model.lm.lm_head(hidden)
    dense_class, dense_box = dense_losses(logits, boxes, batch)
    parts = language_losses(words.float(), batch, model.loc_start, width_bins)
    parts |= {"dense_class": dense_class, "dense_box": dense_box, "free": free_loss(free, batch.free_m)}
    return sum(getattr(weights, k) * v for k, v in parts.items()), {k: v.item() for k, v in parts.items()}


class Shards:
    """Shuffled samples from a folder that may still be growing."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.rng = folder, np.random.default_rng(seed)
        self.samples: list[Sample] = []
        self.known: set[Path] = set()

    def refresh(self) -> None:
        for path in sorted(self.folder.glob("*.npz")):
            if path not in self.known:
                self.known.add(path)
                self.samples += read_shard(path)

    def batches(self, size: int) -> Iterator[list[Sample]]:
        """Endless: shuffled passes, looking for new shards before each."""
        while True:
            self.refresh()
            order = self.rng.permutation(len(self.samples))
            for start in range(0, len(order) - size + 1, size):
                yield [self.samples[i] for i in order[start : start + size]]


def learning_rate(seen: int, peak: float, cooldown: tuple[int, int] | None) -> float:
    """Warm up, hold, and fall linearly to 2 % between the two image counts of `cooldown`."""
    rate = peak * min(1.0, seen / WARMUP_IMAGES)
    if cooldown and seen > cooldown[0]:
        rate *= max(0.02, 1 - (seen - cooldown[0]) / (cooldown[1] - cooldown[0]))
    return rate


def save(path: Path, model: Finder, average: dict[str, Tensor], optimiser: torch.optim.Optimizer, seen: int) -> None:
    part = path.with_suffix(".part")
    torch.save({"model": model.state_dict(), "average": average, "optimiser": optimiser.state_dict(), "seen": seen}, part)
    part.rename(path)


def train(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    model, packer = build()
    average = {k: v.clone() for k, v in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=0.03, betas=(0.9, 0.98))
    seen, checkpoint = 0, args.out / "last.pt"
    args.out.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(kept["model"])
        average, seen = kept["average"], kept["seen"]
        optimiser.load_state_dict(kept["optimiser"])
        print(f"resumed at {seen} images", flush=True)
    cooldown = (seen, seen + args.cooldown) if args.cooldown else None
    shards, weights = Shards(args.data, seed=seen + 1), Weights()
    model.train().to(memory_format=torch.channels_last)
    sums: dict[str, float] = {}
    mark, marked, saved = time.monotonic(), seen, time.monotonic()
    for step, views in enumerate(shards.batches(args.batch)):
        rate = learning_rate(seen, args.rate, cooldown)
        for group in optimiser.param_groups:
            group["lr"] = rate
        batch = packer(views, flips=True)
        width = 8 + 40 * max(0.0, 1 - seen / ANNEAL_IMAGES)
        loss, parts = total_loss(model, batch, colour_jitter(batch.image).contiguous(memory_format=torch.channels_last), width, weights)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        seen += args.batch
        with torch.no_grad():
            decay = min(EMA_DECAY, (1 + step) / (10 + step)) if seen < 50_000 else EMA_DECAY
            for name, value in model.state_dict().items():
                if value.is_floating_point():
                    average[name].lerp_(value, 1 - decay)
                else:
                    average[name] = value.clone()
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + value
        if (step + 1) % 50 == 0:
            speed = (seen - marked) / (time.monotonic() - mark)
            line = {"seen": seen, "images_per_s": round(speed, 1), "rate": rate, "samples": len(shards.samples)} | {k: round(v / 50, 4) for k, v in sums.items()}
            print(json.dumps(line), flush=True)
            with (args.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            sums, mark, marked = {}, time.monotonic(), seen
        done = bool(cooldown and seen >= cooldown[1])
        if done or time.monotonic() - saved > args.save_s:
            save(checkpoint, model, average, optimiser, seen)
            saved = time.monotonic()
        if done:
            print(f"cooled down at {seen} images", flush=True)
            return


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description="Train the default engine's model; run again to resume.")
    cli.add_argument("--data", type=Path, default=Path("data/train"))
    cli.add_argument("--out", type=Path, default=Path("training/finder"))
    cli.add_argument("--batch", type=int, default=32)
    cli.add_argument("--rate", type=float, default=1.5e-3)
    cli.add_argument("--threads", type=int, default=2)
    cli.add_argument("--save-s", type=float, default=120.0)
    cli.add_argument("--cooldown", type=int, default=0, help="fall to zero over this many images, then stop")
    train(cli.parse_args())
