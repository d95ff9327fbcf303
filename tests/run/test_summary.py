"""What a run is summed up to."""

from __future__ import annotations

import io
import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from rich.console import Console

from edge_vla.behaviours.state import Plan, halt
from edge_vla.goals import Goal
from edge_vla.guard.link import Count, Status
from edge_vla.guard.state import FaultCode, GuardState
from edge_vla.record import Stages
from edge_vla.summary import MAX_REASONS, Ending, Latency, Summary, Totals, render, save, summarise, unmeasured
from edge_vla.types import Pose, Reply
from edge_vla.validate import ActionValidator

MS = 1_000_000


def ending(result: str = "reached", **other: object) -> Ending:
    return Ending(**{"result": result, "why": "cup reached: 0.44 m ahead", "simulated": True, "engine": "scripted", **other})


def shown(summary: Summary) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(render(summary))
    return out.getvalue()


# -- figures


def test_path_and_time_add_up_over_the_ticks(make_tick) -> None:
    totals = Totals()
    for now_ns, x, y in ((5_000_000_000, 0.0, 0.0), (5_100_000_000, 0.3, 0.4), (5_200_000_000, 0.3, 0.0)):
        totals.tick(make_tick(now_ns, pose=Pose(now_ns, x, y, 0.0)))
    totals.tick(make_tick(6_000_000_000))  # no odometry in this one
    totals.tick(make_tick(6_500_000_000, pose=Pose(6_500_000_000, 0.3, 0.1, 0.0)))
    assert totals.path_m == pytest.approx(0.5 + 0.4 + 0.1, abs=1e-12)
    assert totals.time_s == pytest.approx(1.5, abs=1e-9)
    assert totals.ticks == 5


def test_the_path_of_a_real_run_is_what_was_driven(recorded) -> None:
    totals = Totals()
    for tick in recorded.ticks:
        totals.tick(tick)
    poses = [tick.inputs.pose for tick in recorded.ticks if tick.inputs.pose]
    straight = ((poses[-1].x_m - poses[0].x_m) ** 2 + (poses[-1].y_m - poses[0].y_m) ** 2) ** 0.5
    assert straight <= totals.path_m < 1.1 * straight  # it turned on the spot, then drove straight on
    assert totals.late_fraction == 0.0


@pytest.mark.parametrize(
    ("late_ms", "late", "skipped", "fraction"),
    [([0, 16, 16], 0, 0, 0.0), ([0, 17, 0, 0], 1, 0, 0.25), ([0, 70], 1, 2, 0.75), ([], 0, 0, 0.0)],
)
def test_late_ticks_and_those_that_never_came(late_ms: list[int], late: int, skipped: int, fraction: float, make_tick) -> None:
    totals = Totals(period_ns=33_333_333)
    for number, ms in enumerate(late_ms):
        totals.tick(make_tick(number, late_ns=ms * MS))
    assert (totals.late, totals.skipped, totals.late_fraction) == (late, skipped, fraction)


def test_latencies_are_nearest_ranks(make_look, make_tick) -> None:
    totals = Totals()
    for k in range(1, 201):
        _, _, look = make_look(k, k)
        totals.look(look, Stages(camera_ns=k * MS, engine_ns=10 * MS, parse_ns=MS))
        totals.tick(make_tick(k), spent_ns=k * 1000)
        totals.noted(k * 2000)
    stages = totals.latencies()
    assert stages["see"] == Latency(201.0, 201.0, 200)  # 200 ms to the reply and 1 ms to the look
    assert stages["camera"] == Latency(100.0, 198.0, 200)
    assert stages["engine"] == Latency(10.0, 10.0, 200)
    assert stages["steer"] == Latency(0.1, 0.198, 200)
    assert stages["note"] == Latency(0.2, 0.396, 200)


@pytest.mark.parametrize(("took_ms", "p50", "p99"), [([7], 7.0, 7.0), ([3, 1, 2, 5, 4], 3.0, 5.0), ([1, 2, 3, 4], 2.0, 4.0)])
def test_of_a_few_the_p99_is_the_longest(took_ms: list[int], p50: float, p99: float, make_tick) -> None:
    totals = Totals()
    for number, ms in enumerate(took_ms):
        totals.tick(make_tick(number), spent_ns=ms * MS)
    assert totals.latencies()["steer"] == Latency(p50, p99, len(took_ms))


