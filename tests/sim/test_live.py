"""The simulator as a process, over its real tty, its frame socket and its logs.

Times are read off wheels.jsonl, which is in the simulator's own steps, so that a busy machine changes none of them.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serial

from edge_vla.cameras.rules import FrameRules
from edge_vla.cameras.simulator import SimulatorCamera
from edge_vla.errors import BaseError, CameraError, ConfigError
from edge_vla.sim.process import SimProcess
from edge_vla.sim.settings import Fault, SimSettings

Start = Callable[..., SimProcess]
PATIENCE_S = 60.0
READ_S = 20.0
STILL_MPS = 0.02


class Host:
    """A host on the serial line, paced by the controller's own feedback."""

    def __init__(self, path: str) -> None:
        self.line = serial.Serial(path, 115200, timeout=READ_S)
        self.say(T=136, cmd=300)

    def say(self, **message: object) -> None:
        self.line.write(json.dumps(message).encode() + b"\n")

    def report(self) -> dict[str, Any]:
        """The next feedback. A line may have begun before this host was there."""
        while True:
            try:
                message = json.loads(self.line.readline())
            except ValueError:
                continue
            if message.get("T") == 1001:
                return message

    def until(self, done: Callable[[dict[str, Any]], bool], say: dict[str, object] | None = None) -> None:
        """Feedback by feedback, saying something after each."""
        give_up_s = time.monotonic() + PATIENCE_S
        while not done(self.report()):
            assert time.monotonic() < give_up_s
            if say is not None:
                self.say(**say)


def wheel_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "wheels.jsonl").read_text().splitlines()]


def accepted(log: list[dict[str, Any]], kind: int) -> list[int]:
    """When the firmware obeyed messages of a kind."""
    return [line["t_ns"] for line in log if line["accepted"] and json.loads(line["accepted"])["T"] == kind]


def test_a_command_moves_the_wheels_and_silence_stops_them(start_sim: Start, tmp_path: Path) -> None:
    """From the bytes on the tty to the wheels, the path and the verdict."""
    with start_sim() as sim:
        host = Host(sim.port)
        host.until(lambda it: min(it["L"], it["R"]) > 0.18, say={"T": 1, "L": 0.2, "R": 0.2})
        host.until(lambda it: max(abs(it["L"]), abs(it["R"])) < 0.01)  # says nothing more: the watchdog's turn
        truth = sim.truth()
    log = wheel_log(tmp_path)
    stamps = [line["t_ns"] for line in log]
    assert stamps == sorted(stamps)
    samples = [line["t_ns"] for line in log if line["accepted"] is None]
    assert np.median(np.diff(samples)) <= 10e6  # 100 Hz
    commands = accepted(log, 1)
    moved_ns = next(line["t_ns"] for line in log if min(line["wheels"]) > 0.05)
    assert 0 < moved_ns - commands[0] < 150e6  # a motor with 150 ms is at a quarter after 43 ms
    after = {round((line["t_ns"] - commands[-1]) * 1e-6): max(line["wheels"]) for line in log if line["t_ns"] > commands[-1]}
    assert all(speed > 0.1 for t_ms, speed in after.items() if t_ms < 295)
    assert all(abs(speed) < STILL_MPS for t_ms, speed in after.items() if t_ms > 300 + 500)
    report = json.loads((tmp_path / "truth.json").read_text())
    assert report["truth"]["path_m"] >= truth.path_m > 0.05
    assert report["seed"] == 1_000_003
    assert report["stats"]["frames_sent"] == 0
    assert sim.exit_code == 0


