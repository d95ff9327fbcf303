"""The Create 2 simulator against its Open Interface: modes, its own reflexes, the stream, and commands that wait for ever."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.guard.types import NO_HAZARD, Hazard
from edge_vla.sim.firmware.create2 import COUNT_M, FULL, OFF, PASSIVE, SAFE, Create2Firmware, Robot
from edge_vla.sim.firmware.wheels import WheelLog

MS = 1_000_000
VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "serial_vectors.json").read_text())["irobot_create2_oi"]
ASKED = "94 0a 07 09 0a 0b 0c 0e 16 23 2b 2c"
GO = "91 00 c8 00 64"  # right 200, left 100 mm/s


class Targets:
    """Wheels that only remember what they were told, and turn at once."""

    def __init__(self) -> None:
        self.target = (0.0, 0.0)

    def set_target(self, *targets_mps: float) -> None:
        left, right = targets_mps
        self.target = (left, right)

    def speeds(self) -> tuple[float, float]:
        return self.target


class Rig:
    """A robot whose clock is moved by hand; `say` takes hex."""

    def __init__(self, *words: str, **options: Any) -> None:
        self.wheels, self.now_ns = Targets(), 1_000 * MS
        self.firmware = Create2Firmware(self.wheels, **options)
        self.firmware.step(self.now_ns)
        self.say(*words)

    def say(self, *words: str) -> None:
        for word in words:
            self.firmware.feed(bytes.fromhex(word), self.now_ns)

    def run(self, ms: int, step_ms: int = 5) -> bytes:
        for _ in range(ms // step_ms):
            self.now_ns += step_ms * MS
            self.firmware.step(self.now_ns)
        return self.firmware.read(self.now_ns)


@pytest.fixture
def rig() -> Rig:
    return Rig("80", "83")


# -- driving and modes


@pytest.mark.parametrize("vector", VECTORS["canonical_vectors_drive_direct_145"], ids=lambda vector: str(vector["cmd"]))
def test_golden_commands(rig: Rig, vector: dict[str, Any]) -> None:
    rig.say(vector["hex"])
    assert rig.wheels.target == pytest.approx((vector["left_mm_s"] / 1000, vector["right_mm_s"] / 1000))


def test_golden_radii(rig: Rig) -> None:
    """Half the track of 235 mm over a radius of 500 mm; straight; on the spot, clockwise."""
    bend = 117.5 / 500
    for vector, wheels in zip(VECTORS["drive_137_vectors"], [(-0.2 * (1 - bend), -0.2 * (1 + bend)), (0.2, 0.2), (0.1, -0.1)], strict=True):
        rig.say(vector["hex"])
        assert rig.wheels.target == pytest.approx(wheels)


@pytest.mark.parametrize(
    ("hex_", "wheels"), [("91 7f ff 80 00", (-0.5, 0.5)), ("89 02 58 7f ff", (0.5, 0.5)), ("89 00 64 80 00", (0.1, 0.1))]
)
def test_speeds_are_clipped(rig: Rig, hex_: str, wheels: tuple[float, float]) -> None:
    rig.say(hex_)
    assert rig.wheels.target == wheels


@pytest.mark.parametrize(
    ("words", "mode"), [([], OFF), (["80"], PASSIVE), (["83"], OFF), (["80", "83"], SAFE), (["80", "82"], SAFE), (["80", "84"], FULL)]
)
def test_only_safe_and_full_drive(words: list[str], mode: int) -> None:
    rig = Rig(*words, GO)
    assert rig.firmware.mode == mode
    assert (rig.wheels.target == (0.1, 0.2)) is (mode in (SAFE, FULL))


@pytest.mark.parametrize(("word", "mode"), [("80", PASSIVE), ("ad", OFF), ("85", PASSIVE), ("87", PASSIVE), ("8f", PASSIVE)])
def test_whoever_takes_it_out_of_safe_stops_it(rig: Rig, word: str, mode: int) -> None:
    rig.say(GO, word, GO)
    assert (rig.firmware.mode, rig.wheels.target) == (mode, (0.0, 0.0))


def test_nobody_stops_it(rig: Rig) -> None:
    rig.say(GO)
    rig.run(60_000, step_ms=20)
    assert rig.wheels.target == (0.1, 0.2)


def test_128_may_leave_the_motors_running() -> None:
    """What the document leaves open, the worse way."""
    rig = Rig("80", "83", GO, "80", "91 00 00 00 00", robot=Robot(coasts=True))
    assert rig.wheels.target == (0.1, 0.2), "and Passive hears no stop"
    rig.say("83", "91 00 00 00 00")
    assert rig.wheels.target == (0.0, 0.0)


@pytest.mark.parametrize("step", range(1, 5))
def test_a_command_waits_for_ever_and_what_comes_is_its_data(rig: Rig, step: int) -> None:
    rig.say(GO)
    torn = bytes.fromhex("91 01 2c 01 2c")[:step]
    rig.firmware.feed(torn, rig.now_ns)
    rig.run(10_000, step_ms=100)
    stop = bytes.fromhex("91 00 00 00 00")
    rig.firmware.feed(stop, rig.now_ns)
    assert rig.wheels.target != (0.0, 0.0), "the stop was eaten"
    rig.firmware.feed(bytes(11) + stop, rig.now_ns)
    assert rig.wheels.target == (0.0, 0.0)


@pytest.mark.parametrize(
    "unknown",
    [
        "8c 00 02 48 20 4a 20",
        "8c 00 ff" + " 00" * 32,
        "8b 00 00 00",
        "90 01 02 03",
        "92 00 40 00 40",
        "81 0b",
        "00",
        "ff",
        "a7" + " 91" * 15,
    ],
)
def test_other_commands_take_their_data_and_drive_nothing(rig: Rig, unknown: str) -> None:
    rig.say(unknown)
    assert rig.wheels.target == (0.0, 0.0)
    rig.say(GO)
    assert rig.wheels.target == (0.1, 0.2)


def test_a_controller_in_steps() -> None:
    rig = Rig("80", "83", GO, robot=Robot(step_mps=0.0285))
    assert rig.wheels.target == pytest.approx((4 * 0.0285, 7 * 0.0285))


# -- its own reflexes


@pytest.mark.parametrize("hazard", [Hazard.WHEEL_DROP, Hazard.TRIPPED])
@pytest.mark.parametrize("word", [GO, "91 00 00 00 00"])
def test_a_wheel_in_the_air_or_a_charger_ends_safe(rig: Rig, hazard: Hazard, word: str) -> None:
    rig.say(word)
    rig.firmware.hazards = hazard
    rig.run(5)
    assert (rig.firmware.mode, rig.wheels.target) == (PASSIVE, (0.0, 0.0))
    rig.say("83", GO)
    rig.run(5)
    assert (rig.firmware.mode, rig.wheels.target) == (PASSIVE, (0.0, 0.0)), "as long as it lasts"
    rig.firmware.hazards = NO_HAZARD
    rig.say("83", GO)
    rig.run(5)
    assert (rig.firmware.mode, rig.wheels.target) == (SAFE, (0.1, 0.2))


@pytest.mark.parametrize(
    ("right", "left", "trips"),
    [(200, 200, True), (200, -100, True), (-200, -200, False), (100, -100, True), (-200, -100, False), (-200, -30, True), (0, 0, False)],
)
def test_an_edge_ends_safe_but_not_on_the_way_back(rig: Rig, right: int, left: int, trips: bool) -> None:
    """-200 and -100 turn around a point 0.35 m away, -200 and -30 around one at 0.16 m."""
    rig.say("91" + right.to_bytes(2, "big", signed=True).hex() + left.to_bytes(2, "big", signed=True).hex())
    rig.firmware.hazards = Hazard.CLIFF
    rig.run(5)
    assert (rig.firmware.mode == PASSIVE) is trips
    assert rig.wheels.target == ((0.0, 0.0) if trips else (left / 1000, right / 1000))


@pytest.mark.parametrize("hazard", [Hazard.BUMPER, Hazard.OVER_CURRENT])
def test_a_bump_is_only_told(rig: Rig, hazard: Hazard) -> None:
    rig.say(GO)
    rig.firmware.hazards = hazard
    rig.run(100)
    assert (rig.firmware.mode, rig.wheels.target) == (SAFE, (0.1, 0.2))


def test_full_has_no_reflexes() -> None:
    rig = Rig("80", "84", GO)
    rig.firmware.hazards = Hazard.CLIFF | Hazard.WHEEL_DROP | Hazard.TRIPPED
    rig.run(100)
    assert (rig.firmware.mode, rig.wheels.target) == (FULL, (0.1, 0.2))


# -- the stream


def test_the_stream_that_was_asked_for(rig: Rig) -> None:
    rig.firmware.battery_v = 14.4
    rig.firmware.hazards = Hazard.BUMPER | Hazard.OVER_CURRENT
    rig.say(ASKED)
    assert rig.run(5) == bytes.fromhex("13 17 07 02 09 00 0a 00 0b 00 0c 00 0e 10 16 38 40 23 02 2b 00 00 2c 00 00 7b")


def test_golden_stream_request(rig: Rig) -> None:
    rig.say(VECTORS["stream_vectors"][1]["request_hex"])
    said = rig.run(5)
    assert (said[0], said[1] + 3, sum(said) & 0xFF) == (19, len(said), 0)
    assert said[2::2][:6] == bytes((7, 9, 10, 11, 12, 35))


def test_golden_stream_of_signals(rig: Rig) -> None:
    """Of the vendor's example all but the signal itself, which reads 0 here."""
    example = bytes.fromhex(VECTORS["stream_vectors"][0]["response_hex"])
    rig.say(VECTORS["stream_vectors"][0]["request_hex"])
    said = rig.run(5)
    assert said[:3] + said[5:7] == example[:3] + example[5:7]
    assert sum(said) & 0xFF == sum(example) & 0xFF == 0


