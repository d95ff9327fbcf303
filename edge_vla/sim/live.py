"""The simulator in real time: physics and firmware in one thread, the camera in another. Lockstep drives the very same parts.

Knows nothing about goals. What the robot does is decided by whoever writes to the pty; what it really did is in `wheels.jsonl`
and `truth.json`.
"""

from __future__ import annotations

import json
import math
import os
import select
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from edge_vla.bases import make_base
from edge_vla.errors import CameraError, EdgeVLAError
from edge_vla.guard.lines import STDERR
from edge_vla.guard.wheels import Differential
from edge_vla.sim.film import Film
from edge_vla.sim.firmware import make_firmware
from edge_vla.sim.firmware.pty import PtyLine
from edge_vla.sim.firmware.wheels import WheelLog
from edge_vla.sim.judge import ground_truth
from edge_vla.sim.mover import make_mover
from edge_vla.sim.pacer import Pacer
from edge_vla.sim.plant import Fitted, MotorWheels, Sensors, track_of
from edge_vla.sim.robot import RobotModel
from edge_vla.sim.rooms import make_room
from edge_vla.sim.settings import Fault, SimSettings
from edge_vla.sim.view import GroundTruth
from edge_vla.sim.world import World

STEP_NS = 4_000_000
LOG_EVERY = 2  # steps: 125 Hz
BURST = 5  # steps between two looks at the serial line when catching up
LATE_NS = 10_000_000
MOST_NS = 1_000_000_000  # a longer gap (SIGSTOP, a suspended laptop) is skipped, not driven through
LINGER_NS = 4_000_000_000  # after the worker's end: time for the guard to see the wheels stand
START_S = 60.0  # for the renderer, on a machine that is busy training
MAX_REQUEST = 1 << 12


