"""The simulator's camera: frames over a Unix socket, only the newest kept. Knows nothing about MuJoCo."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from edge_vla.errors import CameraError
from edge_vla.sim.frames import HEADER, NEXT, Header
from edge_vla.sim.view import Truth
from edge_vla.types import Frame

TRUTHS = 64  # remembered for an oracle that is slower than the camera


class SimulatorCamera:
    """Reads a simulator's frames from the socket at `path`. `truth_of` knows what they show, when the simulator tells."""

    def __init__(self, path: str | Path) -> None:
        self.dropped = 0  # exposures that nobody read: not asked for in time, or replaced by a newer one
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))
        except OSError as err:
            self._socket.close()
            raise CameraError(f"simulator camera {path}: {err.strerror or err}") from err
        self._arrived = threading.Condition()
        self._frame: Frame | None = None
        self._last_seq: int | None = None
        self._truths: dict[int, Truth] = {}
        self._gone = ""  # why there will be no more frames
        self._thread = threading.Thread(target=self._keep_newest, name="simulator camera", daemon=True)
        self._thread.start()

    def __enter__(self) -> SimulatorCamera:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def read(self, timeout_s: float) -> Frame:
        """The newest frame not yet read. Raises CameraError after `timeout_s` without one, or when the simulator is gone."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._frame is not None or self._gone, timeout_s)
            frame, self._frame = self._frame, None
            if frame is None:
                raise CameraError(self._gone or f"simulator camera: no frame for {timeout_s} s")
            return frame

    def truth_of(self, seq: int) -> Truth | None:
        """What the simulator says a recent frame shows; None when it does not say, or for a frame long past."""
        with self._arrived:
            return self._truths.get(seq)

    def close(self) -> None:
        with suppress(OSError):  # closed already, by either side
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join()
        self._socket.close()

    def _keep_newest(self) -> None:
        try:
            while True:
                self._socket.sendall(NEXT)
                self._publish(*self._receive())
        except (CameraError, OSError) as err:
            with self._arrived:
                self._gone = f"simulator camera {self._path}: {err}"
                self._arrived.notify_all()

    def _receive(self) -> tuple[Frame, Truth | None]:
        header = Header.unpack(self._exactly(HEADER.size))
        pixels = self._exactly(header.height * header.width * 3)
        rgb = np.frombuffer(pixels, dtype=np.uint8).reshape(header.height, header.width, 3)
        rgb.flags.writeable = False
        truth = Truth.from_json(self._exactly(header.truth_bytes)) if header.truth_bytes else None
        return Frame(rgb, header.t_capture_ns, header.seq), truth

    def _exactly(self, count: int) -> bytearray:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            received = self._socket.recv_into(view)
            if not received:
                raise CameraError("the simulator has ended")
            view = view[received:]
        return data

    def _publish(self, frame: Frame, truth: Truth | None) -> None:
        with self._arrived:
            self.dropped += (self._frame is not None) + (0 if self._last_seq is None else frame.seq - self._last_seq - 1)
            self._frame, self._last_seq = frame, frame.seq
            if truth is not None:
                self._truths[frame.seq] = truth
                while len(self._truths) > TRUTHS:
                    del self._truths[next(iter(self._truths))]
            self._arrived.notify_all()
