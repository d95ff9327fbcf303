"""What the tests of the benchmark make by hand: pictures, their answers, reports that differ in one thing."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from edge_vla.bench.report import Report

RED, BLUE = (255, 0, 0), (0, 0, 255)
ANSWERS = (
    ("detect cup", "<loc0192><loc0304><loc0416><loc0528> cup"),
    ("detect ball", ""),
    ("is there a cup?", "yes"),
    ("drive", "go forward."),
)


def picture(colour: tuple[int, int, int]) -> bytes:
    rgb = np.full((32, 64, 3), colour, np.uint8)
    return cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()


def edited(report: Report, **sections: dict[str, Any]) -> Report:
    """The report with some values of some sections replaced: edited(report, engine={"threads": 2})."""
    data = report.model_dump()
    for name, values in sections.items():
        data[name] = {**data[name], **values} if isinstance(values, dict) else values
    return Report.model_validate(data)


def answers(report: Report, k: int, **other: Any) -> Report:
    lines = [line.model_dump() for line in report.answers]
    lines[k] |= other
    return edited(report, answers=lines)
