"""docs/backbones.md is what the cards say, and the cards know every backbone."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_vla.learn.backbones import BACKBONES
from edge_vla.learn.card_facts import CARDS, FACTS
from edge_vla.learn.cards import memory_gib, page


def test_the_page_in_the_docs_is_the_one_the_cards_make(checkout: Path) -> None:
    accept = "python -m edge_vla.learn.cards > docs/backbones.md"
    assert (checkout / "docs" / "backbones.md").read_text() == page(CARDS, FACTS), accept


def test_every_backbone_has_a_card_and_facts() -> None:
    assert {card.backbone for card in CARDS} == set(FACTS) == set(BACKBONES)


@pytest.mark.parametrize(("precision", "gib"), [("fp16", 1.8626), ("int8", 0.9313), ("int4", 0.5239)])
def test_the_memory_of_a_thousand_million_weights(precision: str, gib: float) -> None:
    assert memory_gib(1_000_000_000, precision) == pytest.approx(gib, abs=1e-4)
