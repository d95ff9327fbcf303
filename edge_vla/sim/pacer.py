"""Real time for a fixed step: how many steps are due now. Pure: the clock comes in."""


class Pacer:
    """Absolute deadlines every `step_ns`. Behind by more than `most_ns`, the time is skipped instead of run in fast motion."""

    def __init__(self, start_ns: int, step_ns: int, *, burst: int, late_ns: int, most_ns: int) -> None:
        self.reached_ns = start_ns  # the moment the steps taken have led to
        self.late = 0  # calls that found more than `late_ns` to catch up
        self.worst_ns = 0
        self.skipped_ns = 0
        self._step_ns, self._burst, self._late_ns, self._most_ns = step_ns, burst, late_ns, most_ns
        self._catching_up = False

    def due(self, now_ns: int) -> int:
        """Steps to take now, at most a burst, so that whoever is served between bursts is not starved. Call `step` for each."""
        behind_ns = now_ns - self.reached_ns
        if not self._catching_up:
            self.late += behind_ns > self._late_ns
        self.worst_ns = max(self.worst_ns, behind_ns)
        if behind_ns > self._most_ns:
            skipped_ns = behind_ns - behind_ns % self._step_ns
            self.reached_ns += skipped_ns
            self.skipped_ns += skipped_ns
            behind_ns -= skipped_ns
        steps = behind_ns // self._step_ns
        self._catching_up = steps > self._burst
        return min(steps, self._burst)

    def step(self) -> int:
        """Take one step; the moment it leads to."""
        self.reached_ns += self._step_ns
        return self.reached_ns

    @property
    def next_ns(self) -> int:
        """When the next step is due."""
        return self.reached_ns + self._step_ns
