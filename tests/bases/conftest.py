"""What the contract suite needs to know about each base. A base registered without an entry here fails `test_every_base_is_here`."""

from __future__ import annotations

from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Sample:
    """One base's own words: a report as it sends it, what it means, and a sign of a reboot if it gives one."""

    report: bytes
    left_mps: float
    right_mps: float
    battery_v: float | None
    boot: bytes | None


SAMPLES = {
    "waveshare": Sample(
        report=b'{"T":1001,"L":0.12,"R":-0.3,"ax":0,"ay":0,"az":8192,"gx":0,"gy":0,"gz":82,"mx":0,"my":0,"mz":0,"odl":12,"odr":-3,"v":1156}\r\n',
        left_mps=0.12,
        right_mps=-0.3,
        battery_v=11.56,
        boot=b"ets Jul 29 2019 12:21:46\r\nrst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n",
    ),
}


@pytest.fixture
def samples() -> dict[str, Sample]:
    return SAMPLES
