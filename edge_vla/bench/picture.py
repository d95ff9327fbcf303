"""Distributions as a PNG: where an answer's time goes, and for every stage how its samples lie, the base behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_vla import draw
from edge_vla.bench.distribution import quantile
from edge_vla.bench.report import Report, Stage

WIDTH_PX, ROW_PX, NAME_PX, FIGURES_PX = 1280, 64, 250, 300
BINS = 160
PARTS = {
    "preprocess": (200, 170, 120), "vision": (200, 140, 60), "prefill": (90, 190, 90), "decode": (70, 170, 240), "head": (190, 110, 200),
    "reply": (150, 150, 150),
}  # fmt: skip
OTHER = (165, 150, 120)
BASE = (100, 100, 235)
SMALL, TINY = draw.Style(draw.DIM, 0.42), draw.Style(draw.DIM, 0.38)


def draw_report(report: Report, path: Path, base: Report | None = None) -> None:
    """Write the picture. Raises OSError or cv2.error for a path that takes none."""
    shown = [(name, stage) for name, stage in report.stages.items() if stage.samples_ms]
    parts = [_head(report, base), *_shares(report)]
    parts += [_row(name, stage, base.stages.get(name) if base else None) for name, stage in shown]
    if not cv2.imwrite(str(path), draw.framed(draw.below(parts))):
        raise OSError(f"cannot write {path}")


def _head(report: Report, base: Report | None) -> draw.Image:
    head = draw.panel(WIDTH_PX, 62, draw.PAPER)
    colour = draw.RED if report.exit_code else draw.GREEN
    x = draw.write(head, f"latency: {report.result}", (0, 24), draw.Style(colour, 0.85, 2)) + 24
    engine, machine = report.engine, report.machine
    told = f"{engine.name} {engine.precision}, {', '.join(engine.providers)}, {engine.threads} thread{'s' if engine.threads > 1 else ''}"
    draw.write(head, draw.fit(told, draw.Style(size=0.55), WIDTH_PX - x), (x, 24), draw.Style(size=0.55))
    where = f"{machine.board or machine.jetson}, {machine.processor}, power mode: {report.conditions.power_mode}, {report.measured_at}"
    draw.write(head, draw.fit(where, SMALL, WIDTH_PX - 260), (0, 52), SMALL)
    if base is not None:
        end = draw.write(head, "base", (WIDTH_PX - 2, 52), draw.Style(BASE, 0.42), right=True) - 40
        draw.write(head, "now,", (end, 52), SMALL, right=True)
    return head


def _shares(report: Report) -> list[draw.Image]:
    """A median answer from left to right, its parts as wide as they are long; decoding counts as often as it came."""
    means = {name: stage for name in PARTS if (stage := report.stages.get(name)) is not None and stage.n and stage.mean_ms}
    answers = report.stages.get("answer")
    if answers is None or not answers.n or not means:
        return []
    spent = {name: (stage.mean_ms or 0.0) * stage.n / answers.n for name, stage in means.items()}
    bar, x, total = draw.panel(WIDTH_PX, 62), 10.0, sum(spent.values())
    draw.write(bar, f"mean answer {total:.1f} ms", (10, 18), SMALL)
    for name, ms in spent.items():
        end = x + (WIDTH_PX - 20) * ms / total
        cv2.rectangle(bar, (round(x), 28), (round(end) - 2, 54), PARTS[name], -1)
        words = f"{name} {ms:.1f}"
        if end - x > draw.extent(words, SMALL)[0] + 8:
            draw.write(bar, words, (round(x) + 5, 46), draw.Style(draw.PAPER, 0.42))
        x = end
    return [bar]


def _row(name: str, stage: Stage, base: Stage | None) -> draw.Image:
    """A histogram on the stage's own axis, up to its p99; what lies beyond is told as a number."""
    row = draw.panel(WIDTH_PX, ROW_PX)
    draw.write(row, draw.fit(name, draw.Style(), NAME_PX - 20), (10, 26), draw.Style())
    draw.write(row, f"n {stage.n} after {stage.warm_up}, cold {stage.cold_ms:.2f} ms", (10, 48), TINY)
    old = base.samples_ms if base else []
    low, high = _axis([stage.samples_ms, *([old] if old else [])])
    left, right = NAME_PX, WIDTH_PX - FIGURES_PX
    if old:
        _bars(row, old, (low, high), (left, right), BASE, outline=True)
    _bars(row, stage.samples_ms, (low, high), (left, right), PARTS.get(name, OTHER), outline=False)
    for value, colour in ((stage.p50_ms, draw.INK), (stage.p95_ms, draw.AMBER)):
        if value is not None and low <= value <= high:
            x = left + round((value - low) / (high - low) * (right - left))
            cv2.line(row, (x, 4), (x, ROW_PX - 16), colour, 1, cv2.LINE_AA)
    draw.write(row, f"{low:.2f}", (left, ROW_PX - 3), TINY)
    draw.write(row, f"{high:.2f} ms", (right, ROW_PX - 3), TINY, right=True)
    end = draw.write(row, f"p50 {stage.p50_ms or 0:.2f}", (right + 18, 26), draw.Style(size=0.45))
    draw.write(row, f"p95 {stage.p95_ms or 0:.2f}", (end + 14, 26), draw.Style(draw.AMBER, 0.45))
    draw.write(row, f"p99 {stage.p99_ms or 0:.2f}   max {stage.max_ms or 0:.2f}", (right + 18, 48), SMALL)
    return row


def _axis(sets: Sequence[Sequence[float]]) -> tuple[float, float]:
    """From the least to the p99 of all, with a little room; never of no length."""
    ordered = [sorted(samples) for samples in sets]
    low, high = min(each[0] for each in ordered), max(quantile(each, 0.99) for each in ordered)
    room = max(0.04 * (high - low), 0.002 * high, 1e-6)
    return max(0.0, low - room), high + room


def _bars(
    row: draw.Image, samples: Sequence[float], axis: tuple[float, float], span: tuple[int, int], colour: draw.Colour, *, outline: bool
) -> None:  # fmt: skip
    counts, _ = np.histogram(np.clip(samples, *axis), BINS, axis)
    shown = [k for k in range(BINS) if counts[k]]
    most, foot = max(counts.max(), 1), ROW_PX - 17
    for k in shown:
        x0, x1 = (span[0] + round(j * (span[1] - span[0]) / BINS) for j in (k, k + 1))
        top = foot - max(2, round((foot - 6) * np.sqrt(counts[k] / most)))  # square root: single events stay visible
        cv2.rectangle(row, (x0, top), (max(x0, x1 - 1), foot), colour, 1 if outline else -1)
