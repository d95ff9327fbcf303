"""What a calibration found, for a person: a table of all ranges in Markdown, and a picture of the histograms that are cut the most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calib.activations import Activations
from calib.histogram import Histogram
from calib.ranges import METHODS, by_tensor
from edge_vla.draw import AMBER, DIM, GREEN, INK, LINE, RED, Colour, Image, Style, below, beside, extent, fit, framed, panel, write
from edge_vla.errors import ConfigError

SHOWN = 12
COLUMNS = 3
SIZE = (430, 210)  # px of one histogram
PLOT = (34, 44, 416, 170)  # its left, top, right and bottom
BARS: Colour = (120, 110, 102)
COLOURS: dict[str, Colour] = {"min_max": DIM, "percentile": AMBER, "entropy": GREEN}
TITLE, SMALL = Style(INK, 0.45), Style(DIM, 0.38)


def table(found: Activations, document: Mapping[str, Any]) -> str:
    """Markdown: a line for each tensor, those that entropy cuts the most first."""
    runs = "; ".join(f"{graph}: {', '.join(f'{n} {phase}' for phase, n in each.items())}" for graph, each in found.runs.items())
    lines = [
        f"# Ranges of {document['bundle']}", "",
        f"{document['pictures']} pictures, {document['questions']} questions, {document['answers']} different answers. Runs: {runs}.",
        f"Percentile {document['percent']} %. Cut: what entropy leaves of the width of min-max. Lost: values outside of it.", "",
        "| graph | tensor | of | values | min-max | percentile | entropy | cut | lost | decode min-max |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for graph, tensor, phases in _most_cut(found, document):
        ranges = document["graphs"][graph]["tensors"][tensor]
        values = sum(histogram.span.count for histogram in phases.values())
        lost = max(histogram.clipped(tuple(ranges["entropy"])) for histogram in phases.values())
        decode = f"{phases['decode'].span.low:.4g} .. {phases['decode'].span.high:.4g}" if "decode" in phases else ""
        ends = " | ".join(f"{ranges[method][0]:.4g} .. {ranges[method][1]:.4g}" for method in METHODS)
        operator = found.operators[graph, tensor]
        lines.append(f"| {graph} | `{tensor}` | {operator} | {values} | {ends} | {_cut(ranges):.2f} | {lost:.2%} | {decode} |")
    return "\n".join(lines) + "\n"


def draw(found: Activations, document: Mapping[str, Any], path: Path) -> None:
    """A PNG of the most cut tensors' histograms, counts on a logarithmic scale. Raises ConfigError where it cannot be written."""
    chosen = _most_cut(found, document)[:SHOWN]
    panels = [
        _panel(f"{graph} {tensor}", phases, document["graphs"][graph]["tensors"][tensor], found.operators[graph, tensor])
        for graph, tensor, phases in chosen
    ]
    rows = [beside(panels[k : k + COLUMNS]) for k in range(0, len(panels), COLUMNS)]
    sheet = framed(below([_legend(document, len(chosen)), *rows]))
    if not cv2.imwrite(str(path), sheet):
        raise ConfigError(f"cannot write {path}")


def _cut(ranges: Mapping[str, Sequence[float]]) -> float:
    low, high = ranges["min_max"]
    return (ranges["entropy"][1] - ranges["entropy"][0]) / (high - low) if high > low else 1.0


def _most_cut(found: Activations, document: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Histogram]]]:
    tensors = [(graph, tensor, phases) for (graph, tensor), phases in by_tensor(found).items()]
    return sorted(tensors, key=lambda item: (_cut(document["graphs"][item[0]]["tensors"][item[1]]), item[0], item[1]))


def _legend(document: Mapping[str, Any], shown: int) -> Image:
    image = panel(SIZE[0] * COLUMNS + 28, 34)
    x = write(image, f"{document['bundle']}: the {shown} tensors that entropy cuts the most, counts logarithmic", (12, 22), TITLE)
    for method, colour in COLOURS.items():
        x = write(image, method.replace("_", "-"), (x + 28, 22), Style(colour, 0.45))
    write(image, "decode", (x + 28, 22), Style(RED, 0.45))
    return image


def _panel(title: str, phases: Mapping[str, Histogram], ranges: Mapping[str, Sequence[float]], operator: str) -> Image:
    """One tensor: bars for all phases, a red line for decoding alone, a line at each end of each range."""
    image = panel(*SIZE)
    left, top, right, bottom = PLOT
    peak = max(histogram.span.peak for histogram in phases.values()) or 1.0
    write(image, fit(title, TITLE, SIZE[0] - 100), (12, 24), TITLE)
    write(image, operator, (SIZE[0] - 12, 24), SMALL, right=True)
    cv2.line(image, (left, bottom), (right, bottom), LINE, 1)
    whole = np.sum([_columns(histogram, peak, right - left) for histogram in phases.values()], axis=0)
    tall = np.log1p(whole.max())
    for x, count in enumerate(whole):
        if count:
            cv2.line(image, (left + x, bottom - 1), (left + x, bottom - 1 - round(float(np.log1p(count) / tall) * (bottom - top))), BARS, 1)
    if "decode" in phases:
        _outline(image, _columns(phases["decode"], peak, right - left), float(tall))
    for method, colour in COLOURS.items():
        for end in ranges[method]:
            x = left + round((end + peak) / (2 * peak) * (right - left))
            cv2.line(image, (x, top - 8), (x, bottom + 4), colour, 1)
    for value, x in ((-peak, left), (0.0, (left + right) // 2), (peak, right)):
        write(image, f"{value:.3g}", (x - extent(f"{value:.3g}", SMALL)[0] // 2, bottom + 22), SMALL)
    return image


def _outline(image: Image, columns: np.ndarray, tall: float) -> None:
    left, top, _, bottom = PLOT
    points = [(left + x, bottom - 1 - round(float(np.log1p(count) / tall) * (bottom - top))) for x, count in enumerate(columns)]
    cv2.polylines(image, [np.array(points, np.int32)], isClosed=False, color=RED, thickness=1)


def _columns(histogram: Histogram, peak: float, width: int) -> np.ndarray:
    """Counts in `width` columns over -peak .. peak."""
    middles = (histogram.edges[:-1] + histogram.edges[1:]) / 2
    places = np.clip(((middles + peak) / (2 * peak) * width).astype(int), 0, width - 1)
    return np.bincount(places, weights=histogram.counts, minlength=width)
