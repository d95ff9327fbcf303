"""`python -m edge_vla.deadman` as a process: a key on a pty, sockets in a folder, and in the end a real guard and wheels that turn."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from edge_vla.deadman import Purpose, claimed, main
from edge_vla.errors import ConfigError
from edge_vla.guard.client import Evidence, GuardProcess
from edge_vla.guard.settings import GuardSettings
from edge_vla.guard.state import FaultCode, GuardState, Refusal, StopCause
from edge_vla.guard.stopline import private, runtime_folder
from edge_vla.guard.types import Twist

MS = 1_000_000
GO = Twist(0.2)
PATIENCE_S = 20.0


class Operator:
    """A terminal with a watcher in it."""

    def __init__(self, *words: str) -> None:
        self.master, self.slave = os.openpty()
        self.before = termios.tcgetattr(self.slave)
        command = [sys.executable, "-m", "edge_vla.deadman", "--input", "keyboard", "--device", os.ttyname(self.slave), *words]
        self.watcher = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.said() == "deadman: the button is there\n"

    def said(self) -> str:
        assert self.watcher.stderr is not None
        return self.watcher.stderr.readline()

    def press(self) -> None:
        os.write(self.master, b" ")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.watcher.send_signal(number)
        return self.watcher.wait(PATIENCE_S)

    def close(self) -> None:
        self.watcher.kill()
        self.watcher.wait()
        assert self.watcher.stderr is not None
        self.watcher.stderr.close()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of this test's guards alone; short, as a socket's name has to be."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("r")))
    return private(runtime_folder())


@pytest.fixture
def make_operator(folder: Path) -> Iterator[Callable[..., Operator]]:
    made: list[Operator] = []

    def make(*words: str) -> Operator:
        made.append(Operator(*words))
        return made[-1]

    yield make
    for operator in made:
        operator.close()


@pytest.fixture
def make_ear(folder: Path) -> Iterator[Callable[[str], socket.socket]]:
    made: list[socket.socket] = []

    def make(name: str) -> socket.socket:
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ear.settimeout(PATIENCE_S)
        ear.bind(str(folder / name))
        made.append(ear)
        return ear

    yield make
    for ear in made:
        ear.close()


def heard(ear: socket.socket) -> list[bytes]:
    """Its words up to a release; nothing else is among them."""
    words = [ear.recv(100)]
    while words[-1] == b"HELD\n":
        words.append(ear.recv(100))
    assert words[-1] == b"RELEASED\n"
    return words


def test_held_and_released(make_operator, make_ear) -> None:
    ear, operator = make_ear("1.deadman"), make_operator("--as", "hold")
    operator.press()
    assert heard(ear)[0] == b"HELD\n"
    late = make_ear("2.deadman")
    operator.press()
    assert late.recv(100) == b"HELD\n", "one that came later hears of it"
    assert operator.end() == 0
    assert heard(late)[-1] == b"RELEASED\n"
    assert termios.tcgetattr(operator.slave) == operator.before


def test_a_stop_button(make_operator, make_ear) -> None:
    ear, stops = make_ear("1.deadman"), make_ear("1.stop")
    operator = make_operator("--as", "stop")
    assert [ear.recv(100) for _ in range(3)] == [b"HELD\n"] * 3, "somebody watches, and it is not pressed"
    operator.press()
    assert stops.recv(100) == b"STOP"
    operator.press()
    assert stops.recv(100) == b"STOP"
    assert operator.end(signal.SIGINT) == 0
    assert termios.tcgetattr(operator.slave) == operator.before
    assert heard(ear)[-1] == b"RELEASED\n"


def test_a_terminal_that_is_gone_is_let_go(make_operator, make_ear) -> None:
    ear, operator = make_ear("1.deadman"), make_operator()
    operator.press()
    assert ear.recv(100) == b"HELD\n"
    for fd in (operator.master, operator.slave):
        os.close(fd)
    operator.master, operator.slave = os.openpty()
    heard(ear)
    assert "gone, nobody holds it" in operator.said()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--input", "evdev", "--device", "/dev/null", "--key", "BTN_RT"], "key 'BTN_RT': want a number"),
        (["--input", "evdev", "--device", "/dev/null", "--key", "57"], "/dev/null is no input device"),
        (["--input", "evdev", "--device", "/dev/null"], "input 'evdev' wants key"),
        (["--input", "gpio", "--chip", "c", "--line", "4", "--active", "low", "--key", "57"], "option 'key' is unknown"),
        (["--input", "keyboard", "--key", "shift"], "keyboard key='shift'"),
    ],
)
def test_words_that_say_nothing(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        assert main(words) == 2
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("there", "purpose", "refused"),
    [("hold", "hold", True), ("hold", "stop", True), ("stop", "hold", True), ("stop", "stop", False)],
)
def test_a_deadman_is_alone(folder: Path, there: str, purpose: str, refused: bool) -> None:
    """Another watcher's word would hold what a hand has let go."""
    wish = pytest.raises(ConfigError, match="another watcher is at work") if refused else nullcontext()
    with claimed(folder, Purpose(there)), wish, claimed(folder, Purpose(purpose)):
        pass
    with claimed(folder, Purpose(purpose)):
        pass


