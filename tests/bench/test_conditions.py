"""How the machine fared, read off files that change while it is watched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_vla.bench.conditions import PERIOD_S, Watch, machine_of, power_mode, warnings_of
from edge_vla.bench.report import Range, Report
from edge_vla.machine.board import Board, read_board
from edge_vla.machine.jetson_stats import JetsonStats
from edge_vla.machine.tree import Tree
from tests.bench.handmade import edited

POLICY = "/sys/devices/system/cpu/cpufreq/policy0"
OC = "/sys/class/hwmon/hwmon3/oc3_event_cnt"
ZONE = "/sys/class/thermal/thermal_zone0"


class Machine:
    """A tree of files, a clock, and the watch over them."""

    def __init__(self, root: Path) -> None:
        self.root, self.now_s = root, 0.0
        self.files(
            {
                "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1\n", f"{POLICY}/scaling_cur_freq": "1500000",
                f"{POLICY}/scaling_min_freq": "1500000", f"{POLICY}/scaling_max_freq": "1500000", f"{POLICY}/scaling_governor": "schedutil",
                OC: "2", f"{ZONE}/temp": "51000", f"{ZONE}/type": "cpu-thermal", f"{ZONE}/trip_point_0_type": "passive",
                f"{ZONE}/trip_point_0_temp": "99000", "/proc/self/schedstat": "1000000 500000 7", "/var/lib/nvpmodel/status": "pmode:0002",
                "/etc/nvpmodel.conf": "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
            }
        )  # fmt: skip
        self.board = read_board(Tree(root))

    def files(self, found: dict[str, str]) -> None:
        for name, text in found.items():
            path = self.root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def watch(self, stats: JetsonStats | None = None) -> Watch:
        return Watch(Tree(self.root), self.board, stats or JetsonStats(Board("", "", 1, 1.0)), lambda: self.now_s)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")


def test_clocks_and_heat_are_told_from_least_to_most(machine: Machine) -> None:
    watch = machine.watch()
    for mhz, milli in ((1500, 51000), (1200, 60000), (1400, 55000)):
        machine.files({f"{POLICY}/scaling_cur_freq": f"{mhz * 1000}", f"{ZONE}/temp": str(milli)})
        watch.look()
        machine.now_s += PERIOD_S
    told = watch.told()
    assert told.cpu_mhz == Range(least=1200, median=1400, most=1500)
    assert told.celsius == Range(least=51.0, median=55.0, most=60.0)
    assert (told.power_mode, told.governor, told.clocks_locked, told.gpu_mhz) == ("MAXN_SUPER", "schedutil", True, None)
    assert (told.throttled, told.throttle_events) == (False, 0)


def test_it_looks_no_more_often_than_it_should(machine: Machine) -> None:
    watch = machine.watch()
    watch.look()
    machine.files({f"{POLICY}/scaling_cur_freq": "100000"})
    machine.now_s = PERIOD_S - 0.001
    watch.look()
    assert watch.told().cpu_mhz.least == 1500
    machine.now_s = PERIOD_S
    watch.look()
    assert watch.told().cpu_mhz.least == 100


@pytest.mark.parametrize(
    ("files", "events"), [({OC: "3"}, 1), ({f"{ZONE}/temp": "99000"}, 0)], ids=["over-current", "as hot as its passive trip"]
)
def test_throttling_is_found_out(machine: Machine, files: dict[str, str], events: int) -> None:
    watch = machine.watch()
    machine.files(files)
    watch.look()
    told = watch.told()
    assert (told.throttled, told.throttle_events) == (True, events)
    assert any("throttled" in line for line in warnings_of(told, 1000))


def test_clocks_that_were_free_once_were_free(machine: Machine) -> None:
    watch = machine.watch()
    watch.look()
    machine.now_s = 9.0
    machine.files({f"{POLICY}/scaling_min_freq": "500000"})
    watch.look()
    assert watch.told().clocks_locked is False
    assert "clocks were free to change: sudo jetson_clocks" in warnings_of(watch.told(), 1000)


def test_waiting_for_a_core_is_a_share_of_the_wanted_time(machine: Machine) -> None:
    watch = machine.watch()
    machine.files({"/proc/self/schedstat": "4000000 1500000 9"})
    assert watch.told().waited == 0.25
    assert any(line.startswith("25% of the time") for line in warnings_of(watch.told(), 1000))


def test_a_machine_that_says_nothing_is_unknown_and_not_well(tmp_path: Path) -> None:
    watch = Watch(Tree(tmp_path), read_board(Tree(tmp_path)), JetsonStats(Board("", "", 1, 1.0)))
    watch.look()
    told = watch.told()
    assert (told.power_mode, told.jetson_stats) == ("not a Jetson", "not a Jetson")
    assert [told.throttled, told.throttle_events, told.clocks_locked, told.cpu_mhz, told.celsius, told.power_w, told.waited] == [None] * 7


def test_a_jetson_without_a_mode_is_unknown(machine: Machine) -> None:
    (machine.root / "var/lib/nvpmodel/status").unlink()
    assert power_mode(Tree(machine.root), machine.board) == "unknown"


def test_a_jetson_is_told_as_one(machine: Machine) -> None:
    assert machine_of(machine.board).jetson == "L4T 36.4.3, JetPack 6.2"
    assert machine_of(Board("", "x", 1, 1.0)).jetson == "not a Jetson"


@pytest.mark.parametrize(("load", "cores", "busy"), [(1.0, 4, False), (1.01, 4, True), (0.6, 2, True)])
def test_a_busy_machine_is_worth_a_word(make_report: Callable[..., Report], load: float, cores: int, busy: bool) -> None:
    conditions = edited(make_report(), conditions={"load_before": load, "waited": None}).conditions
    assert any("busy" in line for line in warnings_of(conditions, cores)) is busy
    known = edited(make_report(), conditions={"load_before": load, "waited": 0.05}).conditions
    assert warnings_of(known, cores) == []  # what it waited says more than a load that may be over