def test_what_nobody_measured_is_not_in_the_summary(make_look, make_tick, plan: Plan) -> None:
    totals = Totals()
    totals.tick(make_tick(1))
    summary = summarise(plan, totals, ending("fault"))
    assert (summary.see_p50_ms, summary.see_p99_ms, set(summary.stages)) == (None, None, {"late"})
    totals.look(make_look(1, 1)[2])
    assert set(summarise(plan, totals, ending()).stages) == {"late", "see"}


def test_refused_replies_are_counted_by_reason_not_by_wording(make_look) -> None:
    totals = Totals()
    for seq, text in enumerate(("<loc0001>", "<loc0001><loc0002>", "<loc0512><loc0512><loc0256><loc0512> cup", "")):
        totals.look(make_look(seq, 1, Reply(text, 0.9))[2])
    totals.look(make_look(9, 1, Reply("<loc0256><loc0256><loc0512><loc0512> cup", 0.29))[2])
    assert totals.rejected == {
        "want 4 <locNNNN> (y_min x_min y_max x_max) for each detection": 2,
        "want y_min < y_max and x_min < x_max": 1,
        "confidence below 0.3": 1,
    }


def test_what_belongs_into_every_ticks_record_keeps_running(make_look, make_tick) -> None:
    totals = Totals(period_ns=33_333_333)
    assert totals.counts == {"ticks_late": 0, "ticks_skipped": 0, "replies_rejected": 0}
    totals.look(make_look(1, 1, Reply("<loc0001>", 0.9))[2])
    totals.tick(make_tick(1, late_ns=70 * MS))
    assert totals.counts == {"ticks_late": 1, "ticks_skipped": 2, "replies_rejected": 1}


def test_reasons_are_bounded_however_a_reply_is_worded(make_look) -> None:
    totals = Totals()
    look = make_look(1, 1)[2]
    for number in range(100):
        totals.look(replace(look, rejected=f"reason {number}" * 100))
    assert len(totals.rejected) == MAX_REASONS + 1
    assert totals.rejected["other"] == 100 - MAX_REASONS
    assert max(map(len, totals.rejected)) == 120


def test_stops_are_counted_when_they_begin(make_tick) -> None:
    totals = Totals()
    story = [
        {"action": halt("waiting for a look"), "armed": False},  # before the start
        {},
        {"action": halt("waiting for a look")},
        {"action": halt("waiting for a look")},
        {},
        {"action": halt("waiting for a look"), "held": True},
        {"guard": "SOFT_STOP", "cause": "EVIDENCE", "held": True},
        {"guard": "SOFT_STOP", "cause": "EVIDENCE"},
        {"action": ActionValidator().get_safe_default_action("confidence 0.12 is below 0.3")},
        {"action": halt("one more look")},  # as it was meant
        {"action": halt("reply refused: want 4 <locNNNN>, got 1")},
        {"guard": "FAULT_LATCHED"},
        {"guard": "ESTOP_LATCHED"},
    ]
    for number, given in enumerate(story):
        totals.tick(make_tick(number, **given))
    assert totals.stops == {
        "waiting for a look": 2,
        "motion budget used up": 1,
        "the last look was too old": 1,
        "unusable action": 1,
        "reply refused": 1,
        "fault": 1,
    }


def test_the_guard_tells_its_part(plan: Plan) -> None:
    counts = [0] * len(Count)
    counts[Count.CLAMPS], counts[Count.BUDGET_STOPS] = 7, 2
    status = Status(1, 2, GuardState.FAULT_LATCHED, FaultCode.PORT_LOST, counts=tuple(counts))
    summary = summarise(plan, Totals(), ending("fault", status=status))
    assert (summary.clamps, summary.guard, summary.fault) == (7, {"clamps": 7, "budget_stops": 2}, "port_lost")


def test_silences_are_no_frames(plan: Plan) -> None:
    counts = {"frames_unread": 30, "frame_frozen": 4, "frame_old": 1, "camera_silent": 9, "answer_overwritten": 2}
    summary = summarise(plan, Totals(), ending("fault", counts=counts))
    assert (summary.frames_dropped, summary.camera_silences, summary.counts) == (35, 9, counts)
    assert "35 frames dropped (4 frame frozen, 1 frame old, 9 camera silent, 2 answer overwritten)" in shown(summary)


