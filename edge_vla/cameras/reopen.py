"""A camera that is opened again when its device has gone: unplugged and plugged in, or a stream that broke off. Knows no kind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from edge_vla.cameras.newest import END_S, NewestCamera
from edge_vla.errors import CameraError
from edge_vla.types import Frame

if TYPE_CHECKING:
    from typing_extensions import Self

FIRST_S, MOST_S = 0.1, 1.0  # between two tries: doubled each time
Pause = Callable[[threading.Event, float], bool]  # waits so long, or until it is set: whether it is


def _pause(event: threading.Event, seconds: float) -> bool:
    return event.wait(seconds)


class Reopening:
    """`make` opens the camera: the first time its error is the caller's, later it is tried again and again until `close`.

    `read` never waits for a device longer than its own patience. Numbers and stamps go on rising over a change of devices.
    """

    def __init__(self, make: Callable[[], NewestCamera], pause: Pause = _pause) -> None:
        self.reopened = 0
        self._make, self._pause = make, pause
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._camera = make()  # the newest, also when it is gone
        self._before = (0, 0)  # dropped and arrived, of all cameras before it
        self._offset = 0  # between its numbers and ours
        self._last: Frame | None = None
        self._trouble = ""  # what is being tried; "" while the camera is there
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def name(self) -> str:
        return self._camera.name

    @property
    def dropped(self) -> int:
        with self._changed:
            return self._before[0] + self._camera.dropped

    @property
    def arrived(self) -> int:
        with self._changed:
            return self._before[1] + self._camera.arrived

    @property
    def gone(self) -> str:
        """Why there will be no more frames: while it is being opened again there may be."""
        return self._camera.gone if self._last is None or self._closing.is_set() else ""

    @property
    def notice(self) -> str:
        opened = f"{self.name}: opened again {self.reopened} times" if self.reopened else ""
        return "; ".join(filter(None, (self._camera.notice, opened)))

    def read(self, timeout_s: float) -> Frame:
        """The newest frame not yet read. Raises CameraError after `timeout_s` without one, or, once the device is gone, at once."""
        until_s = time.monotonic() + timeout_s
        while True:
            camera = self._present()
            try:
                frame = camera.read(max(0.0, until_s - time.monotonic()))
            except CameraError as err:
                if camera.gone and self._last is not None and not self._closing.is_set():
                    self._lost(camera)
                    raise CameraError(f"{err}; opening it again") from err
                raise
            if self._last is None or frame.t_capture_ns > self._last.t_capture_ns:
                break  # a stamp from before the change of devices is left out
        self._last = replace(frame, seq=frame.seq + self._offset)
        return self._last

    def close(self) -> None:
        """Let the device go, and stop trying."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(END_S)
        self._camera.close()

    def _present(self) -> NewestCamera:
        """The camera. Raises CameraError while it is being opened again."""
        with self._changed:
            if self._trouble:
                raise CameraError(self._trouble)
            return self._camera

    def _lost(self, camera: NewestCamera) -> None:
        self._trouble = f"{camera.gone}; opening it again"
        self._thread = threading.Thread(target=self._open_again, args=(camera,), name="camera, again", daemon=True)
        self._thread.start()

    def _open_again(self, old: NewestCamera) -> None:
        old.close()
        delay_s, tries = FIRST_S, 0
        while not self._pause(self._closing, delay_s):
            delay_s, tries = min(MOST_S, 2 * delay_s), tries + 1
            try:
                camera = self._make()
            except CameraError as err:
                with self._changed:
                    self._trouble = f"{old.gone}; opened again {tries} times in vain, the last time: {err}"
            else:
                self._adopt(camera, old)
                return

    def _adopt(self, camera: NewestCamera, old: NewestCamera) -> None:
        with self._changed:
            if not self._closing.is_set():
                self._before = (self._before[0] + old.dropped, self._before[1] + old.arrived)
                self._offset = self._last.seq if self._last is not None else 0
                self._camera, self._trouble = camera, ""
                self.reopened += 1
                return
        camera.close()  # whoever wanted it has gone meanwhile