def test_a_second_watcher_beside_a_deadman_is_refused_and_one_after_a_killed_one_is_not(make_operator) -> None:
    first = make_operator()
    second = subprocess.run([*first.watcher.args, "--as", "stop"], capture_output=True, text=True, check=False)
    assert (second.returncode, "another watcher is at work" in second.stderr) == (2, True)
    first.end(signal.SIGKILL)
    make_operator("--as", "stop")


# -- with a guard


@pytest.fixture
def guard(folder: Path, tmp_path: Path) -> Iterator[GuardProcess]:
    command = [sys.executable, "-m", "edge_vla.sim.firmware", "--log", str(tmp_path / "wheels.jsonl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as firmware:
        assert firmware.stdout is not None
        with GuardProcess.start(GuardSettings("waveshare", firmware.stdout.readline().strip(), deadman_ms=400)) as guard:
            yield guard
        firmware.terminate()


def until(guard: GuardProcess, condition: Callable[..., object], each: Callable[[], object] = lambda: None) -> None:
    """Drive on until the guard's status is so; `each` is what the operator does meanwhile."""
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        each()
        status = guard.poll()
        assert status is not None
        if condition(status):
            return
        assert time.monotonic() < give_up_s, status
        if status.state is GuardState.DISARMED:
            guard.arm()
        elif status.state in (GuardState.ARMED_IDLE, GuardState.MOVING, GuardState.SOFT_STOP):
            now_ns = time.monotonic_ns()
            guard.send(GO, Evidence(now_ns - MS, now_ns + 400 * MS, 6.0, 5.0, 20.0))
        guard.wait(0.02)


def drives(status) -> bool:
    return status.state is GuardState.MOVING and status.measured is not None and status.measured.linear_x > 0.15


@pytest.mark.deadline
def test_a_robot_moves_while_the_key_is_held_and_stops_when_its_watcher_is_killed(guard: GuardProcess, make_operator) -> None:
    """Row 39 of the fault matrix."""
    until(guard, lambda status: status.refusal is Refusal.DEADMAN)
    operator = make_operator()
    until(guard, drives, operator.press)
    os.kill(operator.watcher.pid, signal.SIGKILL)
    until(guard, lambda status: (status.state, status.cause) == (GuardState.SOFT_STOP, StopCause.DEADMAN), operator.press)


@pytest.mark.deadline
def test_a_stop_button_latches_and_its_death_is_a_stop(guard: GuardProcess, make_operator) -> None:
    operator = make_operator("--as", "stop")
    until(guard, drives)
    os.kill(operator.watcher.pid, signal.SIGKILL)
    until(guard, lambda status: (status.state, status.cause) == (GuardState.SOFT_STOP, StopCause.DEADMAN))
    another = make_operator("--as", "stop")
    until(guard, drives)
    another.press()
    until(guard, lambda status: status.state is GuardState.ESTOP_LATCHED)
    assert guard.status is not None
    assert guard.status.fault is FaultCode.OPERATOR_STOP
