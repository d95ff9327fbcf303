"""What a check on a device has found, as Markdown to paste. Knows no device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line."""

    bundle: str
    check: str
    passed: bool
    text: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of one bundle."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(slots=True)
class Report:
    """Facts of the machine, what held and what did not, figures."""

    facts: Mapping[str, str]
    outcomes: list[Outcome] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    @property
    def failed(self) -> list[Outcome]:
        return [each for each in self.outcomes if not each.passed]

    def counts(self) -> dict[str, int]:
        return {"hold": len(self.outcomes) - len(self.failed), "fail": len(self.failed)}

    def markdown(self) -> str:
        counts = self.counts()
        lines = ["# jetson-check", "", f"{counts['hold']} hold, {counts['fail']} fail.", ""]
        lines += _table(("", ""), [*self.facts.items()])
        rows = [
            (each.bundle, each.check, "holds" if each.passed else "**fails**", each.text, f"{each.seconds:.1f}") for each in self.outcomes
        ]
        lines += ["", *_table(("bundle", "check", "", "what was found", "s"), rows)]
        for table in self.tables:
            lines += ["", f"## {table.title}", "", *_table(table.columns, table.rows)]
        return "\n".join(lines) + "\n"


def _table(columns: tuple[str, ...], rows: object) -> list[str]:
    lines = [_row(columns), _row(tuple("---" for _ in columns))]
    return lines + [_row(row) for row in rows]  # type: ignore[attr-defined]


def _row(cells: tuple[str, ...]) -> str:
    """A cell stays one, whatever an error says."""
    return "| " + " | ".join(" ".join(str(cell).split()).replace("|", "\\|") for cell in cells) + " |"