def test_every_15_ms_until_it_is_paused(rig: Rig) -> None:
    rig.say(ASKED)
    assert len(rig.run(5)) == 26
    assert len(rig.run(2995)) == 200 * 26
    rig.say("96 00")
    assert rig.run(1000) == b""
    rig.say("96 01")
    assert len(rig.run(5)) == 26
    assert len(rig.run(145)) == 10 * 26


@pytest.mark.parametrize("request_", ["94 01 00", "94 01 64", "94 02 07 91", "94 3a" + " 2b" * 58, "8e 06", "95 01 03"])
def test_groups_and_what_no_beat_can_carry_are_refused(rig: Rig, request_: str) -> None:
    rig.say(request_)
    assert rig.run(100) == b""


def test_single_questions(rig: Rig) -> None:
    rig.firmware.battery_v = 15.0
    rig.say("8e 16", "95 02 23 22")
    assert rig.run(5) == bytes.fromhex("3a 98 02 00")


def test_stop_ends_the_stream_and_start_does_not(rig: Rig) -> None:
    rig.say(ASKED, "80")
    assert len(rig.run(145)) == 10 * 26
    rig.say("ad")
    assert rig.run(150) == b""


def test_encoders_take_the_commanded_direction(rig: Rig) -> None:
    """Square waves: a wheel that is pushed the other way counts on."""
    speeds = [0.1, 0.1]
    rig = Rig("80", "83", measure=lambda: (speeds[0], speeds[1]))

    def counted() -> tuple[int, int]:
        rig.say("95 02 2b 2c")
        said = rig.run(5)
        return int.from_bytes(said[:2], "big", signed=True), int.from_bytes(said[2:], "big", signed=True)

    rig.say("91 00 64 ff 9c")  # right forwards, left back
    rig.run(1000)
    assert counted() == pytest.approx((-0.1 / COUNT_M, 0.1 / COUNT_M), abs=1.0)
    rig.say("91 00 00 00 00")
    speeds[:] = [0.1, -0.1]
    rig.run(995)  # and the 5 in which it told
    assert counted() == pytest.approx((-0.2 / COUNT_M, 0.2 / COUNT_M), abs=1.0)
    assert pytest.approx(math.pi * 72 / 508.8 / 1000) == COUNT_M


