"""What a recording holds, and what becomes of it when the disk does not."""

from __future__ import annotations

import json
import os
import re
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla import __version__, record
from edge_vla.errors import ConfigError
from edge_vla.goals import Goal
from edge_vla.record import MAX_ITEMS, Recorder, Stages, frame_path, plain, run_folder
from edge_vla.types import ActionType, Frame, Pose, Reply

STAMP = r"\d{8}-\d{6}"


# -- what it holds


def test_the_header_says_what_was_run(make_recorder: Callable[..., Recorder], tmp_path: Path) -> None:
    make_recorder().close()
    header = json.loads((tmp_path / "run" / "run.json").read_text())
    assert header["schema"] == 1
    assert (header["goal"], header["target"], header["prompt"], header["simulated"]) == ("find_object", "cup", "detect cup", True)
    assert header["engine"] == {"name": "scripted", "manifest": "ab12"}
    assert header["profile"] == {"robot": {"name": "test"}}
    assert header["package"] == __version__
    assert header["plan"] == header["plan"] | {
        "goal": "find_object", "target": "cup", "stop_at_m": 0.45, "max_linear_mps": 0.35, "max_angular_rps": 1.0, "compensate": True,
        "commands": [],
        "camera": {"hfov_rad": 1.2217304763960306, "aspect": 4 / 3, "height_m": 0.25, "pitch_rad": 0.17453292519943295, "forward_m": 0.08},
    }  # fmt: skip


def test_a_tick_line_holds_all_that_step_was_given(make_recorder, make_tick, make_look, lines, tmp_path: Path) -> None:
    pose = Pose(1_000_000_007, 0.1, -1e-17, 2 / 3)
    with make_recorder() as recorder:
        recorder.tick(make_tick(1_000_000_007, None, pose, held=True, late_ns=41_000), {"clamps": 2})
        recorder.tick(make_tick(1_033_000_000, make_look(7, 900_000_000)[2], armed=False), {"clamps": 2, "faults": 1})
    first, second = lines(tmp_path / "run" / "ticks.jsonl")
    assert first == {
        "tick": 0, "now_ns": 1_000_000_007, "pose": {"t_ns": 1_000_000_007, "x_m": 0.1, "y_m": -1e-17, "yaw_rad": 2 / 3}, "look": None,
        "armed": True, "held": True, "phase": "approach", "guard": "MOVING", "cause": "NONE",
        "applied_linear_x": 0.25, "applied_angular_z": 0.5, "late_ns": 41_000, "new": {"clamps": 2},
        "action": {
            "action_type": "navigate", "linear_x": 0.25, "linear_y": 0.0, "angular_z": 0.5, "target_object": "cup", "confidence": 1.0,
            "description": "approaching", "max_turn_rad": 0.6, "max_travel_m": 0.3,
        },
    }  # fmt: skip
    assert (second["tick"], second["look"], second["pose"], second["armed"], second["new"]) == (1, 7, None, False, {"faults": 1})


def test_a_look_line_holds_all_that_understand_was_given(make_recorder, make_look, lines, tmp_path: Path) -> None:
    frame, reply, look = make_look(12, 5_000_000_000, pose=Pose(5_000_000_000, 1.0, 2.0, 0.0))
    with make_recorder() as recorder:
        recorder.look(frame, reply, look, 300_000_000, Stages(10_000_000, 150_000_000, 40_000))
    (line,) = lines(tmp_path / "run" / "looks.jsonl")
    assert line["reply"] == {
        "text": "<loc0256><loc0256><loc0512><loc0512> cup", "confidence": 0.9, "free_distance_m": [0.2, 0.7, 2.0, 4.0], "latency_s": 0.15,
        "chunk": None,
    }  # fmt: skip
    assert (line["seq"], line["t_capture_ns"], line["t_ready_ns"], line["p99_ns"]) == (12, 5_000_000_000, 5_200_000_000, 300_000_000)
    assert line["evidence_deadline_ns"] == 5_600_000_000  # twice the p99 after the exposure
    assert line["pose"] == {"t_ns": 5_000_000_000, "x_m": 1.0, "y_m": 2.0, "yaw_rad": 0.0}
    assert line["stages"] == {"camera_ns": 10_000_000, "engine_ns": 150_000_000, "parse_ns": 40_000}
    assert line["box"] == {"y_min": 0.25, "x_min": 0.25, "y_max": 0.5, "x_max": 0.5, "label": "cup"}
    assert line["sighting"]["range_m"] == pytest.approx(look.sighting.range_m, abs=0)
    assert (line["prompt"], line["rejected"]) == ("detect cup", "")


