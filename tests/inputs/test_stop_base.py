"""`python -m edge_vla.stop_base` for real: a firmware process behind a pty, a host that is gone, and what the wheels did then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge_vla.bases import BASES, make_base
from edge_vla.bases.port import Port
from edge_vla.guard.client import Evidence, GuardProcess
from edge_vla.guard.settings import GuardSettings
from edge_vla.guard.state import GuardState
from edge_vla.guard.types import Twist
from edge_vla.stop_base import main

GO = Twist(0.2)
MS = 1_000_000


class Firmware:
    """One base in a process of its own, and the log of its wheels."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self._log = folder / "wheels.jsonl"
        command = [sys.executable, "-m", "edge_vla.sim.firmware", "--base", kind, "--log", str(self._log)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.path = self._process.stdout.readline().strip()

    def rows(self) -> list[dict]:
        """All of its log: it has ended."""
        self.close()
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@pytest.fixture
def make_firmware(tmp_path: Path) -> Iterator[Callable[[str], Firmware]]:
    made: list[Firmware] = []

    def make(kind: str) -> Firmware:
        made.append(Firmware(kind, tmp_path))
        return made[-1]

    yield make
    for firmware in made:
        firmware.close()


def driven(firmware: Firmware) -> None:
    """Until its wheels turn; then the host closes the port and is gone."""
    base = make_base(firmware.kind)
    with Port(firmware.path, 115200, base.traits.resync) as port:
        speed, due_s, give_up_s = 0.0, 0.0, time.monotonic() + 15.0
        for frame in base.init_frames():
            port.write(frame)
            base.sent(frame, time.monotonic_ns())
        while speed < 0.15:
            assert time.monotonic() < give_up_s, f"{firmware.kind} never moved"
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + 0.04
                for frame in [*base.poll_frames(), base.encode(GO)]:
                    port.write(frame)
                    base.sent(frame, time.monotonic_ns())
            for report in base.feed(port.read(), time.monotonic_ns()):
                speed = min(report.wheels_mps or (speed,))
            time.sleep(0.002)


def words(kind: str, checkout: Path, port: str, *more: str) -> list[str]:
    profile = checkout / "launch" / ("sim.toml" if kind == "waveshare" else f"simulated/{kind}.toml")
    return ["--profile", str(profile), "--port", port, "--json", *more]


def told(capsys: pytest.CaptureFixture[str]) -> dict:
    found: dict = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.deadline
@pytest.mark.parametrize("kind", BASES)
def test_moving_wheels_of_a_base_whose_host_is_gone(
    make_firmware: Callable[[str], Firmware], checkout: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    firmware = make_firmware(kind)
    driven(firmware)
    onset_ns = time.monotonic_ns()
    assert main(words(kind, checkout, firmware.path)) == 0
    end_ns = time.monotonic_ns()
    halted = told(capsys)
    assert (halted["opened"], halted["still"], halted["why"]) == (True, True, "the wheels stand")
    assert halted["reports"] >= 5
    rows = firmware.rows()
    assert max(abs(speed) for row in rows if row["t_ns"] < onset_ns for speed in row["wheels"]) > 0.15, "they did turn"
    accepted = [row for row in rows if row["t_ns"] >= onset_ns and row["accepted"]]
    told_off = [set(row["targets"]) == {0.0} for row in accepted]
    assert told_off == sorted(told_off), "only what the host had written before it went comes before the first zero"
    assert sum(told_off) >= 10
    ends = [row["wheels"] for row in rows if row["t_ns"] >= end_ns][:1] or [rows[-1]["wheels"]]
    assert all(abs(speed) < 0.02 for speed in ends[0])


@pytest.mark.deadline
def test_it_waits_for_a_guard_to_die_and_takes_over_what_it_left_moving(
    make_firmware: Callable[[str], Firmware], checkout: Path, tmp_path: Path
) -> None:
    """A base without a watchdog, a guard that is killed: the case this tool is for."""
    firmware = make_firmware("rosmaster")
    with GuardProcess.start(GuardSettings("rosmaster", firmware.path)) as guard:
        give_up_s = time.monotonic() + 15.0
        while (status := guard.poll()) is None or status.applied != GO or status.measured is None or status.measured.linear_x < 0.15:
            assert time.monotonic() < give_up_s
            if status is not None and status.state is GuardState.DISARMED:
                guard.arm()
            elif status is not None and status.state is not GuardState.BOOT:
                now_ns = time.monotonic_ns()
                guard.send(GO, Evidence(now_ns - MS, now_ns + 400 * MS, 6.0, 5.0, 20.0))
            guard.wait(0.02)
        os.kill(guard.pid, signal.SIGSTOP)  # it can neither zero the base nor be asked to
        command = [sys.executable, "-m", "edge_vla.stop_base", *words("rosmaster", checkout, firmware.path)]
        tool = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            busy = subprocess.run([*command, "--seconds", "0"], capture_output=True, text=True, check=False)
            assert busy.returncode == 3
            assert "lock" in json.loads(busy.stdout)["why"]
            assert tool.poll() is None, "it is patient"
            os.kill(guard.pid, signal.SIGKILL)
            killed_ns = time.monotonic_ns()
            out, err = tool.communicate(timeout=20)
        finally:
            tool.kill()
        assert (tool.returncode, err) == (0, "")
        assert json.loads(out)["still"] is True
    assert guard.exit_code == -9
    rows = firmware.rows()
    accepted = [row for row in rows if row["t_ns"] >= killed_ns and row["accepted"]]
    assert {target for row in accepted for target in row["targets"]} == {0.0}
    before = [row for row in rows if killed_ns <= row["t_ns"] < accepted[0]["t_ns"]]
    assert all(speed > 0.15 for row in before for speed in row["wheels"]), "until then it drove on"
    assert all(abs(speed) < 0.02 for speed in rows[-1]["wheels"])


@pytest.mark.deadline
def test_a_plug_that_comes_out_and_goes_in_again(make_firmware, checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first device dies at the first word; another one is behind the same name then."""
    firmware = make_firmware("waveshare")
    master, slave = os.openpty()
    name = tmp_path / "base"
    name.symlink_to(os.ttyname(slave))
    os.close(slave)

    def replug() -> None:
        while True:
            with suppress(OSError):  # nobody has opened it yet
                if os.read(master, 1):
                    break
            time.sleep(0.002)
        name.unlink()
        name.symlink_to(firmware.path)
        os.close(master)

    hand = threading.Thread(target=replug)
    hand.start()
    assert main(words("waveshare", checkout, str(name))) == 0
    hand.join()
    assert told(capsys)["still"] is True


def test_a_base_that_says_nothing_is_not_said_to_stand(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    master, slave = os.openpty()
    assert main(words("kobuki", checkout, os.ttyname(slave))) == 1
    halted = told(capsys)
    assert (halted["opened"], halted["still"], halted["reports"]) == (True, False, 0)
    assert halted["zeros"] > 0
    for fd in (master, slave):
        os.close(fd)


def test_without_a_port(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "none")
    assert main(words("kobuki", checkout, missing, "--seconds", "0.3")) == 3
    halted = told(capsys)
    assert (halted["opened"], halted["still"], halted["zeros"]) == (False, False, 0)
    assert missing in halted["why"]
    assert main([*words("kobuki", checkout, missing)[:4], "--seconds", "0"]) == 3
    assert missing in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--seconds", "-1"], "--seconds -1.0: want 0 to 60"),
        (["--seconds", "nan"], "--seconds nan: want 0 to 60"),
        (["--seconds", "1e9"], "want 0 to 60"),
        ([], "a simulated base is gone with its simulator; name one with --port"),
    ],
)
def test_words_that_say_nothing(checkout: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str) -> None:
    assert main(["--profile", str(checkout / "launch/sim.toml"), *more]) == 2
    assert said in capsys.readouterr().err


def test_a_profile_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", str(tmp_path / "none.toml")]) == 2
    assert "none.toml" in capsys.readouterr().err


def test_the_port_of_a_real_profile_is_what_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = tmp_path / "robot.toml"
    profile.write_text(
        f'[robot]\ndomain = "real"\n[base]\nkind = "rosmaster"\nport = "{tmp_path}/base"\nmax_wheel_mps = 0.5\n'
        '[camera]\nkind = "v4l2"\nhfov_deg = 78.0\nheight_m = 0.2\npitch_deg = 5.0\nforward_m = 0.08\n'
    )
    assert main(["--profile", str(profile), "--seconds", "0"]) == 3
    assert f"{tmp_path}/base" in capsys.readouterr().err
