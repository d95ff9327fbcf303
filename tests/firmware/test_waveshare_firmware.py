"""The firmware simulator against what the firmware's source says: vectors, watchdog, hazards W1-W3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.bases.waveshare import WaveshareUGV
from edge_vla.guard.types import Twist
from edge_vla.sim.firmware.waveshare import WaveshareFirmware
from edge_vla.sim.firmware.wheels import WheelLog

MS = 1_000_000
VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "serial_vectors.json").read_text())["waveshare_ugv_json"]


class Targets:
    """Wheels that only remember what they were told."""

    def __init__(self) -> None:
        self.target = (0.0, 0.0)
        self.told = 0

    def set_target(self, left_mps: float, right_mps: float) -> None:
        self.target = (left_mps, right_mps)
        self.told += 1

    def speeds(self) -> tuple[float, float]:
        return self.target


class Rig:
    """A firmware whose clock is moved by hand."""

    def __init__(self, **options: Any) -> None:
        self.wheels = Targets()
        self.firmware = WaveshareFirmware(self.wheels, **options)
        self.now_ns = 1_000 * MS
        self.firmware.step(self.now_ns)

    def say(self, text: str) -> None:
        self.firmware.feed(text.encode() + b"\n", self.now_ns)

    def run(self, ms: int, step_ms: int = 1) -> bytes:
        for _ in range(ms // step_ms):
            self.now_ns += step_ms * MS
            self.firmware.step(self.now_ns)
        return self.firmware.read(self.now_ns)


@pytest.fixture
def rig() -> Rig:
    return Rig()


@given(st.floats(-0.5, 0.5), st.floats(-1.0, 1.0))
def test_what_the_codec_says_the_wheels_are_told(vx: float, wz: float) -> None:
    rig, base = Rig(), WaveshareUGV()
    rig.firmware.feed(base.encode(Twist(vx, 0.0, wz)), rig.now_ns)
    assert rig.wheels.target == pytest.approx((vx - wz * 0.086, vx + wz * 0.086), abs=1.01e-4)


@pytest.mark.parametrize("vector", VECTORS["canonical_vectors_T1"]["vectors"], ids=lambda vector: str(vector["cmd"]))
def test_golden_commands(rig: Rig, vector: dict[str, Any]) -> None:
    rig.firmware.feed(bytes.fromhex(vector["hex"]), rig.now_ns)
    assert rig.wheels.target == (vector["L"], vector["R"])


def test_other_drivers_are_understood(rig: Rig) -> None:
    rig.say('{"T": 1, "L": 1e-05, "R": 0}')
    assert rig.wheels.target == (1e-5, 0.0)


@pytest.mark.parametrize(
    "line",
    [
        *(vector["text"].strip() for vector in VECTORS["negative_vectors"]),
        '{"T":1,"L":0.1}', '{"T":1,"L":"0.1","R":0.1}', '{"T":1,"L":true,"R":0.1}', "garbage", "[1]", "", '{"T":1,"L":0.1,"R":0.1',
        '{"T":1,"L":0.1,"R":0.1' + " " * 256 + "}", "[" * 250,
    ],
)  # fmt: skip
def test_what_it_ignores_moves_nothing_and_feeds_no_watchdog(rig: Rig, line: str) -> None:
    rig.say('{"T":136,"cmd":300}')
    rig.say('{"T":1,"L":0.2,"R":0.2}')
    rig.run(200)
    rig.say(line)
    assert rig.wheels.target == (0.2, 0.2)
    rig.run(99)
    assert rig.wheels.target == (0.2, 0.2)
    rig.run(2)
    assert rig.wheels.target == (0.0, 0.0)


def test_what_follows_a_value_on_its_line_is_ignored(rig: Rig) -> None:
    rig.say('{"T":1,"L":0.1,"R":0.1}trailing')
    assert rig.wheels.target == (0.1, 0.1)


def test_a_command_split_at_every_byte_runs_once(rig: Rig) -> None:
    line = b'{"T":1,"L":0.1000,"R":0.2000}\n'
    for cut in range(1, len(line)):
        rig.firmware.feed(line[:cut], rig.now_ns)
        rig.firmware.feed(line[cut:], rig.now_ns)
        assert rig.wheels.target == (0.1, 0.2)
    assert rig.wheels.told == len(line) - 1


# -- watchdog and hazards


@pytest.mark.parametrize(("setting", "timeout_ms"), [(None, 3000), ('{"T":136,"cmd":300}', 300)])
def test_the_watchdog_fires_once_after_its_time(rig: Rig, setting: str | None, timeout_ms: int) -> None:
    if setting:
        rig.say(setting)
    rig.say('{"T":1,"L":0.2,"R":0.2}')
    rig.run(timeout_ms)
    assert rig.wheels.target == (0.2, 0.2)
    rig.run(1)
    assert rig.wheels.target == (0.0, 0.0)
    told = rig.wheels.told
    rig.run(5000)
    assert rig.wheels.told == told


def test_minus_one_is_never(rig: Rig) -> None:
    rig.say('{"T":136,"cmd":-1}')
    rig.say('{"T":1,"L":0.2,"R":0.2}')
    rig.run(100_000, step_ms=100)
    assert rig.wheels.target == (0.2, 0.2)


def test_w1_a_robot_driven_by_t13_never_stops_once_the_watchdog_has_fired(rig: Rig) -> None:
    rig.run(3001)
    rig.say('{"T":"13","X":0.1,"Z":0.5}')
    assert rig.wheels.target == pytest.approx((0.1 - 0.25 * 0.172, 0.1 + 0.25 * 0.172))
    rig.run(60_000, step_ms=50)
    assert rig.wheels.target[1] > 0.1


def test_w1_t13_does_not_feed_the_watchdog(rig: Rig) -> None:
    rig.say('{"T":1,"L":0.1,"R":0.1}')
    for _ in range(30):
        assert rig.wheels.target == (0.1, 0.1)
        rig.run(100)
        rig.say('{"T":13,"X":0.1}')
    rig.run(1)
    assert rig.wheels.target == (0.0, 0.0)


@pytest.mark.parametrize("speed", ["2.0001", "-2.0001", "1e6", "1e39", "1e999", "-1e999", "9" * 200])
def test_w2_a_speed_out_of_range_keeps_the_old_one_alive(rig: Rig, speed: str) -> None:
    rig.say('{"T":1,"L":0.2,"R":0.2}')
    for _ in range(100):
        rig.run(100)
        rig.say(f'{{"T":1,"L":{speed},"R":0.0}}')
    assert rig.wheels.target == (0.2, 0.2)


def test_w2_at_the_edge(rig: Rig) -> None:
    rig.say('{"T":1,"L":2.0,"R":-2.0}')
    assert rig.wheels.target == (2.0, -2.0)


def test_w3_a_reboot_loses_the_settings_and_hears_nothing_meanwhile() -> None:
    rig = Rig(boot_s=2.0)
    rig.say('{"T":136,"cmd":300}')
    rig.say('{"T":142,"cmd":200}')
    rig.say('{"T":1,"L":0.2,"R":0.2}')
    rig.firmware.reboot(rig.now_ns)
    assert rig.wheels.target == (0.0, 0.0)
    said = rig.firmware.read(rig.now_ns)
    assert b"rst:0x1" in said
    rig.say('{"T":1,"L":0.2,"R":0.2}')
    assert rig.run(1999) == b""
    assert rig.wheels.target == (0.0, 0.0)
    assert rig.run(101).count(b"1001") == 2
    assert rig.firmware.settings.heartbeat_ms == 3000


def test_t0_stops_but_latches_nothing(rig: Rig) -> None:
    rig.say('{"T":1,"L":0.2,"R":0.2}')
    rig.say('{"T":0}')
    assert rig.wheels.target == (0.0, 0.0)
    rig.say('{"T":1,"L":0.2,"R":0.2}')
    assert rig.wheels.target == (0.2, 0.2)


# -- settings and feedback


def test_speed_rates_scale_the_wheels(rig: Rig) -> None:
    rig.say('{"T":138,"L":0.5,"R":0.25}')
    rig.say('{"T":1,"L":0.4,"R":0.4}')
    assert rig.wheels.target == (0.2, 0.1)


@pytest.mark.parametrize(("main", "track_m"), [(1, 0.125), (2, 0.172), (3, 0.141), (9, 0.172)])
def test_t900_chooses_the_track_t13_turns_with(rig: Rig, main: int, track_m: float) -> None:
    rig.say(f'{{"T":900,"main":{main},"module":0}}')
    rig.say('{"T":13,"X":0,"Z":1}')
    assert rig.wheels.target == pytest.approx((-track_m / 2, track_m / 2))


def test_feedback_comes_at_20_hz_and_reads_back(rig: Rig) -> None:
    rig.say('{"T":1,"L":0.2,"R":-0.1}')
    rig.firmware.battery_v = 11.1
    said = rig.run(1000)
    reports = WaveshareUGV().feed(said, 0)
    assert len(reports) == 20
    assert (reports[-1].wheels_mps, reports[-1].battery_v) == ((0.2, -0.1), 11.1)
    last = json.loads(said.split(b"\r\n")[-2])
    assert (last["odl"], last["odr"]) == (20, -10)


def test_feedback_can_be_slowed_stopped_and_asked_for(rig: Rig) -> None:
    rig.say('{"T":142,"cmd":100}')
    assert rig.run(1000).count(b"1001") == 10
    rig.say('{"T":131,"cmd":0}')
    assert rig.run(1000) == b""
    rig.say('{"T":130}')
    assert rig.run(1).count(b"1001") == 1


def test_encoders_and_gyro_may_differ_from_the_truth() -> None:
    rig = Rig(measure=lambda: (0.3, 0.4), gyro=lambda: 0.5)
    (report,) = WaveshareUGV().feed(rig.run(50), 0)
    assert report.wheels_mps == (0.3, 0.4)
    assert report.gyro_z_radps == pytest.approx(0.5, abs=1e-3)


def test_echo_is_off_or_on() -> None:
    rig = Rig(echo=True)
    rig.say('{"T":1,"L":0.0,"R":0.0}')
    assert rig.run(1) == b'{"T":1,"L":0.0,"R":0.0}\r\n'
    rig.say('{"T":143,"cmd":0}')
    rig.run(1)
    rig.say('{"T":1,"L":0.0,"R":0.0}')
    assert rig.run(1) == b""


def test_the_log_holds_samples_and_accepted_frames(tmp_path: Path) -> None:
    path = tmp_path / "wheels.jsonl"
    with WheelLog(path) as log:
        rig = Rig(log=log)
        log.write(5, (0.1, -0.25))
        rig.say('{"T":1,"L":0.2,"R":0.2}')
        rig.say('{"T":1,"L":null,"R":0.2}')
        rig.say('{"T":1,"L":9,"R":9}')
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"t_ns": 5, "wheels": [0.1, -0.25], "accepted": None},
        {"t_ns": 1000 * MS, "wheels": [0.2, 0.2], "accepted": '{"T":1,"L":0.2,"R":0.2}', "targets": [0.2, 0.2]},
    ]
