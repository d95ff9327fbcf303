"""What a machine's files say of it: board, L4T, JetPack, power mode, clocks, heat."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_vla.machine.board import Board, jetpack_of, read_board
from edge_vla.machine.power import Clocks, Heat, PowerMode, read_clocks, read_heat, read_power_mode, read_throttle_events
from edge_vla.machine.tree import Tree
from tests.doctor.machines import DESKTOP, ORIN, POLICY, THOR, ZONE, build


def tree(tmp_path: Path, files: dict[str, str]) -> Tree:
    return Tree(build(tmp_path / "root", files))


def test_an_orin_with_jetpack_6(tmp_path: Path) -> None:
    orin = tree(tmp_path, ORIN)
    model = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert read_board(orin) == Board(model, "Cortex-A78AE", 6, 7.4, "36.4.3", "6.2")
    assert read_board(orin).is_jetson
    assert read_power_mode(orin) == PowerMode(0, "15W", ((0, "15W"), (1, "25W"), (2, "MAXN_SUPER"), (3, "7W")))
    assert read_clocks(orin) == Clocks(730, 1510, 306, "schedutil", locked=False)
    assert read_heat(orin) == Heat("cpu-thermal", 47.5, throttles=False)  # the zone that is off reads -256
    assert read_throttle_events(orin) == 0


def test_a_thor_with_jetpack_7(tmp_path: Path) -> None:
    thor = tree(tmp_path, THOR)
    assert read_board(thor) == Board("NVIDIA Jetson AGX Thor Developer Kit", "Neoverse-V3AE", 14, 122.7, "38.4.0", "7.1")
    assert read_power_mode(thor) == PowerMode(0, "MAXN", ((0, "MAXN"), (1, "120W")))
    assert read_clocks(thor) == Clocks(2601, 2601, 1575, "performance", locked=True)


def test_a_plain_x86(tmp_path: Path) -> None:
    desktop = tree(tmp_path, DESKTOP)
    assert read_board(desktop) == Board("Precision 3660", "A CPU @ 3.00GHz", 4, 31.2)
    assert not read_board(desktop).is_jetson
    assert read_clocks(desktop) == Clocks(2150, None, None, "", locked=None)
    assert (read_power_mode(desktop), read_heat(desktop), read_throttle_events(desktop)) == (None, None, None)


def test_nothing_at_all(tmp_path: Path) -> None:
    assert read_board(Tree(tmp_path)) == Board("", "", 0, 0.0)


@pytest.mark.parametrize(
    ("l4t", "jetpack"),
    [
        ("", ""), ("32.7.4", ""), ("34.1.0", "5"), ("35.6.1", "5"), ("36.3.0", "6.0"), ("36.4.0", "6.1"), ("36.4.2", "6.1"),
        ("36.4.3", "6.2"),
        ("36.4.7", "6.2.1"), ("36.5.0", "6.2.2"), ("38.2.0", "7.0"), ("38.4.0", "7.1"), ("39.0.0", "7.2"), ("39.2.1", "7.2"), ("41.1", "7"),
    ],
)  # fmt: skip
def test_the_jetpack_of_an_l4t(l4t: str, jetpack: str) -> None:
    assert jetpack_of(l4t) == jetpack


@pytest.mark.parametrize(
    ("names", "fastest"),
    [
        ("15W 25W MAXN_SUPER 7W", "MAXN_SUPER"), ("MAXN 10W 15W 25W", "MAXN"), ("15W 7W", "15W"), ("MAXN MAXN_SUPER", "MAXN_SUPER"),
        ("MODE_15W MODE_30W MODE_50W", "MODE_50W"), ("15W MAXN 30W 50W", "MAXN"),
    ],
)  # fmt: skip
def test_the_fastest_mode_is_neither_the_first_nor_the_last(names: str, fastest: str) -> None:
    known = tuple(enumerate(names.split()))
    assert PowerMode(0, known[0][1], known).fastest[1] == fastest


def test_a_mode_without_its_catalogue_is_a_number(tmp_path: Path) -> None:
    assert read_power_mode(tree(tmp_path, {"/var/lib/nvpmodel/status": "pmode:0003"})) == PowerMode(3, "mode 3", ())


@pytest.mark.parametrize(("low", "locked"), [("1510400", True), ("1480300", True), ("1480000", False)])
def test_clocks_are_locked_where_the_least_is_the_most(tmp_path: Path, low: str, locked: bool) -> None:
    gpu = {f"/sys/class/devfreq/17000000.gpu/{name}_freq": "612000000" for name in ("cur", "min", "max")}
    assert read_clocks(tree(tmp_path, {**ORIN, **gpu, f"{POLICY}/scaling_min_freq": low})).locked is locked


@pytest.mark.parametrize(("milli", "throttles"), [("98999", False), ("99000", True)])
def test_a_zone_throttles_from_its_passive_trip_on(tmp_path: Path, milli: str, throttles: bool) -> None:
    assert read_heat(tree(tmp_path, {**ORIN, f"{ZONE}/temp": milli})).throttles is throttles


def test_a_zone_that_is_off_is_none(tmp_path: Path) -> None:
    assert read_heat(tree(tmp_path, {f"{ZONE}/temp": "-256000"})) is None


def test_throttle_counters_are_summed(tmp_path: Path) -> None:
    x86 = {f"/sys/devices/system/cpu/cpu{k}/thermal_throttle/core_throttle_count": str(k) for k in range(4)}
    assert read_throttle_events(tree(tmp_path, {**x86, "/sys/class/hwmon/hwmon1/oc1_event_cnt": "10"})) == 16


def test_a_tree_reads_what_is_there_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    found = tree(tmp_path, {"/a/cpu10": "10", "/a/cpu2": "2\n", "/a/cpu1": "x", "/b": "-> /nowhere"})
    assert [path.name for path in found.glob("/a/cpu*")] == ["cpu1", "cpu2", "cpu10"]
    assert found.numbers("/a/cpu*") == [2, 10]
    assert (found.text("/missing"), found.number("/a/cpu1"), found.text("/b"), found.text("/a")) == (None, None, None, None)
    assert (found.exists("/b"), found.exists("/c")) == (True, False)
