"""The simulated camera's own thread: a second copy of the room, rendered at the frame rate and sent to whoever asked for the next frame.

A GL context belongs to one thread, and a software renderer takes a third of a core: so it renders its own MjData, at a lower priority
than the firmware. Knows nothing about wheels.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from edge_vla.geometry import CameraPose
from edge_vla.sim.eye import Eye, SensorNoise
from edge_vla.sim.frames import FrameServer, Header
from edge_vla.sim.settings import Fault, SimSettings
from edge_vla.sim.truth import true_view
from edge_vla.sim.world import World

NICE = 5  # of this thread and of the renderer's own
POLL_NS = 200_000_000  # how long a stop may wait


class Film:
    """Films until `close`. `snapshot` brings another world's state into the given one and says which moment it is of."""

    def __init__(self, settings: SimSettings, make_world: Callable[[], World], snapshot: Callable[[World], int], path: str) -> None:
        self.error: BaseException | None = None  # why it ended by itself
        self.sent = 0
        self.dropped = 0  # exposures nobody was ready for
        self.late = 0  # exposures whose time had passed before the last one was done
        self._settings, self._make_world, self._snapshot = settings, make_world, snapshot
        self._camera = CameraPose(
            math.radians(settings.hfov_deg), settings.width / settings.height, settings.height_m, math.radians(settings.pitch_deg),
            settings.forward_m,
        )  # fmt: skip
        self._faults = {Fault(name): round(after_s * 1e9) for name, after_s in settings.faults.items()}  # ns after the first frame
        self._first_ns: int | None = None
        self._frozen: NDArray[np.uint8] | None = None
        self._server = FrameServer(path)
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="film", daemon=True)

    def start(self, timeout_s: float) -> bool:
        """Start filming; False when the renderer is not up in time, or not at all."""
        self._thread.start()
        return self._ready.wait(timeout_s) and self.error is None

    def inject(self, fault: Fault) -> None:
        """Break the camera from now on."""
        self._faults[fault] = 0

    def close(self) -> None:
        """End the thread; its GL context ends with it."""
        self._stop.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join()
        self._server.close()

    def _run(self) -> None:
        try:
            others = _threads()
            world = self._make_world()
            eye = Eye(world.model, self._settings.width, self._settings.height, shadows=self._settings.shadows)
            try:
                eye.rgb(world.data)  # compiles shaders and starts the driver's threads
                _yield_to_others((_threads() - others) | {threading.get_native_id()})
                self._film(world, eye)
            finally:
                eye.close()
        except BaseException as err:  # noqa: BLE001 - handed to the main thread, which raises it
            self.error = err
        finally:
            self._ready.set()

    def _film(self, world: World, eye: Eye) -> None:
        noise = SensorNoise(world.room.seed * 7, (self._settings.height, self._settings.width, 3))
        period_ns, seq, last_ns = 1_000_000_000 // self._settings.fps, 0, 0
        self._ready.set()
        due_ns = time.monotonic_ns()
        while not self._stop.is_set():
            due_ns = self._await(due_ns + period_ns)
            if self._broken(Fault.SILENT):
                continue
            seq += 1
            t_ns = self._snapshot(world)
            if not self._server.wanted or t_ns <= last_ns:  # the world stands still when the machine does
                self.dropped += 1
                continue
            last_ns = t_ns
            self._send(seq, t_ns, self._expose(world, eye, noise), self._truth(world, eye))

    def _await(self, due_ns: int) -> int:
        """Serve the socket until the exposure is due; when that was, or now if it has passed already."""
        now_ns = time.monotonic_ns()
        self.late += now_ns > due_ns
        due_ns = max(due_ns, now_ns)
        while not self._stop.is_set() and (left_ns := due_ns - time.monotonic_ns()) > 0:
            self._server.wait(due_ns - max(0, left_ns - POLL_NS))
        return due_ns

    def _expose(self, world: World, eye: Eye, noise: SensorNoise) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, as a whole or a broken sensor reads it."""
        if self._broken(Fault.BLACK):
            read_noise = np.random.default_rng(self.sent).standard_normal((self._settings.height, self._settings.width, 3))
            return np.clip(read_noise, 0, 255).astype(np.uint8)
        if self._broken(Fault.FROZEN) and self._frozen is not None:
            return self._frozen
        mujoco.mj_kinematics(world.model, world.data)
        mujoco.mj_comPos(world.model, world.data)  # lights and cameras of a model stand relative to it
        mujoco.mj_camlight(world.model, world.data)
        self._frozen = noise(eye.rgb(world.data))
        return self._frozen

    def _truth(self, world: World, eye: Eye) -> bytes:
        return true_view(world, eye, self._camera).to_json() if self._settings.truth else b""

    def _send(self, seq: int, t_ns: int, picture: NDArray[np.uint8], truth: bytes) -> None:
        height, width, _ = picture.shape
        self._server.send(Header(seq, t_ns, width, height, len(truth)), picture.tobytes(), truth)
        self.sent += 1
        self._first_ns = self._first_ns or t_ns

    def _broken(self, fault: Fault) -> bool:
        after_ns, first_ns = self._faults.get(fault), self._first_ns
        return after_ns is not None and first_ns is not None and time.monotonic_ns() - first_ns >= after_ns


def _threads() -> set[int]:
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}


def _yield_to_others(threads: set[int]) -> None:
    for thread in threads:
        with suppress(OSError):  # ended meanwhile, or a sandbox forbids it
            os.setpriority(os.PRIO_PROCESS, thread, NICE)
