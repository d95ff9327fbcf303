"""Wheel counters to ways and speeds by the host's clock, for bases whose reports carry no time of their own. Pure: no clock, no bytes."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vla.guard.types import Speeds

COUNTER_RANGE = 1 << 32  # signed counters that wrap
PLAUSIBLE_MPS = 3.0  # faster is a damaged report, not a wheel
SAME_READ_NS = 10_000_000  # reports closer than that have waited in one buffer: the time between them says nothing
SAME_READ_S = 0.1  # of driving that may lie between them all the same
SILENCE_NS = 500_000_000  # longer than any guard lets a base drive unseen
NEAR_M, FAR_M = 0.005, 0.05  # counters that fall from beyond the one to within the other may have started anew
SURELY = 2.0  # of what the wheels could do

Seen = tuple[int, tuple[int, ...]]  # (t_ns, counts)


@dataclass(frozen=True, slots=True)
class Counted:
    """What one report's counters say. `wheels_mps` is None where a single sample, or two of one moment, give no speed."""

    wheels_mps: Speeds | None
    travel_m: Speeds
    restarted: bool = False  # they have jumped back to about zero


class Counters:
    """`per_m` counts are a metre of wheel; the wheels are made for `max_wheel_mps`."""

    def __init__(self, per_m: float, max_wheel_mps: float) -> None:
        self._per_m = per_m
        self._most_mps = max_wheel_mps
        self._last: Seen | None = None
        self._doubted: Seen | None = None
        self._travelled: tuple[int, ...] = ()

    def take(self, counts: tuple[int, ...], now_ns: int) -> Counted | None:
        """One report. None for counts that no wheel can have come to: damaged, or set by somebody, and then the next one agrees."""
        if self._last is None:
            self._last, self._travelled = (now_ns, counts), (0,) * len(counts)
            return Counted(None, self._travel())
        if self._restarted(self._last, counts, now_ns):
            self._last, self._doubted = (now_ns, counts), None
            return Counted(None, self._travel(), restarted=True)
        for then in (self._last, self._doubted):
            if then is not None and self._reachable(then, counts, now_ns):
                return self._move(then, counts, now_ns)
        self._doubted = (now_ns, counts)
        return None

    def _move(self, then: Seen, counts: tuple[int, ...], now_ns: int) -> Counted:
        then_ns, before = then
        steps = _steps(before, counts)
        self._travelled = tuple(sum(pair) for pair in zip(self._travelled, steps, strict=True))
        self._doubted = None
        if now_ns - then_ns < SAME_READ_NS:
            self._last = (then_ns, counts)
            return Counted(None, self._travel())
        self._last = (now_ns, counts)
        return Counted(self._speeds(then, counts, now_ns), self._travel())

    def _reachable(self, then: Seen, counts: tuple[int, ...], now_ns: int) -> bool:
        return max(map(abs, self._speeds(then, counts, now_ns))) <= PLAUSIBLE_MPS

    def _speeds(self, then: Seen, counts: tuple[int, ...], now_ns: int) -> Speeds:
        passed_ns = now_ns - then[0]
        passed_s = passed_ns / 1e9 if passed_ns >= SAME_READ_NS else SAME_READ_S
        return tuple(step / self._per_m / passed_s for step in _steps(then[1], counts))

    def _restarted(self, then: Seen, counts: tuple[int, ...], now_ns: int) -> bool:
        then_ns, before = then
        was_far = max(map(abs, before)) >= FAR_M * self._per_m
        is_near = max(map(abs, counts)) <= NEAR_M * self._per_m
        fastest_mps = max(map(abs, self._speeds(then, counts, now_ns)))
        return was_far and is_near and (now_ns - then_ns >= SILENCE_NS or fastest_mps > SURELY * self._most_mps)

    def _travel(self) -> Speeds:
        return tuple(count / self._per_m for count in self._travelled)


def _steps(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, ...]:
    half = COUNTER_RANGE // 2
    return tuple((now - then + half) % COUNTER_RANGE - half for now, then in zip(after, before, strict=True))
