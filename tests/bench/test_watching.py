"""Capture age, from a real simulator through the loop that asks in a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_vla.bench.meter import Meter
from edge_vla.bench.watching import PER_ROUND, WARM_UP, watch
from edge_vla.config import RobotProfile
from edge_vla.errors import ConfigError
from edge_vla.parts import make_engine


@pytest.mark.deadline
def test_frames_of_the_profiles_camera_have_an_age(bundle: Path) -> None:
    profile = RobotProfile.model_validate({"camera": {"width": 64, "height": 64, "fps": 30}})
    meter, seen = Meter(8), []
    watch(make_engine(str(bundle), threads=1, domain="sim"), profile, meter, lambda done, of: seen.append((done, of)))
    assert (meter.warm_up["capture age"], [len(block) for block in meter.blocks["capture age"]]) == (WARM_UP, [PER_ROUND] * 8)
    assert seen[-1] == (1 + WARM_UP + 8 * PER_ROUND,) * 2
    assert min(ms for block in meter.blocks["capture age"] for ms in block) > 0


def test_a_camera_that_is_none_is_refused(bundle: Path) -> None:
    base = {"kind": "waveshare", "port": "/dev/ttyUSB0", "track_m": 0.172, "max_wheel_mps": 0.6}
    camera = {"kind": "v4l2", "hfov_deg": 70.0, "height_m": 0.2, "pitch_deg": 5.0, "forward_m": 0.1}
    profile = RobotProfile.model_validate({"robot": {"domain": "real"}, "base": base, "camera": camera})
    profile = profile.model_copy(update={"camera": profile.camera.model_copy(update={"kind": "periscope"})})  # no file can say that
    with pytest.raises(ConfigError, match="periscope"):
        watch(make_engine(str(bundle), threads=1, domain="sim"), profile, Meter(8))
