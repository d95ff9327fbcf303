"""The text cases, and how an action is compared with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge_vla.types import RobotAction

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"
Case = dict[str, Any]


def load_cases(path: Path) -> list[Case]:
    return json.loads(path.read_text("utf-8"))["cases"]


def signs(action: RobotAction) -> str:
    """The signs of linear_x, linear_y and angular_z: "+00"."""
    return "".join("+" if v > 0 else "-" if v < 0 else "0" for v in (action.linear_x, action.linear_y, action.angular_z))


def misses(case: Case, action: RobotAction) -> list[str]:
    """What of a case the action does not meet."""
    got = {
        "action_type": action.action_type.name,
        "signs_xyz": signs(action),
        "target": action.target_object,
        "max_travel_m": action.max_travel_m,
        "max_turn_rad": action.max_turn_rad,
    }
    return [f"{key}: want {want!r}, got {got[key]!r}" for key, want in case.items() if key != "text" and not _same(want, got[key])]


def _same(want: object, got: object) -> bool:
    return abs(want - got) < 1e-3 if isinstance(want, float) and isinstance(got, float) else want == got