class Live:
    """One simulated robot on the host's clock. `control` is the worker's end of a SOCK_SEQPACKET pair."""

    def __init__(self, settings: SimSettings, control: socket.socket) -> None:
        self._settings, self._control = settings, control
        self._room = make_room(settings.seed, require=settings.require, exclude=settings.exclude)
        drive = make_base(settings.base, settings.base_options).traits.drive
        self._robot = replace(
            RobotModel(), track_m=track_of(drive, RobotModel().track_m),
            camera_height_m=settings.height_m, camera_forward_m=settings.forward_m,
            camera_pitch_deg=settings.pitch_deg, hfov_deg=settings.hfov_deg, aspect=settings.width / settings.height,
        )  # fmt: skip
        self._lock = threading.Lock()  # around the world's state: the camera copies it
        self._world = self._make_world()
        self._wheels, sensors = MotorWheels(self._world), Sensors(self._world, self._room.seed * 7)
        self._mover = make_mover(self._world, 0, self._room.seed) if settings.follow else None
        self._path_m = 0.0
        self._end_ns: int | None = None
        self._start_ns = time.monotonic_ns()
        self._pacer = self._new_pacer()
        with ExitStack() as opened:
            folder = Path(settings.folder)
            self._log = opened.enter_context(WheelLog(folder / "wheels.jsonl"))
            sockets = opened.enter_context(TemporaryDirectory(prefix="edge_vla_"))  # a run folder's path may be too long for a socket
            self._frames = str(Path(sockets) / "frames")
            fitted = Fitted(drive, self._wheels, Differential(self._robot.track_m))
            firmware = make_firmware(
                settings.base, settings.base_options, fitted, self._log, lambda: fitted.as_told(sensors.encoders()), sensors.gyro
            )
            self._line = opened.enter_context(PtyLine(firmware, settings.baud))
            self._film = Film(settings, self._make_world, self._snapshot, self._frames)
            opened.callback(self._film.close)
            self._opened = opened.pop_all()

    def __enter__(self) -> Live:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._opened.close()

    def leave(self) -> None:
        """End at the next step."""
        self._end_ns = 0

    def run(self) -> None:
        """Serve until the worker says bye, or for a while after it is gone. Raises CameraError when nothing can be rendered."""
        if not self._film.start(START_S):
            raise CameraError(f"the simulator cannot render: {self._film.error or f'no picture in {START_S} s'}") from self._film.error
        self._pacer = self._new_pacer()
        self._start_ns = self._pacer.reached_ns
        self._say({"port": self._line.path, "frames": self._frames})
        while self._end_ns is None or time.monotonic_ns() < self._end_ns:
            now_ns = time.monotonic_ns()
            for _ in range(self._pacer.due(now_ns)):
                self._step()
            self._line.pump(now_ns)
            if self._film.error is not None:
                raise CameraError(f"the simulator's camera failed: {self._film.error}") from self._film.error
            self._serve()
        self._write_truth()

    def _new_pacer(self) -> Pacer:
        return Pacer(time.monotonic_ns(), STEP_NS, burst=BURST, late_ns=LATE_NS, most_ns=MOST_NS)

    def _make_world(self) -> World:
        return World(self._room, self._robot)

    def _step(self) -> None:
        before = self._world.data.qpos[:2].copy()
        with self._lock:
            if self._mover is not None:
                self._mover(self._world, self._world.data.time)
            self._wheels.advance(STEP_NS * 1e-9)
            t_ns = self._pacer.step()
        self._path_m += math.dist(before, self._world.data.qpos[:2])
        if (t_ns - self._start_ns) // STEP_NS % LOG_EVERY == 0:
            self._log.write(t_ns, self._wheels.speeds())

    def _snapshot(self, target: World) -> int:
        """Copy the world's state into the camera's own copy; the moment it is of."""
        with self._lock:
            for name in ("qpos", "qvel", "mocap_pos", "mocap_quat"):
                getattr(target.data, name)[:] = getattr(self._world.data, name)
            target.data.time = self._world.data.time
            return self._pacer.reached_ns

    # -- the worker ------------------------------------------------------------------------------------------------
    def _serve(self) -> None:
        """Wait for the next step, answering what the worker asks meanwhile."""
        wait_s = max(0.0, (self._pacer.next_ns - time.monotonic_ns()) * 1e-9)
        if self._end_ns is not None:  # the worker is gone
            time.sleep(wait_s)
            return
        if not select.select([self._control], [], [], wait_s)[0]:
            return
        try:
            request = self._control.recv(MAX_REQUEST)
        except OSError:
            request = b""
        if not request:
            self._end_ns = time.monotonic_ns() + LINGER_NS
            return
        self._say(self._answer(json.loads(request)))

    def _answer(self, request: Mapping[str, str]) -> dict[str, object]:
        match request["do"]:
            case "truth":
                return {"truth": asdict(self._truth()), "stats": self._stats()}
            case "fault":
                self._film.inject(Fault(request["name"]))
                return {}
            case "bye":
                self.leave()
                return {}
        raise EdgeVLAError(f"the simulator was asked to {request['do']!r}; it can truth, fault and bye")

    def _say(self, message: Mapping[str, object]) -> None:
        try:
            self._control.send(json.dumps(message).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:  # gone: the next recv says so
            return

    def _truth(self) -> GroundTruth:
        with self._lock:
            return ground_truth(self._world, self._path_m, self._pacer.reached_ns)

    def _stats(self) -> dict[str, float]:
        """How well real time was kept, and what it cost."""
        return {
            "wall_s": (time.monotonic_ns() - self._start_ns) * 1e-9, "cpu_s": time.process_time(),
            "late_steps": self._pacer.late, "worst_late_ms": self._pacer.worst_ns * 1e-6, "skipped_s": self._pacer.skipped_ns * 1e-9,
            "frames_sent": self._film.sent, "frames_dropped": self._film.dropped, "frames_late": self._film.late,
            "log_lines_lost": self._log.lost,
        }  # fmt: skip

    def _write_truth(self) -> None:
        """truth.json: the world's verdict on the run, or nothing where there is no room for all of it."""
        report = {"seed": self._room.seed, "truth": asdict(self._truth()), "stats": self._stats()}
        path = Path(self._settings.folder, "truth.json")
        try:
            path.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        except OSError as err:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            with suppress(OSError):  # stderr is a file on the same disk, so past Python's buffer, which would try again at the end
                os.write(STDERR, f"{path}: {err.strerror}: no verdict on this run\n".encode())