def test_the_image_of_a_look_is_kept_as_it_was(recorded) -> None:
    assert recorded.outcome == "reached"
    assert (recorded.notice, recorded.dropped) == ("", 0)
    assert {int(path.stem) for path in (recorded.folder / "frames").glob("*.jpg")} == set(recorded.frames)
    seq, frame = max(recorded.frames.items())
    rgb = cv2.cvtColor(cv2.imread(str(frame_path(recorded.folder, seq))), cv2.COLOR_BGR2RGB)
    assert rgb.shape == frame.rgb.shape
    assert np.abs(rgb.astype(int) - frame.rgb).mean() < 4  # of 255: sensor noise is what JPEG loses


def test_a_frame_nobody_asked_about_is_kept_too_and_written_once(make_recorder, make_look, tmp_path: Path) -> None:
    frame, reply, look = make_look(3, 1)
    with make_recorder() as recorder:
        recorder.frame(Frame(np.full((120, 160, 3), 200, np.uint8), 1, 3))
        recorder.look(frame, reply, look, 300_000_000)  # would be the same image, had this not been a test
    assert frame_path(tmp_path / "run", 3).name == "000003.jpg"
    assert cv2.imread(str(frame_path(tmp_path / "run", 3))).shape == (120, 160, 3)


@given(st.lists(st.floats(allow_nan=False), min_size=4, max_size=4))
def test_floats_come_back_bit_for_bit(values: list[float]) -> None:
    back = json.loads(json.dumps(plain(Pose(0, *values[:3])) | {"free": plain(Reply("", values[3], tuple(values))).get("free_distance_m")}))
    assert struct.pack("7d", back["x_m"], back["y_m"], back["yaw_rad"], *back["free"]) == struct.pack("7d", *values[:3], *values)


def test_numpy_scalars_are_written_as_numbers() -> None:
    assert json.dumps(plain({"f": np.float32(0.5), "n": np.int64(3), "kind": ActionType.MOVE})) == '{"f": 0.5, "n": 3, "kind": "move"}'


# -- where it lies


def test_every_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / "runs", Goal.FIND_OBJECT, "cup") for _ in range(5)]
    assert len(set(folders)) == 5
    assert all(folder.is_dir() and re.fullmatch(rf"{STAMP}-find_object-cup(-\d)?", folder.name) for folder in folders)


@pytest.mark.parametrize(
    ("target", "end"),
    [(None, "avoid"), ("../../etc/x", "avoid-etc-x"), ("Orange Ball", "avoid-Orange-Ball"), ("컵", "avoid-컵"), ("!", "avoid")],
)
def test_a_folder_name_is_one_safe_part_of_a_path(target: str | None, end: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path, Goal.AVOID, target)
    assert folder.parent == tmp_path
    assert re.fullmatch(rf"{STAMP}-{re.escape(end)}", folder.name)


def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot record to .*file: Not a directory"):
        run_folder(tmp_path / "file", Goal.STOP)


def test_a_run_is_never_written_over_another(make_recorder, make_tick, tmp_path: Path) -> None:
    with make_recorder() as recorder:
        recorder.tick(make_tick(1))
    with pytest.raises(ConfigError, match="holds a run already"):
        make_recorder()
    assert (tmp_path / "run" / "ticks.jsonl").read_text().count("\n") == 1


