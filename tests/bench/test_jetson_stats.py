"""jetson-stats, by a double with the names its client has (jtop 7.2: power, temperature, start, close, JtopException). No Jetson."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_vla.machine.board import Board
from edge_vla.machine.jetson_stats import JetsonStats, Reading

JETSON, DESKTOP = Board("NVIDIA Jetson Orin Nano", "", 6, 7.4, "36.4.3", "6.2"), Board("", "A CPU", 4, 16.0)
DOUBLE = """
class JtopException(Exception):
    pass

class jtop:
    def __init__(self, interval=1.0):
        self.closed = False
    def start(self):
        {start}
    @property
    def power(self):
        {power}
    @property
    def temperature(self):
        return {{"cpu": {{"online": True, "temp": 49.5}}, "gpu": {{"online": False, "temp": -256}}, "tj": {{"temp": 51, "online": True}}}}
    def close(self):
        open({closed!r}, "w").close()
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """install(start=..., power=...): a module called jtop; the file that appears when its client is closed."""

    def make(start: str = "pass", power: str = 'return {"tot": {"power": 7250}, "rail": {}}') -> Path:
        closed = tmp_path / "closed"
        (tmp_path / "jtop.py").write_text(DOUBLE.format(start=start, power=power, closed=str(closed)))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "jtop", raising=False)
        return closed

    yield make
    sys.modules.pop("jtop", None)


def test_power_and_temperatures_of_what_is_online(install: Callable[..., Path]) -> None:
    closed = install()
    with JetsonStats(JETSON) as stats:
        assert stats.read() == Reading(7.25, {"cpu": 49.5, "tj": 51.0})
        assert stats.why == ""
        assert not closed.exists()
    assert closed.exists()


def test_elsewhere_it_is_not_even_looked_for(install: Callable[..., Path]) -> None:
    install(start="raise AssertionError('started on no Jetson')")
    with JetsonStats(DESKTOP) as stats:
        assert (stats.read(), stats.why) == (None, "not a Jetson")


def test_not_installed_says_how_to() -> None:
    with JetsonStats(JETSON) as stats:
        assert (stats.read(), stats.why) == (None, "jetson-stats is not installed: sudo pip3 install -U jetson-stats")


@pytest.mark.parametrize(
    ("start", "why"),
    [
        ("raise JtopException('The jtop.service is not active. Please run:\\nsudo jtop --install-service')", "sudo jtop --install-service"),
        ("raise PermissionError(1, 'not permitted')", "not permitted"),
    ],
)
def test_a_service_that_does_not_answer_is_told(install: Callable[..., Path], start: str, why: str) -> None:
    install(start=start)
    with JetsonStats(JETSON) as stats:
        assert stats.read() is None
        assert stats.why.startswith("jetson-stats: ")
        assert stats.why.endswith(why)
        assert "\n" not in stats.why


def test_a_service_that_dies_ends_the_readings_and_not_the_benchmark(install: Callable[..., Path]) -> None:
    install(power="raise BrokenPipeError(32, 'Broken pipe')")
    with JetsonStats(JETSON) as stats:
        assert (stats.read(), stats.read()) == (None, None)
        assert stats.why == "jetson-stats broke off: [Errno 32] Broken pipe"


def test_a_board_without_a_total_has_temperatures_all_the_same(install: Callable[..., Path]) -> None:
    install(power='return {"rail": {}}')
    with JetsonStats(JETSON) as stats:
        assert stats.read() == Reading(None, {"cpu": 49.5, "tj": 51.0})
