"""How the tests here write a motion."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge_vla.types import RobotAction

Signs = Callable[[RobotAction], str]


@pytest.fixture(scope="session")
def signs() -> Signs:
    """The signs of linear_x, linear_y and angular_z: "+00"."""
    return lambda action: "".join("+" if v > 0 else "-" if v < 0 else "0" for v in (action.linear_x, action.linear_y, action.angular_z))
