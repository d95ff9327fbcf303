"""The newest frame, kept: what every camera does between its device and `read`. Knows no device, and not what makes a frame good."""

from __future__ import annotations

import sys
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from edge_vla.errors import CameraError
from edge_vla.hidden import hide_passwords
from edge_vla.types import Frame

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

OPEN_S = 15.0  # for a device to open; one that needs longer hangs
END_S = 3.0  # for a device to be let go; one that hangs is left to its thread, which lets it go when it returns


class NewestCamera(ABC):
    """Opens, grabs and lets go of a device in one thread; `read` gets the newest frame. A kind fills in `_open`, `_grab`, `_release`."""

    def __init__(self, name: str) -> None:
        self.name = hide_passwords(name)  # of the device, in messages
        self.dropped = 0  # frames nobody read: replaced by a newer one, or numbers that were left out
        self.arrived = 0  # frames that could be read
        self.gone = ""  # why there will be no more frames
        self.notice = ""  # something the operator should know about this device
        self._seq = 0
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._opened = False
        self._refusal: CameraError | None = None
        self._frame: Frame | None = None
        self._last_seq: int | None = None
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def read(self, timeout_s: float) -> Frame:
        """The newest frame not yet read. Raises CameraError after `timeout_s` without one, or when the device is gone."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self.gone, timeout_s)
            frame, self._frame = self._frame, None
            if frame is None:
                raise CameraError(self.gone or f"{self.name}: no frame for {timeout_s} s")
            return frame

    def close(self) -> None:
        """Let the device go. What had arrived may still be read."""
        self._closing.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(END_S)

    # -- for the kinds

    @abstractmethod
    def _open(self) -> None:
        """Open the device. Raises CameraError that says what was tried and what exists instead."""

    @abstractmethod
    def _grab(self) -> Frame | None:
        """The next frame in an array of its own, None when there is none yet. Raises CameraError when there will be none."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of whatever is open, even when `_open` has failed."""

    def _wake(self) -> None:  # noqa: B027 - most kinds look at `_closing` often enough
        """Make a `_grab` under way return."""

    def _start(self, timeout_s: float = OPEN_S) -> None:
        """Open the device, in the thread that will grab from it. Raises what `_open` raises, CameraError after `timeout_s`."""
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._opened or self.gone, timeout_s)
            if self._opened:
                return
        self.close()
        raise self._refusal or CameraError(f"{self.name}: not open after {timeout_s} s")

    def _stamped(self, rgb: NDArray[np.uint8], t_capture_ns: int, skipped: int = 0) -> Frame:
        """A frame with the next number, for devices that have none of their own."""
        self._seq += 1 + skipped
        return Frame(rgb, t_capture_ns, self._seq)

    # -- the thread

    def _run(self) -> None:
        gone = f"{self.name}: closed"
        try:
            self._open()
            with self._changed:
                self._opened = True
                self._changed.notify_all()
            while not self._closing.is_set():
                frame = self._grab()
                if frame is not None:
                    self._publish(frame)
        except (CameraError, OSError) as err:
            gone = hide_passwords(f"{self.name}: {(err.strerror if isinstance(err, OSError) else '') or err}")
            self._refusal = CameraError(gone)
        finally:
            wrong = sys.exc_info()[1]  # something no kind has translated: a reader must not wait for its frames
            self._release()
            with self._changed:
                self.gone = gone if wrong is None else f"{self.name}: {wrong!r}"
                self._changed.notify_all()

    def _publish(self, frame: Frame) -> None:
        frame.rgb.flags.writeable = False
        with self._changed:
            self.dropped += (self._frame is not None) + (0 if self._last_seq is None else frame.seq - self._last_seq - 1)
            self.arrived += 1
            self._frame, self._last_seq = frame, frame.seq
            self._changed.notify_all()
