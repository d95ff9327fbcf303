"""Waveshare's bytes against the recorded vectors, and its two dialects."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from edge_vla.bases.waveshare import WaveshareUGV
from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.types import Feedback, Twist

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "serial_vectors.json").read_text())["waveshare_ugv_json"]
CANONICAL = VECTORS["canonical_vectors_T1"]["vectors"]


@pytest.mark.parametrize("vector", CANONICAL, ids=lambda vector: str(vector["cmd"]))
def test_golden_bytes(vector: dict[str, Any]) -> None:
    base = WaveshareUGV(track_m=VECTORS["canonical_vectors_T1"]["track_width_m"])
    frame = base.encode(Twist(vector["cmd"]["vx"], 0.0, vector["cmd"]["wz"]))
    assert frame == bytes.fromhex(vector["hex"]) == vector["text"].encode()
    decoded = base.decode_command(frame)
    assert (decoded.linear_x, decoded.angular_z) == pytest.approx((vector["cmd"]["vx"], vector["cmd"]["wz"]))


def test_configuration_is_these_bytes() -> None:
    assert WaveshareUGV().init_frames() == [
        b'{"T":143,"cmd":0}\n', b'{"T":136,"cmd":300}\n', b'{"T":131,"cmd":1}\n', b'{"T":142,"cmd":50}\n',
    ]  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS["driver_recorded"]["vectors"], ids=lambda vector: vector["call"])
def test_another_drivers_frames_are_not_ours(vector: dict[str, Any]) -> None:
    with pytest.raises(UnsafeCommand):
        WaveshareUGV().decode_command(bytes.fromhex(vector["hex"]))


@pytest.mark.parametrize(
    "frame",
    [
        b'{"T":13,"X":0.1000,"Z":0.3000}\n',  # W1: not watched
        b'{"T":1,"L":0.1000,"R":0.1000}',
        b'{"T":1,"L":0.1000,"R":0.1000}\n\n',
        b'{"T":1,"L":0.1000,"R":0.1000}\n{"T":1,"L":0.1000,"R":0.1000}\n',
        b'{"T":1,"L":.1000,"R":0.1000}\n',
        b'{"T":1,"L":0.10000,"R":0.1000}\n',
        b'{"T":1,"L":1e-05,"R":0.1000}\n',
        b'{"T":1,"L":nan,"R":0.1000}\n',
        b'{"T":1,"R":0.1000,"L":0.1000}\n',
    ],
)
def test_only_our_own_exact_form_is_decoded(frame: bytes) -> None:
    with pytest.raises(UnsafeCommand, match="T:1"):
        WaveshareUGV().decode_command(frame)


LIMITS_MPS = [n / 100 for n in range(5, 131)]


def test_every_limit_can_be_driven_exactly_and_not_a_quantum_more() -> None:
    for most in LIMITS_MPS:
        base = WaveshareUGV(max_wheel_mps=most)
        for sign in (1, -1):
            assert base.encode(Twist(sign * most)) == b'{"T":1,"L":%.4f,"R":%.4f}\n' % (sign * most, sign * most)
            with pytest.raises(UnsafeCommand, match=f"want at most {most}"):
                base.encode(Twist(sign * (most + 1e-4)))


def test_sideways_is_refused_not_dropped() -> None:
    with pytest.raises(UnsafeCommand, match="sideways"):
        WaveshareUGV().encode(Twist(0.1, 0.01))


@pytest.mark.parametrize("tiny", [1e-5, -1e-5, 9.9e-5, -9.9e-5])
def test_no_exponent_and_no_minus_zero(tiny: float) -> None:
    assert WaveshareUGV().encode(Twist(tiny)) == b'{"T":1,"L":0.0000,"R":0.0000}\n'


@pytest.mark.parametrize(
    "options", [{"track_m": 0.0}, {"track_m": math.nan}, {"track_m": 1.1}, {"max_wheel_mps": 1.31}, {"max_wheel_mps": -1}]
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        WaveshareUGV(**options)


def feed(text: str) -> list[Feedback]:
    return WaveshareUGV().feed(text.encode() + b"\n", 7)


@pytest.mark.parametrize("sample", VECTORS["feedback_samples"], ids=lambda sample: sample["fw"])
def test_both_dialects_of_feedback(sample: dict[str, Any]) -> None:
    (report,) = feed(sample["text"])
    assert (report.t_ns, report.wheels_mps) == (7, (0.0, 0.0))
    assert report.battery_v == pytest.approx(11.56)
    assert report.gyro_z_radps == (0.0 if sample["fw"] == "ugv_base_ros" else None)


def test_the_gyro_is_in_radians() -> None:
    (report,) = feed('{"T":1001,"L":0.1,"R":-0.1,"gz":2952}')
    assert report.gyro_z_radps == pytest.approx(math.pi)


def test_whole_volts_without_a_point_are_volts() -> None:
    assert feed('{"T":1001,"L":0,"R":0,"v":12}')[0].battery_v == 12.0
    assert feed('{"T":1001,"L":0,"R":0,"v":1200}')[0].battery_v == 12.0


@pytest.mark.parametrize(
    "line",
    ['{"T":1,"L":0.0000,"R":0.0000}', '{"T":1002,"r":0.1}', '{"T":1005,"id":1}', '{"T":136,"cmd":300}', '{"T":"13","X":0.1}', "", "   "],
)
def test_echoes_and_other_messages_are_known_and_dropped(line: str) -> None:
    base = WaveshareUGV()
    assert base.feed(line.encode() + b"\r\n", 0) == []
    assert base.garbage_bytes == 0


@pytest.mark.parametrize(
    "line",
    [
        "hello", "[1001]", "1001", '{"L":0.1,"R":0.1}', '{"T":1001}', '{"T":1001,"L":0.1}', '{"T":1001,"L":null,"R":0.1}',
        '{"T":1001,"L":true,"R":0.1}', '{"T":1001,"L":"0.1","R":0.1}', '{"T":1001,"L":NaN,"R":0.1}', '{"T":1001,"L":1e400,"R":0.1}',
        '{"T":1001,"L":3.01,"R":0.1}', '{"T":1001,"L":0.1,"R":-3.01}', '{"T":1001,"L":0.1,"R":' + "9" * 500 + "}",
        '{"T":1001,"L":0.1,"R":0.1', '{"T":' + "[" * 900, '{"T":1001,"L":0.1,"R":0.1,"x":"' + "y" * 1000 + '"}',
    ],
)  # fmt: skip
def test_anything_else_is_garbage_of_its_length(line: str) -> None:
    base = WaveshareUGV()
    assert base.feed(line.encode() + b"\n", 0) == []
    assert base.garbage_bytes == len(line)


def test_half_a_line_before_a_whole_one_costs_only_the_half() -> None:
    base = WaveshareUGV()
    (report,) = base.feed(b'{"T":1001,"L":0.{"T":1001,"L":0.2,"R":0.3}\n', 0)
    assert report.wheels_mps == (0.2, 0.3)
    assert base.garbage_bytes == len(b'{"T":1001,"L":0.')


@pytest.mark.parametrize(
    "boot", [b"ets Jul 29 2019 12:21:46\r\n", b"rst:0x1 (POWERON_RESET),boot:0x13\r\n", b"\xff\xferst:0xc (SW_CPU_RESET)\r\n"]
)
def test_the_roms_words_are_a_reboot(boot: bytes) -> None:
    assert WaveshareUGV().feed(boot, 3) == [Feedback(3, rebooted=True)]
