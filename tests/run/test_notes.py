"""What a tick leaves behind: totals, a line in the recording with what is new, a status line that warns."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge_vla.behaviours.state import State
from edge_vla.cameras.rules import STILL_NS, FrameRules
from edge_vla.guard.link import Count, Status
from edge_vla.guard.state import GuardState
from edge_vla.live import Seen
from edge_vla.session import _Notes
from edge_vla.status import StatusLine
from edge_vla.summary import Totals
from edge_vla.types import Frame, Look, Reply

MS = 1_000_000


@dataclass
class Loop:
    """The parts of a SteerLoop that are read after a tick."""

    look: Look | None = None
    parse_ns: int = 40_000
    counts: dict[str, int] = field(default_factory=dict)
    status: Status | None = None

    @property
    def see(self) -> SimpleNamespace:
        return SimpleNamespace(tally=lambda: dict(self.counts), seeing=SimpleNamespace(p99_ns=300 * MS))

    @property
    def steering(self) -> SimpleNamespace:
        return SimpleNamespace(guard=SimpleNamespace(status=self.status), state=State())


@pytest.fixture
def notes(make_recorder: Callable) -> _Notes:
    status = StatusLine("find_object", "cup", simulated=True, stream=io.StringIO())
    return _Notes(Totals(), make_recorder(), status, SimpleNamespace(dropped=0), FrameRules((48, 64, 3)))  # type: ignore[arg-type]


def test_whatever_is_new_is_in_the_line_of_its_tick(notes: _Notes, make_tick, make_look, lines, tmp_path: Path) -> None:
    loop, counts = Loop(), [0] * len(Count)
    notes.take(loop, make_tick(1, late_ns=40 * MS), None, (1, 1))
    notes.camera.dropped, loop.counts = 2, {"frame_frozen": 1, "camera_silent": 3}
    frame, reply, loop.look = make_look(4, 1, Reply("<loc0001>", 0.9))
    counts[Count.CLAMPS] = 5
    loop.status = Status(1, 2, GuardState.MOVING, counts=tuple(counts))
    notes.take(loop, make_tick(2), Seen(frame, reply, 10, 20), (1, 1))
    notes.take(loop, make_tick(3), None, (1, 1))
    notes.recorder.close()
    assert [line["new"] for line in lines(tmp_path / "run" / "ticks.jsonl")] == [
        {"ticks_late": 1, "ticks_skipped": 1},
        {"clamps": 5, "frames_unread": 2, "frame_frozen": 1, "camera_silent": 3, "replies_rejected": 1},
        {},
    ]
    assert (notes.totals.ticks, notes.totals.looks) == (3, 1)


def test_a_camera_that_does_not_count_is_no_error(notes: _Notes) -> None:
    notes.camera = SimpleNamespace()
    assert notes.dropped(Loop(counts={"frame_old": 1}).see) == {"frames_unread": 0, "frame_old": 1}


def test_the_frame_rules_warning_reaches_the_status_line_and_the_end(notes: _Notes, make_tick) -> None:
    chart = np.full((48, 64, 3), 90, np.uint8)
    for k in range(40):
        t_ns = (k + 1) * 100 * MS
        assert notes.rules.judge(Frame(chart, t_ns, k + 1), t_ns, 0.0) is None
        notes.take(Loop(), make_tick(t_ns), None, (1, t_ns))
        assert bool(notes.status.notice) is (k * 100 * MS >= STILL_NS)
    assert "the same picture for 3.9 s at rest" in notes.status.line(make_tick(1), None, 4.0)
    notes.rules.judge(Frame(chart + 1, 5000 * MS, 99), 5000 * MS, 0.0)
    notes.take(Loop(), make_tick(5000 * MS), None, (1, 1))
    assert notes.status.notice == ""
    assert notes.warning.startswith("the same picture for 3.9 s at rest")  # it was so, and the summary says it
