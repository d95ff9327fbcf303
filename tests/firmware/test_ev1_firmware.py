"""The header that a board compiles, compiled here: what it obeys, what it refuses, and when it stops by itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.bases.ev1 import _opened, _sealed
from edge_vla.errors import ConfigError
from edge_vla.guard.types import Hazard
from edge_vla.sim.firmware import ev1 as simulator
from edge_vla.sim.firmware.ev1 import FOLDER, EV1Firmware
from edge_vla.sim.firmware.wheels import FirstOrderWheels

MS = 1_000_000
LINES = st.sampled_from(["H", "S", "R 1", "V 1 300 0 0 200", "V 2 0 300 0 500", "V 9 0 0 900 200", "A 1 1", "V", "", "V 1 1 1 1 1 1"])


class Targets:
    """Motors that only remember what they were told."""

    def __init__(self, count: int = 2) -> None:
        self.target: tuple[float, ...] = (0.0,) * count
        self.turning: tuple[float, ...] = (0.0,) * count

    def set_target(self, *targets_mps: float) -> None:
        self.target = targets_mps

    def speeds(self) -> tuple[float, ...]:
        return self.turning


class Board:
    """One base and its clock."""

    def __init__(self, count: int = 2) -> None:
        self.motors = Targets(count)
        self.firmware = EV1Firmware(self.motors)
        self.ms = 10_000
        self.firmware.step(self.ms * MS)
        self.firmware.read(0)

    def say(self, *lines: str) -> tuple[float, ...]:
        for line in lines:
            self.firmware.feed(_sealed(line), self.ms * MS)
        return self.motors.target

    def wait(self, ms: int) -> tuple[float, ...]:
        for _ in range(ms):
            self.ms += 1
            self.firmware.step(self.ms * MS)
        return self.motors.target

    def report(self) -> list[int]:
        """ms, seq, state, nonce, mV, flags, rejected, counters."""
        self.firmware.read(0)
        self.wait(50)
        line = self.firmware.read(0).splitlines()[-1]
        opened = _opened(line)
        assert opened is not None
        assert opened[0] == "A"
        return opened[1]

    def armed(self) -> Board:
        self.say("H")
        self.say(f"R {self.report()[3]}")
        assert self.report()[2] == 1
        return self


@pytest.fixture
def board() -> Board:
    return Board().armed()


def test_it_says_that_it_has_booted() -> None:
    firmware = EV1Firmware(Targets())
    firmware.step(5 * MS)
    assert firmware.read(0) == _sealed("B 1")


def test_a_velocity_becomes_wheels(board: Board) -> None:
    """track 0.2 m: a turn of 0.5 rad/s is 5 cm/s at each wheel."""
    assert board.say("V 1 300 0 500 200") == pytest.approx((0.25, 0.35))
    assert board.say("V 2 -300 0 0 200") == pytest.approx((-0.3, -0.3))


def test_four_wheels() -> None:
    board = Board(4).armed()
    assert board.say("V 1 300 100 500 200") == pytest.approx((0.1, 0.5, 0.3, 0.3))


def test_it_ends_with_its_lifetime_to_the_millisecond(board: Board) -> None:
    board.say("V 1 300 0 0 200")
    assert board.wait(200) != (0.0, 0.0)
    assert board.wait(1) == (0.0, 0.0)
    assert board.say("V 2 300 0 0 200") != (0.0, 0.0), "a late host is obeyed again"


@pytest.mark.parametrize(
    "line",
    [
        "V 5 100 0 0 200", "V 4 100 0 0 200", "V 0 100 0 0 200", "V 4294967296 100 0 0 200", "V -1 100 0 0 200", "V 6 2001 0 0 200",
        "V 6 0 -2001 0 200", "V 6 0 0 6001 200", "V 6 100 0 0 0", "V 6 100 0 0 501", "V 6 100 0 0 -1", "V 6 100 0 0",
        "V 6 100 0 0 200 1", "V 6 1e2 0 0 200", "V 6 +100 0 0 200", "V 6 0100 0 0 200", "V 6 -0 0 0 200", "V 6  100 0 0 200",
        "V 6 100 0 0 200 ", "v 6 100 0 0 200", "VV 6 100 0 0 200", "V 6 99999999999 0 0 200", "W 6 100 0 0 200", "V", "",
    ],
)  # fmt: skip
def test_what_is_not_exactly_right_changes_nothing_but_a_count(board: Board, line: str) -> None:
    board.say("V 5 300 0 0 500")
    before = board.report()
    assert board.say(line) == pytest.approx((0.3, 0.3))
    after = board.report()
    assert (after[1], after[2], after[6] - before[6]) == (5, 1, 1)


@pytest.mark.parametrize("flip", range(0, 28 * 8, 5))
def test_a_flipped_bit_is_noticed(board: Board, flip: int) -> None:
    frame = bytearray(_sealed("V 1 300 0 -500 200"))
    if flip // 8 < len(frame):
        frame[flip // 8] ^= 1 << flip % 8
        board.firmware.feed(bytes(frame), board.ms * MS)
        assert board.motors.target == (0.0, 0.0)


def test_a_line_that_does_not_fit_is_forgotten_whole(board: Board) -> None:
    board.firmware.feed(b"x" * 65 + _sealed("V 1 300 0 0 200"), board.ms * MS)
    assert board.motors.target == (0.0, 0.0)
    assert board.say("V 1 300 0 0 200") == pytest.approx((0.3, 0.3))


def test_boots_disarmed_and_only_zero_is_obeyed() -> None:
    board = Board()
    assert board.say("V 1 300 0 0 200") == (0.0, 0.0)
    assert board.report()[1:3] == [0, 0]
    board.say("V 1 0 0 0 200")
    assert board.report()[1] == 1


def test_a_nonce_is_good_once_and_for_one_boot() -> None:
    board = Board()
    nonce = board.report()[3]
    board.say(f"R {nonce + 1}")
    assert board.report()[2] == 0
    board.say(f"R {nonce}")
    assert board.report()[2] == 1
    board.say("S", f"R {nonce}")
    assert board.report()[2] == 2, "an old one, replayed"
    board.firmware.reboot(board.ms * MS)
    board.wait(400)
    board.say(f"R {nonce}")
    assert board.report()[2] == 0


def test_a_latch_stops_outlives_a_hello_and_ends_by_its_nonce(board: Board) -> None:
    board.say("V 1 300 0 0 500")
    assert board.say("S") == (0.0, 0.0)
    assert board.say("V 2 300 0 0 500", "H", "V 1 300 0 0 500") == (0.0, 0.0)
    report = board.report()
    assert report[2] == 2
    board.say(f"R {report[3]}")
    assert board.say("V 3 300 0 0 500") == pytest.approx((0.3, 0.3))


def test_a_hello_stops_disarms_and_forgets_the_numbers(board: Board) -> None:
    board.say("V 900 300 0 0 500")
    assert board.say("H") == (0.0, 0.0)
    assert board.report()[1:3] == [0, 0]
    board.say(f"R {board.report()[3]}")
    assert board.say("V 1 300 0 0 500") == pytest.approx((0.3, 0.3)), "a new host begins at one"


def test_a_button_latches_as_long_as_it_is_pressed_and_after(board: Board) -> None:
    board.say("V 1 300 0 0 500")
    board.firmware.hazards = Hazard.TRIPPED
    assert board.wait(1) == (0.0, 0.0)
    board.say(f"R {board.report()[3]}")
    assert board.report()[2] == 2, "held down"
    board.firmware.hazards = Hazard(0)
    assert board.report()[2] == 2
    board.say(f"R {board.report()[3]}")
    assert board.report()[2] == 1


def test_a_report_every_50_ms_with_what_is_sensed(board: Board) -> None:
    board.motors.turning = (0.2, -0.1)
    board.firmware.hazards = Hazard.BUMPER | Hazard.OVER_CURRENT
    board.firmware.battery_v = 11.234
    first = board.report()
    board.firmware.read(0)
    board.wait(500)
    lines = board.firmware.read(0).splitlines()
    assert len(lines) == 10
    last = _opened(lines[-1])
    assert last is not None
    assert last[1][0] - first[0] == 500
    assert last[1][4:6] == [11234, 9]
    assert last[1][7] - first[7] == pytest.approx(500, abs=2)  # 0.1 m of 5000 counts
    assert last[1][8] - first[8] == pytest.approx(-250, abs=2)


@given(st.lists(st.one_of(st.binary(max_size=80), LINES.map(_sealed)), max_size=20))
def test_no_bytes_move_a_base_that_nobody_has_armed(chunks: list[bytes]) -> None:
    board = Board()
    nonce = board.report()[3]
    for chunk in chunks:
        if chunk.startswith(f"R {nonce}".encode()):
            continue
        board.firmware.feed(chunk, board.ms * MS)
        assert board.wait(7) == (0.0, 0.0)


def test_it_compiles_without_a_warning_as_cpp_11_and_the_sketch_around_it_too(checkout: Path) -> None:
    compiler = shutil.which("g++")
    assert compiler, "this machine has no C++ compiler"
    doubles = checkout / "tests" / "doubles" / "arduino"
    strict = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++"]
    subprocess.run([compiler, *strict, "-Wconversion", "-Wno-unused-function", str(FOLDER / "ev1.h")], check=True)
    subprocess.run([compiler, *strict, "-include", str(doubles / "Arduino.h"), str(FOLDER / "ev1.ino")], check=True)


def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    simulator.library.cache_clear()
    with pytest.raises(ConfigError, match=r"apt install g\+\+"):
        EV1Firmware(FirstOrderWheels())
    simulator.library.cache_clear()
