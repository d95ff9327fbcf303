"""A recording replays to the same actions, and only to those."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_vla import replay as replay_module
from edge_vla.behaviours import go
from edge_vla.behaviours.state import Phase
from edge_vla.errors import ConfigError
from edge_vla.replay import SHOWN, load, main, replay

TICKS, LOOKS = 60, 9  # of the copy: the first two seconds


@pytest.fixture
def copy(recorded, tmp_path: Path) -> Path:
    """The beginning of the recorded run, to be spoilt."""
    (tmp_path / "copy").mkdir()
    shutil.copy(recorded.folder / "run.json", tmp_path / "copy")
    for name, count in (("ticks.jsonl", TICKS), ("looks.jsonl", LOOKS)):
        lines = (recorded.folder / name).read_text().splitlines(keepends=True)
        (tmp_path / "copy" / name).write_text("".join(lines[:count]))
    return tmp_path / "copy"


def change(path: Path, edit: Callable[[dict], object], line: int = 0) -> None:
    """Edit one record of a JSON or JSON-lines file in place."""
    whole = path.suffix == ".json"
    records = [json.loads(path.read_text())] if whole else [json.loads(text) for text in path.read_text().splitlines()]
    edit(records[line])
    path.write_text(json.dumps(records[0]) if whole else "".join(json.dumps(record) + "\n" for record in records))


# -- identical


def test_a_whole_run_replays_to_identical_actions(recorded) -> None:
    result = replay(recorded.folder)
    assert result.identical
    assert (result.differing, result.differences, result.notes) == (0, (), ())
    assert (result.ticks, result.looks) == (len(recorded.ticks), len(recorded.frames))
    assert {tick.phase for tick in recorded.ticks} == {Phase.SEARCH, Phase.APPROACH, Phase.ARRIVED, Phase.DONE}  # not a trivial run
    assert sum(tick.action.linear_x > 0 for tick in recorded.ticks) > 100


def test_a_run_recorded_before_there_were_policies_replays(copy: Path) -> None:
    change(copy / "run.json", lambda record: record["plan"].pop("instruction"))
    for line in range(LOOKS):
        change(copy / "looks.jsonl", lambda record: record["reply"].pop("chunk"), line)
    result = replay(copy)
    assert (result.identical, result.ticks, result.looks) == (True, TICKS, LOOKS)


def test_what_is_read_is_what_was_given(recorded) -> None:
    read = load(recorded.folder).ticks
    assert [(t.now_ns, t.pose, t.action, t.phase) for t in read] == [
        (t.inputs.now_ns, t.inputs.pose, t.action, t.phase) for t in recorded.ticks
    ]
    assert [t.look for t in read] == [t.inputs.look.seq if t.inputs.look else None for t in recorded.ticks]


def test_the_pilot_is_given_what_it_was_given(recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    given, step = [], replay_module.step
    monkeypatch.setattr(replay_module, "step", lambda state, inputs, plan: given.append(inputs) or step(state, inputs, plan))
    replay(recorded.folder)
    assert given == [tick.inputs for tick in recorded.ticks]  # the looks rebuilt from their replies included
    assert not all(inputs.armed for inputs in given)


def test_minus_zero_is_not_zero(copy: Path) -> None:
    change(copy / "ticks.jsonl", lambda record: record["action"].update(linear_x=-0.0), 30)
    (difference,) = replay(copy).differences
    assert str(difference) == "tick 30: action.linear_x was -0.0, is now 0.0"


# -- different


def test_one_gain_one_bit_off_is_seen(recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go, "STEER_GAIN", math.nextafter(go.STEER_GAIN, 3))
    result = replay(recorded.folder)
    assert not result.identical
    first = result.differences[0]
    number = int(first.where.removeprefix("tick "))
    assert (first.field, first.recorded) == ("action.angular_z", recorded.ticks[number].action.angular_z)
    assert first.replayed == pytest.approx(first.recorded, rel=1e-14)
    assert first.replayed != first.recorded
    assert len(result.differences) == SHOWN <= result.differing


def test_another_reading_of_the_replies_is_seen(recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_vla.sightings.CONFIDENCE_FLOOR", 1.5)
    result = replay(recorded.folder)
    first = next(look for look in load(recorded.folder).looks.values() if look.sighting)
    assert (result.differences[0].where, result.differences[0].recorded) == (f"look {first.seq}", first.sighting.x_m)
    assert (result.differences[0].field, result.differences[0].replayed) == ("sighting.x_m", None)


def test_another_lifetime_of_evidence_is_seen(recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_vla.pilot.EVIDENCE_FLOOR_NS", 3_000_000_000)
    result = replay(recorded.folder)
    seq, frame = min(recorded.frames.items())
    assert (result.differences[0].where, result.differences[0].field) == (f"look {seq}", "evidence_deadline_ns")
    assert result.differences[0].replayed == frame.t_capture_ns + 3_000_000_000


@pytest.mark.parametrize(("edit", "field"), [({"phase": "explore"}, "phase"), ({"armed": False, "now_ns": 10**12}, "action.action_type")])
def test_a_changed_tick_is_seen(edit: dict, field: str, copy: Path) -> None:
    change(copy / "ticks.jsonl", lambda record: record.update(edit), 30)
    result = replay(copy)
    assert result.differing == 1
    assert (result.differences[0].where, result.differences[0].field) == ("tick 30", field)


def test_a_changed_pose_is_seen(copy: Path) -> None:
    """A search that believes it has turned once around goes on differently from there."""
    change(copy / "ticks.jsonl", lambda record: record["pose"].update(yaw_rad=6.3), 30)
    result = replay(copy)
    assert result.differences[0].where == "tick 30"
    assert result.differing == TICKS - 30


# -- unusable


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_an_unknown_schema_is_refused(schema: object, copy: Path) -> None:
    change(copy / "run.json", lambda record: record.update(schema=schema))
    with pytest.raises(ConfigError, match=rf"run.json: schema {schema!r}, this edge_vla reads 1"):
        replay(copy)


@pytest.mark.parametrize("name", ["run.json", "ticks.jsonl", "looks.jsonl"])
def test_a_missing_file_is_named(name: str, copy: Path) -> None:
    (copy / name).unlink()
    with pytest.raises(ConfigError, match=rf"not a recording: .*{name}: No such file or directory"):
        replay(copy)


def test_a_cut_header_is_refused(copy: Path) -> None:
    text = (copy / "run.json").read_text()
    (copy / "run.json").write_text(text[: len(text) // 2])
    with pytest.raises(ConfigError, match=r"run.json is not JSON"):
        replay(copy)


def test_a_last_line_cut_off_is_left_out_and_said(copy: Path) -> None:
    path = copy / "ticks.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    result = replay(copy)
    assert result.identical
    assert result.ticks == TICKS - 1
    assert result.notes == ("ticks.jsonl ends in half a line, which is left out: the run was interrupted",)


def test_a_broken_line_before_the_end_is_refused(copy: Path) -> None:
    path = copy / "ticks.jsonl"
    lines = path.read_bytes().split(b"\n")
    lines[7] = lines[7][:-40]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ConfigError, match=r"ticks.jsonl:8 is not JSON"):
        replay(copy)


def test_ticks_whose_look_was_lost_at_the_end_are_left_out_and_said(copy: Path, lines) -> None:
    path = copy / "looks.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))
    lost = next(tick for tick in lines(copy / "ticks.jsonl") if tick["look"] == 6)
    result = replay(copy)
    assert result.identical
    assert (result.ticks, result.looks) == (lost["tick"], 5)
    assert result.notes == (f"ticks from {lost['tick']} on rest on look 6, which was not recorded: left out",)


def test_a_look_lost_in_the_middle_is_refused(copy: Path) -> None:
    path = copy / "looks.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:4] + lines[5:]))
    with pytest.raises(ConfigError, match=r"ticks.jsonl:\d+: rests on look 5, which looks.jsonl does not have"):
        replay(copy)


def test_a_lost_tick_is_refused(copy: Path) -> None:
    path = copy / "ticks.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:4] + lines[5:]))
    with pytest.raises(ConfigError, match=r"ticks.jsonl:5: tick 5, want 4"):
        replay(copy)


def test_fields_of_another_version_are_named(copy: Path) -> None:
    change(copy / "ticks.jsonl", lambda record: record.update(mood=record.pop("guard")), 3)
    with pytest.raises(ConfigError, match=r"ticks.jsonl:4: lacks \['guard'\], has unknown \['mood'\]"):
        replay(copy)


def test_values_of_another_kind_are_named(copy: Path) -> None:
    change(copy / "looks.jsonl", lambda record: record["pose"].update(x_m="far"), 2)
    with pytest.raises(ConfigError, match=r"looks.jsonl:3: pose.x_m = 'far': Input should be a valid number"):
        replay(copy)


def test_a_run_without_ticks_is_refused(copy: Path) -> None:
    (copy / "ticks.jsonl").write_text("")
    with pytest.raises(ConfigError, match="no tick was recorded"):
        replay(copy)


def test_another_machine_is_said(copy: Path) -> None:
    change(copy / "run.json", lambda record: record.update(package="0.0.1", machine="pdp11"))
    (note,) = replay(copy).notes
    assert note.startswith("recorded by edge_vla 0.0.1 on pdp11, replayed by ")


# -- the command


def test_the_command_says_identical(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(copy)]) == 0
    assert capsys.readouterr().out == "identical: 60 ticks and 9 looks\n"


def test_the_command_says_what_is_different(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(copy / "ticks.jsonl", lambda record: record["action"].update(confidence=0.5), 2)
    assert main([str(copy)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("DIFFERENT in 1 of ")
    assert out[1] == "  tick 2: action.confidence was 0.5, is now 1.0"
    assert main([str(copy), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["identical"], told["differing"]) == (False, 1)
    assert told["differences"] == [{"where": "tick 2", "field": "action.confidence", "recorded": 0.5, "replayed": 1.0}]


def test_the_command_refuses_what_is_no_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("replay: not a recording: ")
