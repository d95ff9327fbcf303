"""`python -m edge_vla.cameras.check --profile P`: is this the profile's camera, how often and how late do its frames come, are they good?

It drives nothing. A picture that repeats is only a warning here: a robot at rest cannot tell a dead camera from a still room.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2

from edge_vla.cameras.opening import open_camera
from edge_vla.cameras.rules import FrameRules
from edge_vla.config import CameraProfile, RobotProfile, load_profile
from edge_vla.errors import CameraError, ConfigError, EdgeVLAError
from edge_vla.types import Camera, Frame

FIRST_FRAME_S, NEXT_FRAME_S = 15.0, 2.0
LONGEST_S = 3600.0
FEWEST_FPS = 5.0  # frames older than 200 ms are refused
SHARE = 0.9  # of the profile's rate
OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing looked at."""

    level: str
    what: str
    found: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a camera gave in so many seconds. Ages are of the moment a frame was read."""

    seconds: float
    ages_ms: tuple[float, ...]
    dropped: int
    verdicts: dict[str, int]
    warning: str
    notice: str
    newest: Frame

    @property
    def fps(self) -> float:
        return len(self.ages_ms) / self.seconds


def watch(camera: Camera, profile: CameraProfile, seconds: float) -> Found:
    """Read for so long. Raises CameraError when no frame comes."""
    frame = camera.read(FIRST_FRAME_S)
    rules, ages, verdicts = FrameRules((profile.height, profile.width, 3)), list[float](), Counter[str]()
    begun_ns, dropped = time.monotonic_ns(), getattr(camera, "dropped", 0)
    while (now_ns := time.monotonic_ns()) - begun_ns < seconds * 1e9 or not ages:
        frame = camera.read(NEXT_FRAME_S)
        now_ns = time.monotonic_ns()
        ages.append((now_ns - frame.t_capture_ns) * 1e-6)
        verdicts[rules.judge(frame, now_ns, 0.0) or "good"] += 1
    took_s = (now_ns - begun_ns) * 1e-9
    lost = getattr(camera, "dropped", 0) - dropped
    return Found(took_s, tuple(ages), lost, dict(verdicts), rules.warning, getattr(camera, "notice", ""), frame)


def judge(found: Found, profile: CameraProfile) -> list[Line]:
    """What was found, in words, and what of it keeps a robot from driving."""
    n, good = len(found.ages_ms), found.verdicts.get("good", 0)
    slow = OK if found.fps >= SHARE * profile.fps else WARN if found.fps >= FEWEST_FPS else FAIL
    refused = ", ".join(f"{count} {why}" for why, count in found.verdicts.items() if why != "good") or "none"
    verdict = OK if good == n else WARN if 2 * good > n else FAIL
    p50, p99 = (percentile(found.ages_ms, share) for share in (0.5, 0.99))
    lines = [
        Line(OK, "picture", f"{found.newest.rgb.shape[1]}x{found.newest.rgb.shape[0]}"),
        Line(slow, "rate", f"{found.fps:.1f} frames a second in {found.seconds:.1f} s, the profile says {profile.fps}"),
        Line(WARN if p99 > 200.0 else OK, "frame age", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, n {n}"),
        Line(WARN if found.dropped else OK, "dropped", f"{found.dropped}"),
        Line(verdict, "refused", f"{refused}, of {n}"),
    ]
    lines += [Line(WARN, "note", text) for text in (found.notice, found.warning) if text]
    return lines


def percentile(values: tuple[float, ...], share: float) -> float:
    """Nearest rank: with few of them p99 is the largest."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


@contextmanager
def opened(profile: RobotProfile) -> Iterator[Camera]:
    """The profile's camera; a simulated one with a simulator behind it."""
    if not profile.simulated:
        camera = open_camera(profile.camera, None)
        try:
            yield camera
        finally:
            camera.close()
        return
    try:
        from edge_vla.sim.process import SimProcess
        from edge_vla.sim.settings import SimSettings
    except ModuleNotFoundError as err:
        raise ConfigError(f"a simulated camera needs {err.name}: pip install 'edge_vla[sim]'") from err
    names = ("width", "height", "fps", "hfov_deg", "height_m", "pitch_deg", "forward_m")
    with tempfile.TemporaryDirectory(prefix="edge_vla-camera-") as folder:
        settings = SimSettings(folder=folder, seed=7, **{name: getattr(profile.camera, name) for name in names})
        with SimProcess.start(settings) as sim:
            camera = open_camera(profile.camera, Path(sim.frames))
            try:
                yield camera
            finally:
                camera.close()


def main(words: list[str] | None = None) -> int:
    """0 when nothing failed, 1 when something did, 2 when it could not be tried."""
    cli = argparse.ArgumentParser(prog="python -m edge_vla.cameras.check", description=__doc__)
    cli.add_argument("--profile", type=Path, required=True, help="a robot profile, for example launch/robot.toml")
    cli.add_argument("--seconds", type=float, default=5.0, help="how long to look (default 5)")
    cli.add_argument("--save", type=Path, help="write the last frame into this PNG")
    cli.add_argument("--json", action="store_true", help="one line of JSON at the end instead of lines of text")
    args = cli.parse_args(words)
    if not 0.0 < args.seconds <= LONGEST_S:
        cli.error(f"--seconds {args.seconds}: want more than 0 and at most {LONGEST_S:.0f}")
    try:
        profile = load_profile(args.profile)
        with opened(profile) as camera:
            found = watch(camera, profile.camera, args.seconds)
        if args.save is not None:
            save(found.newest, args.save)
    except EdgeVLAError as err:
        sys.stderr.write(f"check: {err}\n")
        return 2
    _tell(profile, found, sys.stdout.write, as_json=args.json)
    return 1 if any(line.level == FAIL for line in judge(found, profile.camera)) else 0


def save(frame: Frame, path: Path) -> None:
    """Write a frame as PNG. Raises CameraError where that cannot be."""
    try:
        path.write_bytes(cv2.imencode(".png", cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR))[1].tobytes())
    except OSError as err:
        raise CameraError(f"{path}: {err.strerror}") from err


def _tell(profile: RobotProfile, found: Found, write: Callable[[str], object], *, as_json: bool) -> None:
    lines = judge(found, profile.camera)
    if not as_json:
        for line in lines:
            write(f"{line.level:5} {line.what:10} {line.found}\n")
        return
    p50, p99 = (round(percentile(found.ages_ms, share), 3) for share in (0.5, 0.99))
    told = {
        "ok": all(line.level != FAIL for line in lines), "simulated": profile.simulated, "kind": profile.camera.kind,
        "fps": round(found.fps, 2), "age_p50_ms": p50, "age_p99_ms": p99,
        "frames": len(found.ages_ms), "dropped": found.dropped, "verdicts": found.verdicts, "lines": [asdict(line) for line in lines],
    }  # fmt: skip
    write(json.dumps(told) + "\n")


if __name__ == "__main__":
    sys.exit(main())