def test_a_run_that_came_to_nothing_measured_nothing() -> None:
    told = unmeasured("refused", "no such thing", {"goal": "find_object", "record": None})
    assert set(told) == {item.name for item in fields(Summary)}
    assert {key: value for key, value in told.items() if value is not None} == {
        "result": "refused", "why": "no such thing", "goal": "find_object",
    }  # fmt: skip


# -- the ending


@pytest.mark.parametrize(
    ("result", "signal", "code"),
    [("reached", 0, 0), ("not_found", 0, 1), ("timeout", 0, 1), ("fault", 0, 3), ("interrupted", 2, 130), ("interrupted", 15, 143)],
)
def test_exit_codes(result: str, signal: int, code: int, plan: Plan) -> None:
    assert summarise(plan, Totals(), ending(result, signal=signal)).exit_code == code


@pytest.mark.parametrize(("result", "signal"), [("won", 0), ("", 0), ("interrupted", 0), ("reached", 2)])
def test_no_other_result_exists(result: str, signal: int, plan: Plan) -> None:
    with pytest.raises(ValueError, match=f"result {result!r}"):
        summarise(plan, Totals(), ending(result, signal=signal))


# -- shown and written


def test_the_json_has_what_the_command_promises(make_look, make_tick, plan: Plan, tmp_path: Path) -> None:
    totals = Totals()
    totals.look(make_look(1, 1)[2])
    totals.tick(make_tick(1_000_000_000, late_ns=20 * MS))
    totals.tick(make_tick(3_500_000_000))
    text = summarise(plan, totals, ending(record=tmp_path)).to_json()
    assert "\n" not in text
    told = json.loads(text)
    assert {key: told[key] for key in ("result", "goal", "target", "time_s", "path_m", "simulated", "record")} == {
        "result": "reached", "goal": "find_object", "target": "cup", "time_s": 2.5, "path_m": 0.0, "simulated": True,
        "record": str(tmp_path),
    }  # fmt: skip
    assert (told["see_p50_ms"], told["see_p99_ms"], told["steer_late_fraction"]) == (200.0, 200.0, 0.5)
    assert told["stages"]["see"] == {"p50_ms": 200.0, "p99_ms": 200.0, "n": 1}


def test_the_summary_is_saved_or_says_why_not(plan: Plan, tmp_path: Path) -> None:
    summary = summarise(plan, Totals(), ending())
    assert save(summary, tmp_path) == ""
    assert json.loads((tmp_path / "summary.json").read_text()) == json.loads(summary.to_json())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "summary.json").symlink_to("/dev/full")
    assert save(summary, tmp_path / "full") == f"no summary.json in {tmp_path / 'full'}: No space left on device"


def test_simulated_is_the_first_word(plan: Plan) -> None:
    assert shown(summarise(plan, Totals(), ending())).startswith("SIMULATED  reached  cup reached: 0.44 m ahead")
    assert shown(summarise(plan, Totals(), ending(simulated=False))).startswith("reached  ")


def test_a_person_reads_every_part(make_look, make_tick, plan: Plan, tmp_path: Path) -> None:
    totals = Totals()
    totals.look(make_look(1, 1, Reply("<loc0001>", 0.9))[2], Stages(12 * MS, 180 * MS, 50_000))
    totals.tick(make_tick(0, action=halt("waiting for a look")), spent_ns=400_000)
    status = Status(1, 2, GuardState.FAULT_LATCHED, FaultCode.FEEDBACK_GAP)
    why, words, notice = "[bold]no markup[/bold]", "a cup [on] the floor", "recording ended early: x"
    text = shown(summarise(plan, totals, ending("fault", why=why, words=words, record=tmp_path, notice=notice, status=status)))
    for part in (
        why, words, notice, "find_object cup, engine scripted", "1 × want 4 <locNNNN>", "1 × waiting for a look", "feedback_gap",
        "camera", "180.0", "steer", "0.4",
    ):  # fmt: skip
        assert part in text, part


def test_goals_without_a_target_are_named_alone(plan: Plan) -> None:
    summary = summarise(replace(plan, goal=Goal.AVOID, target=None), Totals(), ending())
    assert "avoid, engine scripted" in shown(summary)
    assert json.loads(summary.to_json())["target"] is None
