"""Lines on a disk that is full, stuck, or has room for half a line: with real kernels' refusals, without a clock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_vla.guard.lines import LineLog

CLOSE_S = 0.2
LIMITED = """
import resource, sys
from edge_vla.guard.lines import LineLog
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
log = LineLog(sys.argv[1], 100, 5.0)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
for n in range(6):
    log.write(b"%029d\\n" % n)
while log.lost < 3 or not log._lines.empty():
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.write(b"room again\\n")
log.close()
print(log.lost)
"""


def test_lines_arrive_whole_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"before\n")
    with LineLog(str(path), 100, 5.0) as log:
        for n in range(100):
            log.write(b"%d\n" % n)
    assert path.read_bytes() == b"before\n" + b"".join(b"%d\n" % n for n in range(100))
    assert log.lost == 0


def test_a_full_disk_costs_lines_and_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    log = LineLog("/dev/full", 100, 5.0)
    for _ in range(10):
        log.write(b"x\n")
    log.close()
    assert log.lost == 10
    assert capfd.readouterr().err.splitlines() == [
        "/dev/full: No space left on device: lines are lost",
        "/dev/full: 10 lines were lost",
    ]


def test_half_a_line_is_none_and_what_follows_is_whole(tmp_path: Path, checkout: Path) -> None:
    """The kernel takes 10 bytes of the fourth line, then nothing, then everything."""
    path = tmp_path / "lines"
    result = subprocess.run([sys.executable, "-c", LIMITED, str(path)], cwd=checkout, capture_output=True, text=True, check=True)
    assert path.read_bytes() == b"".join(b"%029d\n" % n for n in range(3)) + b"room again\n"
    assert result.stdout == "3\n"
    assert result.stderr.splitlines() == [f"{path}: no room for a whole line: lines are lost", f"{path}: 3 lines were lost"]


def test_a_stuck_disk_costs_lines_and_keeps_nobody(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = LineLog(str(pipe), 100, CLOSE_S)
    for _ in range(300):  # 64 KiB fit into the pipe, then its writer waits for ever
        log.write(b"x" * 4095 + b"\n")
    assert log.lost >= 300 - 100 - 17
    log.close()
    assert log._thread.is_alive()
    os.close(reader)  # the writer gets EPIPE and ends with the test
    log._thread.join(5)
    assert not log._thread.is_alive()


def test_a_file_that_cannot_be_opened_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LineLog(str(tmp_path / "missing" / "lines"), 100, CLOSE_S)
