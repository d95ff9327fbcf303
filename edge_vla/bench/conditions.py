"""How the machine fared while it was measured: clocks, heat, power and throttling, looked at between what is timed."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

from edge_vla.bench.report import Conditions, Machine, Range
from edge_vla.machine.board import Board
from edge_vla.machine.jetson_stats import NOT_A_JETSON, JetsonStats
from edge_vla.machine.power import Clocks, Heat, read_clocks, read_heat, read_power_mode, read_throttle_events
from edge_vla.machine.tree import Tree

PERIOD_S = 0.5
BUSY = 0.25  # load per core beforehand from which other work is worth a word, where the kernel does not count waiting
WAITED = 0.05  # share of the wanted time


class Watch:
    """Looks at the machine every PERIOD_S when it is asked to, and sums up."""

    def __init__(self, tree: Tree, board: Board, stats: JetsonStats, clock: Callable[[], float] = time.monotonic) -> None:
        self._tree, self._board, self._stats, self._clock = tree, board, stats, clock
        self._clocks: list[Clocks] = []
        self._heat: list[Heat] = []
        self._power_w: list[float] = []
        self._due_s = -1.0
        self._events = read_throttle_events(tree)
        self._load = os.getloadavg()[0]
        self._ran_ns, self._waited_ns = _scheduled(tree)

    def look(self) -> None:
        """Take a look if one is due."""
        if self._clock() < self._due_s:
            return
        self._due_s = self._clock() + PERIOD_S
        self._clocks.append(read_clocks(self._tree))
        heat, reading = read_heat(self._tree), self._stats.read()
        if heat is not None:
            self._heat.append(heat)
        if reading is not None and reading.power_w is not None:
            self._power_w.append(reading.power_w)

    def told(self) -> Conditions:
        """What was seen. Throttled is unknown only where neither zones nor counters can tell."""
        now = read_throttle_events(self._tree)
        events = None if now is None or self._events is None else now - self._events
        hot = any(heat.throttles for heat in self._heat)
        locked = {clocks.locked for clocks in self._clocks}
        ran_ns, waited_ns = (now - then for now, then in zip(_scheduled(self._tree), (self._ran_ns, self._waited_ns), strict=True))
        return Conditions(
            power_mode=power_mode(self._tree, self._board),
            governor=self._clocks[-1].governor if self._clocks else "",
            clocks_locked=None if None in locked or not locked else locked == {True},
            cpu_mhz=_range([clocks.cpu_mhz for clocks in self._clocks]),
            gpu_mhz=_range([clocks.gpu_mhz for clocks in self._clocks]),
            celsius=_range([heat.celsius for heat in self._heat]),
            power_w=_range(self._power_w),
            jetson_stats=self._stats.why,
            throttled=None if events is None and not self._heat else hot or bool(events),
            throttle_events=events,
            load_before=round(self._load, 2),
            waited=round(waited_ns / (ran_ns + waited_ns), 4) if ran_ns > 0 else None,
        )


def power_mode(tree: Tree, board: Board) -> str:
    """nvpmodel's mode by name; what is no Jetson has none."""
    mode = read_power_mode(tree)
    if mode is not None:
        return mode.name
    return "unknown" if board.is_jetson else NOT_A_JETSON


def machine_of(board: Board) -> Machine:
    """The board as a report tells it."""
    jetson = f"L4T {board.l4t}, JetPack {board.jetpack or 'unknown'}" if board.is_jetson else NOT_A_JETSON
    return Machine(
        board=board.model, jetson=jetson, processor=board.processor, cores=board.cores,
        usable_cores=len(os.sched_getaffinity(0)), memory_gib=board.memory_gib, gpu=board.gpu,
    )  # fmt: skip


def warnings_of(conditions: Conditions, cores: int) -> list[str]:
    """What makes these latencies less than they could be, or less than repeatable."""
    found = []
    if conditions.waited is None and conditions.load_before > BUSY * cores:
        found.append(f"the machine was busy before: load {conditions.load_before} on {cores} cores")
    if conditions.waited is not None and conditions.waited > WAITED:
        found.append(f"{conditions.waited:.0%} of the time the measuring thread waited for a core that something else had")
    if conditions.throttled:
        found.append(f"clocks were throttled: {conditions.throttle_events or 0} events, see temperature and power supply")
    if conditions.clocks_locked is False and conditions.power_mode != NOT_A_JETSON:
        found.append("clocks were free to change: sudo jetson_clocks")
    return found


def _scheduled(tree: Tree) -> tuple[int, int]:
    """(ns on a core, ns waiting for one) of this process's first thread so far; zeros from a kernel that does not count them."""
    ran, waited, *_ = [*(int(part) for part in (tree.text("/proc/self/schedstat") or "").split()), 0, 0]
    return ran, waited


def _range(values: list[float] | list[int | None]) -> Range | None:
    kept = [float(value) for value in values if value is not None]
    return Range(least=min(kept), median=statistics.median(kept), most=max(kept)) if kept else None
