"""Rules H at their edges: a frame is refused for one named reason, counted, and never repaired."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.cameras.rules import MOTION_NS, MOVED, FrameRules, fingerprint, luma_plane
from edge_vla.types import Frame

MS = 1_000_000
SHAPE = (48, 64, 3)
NOW = 10_000 * MS


def noisy(k: int, level: float = 120.0, sigma: float = 4.0) -> np.ndarray:
    return np.clip(np.random.default_rng(k).normal(level, sigma, SHAPE), 0, 255).astype(np.uint8)


STILL = noisy(0)


class Stream:
    """Frames in order, 67 ms apart, 20 ms old when judged, unless told otherwise."""

    def __init__(self, **options: Any) -> None:
        self.rules = FrameRules(SHAPE, **options)
        self.driven = 0.0
        self.seq = 0
        self.t_ns = NOW

    def show(
        self, rgb: np.ndarray | None = None, *, after_ms: float = 67, age_ms: float = 20, moved: bool = True, seq: int | None = None
    ) -> str | None:
        self.seq = self.seq + 1 if seq is None else seq
        self.t_ns += round(after_ms * MS)
        return self.judge(Frame(noisy(self.seq) if rgb is None else rgb, self.t_ns, self.seq), self.t_ns + round(age_ms * MS), moved)

    def judge(self, frame: Frame, now_ns: int, moved: bool = True) -> str | None:
        self.driven += MOVED * 2 * moved
        return self.rules.judge(frame, now_ns, self.driven)


def test_a_live_camera_is_never_refused() -> None:
    stream = Stream()
    assert [stream.show() for _ in range(100)] == [None] * 100
    assert stream.rules.counts == {}


# -- order and time ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("seq", "want"), [(3, None), (2, "sequence"), (1, "sequence"), (99, None)])
def test_the_number_must_rise(seq: int, want: str | None) -> None:
    stream = Stream()
    stream.show(), stream.show()
    assert stream.show(seq=seq) == want


@pytest.mark.parametrize(("after_ms", "want"), [(1e-6, None), (0, "stamp"), (-1e-6, "stamp"), (-5000, "stamp")])
def test_the_stamp_must_rise(after_ms: float, want: str | None) -> None:
    stream = Stream()
    stream.show()
    assert stream.show(after_ms=after_ms, age_ms=20 - after_ms) == want


@pytest.mark.parametrize(
    ("age_ns", "want"),
    [
        (200 * MS, None),
        (200 * MS + 1, "old"),
        (0, None),
        (-5 * MS, None),
        (-5 * MS - 1, "future"),
        (-5000 * MS, "future"),
        (5000 * MS, "old"),
    ],
)
def test_a_frame_is_from_the_recent_past(age_ns: int, want: str | None) -> None:
    assert FrameRules(SHAPE).judge(Frame(STILL, NOW, 1), NOW + age_ns, True) == want


def test_the_age_limit_is_the_callers() -> None:
    assert FrameRules(SHAPE, max_age_s=0.05).judge(Frame(STILL, NOW, 1), NOW + 50 * MS + 1, True) == "old"
    assert FrameRules(SHAPE, max_age_s=0.05).judge(Frame(STILL, NOW, 1), NOW + 50 * MS, True) is None


@pytest.mark.parametrize("max_age_s", [0.0, -1.0, float("nan"), float("inf"), 5.1])
def test_an_age_limit_that_is_none_is_refused(max_age_s: float) -> None:
    with pytest.raises(ValueError, match="max_age_s"):
        FrameRules(SHAPE, max_age_s)


def test_a_stamp_that_is_no_number_is_refused() -> None:
    stream = Stream()
    assert stream.judge(Frame(STILL, float("nan"), 1), NOW) == "future"  # type: ignore[arg-type]
    stream.show()
    assert stream.judge(Frame(STILL, float("nan"), 9), NOW) == "stamp"  # type: ignore[arg-type]
    assert stream.show() is None


def test_a_jump_into_the_future_does_not_outlaw_what_follows() -> None:
    stream = Stream()
    stream.show()
    assert stream.judge(Frame(noisy(7), stream.t_ns + 5000 * MS, 2), stream.t_ns) == "future"
    assert stream.show() is None


def test_a_late_frame_still_counts_for_the_order() -> None:
    stream = Stream()
    assert stream.show(age_ms=300) == "old"
    assert stream.show(seq=1) == "sequence"
    assert stream.show(after_ms=-100, seq=2) == "stamp"


# -- the picture -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "rgb",
    [
        np.zeros((48, 63, 3), dtype=np.uint8),
        np.zeros((64, 48, 3), dtype=np.uint8),
        np.zeros((48, 64), dtype=np.uint8),
        np.zeros((48, 64, 4), dtype=np.uint8),
        np.zeros((48, 64, 2), dtype=np.uint8),  # YUYV as it is
        np.zeros(SHAPE, dtype=np.float32),
        np.zeros((48, 128, 3), dtype=np.uint8)[:, ::2],
        np.zeros((0, 64, 3), dtype=np.uint8),
    ],
)
def test_another_shape_type_or_stride_is_refused(rgb: np.ndarray) -> None:
    stream = Stream()
    stream.show()
    assert stream.show(rgb) == "shape"
    assert stream.show() is None


@pytest.mark.parametrize(("level", "want"), [(0, "black"), (7, "black"), (8, None)])
def test_a_covered_lens_is_dark(level: int, want: str | None) -> None:
    assert Stream().show(np.full(SHAPE, level, dtype=np.uint8)) == want


@pytest.mark.parametrize(("low", "high", "want"), [(2, 6, "black"), (1, 7, None), (0, 12, None)])
def test_and_even_or_it_is_a_dark_room(low: int, high: int, want: str | None) -> None:
    """Half and half: the spread is half the difference."""
    rgb = np.full(SHAPE, low, dtype=np.uint8)
    rgb[:, 32:] = high
    assert Stream().show(rgb) == want


def test_read_noise_does_not_lift_the_lens_cap() -> None:
    assert Stream().show(noisy(1, level=0.0, sigma=1.0)) == "black"


@pytest.mark.parametrize(
    ("luma", "bright_rows", "want"), [(250, 6, "overexposed"), (249, 6, None), (255, 5, None), (255, 6, "overexposed")]
)
def test_nine_tenths_at_the_stop_are_overexposed(luma: int, bright_rows: int, want: str | None) -> None:
    """Of six subsampled rows; five are 83 %."""
    rgb = np.full(SHAPE, 100, dtype=np.uint8)
    rgb[: bright_rows * 8] = luma
    assert Stream().show(rgb) == want


# -- frozen ------------------------------------------------------------------------------------------------------------
def test_three_repeats_while_moving_are_frozen() -> None:
    stream = Stream()
    assert [stream.show(STILL, after_ms=20) for _ in range(4)] == [None, None, None, "frozen"]


@pytest.mark.parametrize(
    ("after_ms", "want"), [(74.9, [None, None, None, "frozen"]), (75.0, [None, None, "frozen"]), (150.0, [None, "frozen"])]
)
def test_or_150_ms_of_them(after_ms: float, want: list[str | None]) -> None:
    stream = Stream()
    assert [stream.show(STILL, after_ms=after_ms) for _ in want] == want


def test_at_rest_a_repeat_is_only_a_warning_after_two_seconds() -> None:
    stream = Stream()
    assert [stream.show(STILL, after_ms=100, moved=False) for _ in range(20)] == [None] * 20
    assert stream.rules.warning == ""
    assert stream.show(STILL, after_ms=100, moved=False) is None
    assert "2.0 s at rest" in stream.rules.warning
    assert stream.show(moved=False) is None
    assert stream.rules.warning == ""
    for _ in range(20):  # and the two seconds begin anew
        stream.show(STILL, after_ms=100, moved=False)
    assert stream.rules.warning == ""


def test_repeats_at_rest_do_not_count_once_it_moves() -> None:
    stream = Stream()
    for _ in range(30):
        assert stream.show(STILL, moved=False) is None
    assert [stream.show(STILL, after_ms=30) for _ in range(3)] == [None, None, "frozen"]


def test_moving_in_jerks_adds_up() -> None:
    """Half a second apart, each is a motion of its own."""
    stream = Stream()
    verdicts = []
    for _ in range(4):
        verdicts.append(stream.show(STILL, after_ms=30))
        verdicts += [stream.show(STILL, after_ms=MOTION_NS / MS + 1, moved=False) for _ in range(2)]
    assert verdicts[0] is None
    assert verdicts[-3:] == ["frozen"] * 3


@pytest.mark.parametrize("fps", [10, 15, 30])
@pytest.mark.parametrize("rate", [0.03, 0.05, 0.35, 1.0], ids=lambda rate: f"{rate} m or rad a second")
def test_a_camera_that_freezes_on_a_slow_robot_is_found_out(rate: float, fps: int) -> None:
    """A frame's worth of it is less than odometry may tremble by: what counts is the way since the picture first came."""
    rules, period_ns = FrameRules(SHAPE), 1_000_000_000 // fps
    for k in range(1, fps + 1):
        t_ns = NOW + k * period_ns
        if rules.judge(Frame(STILL, t_ns, k), t_ns + 20 * MS, rate * k / fps) == "frozen":
            break
    else:
        pytest.fail("not found out within a second")
    assert k * period_ns <= 150 * MS + MOVED / rate * 1e9 + 2 * period_ns


