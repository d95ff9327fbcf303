"""Guard and serial line: which moment belongs to which command, and the real processes once."""

from __future__ import annotations

import pytest

from edge_vla.bench.driving import PER_ROUND, WARM_UP, Heard, Sent, attribute, drive, summed_up
from edge_vla.bench.meter import Meter
from edge_vla.config import RobotProfile
from edge_vla.errors import ConfigError, GuardError
from edge_vla.guard.link import Status
from edge_vla.guard.state import GuardState
from edge_vla.guard.types import Pose, Twist

MS = 1_000_000
TICK_NS = 20 * MS
COMMANDS = 51


def status(tick_ms: float, speed: float, reports_ms: tuple[float, ...] = ()) -> Status:
    poses = tuple(Pose(round(ms * MS), 0.0, 0.0, 0.0) for ms in reports_ms)
    return Status(1, round(tick_ms * MS), GuardState.MOVING, applied=Twist(speed), poses=poses)


def story(lost: int = 0) -> tuple[list[Sent], list[Heard], list[tuple[int, str]]]:
    """Command k at 100 k ms is applied by the tick 7 ms later, which is heard 1 ms after that; the base obeys 3 ms after the tick, was
    heard in the same tick (too early to know), and is heard again 43 ms after the tick."""
    sent, heard, accepted = [], [], []
    for k in range(COMMANDS):
        at, speed = 100.0 * k, 0.2 + k / 1000
        sent.append(Sent(Twist(speed), f"go {k}", round(at * MS)))
        heard.append(Heard(status(at + 7, speed, (at + 7, at + 20)), round((at + 8) * MS)))
        heard.append(Heard(status(at + 50, speed, (at + 50,)), round((at + 51) * MS)))
        if k >= lost:
            accepted.append((round((at + 10) * MS), f"go {k}"))
    return sent, heard, accepted


def test_each_moment_belongs_to_its_command() -> None:
    assert attribute(*story(), TICK_NS) == {
        "guard": pytest.approx([8.0] * COMMANDS), "serial out": pytest.approx([3.0] * COMMANDS), "serial": pytest.approx([43.0] * COMMANDS),
    }  # fmt: skip


def test_a_report_that_may_be_older_than_the_command_does_not_count() -> None:
    """The one at +20 ms is heard 10 ms after the base obeyed: for a guard of 50 Hz it may have been said before, at 100 Hz it was not."""
    assert attribute(*story(), 10 * MS)["serial"] == pytest.approx([13.0] * COMMANDS)


def test_what_the_firmware_stamped_a_step_early_is_the_same_frame() -> None:
    sent, heard, accepted = story()
    early = [(t_ns - 4 * MS, frame) for t_ns, frame in accepted]  # 1 ms before the tick's own stamp
    assert attribute(sent, heard, early, TICK_NS)["serial out"] == [0.0] * COMMANDS


def test_a_speed_that_comes_again_much_later_is_another_command() -> None:
    sent, heard, accepted = story()
    late = [(t_ns + (1500 * MS if frame == "go 20" else 0), frame) for t_ns, frame in accepted]
    assert attribute(sent, heard, late, TICK_NS)["serial out"] == pytest.approx([3.0] * (COMMANDS - 1))


def test_too_many_lost_commands_are_no_measurement() -> None:
    assert len(attribute(*story(lost=5), TICK_NS)["serial"]) == COMMANDS - 5
    with pytest.raises(GuardError, match="of 51 commands 51 were applied and 45 obeyed and reported: too busy"):
        attribute(*story(lost=6), TICK_NS)


def test_what_guards_say_of_their_ticks_is_summed_up() -> None:
    told = [
        f"n {n}, p50 {p50} ms, p99 {p99} ms, p99.9 {p99} ms, longest {most} ms"
        for n, p50, p99, most in ((10, 0.4, 2, 5), (20, 0.6, 1, 3), (30, 0.5, 1, 4))
    ]
    assert summed_up([*told, ""]) == "60 in 3 sessions, p50 0.500 ms, p99 at most 2.000 ms, longest 5.000 ms"
    assert summed_up([""]) == ""


def test_a_base_without_a_simulated_firmware_is_refused() -> None:
    profile = RobotProfile.model_validate({"base": {"kind": "kobuki"}})
    with pytest.raises(ConfigError, match="base 'kobuki' has no firmware simulator; want 'waveshare'"):
        drive(profile, Meter(8))


@pytest.mark.slow
@pytest.mark.deadline
def test_the_guard_itself_between_a_worker_and_a_firmware() -> None:
    """One session a block: guard and firmware start anew in each, out of step with each other as they happen to be."""
    meter, seen = Meter(8), []
    ticks = drive(RobotProfile(), meter, lambda done, of: seen.append((done, of)))
    assert " in 8 sessions, " in ticks
    assert seen[-1] == (8 * (WARM_UP + PER_ROUND),) * 2
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    for stage in ("guard", "serial out", "serial"):
        assert meter.warm_up[stage] == 8 * WARM_UP
        assert [PER_ROUND - 2 <= len(block) <= PER_ROUND for block in meter.blocks[stage]] == [True] * 8
        assert min(ms for block in meter.blocks[stage] for ms in block) >= 0
    assert min(ms for block in meter.blocks["serial"] for ms in block) > 19  # a report has to be a tick younger than the frame