def test_a_recording_that_cannot_begin_says_so_before_anything_moves(make_recorder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot record to .*: Not a directory"):
        make_recorder(tmp_path / "file" / "run")


# -- when the disk fails


def test_a_full_disk_ends_the_recording_with_one_notice_and_nothing_else(
    make_recorder, make_tick, make_look, lines, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "ticks.jsonl").symlink_to("/dev/full")
    recorder = make_recorder()
    recorder.look(*make_look(1, 1_000), 300_000_000)
    recorder.tick(make_tick(2_000))
    recorder.close()
    assert recorder.notice == "recording ended early: No space left on device"
    assert recorder.dropped == 1
    recorder.tick(make_tick(3_000))
    recorder.look(*make_look(2, 4_000), 300_000_000)
    assert recorder.dropped == 4  # the tick, the look and its image
    assert [line["seq"] for line in lines(tmp_path / "run" / "looks.jsonl")] == [1]


def test_frames_that_cannot_be_written_end_the_recording(make_recorder, make_look, tmp_path: Path) -> None:
    recorder = make_recorder()
    (tmp_path / "run" / "frames").rmdir()
    recorder.look(*make_look(1, 1_000), 300_000_000)
    recorder.close()
    assert recorder.notice == "recording ended early: No such file or directory"
    assert recorder.dropped == 1


def test_an_image_that_is_none_ends_the_recording(make_recorder) -> None:
    recorder = make_recorder()
    recorder.frame(Frame(np.zeros((0, 0, 3), np.uint8), 1, 1))
    recorder.close()
    assert recorder.notice.startswith("recording ended early: ")
    assert recorder.dropped == 1


@pytest.fixture
def stalled(make_recorder, tmp_path: Path) -> Iterator[tuple[Recorder, int]]:
    """A recorder whose disk takes 64 kB of ticks and then no more, and the other end of that disk."""
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "ticks.jsonl")
    disk = os.open(tmp_path / "run" / "ticks.jsonl", os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(disk, True)
    recorder = make_recorder()
    yield recorder, disk
    os.close(disk)  # a write that still hangs ends with EPIPE
    recorder.close()


def test_a_slow_disk_costs_ticks_and_no_time(stalled: tuple[Recorder, int], make_tick) -> None:
    recorder, disk = stalled
    handed = 0
    while not recorder.notice:
        recorder.tick(make_tick(handed))
        handed += 1
        assert handed < 4 * MAX_ITEMS
    assert recorder.notice == f"recording ended early: the disk is {MAX_ITEMS} items behind"
    assert recorder.dropped == 1
    received = b""
    while received.count(b"\n") < handed - 1:
        received += os.read(disk, 1 << 16)
    recorder.tick(make_tick(handed))  # there is room again, but a recording has no holes
    assert recorder.dropped == 2
    received += read_to_end(recorder, disk)
    assert [json.loads(line)["tick"] for line in received.splitlines()] == list(range(handed - 1))


def read_to_end(recorder: Recorder, disk: int) -> bytes:
    """Let the disk go on, close the recorder and return what came."""
    chunks: list[bytes] = []
    reader = threading.Thread(target=lambda: chunks.extend(iter(lambda: os.read(disk, 1 << 16), b"")))
    reader.start()
    recorder.close()
    reader.join()
    return b"".join(chunks)


def test_a_disk_that_keeps_up_is_never_too_slow(make_recorder, make_look, monkeypatch: pytest.MonkeyPatch) -> None:
    written, write = threading.Semaphore(0), record._write_image
    monkeypatch.setattr(record, "MAX_BYTES", 500_000)  # two images
    monkeypatch.setattr(record, "_write_image", lambda path, frame: (write(path, frame), written.release()))
    with make_recorder() as recorder:
        for seq in range(1, 6):
            recorder.look(*make_look(seq, seq), 300_000_000)
            assert written.acquire(timeout=30)
    assert (recorder.notice, recorder.dropped) == ("", 0)


def test_images_nobody_asked_about_give_way_first(stalled: tuple[Recorder, int], make_tick, make_look) -> None:
    recorder, disk = stalled
    stall = 64 * 1024 // 300 + MAX_ITEMS // 2 + 100  # a tick has more than 300 bytes
    for number in range(stall):
        recorder.tick(make_tick(number))
    assert not recorder.notice
    recorder.frame(make_look(1, 1)[0])
    assert (recorder.dropped, recorder.notice) == (1, "")
    assert read_to_end(recorder, disk).count(b"\n") == stall


def test_images_are_bounded_by_their_size(stalled: tuple[Recorder, int], make_tick, make_look) -> None:
    recorder, _ = stalled
    for number in range(64 * 1024 // 300 + 10):
        recorder.tick(make_tick(number))
    large = np.zeros((2160, 3840, 3), np.uint8)  # 25 MB: two fit
    for seq in range(1, 4):
        _, reply, look = make_look(seq, seq)
        recorder.look(Frame(large, seq, seq), reply, look, 300_000_000)
    assert "items behind" in recorder.notice
    assert recorder.dropped == 1


def test_a_disk_that_hangs_at_the_end_does_not_hang_the_end(stalled: tuple[Recorder, int], make_tick, monkeypatch) -> None:
    monkeypatch.setattr(record, "CLOSE_S", 0.05)
    recorder, _ = stalled
    for number in range(600):
        recorder.tick(make_tick(number))
    recorder.close()
    assert recorder.notice == "recording ended early: the disk did not take the rest within 0 s"
    assert 0 < recorder.dropped < 600


def test_what_comes_after_the_end_is_dropped_and_counted(make_recorder, make_tick) -> None:
    recorder = make_recorder()
    recorder.close()
    recorder.close()
    recorder.tick(make_tick(1))
    assert (recorder.dropped, recorder.notice) == (1, "")