@pytest.mark.parametrize("fps", [10, 15, 30])
def test_odometry_that_trembles_at_rest_is_no_motion(fps: int) -> None:
    """The simulated gyro, 20 times a second: 0.005 rad/s of noise beside 0.004 rad/s of bias, added up for two minutes."""
    rules, noise = FrameRules(SHAPE), np.random.default_rng(1)
    turns = np.cumsum(np.abs(0.004 + noise.normal(0, 0.005, 20 * 120)) / 20)
    for k in range(1, 120 * fps):
        t_ns = NOW + k * 1_000_000_000 // fps
        assert rules.judge(Frame(STILL, t_ns, k), t_ns + 20 * MS, float(turns[k * 20 // fps])) is None
    assert "at rest" in rules.warning


def test_a_still_scene_with_a_live_sensors_noise_is_never_frozen() -> None:
    """One level of noise on a scene that stands, watched from a robot that moves."""
    scene, noise, stream = noisy(9, sigma=30.0).astype(np.int16), np.random.default_rng(2), Stream()
    for _ in range(60):
        assert stream.show(np.clip(scene + noise.integers(-1, 2, SHAPE), 0, 255).astype(np.uint8)) is None


def test_frozen_stays_frozen_when_the_robot_stops_because_of_it() -> None:
    stream = Stream()
    while stream.show(STILL) != "frozen":
        pass
    assert [stream.show(STILL, moved=False) for _ in range(50)] == ["frozen"] * 50
    assert stream.show() is None  # a new picture
    assert stream.show(STILL) is None  # and the old one is a picture again
    assert stream.rules.counts["frozen"] == 51


def test_one_differing_frame_in_between_starts_again() -> None:
    stream = Stream()
    for _ in range(10):
        assert stream.show(STILL, after_ms=30) is None
        assert stream.show(STILL, after_ms=30) is None
        assert stream.show(STILL, after_ms=30) is None
        assert stream.show() is None


def test_late_repeats_are_frozen_too() -> None:
    """A camera may freeze and lag at once: what is refused as old still counts as seen."""
    stream = Stream()
    for _ in range(3):
        assert stream.show(STILL, age_ms=400) == "old"
    assert stream.show(STILL) == "frozen"


def test_the_fingerprint_sees_one_step_of_one_sampled_pixel() -> None:
    other = STILL.copy()
    other[8, 16, 1] += 2  # 150/256 of it reaches luma
    assert fingerprint(luma_plane(other)) != fingerprint(luma_plane(STILL))
    assert len(fingerprint(luma_plane(STILL))) == 8
    assert luma_plane(np.full(SHAPE, 255, dtype=np.uint8)).tolist() == [[255] * 8] * 6


# -- whatever comes ----------------------------------------------------------------------------------------------------
STEPS = st.lists(
    st.tuples(st.integers(-2, 3), st.integers(-300 * MS, 300 * MS), st.integers(-20 * MS, 400 * MS), st.integers(0, 2), st.booleans()),
    max_size=60,
)


@given(STEPS)
def test_accepted_frames_are_in_order_fresh_and_not_repeats_in_motion(steps: list[tuple[int, int, int, int, bool]]) -> None:
    rules = FrameRules(SHAPE)
    pictures = [noisy(k) for k in range(3)]
    seq, t_ns, driven, accepted, refused = 5, NOW, 0.0, [], 0
    for seq_step, t_step, age_ns, which, moved in steps:
        seq, t_ns, driven = seq + seq_step, t_ns + t_step, driven + 0.01 * moved
        why = rules.judge(Frame(pictures[which], t_ns, seq), t_ns + age_ns, driven)
        if why is None:
            accepted.append((seq, t_ns))
            assert -5 * MS <= age_ns <= 200 * MS
        else:
            refused += 1
    assert all(b[0] > a[0] and b[1] > a[1] for a, b in itertools.pairwise(accepted))
    assert sum(rules.counts.values()) == refused