def test_a_full_disk_costs_the_record_and_no_motion(start_sim: Start, tmp_path: Path) -> None:
    for name in ("wheels.jsonl", "truth.json", "simulator.log"):
        (tmp_path / name).symlink_to("/dev/full")
    with start_sim() as sim:
        host = Host(sim.port)
        host.until(lambda it: min(it["L"], it["R"]) > 0.18, say={"T": 1, "L": 0.2, "R": 0.2})
        host.until(lambda it: max(abs(it["L"]), abs(it["R"])) < 0.01)
        assert sim.truth().path_m > 0.05
        assert sim.stats()["log_lines_lost"] > 50
        host.line.close()
    assert sim.exit_code == 0
    assert not (tmp_path / "truth.json").is_symlink()  # no verdict rather than half of one


def test_a_stuck_disk_costs_the_record_and_no_motion(start_sim: Start, tmp_path: Path) -> None:
    """A pipe that is full: whoever writes to it waits for a reader that never reads."""
    os.mkfifo(tmp_path / "wheels.jsonl")
    reader = os.open(tmp_path / "wheels.jsonl", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "wheels.jsonl", os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while os.write(writer, b"x" * 4096):
            pass
    with start_sim() as sim:
        host = Host(sim.port)
        host.until(lambda it: min(it["L"], it["R"]) > 0.18, say={"T": 1, "L": 0.2, "R": 0.2})
        host.until(lambda it: max(abs(it["L"]), abs(it["R"])) < 0.01)
        host.line.close()
    os.close(reader)
    os.close(writer)
    assert sim.exit_code == 0
    assert json.loads((tmp_path / "truth.json").read_text())["truth"]["path_m"] > 0.05


def test_frames_come_fresh_with_the_truth_and_follow_the_robot(start_sim: Start) -> None:
    with start_sim(truth=True) as sim, SimulatorCamera(sim.frames) as camera:
        frames = [camera.read(READ_S) for _ in range(4)]
        assert all(b.seq > a.seq and b.t_capture_ns > a.t_capture_ns for a, b in itertools.pairwise(frames))
        assert all(not np.array_equal(a.rgb, b.rgb) for a, b in itertools.pairwise(frames))  # noise
        assert frames[0].rgb.shape == (240, 320, 3)
        assert 0 <= time.monotonic_ns() - frames[-1].t_capture_ns < READ_S * 1e9
        before = camera.truth_of(frames[-1].seq)
        assert before is not None
        assert len(before.free_distance_m) == 16
        host = Host(sim.port)
        start_yaw = sim.truth().yaw_rad
        host.until(lambda _: abs(sim.truth().yaw_rad - start_yaw) > 0.5, say={"T": 1, "L": -0.1, "R": 0.1})
        turned_ns = sim.truth().t_ns
        frame = next(frame for frame in iter(lambda: camera.read(READ_S), None) if frame.t_capture_ns > turned_ns)
        after = camera.truth_of(frame.seq)
        assert after is not None
        assert after.free_distance_m != pytest.approx(before.free_distance_m, abs=0.05)
        truth = sim.truth()
        assert truth.nearest("cup") is not None
        assert truth.path_m < 0.1  # it turned on the spot
        host.line.close()


def first_refusal(camera: SimulatorCamera, rules: FrameRules, want: str, most: int = 200) -> list[str | None]:
    """Verdicts until the wanted one, as if the robot moved all the time; a busy machine may make frames old."""
    verdicts: list[str | None] = []
    while want not in verdicts and len(verdicts) < most:
        frame = camera.read(READ_S)
        verdicts.append(rules.judge(frame, frame.t_capture_ns + 10_000_000, 0.02 * frame.seq))
    return verdicts


def drain(camera: SimulatorCamera) -> None:
    for _ in range(4):  # one or two may be on their way
        camera.read(1.0)


def test_injected_camera_faults_are_what_the_rules_refuse(start_sim: Start) -> None:
    with start_sim() as sim, SimulatorCamera(sim.frames) as camera:
        rules = FrameRules((240, 320, 3))
        assert [rules.judge(frame, frame.t_capture_ns, 0.02 * frame.seq) for frame in (camera.read(READ_S) for _ in range(3))] == [None] * 3
        sim.inject(Fault.FROZEN)
        assert first_refusal(camera, rules, "frozen")[-1] == "frozen"
        sim.inject(Fault.BLACK)
        assert first_refusal(camera, rules, "black")[-1] == "black"
        sim.inject(Fault.SILENT)
        with pytest.raises(CameraError, match="no frame for 1"):
            drain(camera)
        os.kill(sim.pid, signal.SIGTERM)
        with pytest.raises(CameraError, match="ended"):
            camera.read(READ_S)
        with pytest.raises(BaseError):
            sim.truth()
        sim.close()
        assert sim.exit_code == 0


def test_what_is_followed_moves_and_a_fault_by_the_clock_begins_after_the_first_frame(start_sim: Start) -> None:
    with start_sim(require=("person",), follow=True, faults={"silent": 0.0}) as sim, SimulatorCamera(sim.frames) as camera:
        start = place_of("person", sim)
        assert camera.read(READ_S).seq >= 1
        with pytest.raises(CameraError, match="no frame for 1"):
            camera.read(1.0)
        assert sim.stats()["frames_sent"] == 1
        host = Host(sim.port)
        host.until(lambda _: math.dist(place_of("person", sim), start) > 0.1)
        host.line.close()


def place_of(name: str, sim: SimProcess) -> tuple[float, float]:
    thing = sim.truth().nearest(name)
    assert thing is not None
    return thing.x_m, thing.y_m


WORKER = """
import sys, time
from edge_vla.sim.process import SimProcess
from edge_vla.sim.settings import SimSettings
sim = SimProcess.start(SimSettings(sys.argv[1], 1_000_003))
print(sim.port, sim.pid, flush=True)
sys.stdin.read()
"""


def test_it_outlives_a_killed_worker_for_three_seconds_and_no_longer(tmp_path: Path) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with worker:
        assert worker.stdout is not None
        port, pid = worker.stdout.readline().split()
        host = Host(port)
        watch = os.pidfd_open(int(pid))
        host.until(lambda it: it["L"] > 0.18, say={"T": 1, "L": 0.2, "R": 0.2})
        worker.kill()
        worker.wait()
        killed_ns = time.monotonic_ns()
    with pytest.raises(serial.SerialException):  # the tty answers until the simulator ends
        host.until(lambda _: False, say={"T": 1, "L": 0.1, "R": 0.1})
    assert select.select([watch], [], [], PATIENCE_S)[0], "the simulator is still there"
    os.close(watch)
    log = wheel_log(tmp_path)
    assert log[-1]["t_ns"] - killed_ns >= 3e9
    assert accepted(log, 1)[-1] - killed_ns >= 2.5e9  # it still obeyed
    assert json.loads((tmp_path / "truth.json").read_text())["truth"]["path_m"] > 0.3


def test_a_simulator_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "mujoco.py").write_text("raise ModuleNotFoundError(\"No module named 'mujoco'\")")
    monkeypatch.setenv("PYTHONPATH", str(stub))
    with pytest.raises(ConfigError, match=r"No module named 'mujoco'; it is installed with: pip install 'edge_vla\[sim\]'"):
        SimProcess.start(SimSettings(str(tmp_path)))


def test_a_run_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        SimProcess.start(SimSettings(str(tmp_path / "nowhere")))


@pytest.mark.deadline
def test_it_leaves_a_core_for_the_engine(start_sim: Start) -> None:
    with start_sim() as sim, SimulatorCamera(sim.frames) as camera:
        camera.read(READ_S)
        before, end_s = sim.stats(), time.monotonic() + 3.0
        while time.monotonic() < end_s:
            camera.read(READ_S)
        after = sim.stats()
    cpu_s, wall_s = (after[name] - before[name] for name in ("cpu_s", "wall_s"))
    assert cpu_s / wall_s < 0.75  # 0.47 on two cores that are free
    assert cpu_s / (after["frames_sent"] - before["frames_sent"]) < 0.075  # 0.032
    assert after["late_steps"] - before["late_steps"] < 0.05 * 250 * wall_s
