"""The simulator's camera: frames over a Unix socket, only the newest kept. Knows nothing about MuJoCo."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import numpy as np

from edge_vla.cameras.newest import NewestCamera
from edge_vla.errors import CameraError
from edge_vla.sim.frames import HEADER, NEXT, Header
from edge_vla.sim.view import Truth
from edge_vla.types import Frame

TRUTHS = 64  # remembered for an oracle that is slower than the camera


class SimulatorCamera(NewestCamera):
    """Reads a simulator's frames from the socket at `path`. `truth_of` knows what they show, when the simulator tells."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(f"simulator camera {path}")
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._truths: dict[int, Truth] = {}
        self._start()

    def truth_of(self, seq: int) -> Truth | None:
        """What the simulator says a recent frame shows; None when it does not say, or for a frame long past."""
        with self._changed:
            return self._truths.get(seq)

    def _open(self) -> None:
        self._socket.connect(str(self._path))

    def _wake(self) -> None:
        with suppress(OSError):  # closed already, by either side
            self._socket.shutdown(socket.SHUT_RDWR)

    def _release(self) -> None:
        self._socket.close()

    def _grab(self) -> Frame | None:
        self._socket.sendall(NEXT)
        header = Header.unpack(self._exactly(HEADER.size))
        pixels = self._exactly(header.height * header.width * 3)
        rgb = np.frombuffer(pixels, dtype=np.uint8).reshape(header.height, header.width, 3)
        if header.truth_bytes:
            self._remember(header.seq, Truth.from_json(self._exactly(header.truth_bytes)))
        return Frame(rgb, header.t_capture_ns, header.seq)

    def _remember(self, seq: int, truth: Truth) -> None:
        with self._changed:
            self._truths[seq] = truth
            while len(self._truths) > TRUTHS:
                del self._truths[next(iter(self._truths))]

    def _exactly(self, count: int) -> bytearray:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            received = self._socket.recv_into(view)
            if not received:
                raise CameraError("the simulator has ended")
            view = view[received:]
        return data
