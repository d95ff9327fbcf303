"""A report for GitHub Actions: annotations on stdout, a step summary in Markdown. Writes nothing itself."""

from __future__ import annotations

from edge_vla.bench.report import Change, Report
from edge_vla.bench.table import change_told, facts, remarks, row, verdict

MOST = 8  # annotations of one kind; GitHub shows ten of a step


def notices(report: Report) -> list[str]:
    """Workflow commands: errors for what fails the step, warnings for what a reader should know."""
    slower = report.comparison.slower if report.comparison else []
    lines = [command("error", "slower", change_told(change)) for change in slower[:MOST]]
    lines += [command("error", "another answer", line) for line in report.changed[:MOST]]
    lines += [command("warning", "latency", line) for line in remarks(report)[:MOST]]
    return lines or [command("notice", "latency", verdict(report))]


def command(kind: str, title: str, message: str) -> str:
    """One workflow command, escaped as GitHub's toolkit does it."""
    text = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    head = title.replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={head}::{text}"


def summary(report: Report) -> str:
    """The step summary."""
    mark = "❌" if report.exit_code else "✅"
    lines = [f"### {mark} Latency: {report.result}", "", _plain(verdict(report)), ""]
    lines += _table(report)
    lines += ["", "| | |", "|---|---|", *(f"| {name} | {_plain(value)} |" for name, value in facts(report) if value)]
    for title, found in (("Other answers", report.changed), ("Notes", remarks(report))):
        if found:
            lines += ["", f"**{title}**", "", *(f"- {_plain(line)}" for line in found)]
    return "\n".join(lines) + "\n"


def _table(report: Report) -> list[str]:
    changes = {(c.stage, c.statistic): c for c in report.comparison.changes} if report.comparison else {}
    compared = report.comparison is not None
    head = ["stage", "cold ms", "p50", "p95", "p99", "max", "n", *(["p50 was", "p95 was"] if compared else [])]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for name, stage in report.stages.items():
        cells = [_plain(name), *row(stage)]
        if compared:
            cells += [_was(changes.get((name, statistic))) for statistic in ("p50", "p95")]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _was(change: Change | None) -> str:
    if change is None or change.base_ms is None:
        return ""
    told = f"{change.base_ms:.2f}" + ("" if change.ratio is None else f" ({change.ratio - 1:+.0%})")
    return f"**{told} {change.word}**" if change.word in ("slower", "unclear") else told


def _plain(text: str) -> str:
    """Text that stays itself inside a Markdown table."""
    for sign in "\\`*_<>|[]":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", " ")
