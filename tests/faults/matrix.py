"""All rows that run on a virtual clock, where the others are proved, and which base cannot have which fault."""

from __future__ import annotations

from edge_vla.bases import BASES
from tests.faults import rows_base, rows_camera, rows_engine, rows_host
from tests.faults.row import Row

MATRIX: list[Row] = [*rows_camera.ROWS, *rows_engine.ROWS, *rows_host.ROWS, *rows_base.ROWS]

# Rows, or their other half, that a virtual clock cannot prove: the test that does, in real processes.
PROCESSES = {
    "3 frozen picture": "tests/run/test_faults.py::test_a_frozen_camera",
    "10 engine hangs": "tests/run/test_faults.py::test_a_hung_engine",
    "11 GIL held for 2 s": "tests/faults/test_processes.py::test_11_a_worker_that_holds_the_interpreters_lock",
    "13 engine raises": "tests/run/test_faults.py::test_an_engine_that_raises",
    "14 out of memory": "tests/faults/test_processes.py::test_14_a_worker_that_runs_out_of_memory",
    "15 broken engine files": "tests/run/test_refused.py::test_a_broken_engine_is_refused_before_anything_starts",
    "23 SIGTERM, SIGINT": "tests/run/test_faults.py::test_a_signal_ends_the_run_after_confirmed_zero",
    "24 kill -9 of the worker": "tests/guard/test_process.py::test_kill_9_of_the_worker",
    "25 kill -9 of the guard": "tests/guard/test_process.py::test_kill_9_of_the_guard_leaves_it_to_the_base",
    "26 SIGSTOP, SIGCONT": "tests/guard/test_process.py::test_sigstop_of_the_worker_stops_and_sigcont_does_not_move",
    "27 serial unplugged": "tests/guard/test_process.py::test_an_unplugged_base_is_a_fault_and_no_busy_loop",
    "28 serial plugged in again": "tests/guard/test_comes_back.py::test_plugged_in_again_it_stays_latched_until_reset_and_armed",
    "29 nobody reads": "tests/faults/test_processes.py::test_29_nobody_reads_and_nothing_stale_is_driven",
    "29 a slow line": "tests/faults/test_processes.py::test_29_a_slow_line_carries_a_stop_as_fast_as_a_fast_one",
    "37 full disk": "tests/faults/test_processes.py::test_37_a_full_disk_changes_nothing",
    "37 a recording on a full disk": "tests/run/test_record.py::test_a_full_disk_ends_the_recording_with_one_notice_and_nothing_else",
    "38 STOP under a flood": "tests/guard/test_stopline.py::test_a_real_guard_is_stopped_by_a_real_process",
    "39 deadman's watcher": "tests/faults/test_processes.py::test_39_the_watcher_of_the_button",
    "40 no processor left": "tests/faults/test_processes.py::test_40_no_processor_left",
}

# (row, base): nothing else may be left out. A new base names here what it cannot have.
NOT_THERE = {
    ("sideways on two wheels", "rosmaster"),
    *(("bumper", kind) for kind in ("waveshare", "ros_arduino", "rosmaster", "roboclaw")),
    *(("edge", kind) for kind in ("waveshare", "ros_arduino", "rosmaster", "roboclaw")),
    *(("wheel in the air", kind) for kind in ("waveshare", "ros_arduino", "rosmaster", "roboclaw")),
    *(("the base stops by itself (button, charger)", kind) for kind in ("waveshare", "ros_arduino", "rosmaster", "kobuki", "roboclaw")),
    *(("current too high", kind) for kind in ("waveshare", "ros_arduino", "rosmaster")),
    ("battery low", "ros_arduino"),
    ("battery low for a moment", "ros_arduino"),
    ("a wheel that turns the wrong way", "create2"),
}


def left_out() -> dict[tuple[str, str], str]:
    """(row, base) to why that base cannot have that fault."""
    return {(row.name, kind): why for row in MATRIX for kind in BASES if (why := row.skip(kind))}
