"""`python -m edge_vla.learn.cards > docs/backbones.md`: what each backbone is, what it needs, and what of it is proved."""

from __future__ import annotations

from edge_vla.learn.backbones import BACKBONES
from edge_vla.learn.card_facts import CARDS, FACTS, Card, Facts

GIB = 2**30
BYTES = {"fp16": 2.0, "int8": 1.0, "int4": 0.5 + 2 / 32}  # of a weight; int4 in blocks of 32 with a half-precision scale each


INTRODUCTION = (
    "Memory is of the weights alone. No real weights were loaded: what is said here was checked on tiny random models written in",
    "each model's public layout, and on the published names and shapes. Nothing has been run on a Jetson.",
    "",
    "`find` asks each where a thing is in its own reply format: PaliGemma, KosMos-2, Qwen-VL, Qwen2.5-VL and Moondream of 2025 give boxes,",
    "the others left, middle or right. Only legal answers can be said, each with the model's own probability; both were checked on the",
    "tiny models, for every format. KosMos-2 and Qwen-VL cannot say that a thing is absent.",
    "",
    "| head | reads | trains on |",
    "|---|---|---|",
    "| `FCDecoder` | any history | action chunks |",
    "| `LSTMDecoder` | histories `post` and `pre` | action chunks |",
    "| `GPTDecoder` | histories `post` and `pre` | action chunks |",
    "| `DiscreteDecoder` | the language model's own logits | action tokens |",
)


def memory_gib(parameters: int, precision: str) -> float:
    """Of the weights alone."""
    return parameters * BYTES[precision] / GIB


def table(cards: tuple[Card, ...]) -> list[str]:
    """A line a model."""
    head = ["backbone", "model", "parameters", "image", "tokens", *(f"{name}, GiB" for name in BYTES), "note"]
    rows = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for card in cards:
        sizes = [f"{memory_gib(card.parameters, name):.1f}" for name in BYTES]
        cells = [
            f"`{card.backbone}`",
            card.model,
            f"{card.parameters / 1e9:.2f} B",
            f"{card.image_px} px",
            str(card.image_tokens),
            *sizes,
            card.note,
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def page(cards: tuple[Card, ...], facts: dict[str, Facts]) -> str:
    """The whole document."""
    lines = ["# Backbones", "", "Written by `python -m edge_vla.learn.cards`; a test keeps it so.", "", *table(cards), "", *INTRODUCTION]
    for name in BACKBONES:
        lines += ["", f"## {name}", "", "Checked:", "", *(f"- {line}" for line in facts[name].checked)]
        if facts[name].unproved:
            lines += ["", "Unproved:", "", *(f"- {line}" for line in facts[name].unproved)]
    return "\n".join(lines) + "\n"


def main() -> None:
    print(page(CARDS, FACTS), end="")


if __name__ == "__main__":
    main()
