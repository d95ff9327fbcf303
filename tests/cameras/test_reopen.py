"""A device that goes and comes back: tried again at growing intervals, never at a reader's cost, numbers and stamps rising all along."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edge_vla.cameras import opening
from edge_vla.cameras.newest import NewestCamera
from edge_vla.cameras.reopen import Reopening
from edge_vla.config import CameraProfile
from edge_vla.errors import CameraError
from edge_vla.types import Frame
from tests.cameras.pictures import await_frame
from tests.cameras.rigs import V4L2Rig
from tests.cameras.test_contract import picture
from tests.cameras.test_gstreamer import read_to_the_end

READ_S = 20.0


class Scripted(NewestCamera):
    """Shows what it is given; `pull` ends it. `hang` keeps it from opening until it is set."""

    def __init__(self, hang: threading.Event | None = None, fail: str = "") -> None:
        super().__init__("scripted")
        self.stamps: list[int] = []
        self.given = threading.Condition()
        self.pulled = False
        self._hang, self._fail = hang, fail
        self._start(0.05 if hang is not None else 20.0)

    def show(self, t_ns: int) -> None:
        before = self.arrived
        with self.given:
            self.stamps.append(t_ns)
            self.given.notify()
        assert await_frame(self, lambda: self.arrived > before)

    def pull(self) -> None:
        with self.given:
            self.pulled = True
            self.given.notify()
        assert await_frame(self, lambda: bool(self.gone))

    def _open(self) -> None:
        if self._fail:
            raise CameraError(self._fail)
        if self._hang is not None:
            self._hang.wait(READ_S)

    def _grab(self) -> Frame | None:
        with self.given:
            self.given.wait_for(lambda: self.stamps or self.pulled or self._closing.is_set())
            if self.pulled:
                raise CameraError("pulled out")
            return self._stamped(np.zeros((4, 4, 3), dtype=np.uint8), self.stamps.pop(0)) if self.stamps else None

    def _wake(self) -> None:
        with self.given:
            self.given.notify()

    def _release(self) -> None:
        pass


class Bench:
    """Makes cameras one after the other; the pauses between two tries last until the test lets them pass."""

    def __init__(self) -> None:
        self.made: list[Scripted] = []
        self.failing = ""
        self.pauses: list[float] = []
        self._passes = threading.Semaphore(0)
        self._changed = threading.Condition()

    def make(self) -> NewestCamera:
        camera = Scripted(fail=self.failing)
        with self._changed:
            self.made.append(camera)
            self._changed.notify_all()
        return camera

    def pause(self, closing_: threading.Event, seconds: float) -> bool:
        with self._changed:
            self.pauses.append(seconds)
            self._changed.notify_all()
        while not self._passes.acquire(timeout=0.01):
            if closing_.is_set():
                return True
        return closing_.is_set()

    def let_pass(self) -> None:
        count = len(self.pauses)
        self._passes.release()
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.pauses) > count or not self.failing, READ_S)

    def until_made(self, count: int) -> Scripted:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.made) == count, READ_S)
        return self.made[-1]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def camera(bench: Bench) -> Iterator[Reopening]:
    with Reopening(bench.make, bench.pause) as camera:
        yield camera


def lose(camera: Reopening, bench: Bench) -> None:
    """Pull the device out, and let the camera notice."""
    bench.made[-1].pull()
    with pytest.raises(CameraError, match="scripted: pulled out; opening it again"):
        camera.read(READ_S)
    with bench._changed:
        assert bench._changed.wait_for(lambda: bool(bench.pauses), READ_S)


def replugged(camera: Reopening) -> None:
    give_up_s = time.monotonic() + READ_S
    while not camera.reopened and time.monotonic() < give_up_s:
        time.sleep(0.001)


def test_the_first_time_the_error_is_the_callers_at_once(bench: Bench) -> None:
    bench.failing = "no such device"
    with pytest.raises(CameraError, match="scripted: no such device"):
        Reopening(bench.make, bench.pause)
    assert bench.pauses == []


def test_a_camera_that_never_gave_a_frame_is_not_tried_again(camera: Reopening, bench: Bench) -> None:
    """A pipeline that fails on its first buffer was never open."""
    bench.made[0].pull()
    for _ in range(2):
        with pytest.raises(CameraError, match=r"^scripted: pulled out$"):
            camera.read(READ_S)
    assert (camera.gone, bench.pauses) == ("scripted: pulled out", [])


def test_numbers_and_stamps_go_on_rising_over_the_change(camera: Reopening, bench: Bench) -> None:
    frames = []
    for t_ns in (100, 200, 300):
        bench.made[0].show(t_ns)
        frames.append(camera.read(READ_S))
    lose(camera, bench)
    bench.let_pass()
    second = bench.until_made(2)
    replugged(camera)
    second.show(250)  # from before the last one
    second.show(400)
    frames.append(camera.read(READ_S))
    second.show(500)
    frames.append(camera.read(READ_S))
    assert [frame.t_capture_ns for frame in frames] == [100, 200, 300, 400, 500]
    assert all(b.seq > a.seq for a, b in itertools.pairwise(frames))
    assert (camera.reopened, camera.arrived, camera.dropped, camera.gone) == (1, 6, 1, "")
    assert camera.notice == "scripted: opened again 1 times"


def test_a_frame_with_an_older_stamp_is_left_out(camera: Reopening, bench: Bench) -> None:
    bench.made[0].show(1000)
    camera.read(READ_S)
    lose(camera, bench)
    bench.let_pass()
    second = bench.until_made(2)
    replugged(camera)
    second.show(999)
    with pytest.raises(CameraError, match="no frame"):
        camera.read(0.01)
    second.show(1001)
    assert camera.read(READ_S).seq == 3


def test_the_pauses_grow_to_a_second_and_every_try_is_told(camera: Reopening, bench: Bench) -> None:
    bench.made[0].show(1)
    camera.read(READ_S)
    bench.failing = "still out"
    lose(camera, bench)
    for _ in range(6):
        bench.let_pass()
    assert bench.pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    with pytest.raises(CameraError, match="scripted: pulled out; opened again 6 times in vain, the last time: scripted: still out"):
        camera.read(READ_S)
    bench.failing = ""
    bench.let_pass()
    bench.until_made(2)
    replugged(camera)
    bench.made[1].show(2)
    assert camera.read(READ_S).t_capture_ns == 2


def test_closing_ends_the_tries(camera: Reopening, bench: Bench) -> None:
    before = set(threading.enumerate())
    bench.made[0].show(1)
    camera.read(READ_S)
    lose(camera, bench)
    camera.close()
    camera.close()
    assert len(bench.made) == 1
    assert not set(threading.enumerate()) - before


def test_a_device_that_hangs_while_it_is_opened_keeps_no_reader_waiting() -> None:
    hang, first = threading.Event(), Scripted()
    makes = iter([lambda: first, lambda: Scripted(hang)])
    tries: list[float] = []

    def make() -> NewestCamera:
        return next(makes)()

    def once(event: threading.Event, seconds: float) -> bool:
        tries.append(seconds)
        return len(tries) > 1

    with closing(Reopening(make, once)) as camera:
        first.show(1)
        camera.read(READ_S)
        first.pull()
        asked_s = time.monotonic()
        for _ in range(5):
            with pytest.raises(CameraError):
                camera.read(0.02)
        assert time.monotonic() - asked_s < 5.0
        hang.set()


def test_a_device_that_does_not_open_is_refused_after_a_while() -> None:
    hang = threading.Event()
    threading.Timer(0.2, hang.set).start()
    with pytest.raises(CameraError, match=r"scripted: not open after 0\.05 s"):
        Scripted(hang)


def test_a_usb_camera_that_is_pulled_and_plugged_in_goes_on(tmp_path: Path) -> None:
    rig = V4L2Rig(tmp_path)
    rig.set(picture(50))
    profile = CameraProfile(kind="v4l2", fps=15, options={"device": str(rig.path)})
    camera = opening.open_camera(profile, None)
    assert isinstance(camera, Reopening)
    with closing(camera):
        before = camera.read(READ_S)
        rig.unplug()
        with pytest.raises(CameraError, match="it has ended"):
            read_to_the_end(camera)
        rig.set(picture(150))
        rig.replug()
        replugged(camera)
        after = camera.read(READ_S)
        assert (after.rgb[100, 100, 0], after.seq > before.seq, after.t_capture_ns > before.t_capture_ns) == (150, True, True)
    rig.close()