# -- reboots, and anything at all


@pytest.mark.parametrize("by_word", [True, False], ids=["opcode 7", "brown-out"])
def test_a_reboot_loses_everything_and_is_announced(rig: Rig, by_word: bool) -> None:
    rig.say(ASKED, GO)
    rig.run(500)
    rig.say("07 80 83") if by_word else rig.firmware.reboot(rig.now_ns)
    assert rig.wheels.target == (0.0, 0.0)
    rig.say("80", "83", GO)
    assert rig.run(2995) == b""
    assert (rig.firmware.mode, rig.wheels.target) == (OFF, (0.0, 0.0)), "deaf and mute"
    assert b"Roomba by iRobot!" in rig.run(5)
    assert rig.run(500) == b""
    rig.say("80", "83", "95 02 2b 2c")
    assert rig.run(5) == bytes(4)


@given(st.lists(st.binary(max_size=80), max_size=10))
def test_no_bytes_break_it(chunks: list[bytes]) -> None:
    rig = Rig("80", "83")
    for chunk in chunks:
        rig.firmware.feed(chunk, rig.now_ns)
        rig.run(15)
        assert max(map(abs, rig.wheels.target)) <= 1.0
        assert len(rig.firmware._in) <= 257


def test_the_log_holds_obeyed_commands(tmp_path: Path) -> None:
    path = tmp_path / "wheels.jsonl"
    with WheelLog(path) as log:
        Rig("80", GO, "83", GO, log=log)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"t_ns": 1000 * MS, "wheels": [0.1, 0.2], "accepted": "91 00 c8 00 64", "targets": [0.1, 0.2]}
    ]
