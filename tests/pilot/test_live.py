"""The slow thread and the fast loop around the pilot: what ends a run, what is counted, and when a tick is late."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edge_vla.drive import Seeing
from edge_vla.errors import CameraError, EngineError
from edge_vla.live import BLIND_NS, HANG_NS, READ_S, SWEEP_TICKS, SeeLoop, SteerLoop, favoured, swept
from edge_vla.types import Frame, Pose, Reply

MS, S = 1_000_000, 1_000_000_000
PATIENCE_S = 10.0


class Film:
    """A camera with a new frame every 5 ms; `silent` makes it say nothing more."""

    def __init__(self) -> None:
        self.seq = 0
        self.silent = False

    def read(self, timeout_s: float) -> Frame:
        time.sleep(0.005)
        if self.silent:
            raise CameraError("unplugged")
        self.seq += 1
        return Frame(np.full((2, 2, 3), self.seq % 200 + 20, np.uint8), time.monotonic_ns(), self.seq)

    def close(self) -> None: ...


class Engine:
    """Answers at once, or does what `then` does."""

    targets = None

    def __init__(self) -> None:
        self.then: Callable[[], object] = lambda: None
        self.asked: list[int] = []

    def ask(self, frame: Frame, prompt: str) -> Reply:
        self.asked.append(frame.seq)
        self.then()
        return Reply("", 0.9)

    def close(self) -> None: ...


class Rig:
    """A SeeLoop whose judge and odometry a test can set."""

    def __init__(self, plan) -> None:
        self.camera, self.engine = Film(), Engine()
        self.verdict: str | None = None
        self.driven_m = 0.0
        self.heard: list[float] = []
        seeing = Seeing(self.engine, plan, lambda t_ns: Pose(t_ns, 0.0, 0.0, 0.0))
        self.see = SeeLoop(self.camera, seeing, self._judge, lambda: self.driven_m)

    def _judge(self, frame: Frame, now_ns: int, driven: float) -> str | None:
        self.heard.append(driven)
        return self.verdict

    def wait(self, condition: Callable[[], object]) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < give_up_s
            time.sleep(0.002)


@pytest.fixture
def rig(make_plan) -> Iterator[Rig]:
    rig = Rig(make_plan())
    rig.see.start()
    yield rig
    rig.see.stop()


def test_the_newest_answer_is_taken_once(rig: Rig) -> None:
    rig.wait(lambda: len(rig.engine.asked) >= 3)
    seen = rig.see.take()
    assert seen is not None
    assert seen.frame.seq in rig.engine.asked
    assert seen.frame.t_capture_ns <= seen.asked_ns <= seen.ready_ns <= time.monotonic_ns()
    assert rig.see.trouble(time.monotonic_ns()) == ""
    rig.see.stop()
    rig.see.take()
    assert rig.see.take() is None


def test_an_engine_error_is_the_runs_fault(rig: Rig) -> None:
    def fail() -> None:
        raise EngineError("the graph is broken")

    rig.engine.then = fail
    rig.wait(lambda: rig.see.fault)
    assert rig.see.trouble(time.monotonic_ns()) == "engine: the graph is broken"
    assert rig.see.asking_since_ns is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_so_is_an_exception_that_no_adapter_has_translated(rig: Rig) -> None:
    def fail() -> None:
        raise RuntimeError("cudaErrorIllegalAddress")

    rig.engine.then = fail
    rig.wait(lambda: rig.see.fault)
    assert rig.see.trouble(time.monotonic_ns()) == "engine: RuntimeError('cudaErrorIllegalAddress')"


def test_a_silent_camera_is_counted_and_after_two_seconds_a_fault(rig: Rig) -> None:
    rig.wait(lambda: rig.engine.asked)
    rig.camera.silent = True
    rig.wait(lambda: rig.see.counts.get("camera_silent", 0) >= 2)
    now_ns = time.monotonic_ns()
    assert rig.see.trouble(now_ns) == ""
    trouble = rig.see.trouble(now_ns + BLIND_NS)
    assert (trouble.startswith("no usable frame for 2."), trouble.endswith("s: unplugged")) == (True, True)


def test_a_refused_frame_is_counted_by_its_reason_and_never_asked_about(rig: Rig) -> None:
    rig.verdict = "frozen"
    rig.wait(lambda: rig.see.counts.get("frame_frozen", 0) >= 3)
    asked = len(rig.engine.asked)
    rig.wait(lambda: rig.see.counts["frame_frozen"] >= 6)
    assert len(rig.engine.asked) == asked
    assert rig.see.trouble(time.monotonic_ns() + BLIND_NS).endswith("frozen")


def test_the_judge_hears_how_far_the_robot_has_driven(rig: Rig) -> None:
    rig.wait(lambda: len(rig.heard) >= 3)
    assert set(rig.heard) == {0.0}
    rig.driven_m = 1.0
    rig.wait(lambda: rig.heard[-1] == 1.0)


def test_a_camera_that_is_gone_costs_no_processor(rig: Rig) -> None:
    """It says so at once, every time it is asked."""
    rig.wait(lambda: rig.engine.asked)
    rig.camera.silent = True
    rig.wait(lambda: rig.see.counts.get("camera_silent"))
    before, asked_s = rig.see.tally()["camera_silent"], time.monotonic()
    rig.wait(lambda: rig.see.tally()["camera_silent"] >= before + 3)
    assert time.monotonic() - asked_s >= 2 * READ_S
    stopped_s = time.monotonic()
    rig.see.stop(PATIENCE_S)  # and the end of the run does not wait for it
    assert time.monotonic() - stopped_s < READ_S / 2


def test_an_answer_that_a_newer_one_replaced_is_counted(rig: Rig) -> None:
    rig.wait(lambda: len(rig.engine.asked) >= 5)
    assert rig.see.tally()["answer_overwritten"] >= 3
    rig.see.stop()
    rig.see.take()
    assert rig.see.take() is None


def test_a_hung_engine_is_a_fault_after_six_seconds(rig: Rig) -> None:
    release = threading.Event()
    rig.engine.then = release.wait
    rig.wait(lambda: rig.see.asking_since_ns)
    now_ns = time.monotonic_ns()
    assert rig.see.trouble(now_ns + HANG_NS - 100 * MS) == ""  # the evidence deadline has stopped the robot long before
    assert rig.see.trouble(now_ns + HANG_NS).startswith("the engine has not answered for 6.")
    release.set()


# -- the fast loop


class Clock:
    """Time that only passes when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 5 * S
        monkeypatch.setattr("edge_vla.live.time.sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


def test_ticks_are_due_at_absolute_times_and_missed_ones_are_not_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    loop = SteerLoop(None, None, 50, lambda: clock.now_ns)  # type: ignore[arg-type]
    late, at = [], []
    for busy_ms in (0, 5, 15, 27, 3, 0):  # each tick's own work; the period is 20 ms
        late.append(loop.wait() // MS)
        at.append((clock.now_ns - 5 * S) // MS)
        clock.now_ns += busy_ms * MS
    assert late == [0, 0, 0, 0, 7, 0]
    assert at == [0, 20, 40, 60, 87, 100]


def test_a_long_stall_is_one_late_tick_not_a_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    loop = SteerLoop(None, None, 50, lambda: clock.now_ns)  # type: ignore[arg-type]
    loop.wait()
    clock.now_ns += 1010 * MS
    assert loop.wait() == 990 * MS
    assert loop.wait() == 0
    assert (clock.now_ns - 5 * S) // MS == 1020


def test_steer_is_favoured_while_it_runs_and_its_threads_are_not() -> None:
    before = os.sched_getscheduler(0)
    inside: list[int] = []
    with favoured() as granted:
        thread = threading.Thread(target=lambda: inside.append(os.sched_getscheduler(0)))
        thread.start()
        thread.join()
        assert (os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO) is granted
    assert inside == [os.SCHED_OTHER]
    assert os.sched_getscheduler(0) == before


def test_garbage_is_searched_for_between_ticks_and_never_in_one() -> None:
    """A cycle dies in the thirtieth wait, however much was allocated before it; what was there before is left alone."""
    loop, alive = SteerLoop(None, None, 1_000_000), []  # type: ignore[arg-type]

    def cycle() -> weakref.ref[Cell]:
        cell = Cell()
        cell.other = cell
        return weakref.ref(cell)

    class Cell:
        other: Cell

    with swept():
        assert gc.get_freeze_count() > 1000
        cell = cycle()
        for _ in range(SWEEP_TICKS):
            alive.append(cell() is not None)
            _ = [[] for _ in range(10_000)]
            loop.wait()
        assert cell() is None
    assert alive == [True] * SWEEP_TICKS
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
