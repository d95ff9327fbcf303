"""What a measurement collects, stage by stage: the cold sample apart, the warm ones in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_vla.bench.distribution import BLOCKS

WHAT = {  # every stage by name, in the order of the data path, and where it begins and ends
    "capture age": "exposure of the frame to the question about it",
    "load": "bundle on disk to an engine that can be asked: hashes, graphs, tokenizer, embeddings",
    "preprocess": "question checked, frame resized and scaled",
    "vision": "the vision graph",
    "prefill": "image and prompt through the language graph",
    "decode": "one step: a row chosen, embedded, through the language graph",
    "head": "the policy head",
    "reply": "the last choice, confidence, text",
    "answer": "preprocess to reply, whole",
    "parse": "reply to look: parsed, placed on the floor",
    "guard": "command sent to the guard's word that it is applied: link, wait for its tick, the tick",
    "serial out": "guard's write to the base obeying it",
    "serial": "guard's write to the first report the base can have made after obeying it",
}


@dataclass(slots=True)
class Meter:
    """Samples in ms. Rounds are numbered from 0; each goes to the block it belongs to."""

    rounds: int
    warm_up: dict[str, int] = field(default_factory=dict)  # samples left out of `blocks`, the cold one not counted
    cold: dict[str, float] = field(default_factory=dict)
    blocks: dict[str, list[list[float]]] = field(default_factory=dict)

    def take(self, stage: str, ms: float, round_: int | None) -> None:
        """One sample. The first of a stage is its cold one; `round_` is None while things warm up."""
        if stage not in self.cold:
            self.cold[stage] = ms
        elif round_ is None:
            self.warm_up[stage] = self.warm_up.get(stage, 0) + 1
        else:
            of_stage = self.blocks.setdefault(stage, [[] for _ in range(BLOCKS)])
            of_stage[round_ * BLOCKS // self.rounds].append(ms)

    def take_all(self, stage: str, samples_ms: Sequence[float], warm_up: int) -> None:
        """Samples in the order they came: one cold, `warm_up` left out, the others in equal blocks."""
        for ms in samples_ms[: 1 + warm_up]:
            self.take(stage, ms, None)
        kept = samples_ms[1 + warm_up :]
        for k, ms in enumerate(kept):
            self.take(stage, ms, k * self.rounds // len(kept))

    def take_block(self, stage: str, samples_ms: Sequence[float], warm_up: int, block: int) -> None:
        """Samples of one block, the first `warm_up` left out, and before those the cold one if there is none yet."""
        skipped = warm_up + (stage not in self.cold)
        for ms in samples_ms[:skipped]:
            self.take(stage, ms, None)
        for ms in samples_ms[skipped:]:
            self.take(stage, ms, -(-block * self.rounds // BLOCKS))

    def stages(self) -> list[str]:
        """Names in the order of the data path; parts of an answer by kind of question behind the whole."""
        order = {name: k for k, name in enumerate(WHAT)}
        return sorted(self.cold, key=lambda name: (order.get(name.split(":")[0], len(order)), name))
