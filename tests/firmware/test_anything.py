"""What the firmware simulator makes of anything a host can say: ArduinoJson's numbers, and no line that breaks it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vla.sim.firmware.waveshare import WaveshareFirmware

MS = 1_000_000


class Targets:
    """Wheels that only remember what they were told."""

    def __init__(self) -> None:
        self.target = (0.0, 0.0)

    def set_target(self, left_mps: float, right_mps: float) -> None:
        self.target = (left_mps, right_mps)

    def speeds(self) -> tuple[float, float]:
        return self.target


class Rig:
    """A firmware that drives 0.2 m/s."""

    def __init__(self) -> None:
        self.wheels, self.now_ns = Targets(), 1_000 * MS
        self.firmware = WaveshareFirmware(self.wheels)
        self.firmware.step(self.now_ns)
        self.say('{"T":1,"L":0.2,"R":0.2}')

    def say(self, text: str) -> None:
        self.firmware.feed(text.encode() + b"\n", self.now_ns)

    def run(self, ms: int) -> None:
        for _ in range(ms):
            self.now_ns += MS
            self.firmware.step(self.now_ns)


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize(("rate", "scaled"), [("-0.5", 0.2), ("1.5", 0.4), ("1e999", 0.4), ('"0.5"', 0.2), ("null", 0.0)])
def test_a_rate_is_a_share(rig: Rig, rate: str, scaled: float) -> None:
    rig.say(f'{{"T":138,"L":{rate},"R":1}}')
    rig.say('{"T":1,"L":0.4,"R":0.4}')
    assert rig.wheels.target == (scaled, 0.4)


@pytest.mark.parametrize(
    ("value", "as_int"),
    [
        ('"300"', 300), ('"-3"', -3), ('"+3"', 3), ('"3.9"', 3), ('"3e2"', 300), ('"--3"', 0), ('"-"', 0), ('""', 0), ('"3 "', 0),
        ('"1_0"', 0),
        ('"\\u0663"', 0), ('"nan"', 0), ('"inf"', 0), ('"1e999"', 0), ("1e999", 0), ("-1e999", 0), ("2147483647", 2147483647),
        ("2147483648", 0), ("-2147483648", -2147483648), ("-2147483649", 0), ("299.9", 299), ("true", 1), ("null", 0), ("[3]", 0),
        ("9" * 200, 0),
    ],
)  # fmt: skip
def test_a_whole_number_is_read_as_the_controller_reads_it(rig: Rig, value: str, as_int: int) -> None:
    rig.say(f'{{"T":136,"cmd":{value}}}')
    assert rig.firmware.settings.heartbeat_ms == as_int & 0xFFFFFFFF


@pytest.mark.parametrize("kind", ['"--1"', '"1-"', '"\\u0661"', '"1e999"', "1e999", "NaN"])
def test_what_is_no_kind_is_no_command(rig: Rig, kind: str) -> None:
    rig.say(f'{{"T":{kind},"L":0.1,"R":0.1}}')
    assert rig.wheels.target in ((0.2, 0.2), (0.0, 0.0))  # no number is 0, and T:0 stops


@pytest.mark.parametrize("line", ['{"T":13,"X":2.1}', '{"T":13,"X":1e999}', '{"T":13,"X":1e999,"Z":1e999}', '{"T":13,"Z":-1e39}'])
def test_w2_holds_for_t13_too(rig: Rig, line: str) -> None:
    rig.say(line)
    assert rig.wheels.target == (0.2, 0.2)


@given(st.lists(st.binary(max_size=80), max_size=20))
def test_no_bytes_break_it(chunks: list[bytes]) -> None:
    rig = Rig()
    for chunk in chunks:
        rig.firmware.feed(chunk, rig.now_ns)
        rig.run(3)
    rig.say("")
    rig.say('{"T":1,"L":0.1,"R":0.1}')
    assert rig.wheels.target == (0.1, 0.1)


KINDS = st.sampled_from(["0", "1", "13", "130", "131", "136", "138", "142", "143", "900"])
SCRAPS = st.text("-+.0123456789eEaifnxNI_ \u0661\u00b2", max_size=8)
NUMBERS = st.integers().map(str) | st.floats().map(str) | SCRAPS | SCRAPS.map(json.dumps) | st.text(max_size=8).map(json.dumps)
VALUES = NUMBERS | st.sampled_from(["null", "true", "[1]", "{}", "1e999", "-1e999", '"1e999"', "9" * 200])


@settings(max_examples=500)
@given(KINDS | KINDS.map(json.dumps) | VALUES, st.dictionaries(st.sampled_from(["L", "R", "X", "Z", "cmd", "main"]), VALUES))
def test_no_line_breaks_it_and_no_wheel_is_ever_told_more_than_it_can_do(kind: str, values: dict[str, str]) -> None:
    rig = Rig()
    rig.say(f'{{"T":{kind},' + ",".join(f'"{key}":{value}' for key, value in values.items()) + "}")
    rig.say('{"T":1,"L":0.5,"R":0.5}')
    rig.run(60)
    assert all(abs(speed) <= 2.0 for speed in rig.wheels.target)
