"""The Arduino's simulator against what its sketch says: parsing, the automatic stop, hazards A1, A2, A3 and A5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_vla.bases.ros_arduino import RosArduino
from edge_vla.sim.firmware.ros_arduino import RosArduinoFirmware, Sketch
from edge_vla.sim.firmware.wheels import WheelLog

MS = 1_000_000
VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "serial_vectors.json").read_text())["ros_arduino_bridge"]
OK = b"OK\r\n"
TICK_MPS = 1000 / 33 / 3000  # of a count per frame: its frame has 33 ms
COARSE = Sketch(ticks_per_m=3000.0)


class Targets:
    """Wheels that only remember what they were told."""

    def __init__(self) -> None:
        self.target: tuple[float, ...] = (0.0, 0.0)
        self.told = 0

    def set_target(self, *targets_mps: float) -> None:
        self.target = targets_mps
        self.told += 1

    def speeds(self) -> tuple[float, ...]:
        return self.target


class Rig:
    """A board whose clock is moved by hand."""

    def __init__(self, **options: Any) -> None:
        self.wheels = Targets()
        self.firmware = RosArduinoFirmware(self.wheels, **{"sketch": COARSE, **options})
        self.now_ns = 1_000 * MS
        self.firmware.step(self.now_ns)

    def say(self, data: bytes) -> bytes:
        """What it answers."""
        self.firmware.feed(data, self.now_ns)
        return self.firmware.read(self.now_ns)

    def run(self, ms: int, step_ms: int = 1) -> bytes:
        for _ in range(ms // step_ms):
            self.now_ns += step_ms * MS
            self.firmware.step(self.now_ns)
        return self.firmware.read(self.now_ns)

    @property
    def ticks(self) -> tuple[int, ...]:
        """What the wheels are told, in counts per frame."""
        return tuple(round(target / TICK_MPS, 6) for target in self.wheels.target)


@pytest.fixture
def rig() -> Rig:
    return Rig()


# -- lines


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["text"].strip())
def test_golden_lines(rig: Rig, vector: dict[str, Any]) -> None:
    letter = vector["text"][0]
    replies = VECTORS["replies"]
    wanted = {"e": b"0 0\r\n", "b": replies["b"].encode().decode("unicode_escape").encode()}.get(letter, OK)
    assert rig.say(bytes.fromhex(vector["hex"])) == wanted
    if letter == "m":
        assert rig.ticks == tuple(map(int, vector["text"].split()[1:]))
    else:
        assert rig.wheels.told == 0


@pytest.mark.parametrize(
    ("line", "ticks"),
    [
        ("m 5 7", (5, 7)), ("m 5", (5, 0)), ("m", (0, 0)), ("m  7", (0, 7)), ("m 1 2 3", (1, 23)), ("m 12abc -4.9", (12, -4)),
        ("m x 3", (0, 3)), ("m +3 --3", (3, 0)), ("xm 3 4", (3, 4)), ("\nm 3 4", (3, 4)), ("m 65537 -32769", (1, 32767)),
        ("m 123456789012345 0", (-8327, 0)),
    ],
)  # fmt: skip
def test_it_reads_numbers_as_an_avr_does(rig: Rig, line: str, ticks: tuple[int, int]) -> None:
    assert rig.say(line.encode() + b"\r") == OK
    assert rig.ticks == ticks


@pytest.mark.parametrize("line", ["", "M 1 1", "mz 1 1", "m\n", "\n", "o 50 50", "s 0 90", "t 0", "z", " 1 1"])
def test_what_it_does_not_know_moves_nothing(rig: Rig, line: str) -> None:
    assert rig.say(line.encode() + b"\r") == b"Invalid Command\r\n"
    assert rig.wheels.told == 0


@pytest.mark.parametrize(
    ("line", "reply"), [("a 3", b"0\r\n"), ("d 3", b"0\r\n"), ("p 3", b"0\r\n"), ("w 3 1", OK), ("x 3 9", OK), ("c 3 1", OK)]
)
def test_pins_are_answered(rig: Rig, line: str, reply: bytes) -> None:
    assert rig.say(line.encode() + b"\r") == reply


def test_a_line_feed_ends_nothing(rig: Rig) -> None:
    """It is a letter, or part of a number."""
    assert rig.say(b"m 5 5\nm 0 0\n") == b""
    assert rig.say(b"\r") == OK
    assert rig.ticks == (5, 5)


def test_a1_an_argument_that_is_too_long_is_counted(rig: Rig) -> None:
    assert rig.say(b"m 000000000000005 000000000000006\r") == OK
    assert (rig.ticks, rig.firmware.overruns) == ((5, 6), 0)
    rig.say(b"m 00000000000000012 3\r")
    assert (rig.ticks, rig.firmware.overruns) == ((0, 3), 2)


def test_a2_half_a_line_runs_when_a_return_comes(rig: Rig) -> None:
    assert rig.say(b"m 20 2") == b""
    assert rig.say(RosArduino().traits.resync) == OK
    assert rig.ticks == (20, 2)
    assert rig.say(b"m 0 0\r") == OK
    assert rig.ticks == (0, 0)


def test_a2_half_a_line_without_a_resync_spoils_the_stop_behind_it(rig: Rig) -> None:
    rig.say(b"m 20 2" + b"m 0 0\r")
    assert rig.ticks == (20, 2)


def test_a_line_split_at_every_byte_runs_once(rig: Rig) -> None:
    line = b"m -12 34\r"
    for cut in range(1, len(line)):
        rig.say(line[:cut])
        assert rig.say(line[cut:]) == OK
        assert rig.ticks == (-12, 34)
    assert rig.wheels.told == len(line) - 1


def test_a_sketch_without_a_base_refuses_everything_about_wheels() -> None:
    rig = Rig(sketch=Sketch(use_base=False))
    for line in (b"m 1 1\r", b"e\r", b"r\r", b"u 1:2:3:4\r"):
        assert rig.say(line) == b"Invalid Command\r\n"
    assert rig.wheels.told == 0
    assert rig.say(b"b\r") == b"57600\r\n"


# -- the automatic stop


@pytest.mark.parametrize("auto_stop_ms", [2000, 300])
def test_a5_it_drives_on_until_its_interval_is_over(auto_stop_ms: int) -> None:
    rig = Rig(sketch=Sketch(3000.0, auto_stop_ms=auto_stop_ms))
    rig.say(b"m 20 20\r")
    rig.run(auto_stop_ms - 1)
    rig.say(b"m 20 20\r")
    rig.run(auto_stop_ms)
    assert rig.ticks == (20, 20)
    rig.run(1)
    assert rig.ticks == (0, 0)
    rig.say(b"m 20 20\r")
    assert rig.ticks == (20, 20), "nothing is latched"


@pytest.mark.parametrize("line", [b"e\r", b"r\r", b"u 1:2:3:4\r", b"b\r", b"\r", b"x 1 1\r", b"m 20 20"])
def test_only_motor_lines_put_it_off(rig: Rig, line: bytes) -> None:
    rig.say(b"m 20 20\r")
    for _ in range(21):
        rig.run(100)
        rig.say(line)
    assert rig.ticks == (0, 0)


# -- counters and reboots


def test_counters_follow_the_wheels_and_can_be_reset() -> None:
    rig = Rig(measure=lambda: (0.3, -0.1))
    rig.run(1000)
    assert list(map(int, rig.say(b"e\r").split())) == pytest.approx([900, -300], abs=1)
    assert rig.say(b"r\re\r") == OK + b"0 0\r\n"


def test_counters_have_32_bits() -> None:
    rig = Rig(sketch=Sketch(1e6), measure=lambda: (1.0, -1.0))
    rig.run(2200 * 1000, step_ms=1000)
    left, right = map(int, rig.say(b"e\r").split())
    assert (left, right) == pytest.approx((2.2e9 - 2**32, 2**32 - 2.2e9), abs=2)


def test_a3_a_reboot_stops_the_wheels_loses_the_counters_and_hears_nothing() -> None:
    rig = Rig(measure=lambda: (0.3, 0.3))
    rig.say(b"m 20 20\r")
    rig.run(500)
    rig.firmware.feed(b"m 20 ", rig.now_ns)
    rig.firmware.reboot(rig.now_ns)
    assert rig.ticks == (0, 0)
    assert rig.say(b"m 20 20\re\r") == b""
    assert rig.run(1499) == b""
    assert rig.say(b"m 20 20\re\r") == b""
    rig.run(1)
    assert rig.ticks == (0, 0)
    assert rig.say(b"e\r") == b"0 0\r\n"


def test_the_log_holds_what_was_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "wheels.jsonl"
    with WheelLog(path) as log:
        rig = Rig(log=log)
        rig.say(b"m 20 -2\re\rq 1 1\r")
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"t_ns": 1000 * MS, "wheels": [0.20202, -0.020202], "accepted": "m 20 -2", "targets": [0.20202, -0.020202]}
    ]
