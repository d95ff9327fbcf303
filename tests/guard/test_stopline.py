"""The STOP line: private, never full, never late; and whatever is written there is one stop."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from edge_vla import stop
from edge_vla.errors import ConfigError
from edge_vla.guard.ramp import declared_stop_s
from edge_vla.guard.state import FaultCode, GuardState
from edge_vla.guard.stopline import StopLine, private, runtime_folder, runtime_folders, stop_all
from edge_vla.guard.types import STILL, Twist

GO = Twist(0.3)


def write(path: Path, *datagrams: bytes) -> int:
    """How many went through before there was no room."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as line:
        count = 0
        with suppress(BlockingIOError):
            for datagram in datagrams:
                line.sendto(datagram, str(path))
                count += 1
    return count


@pytest.mark.parametrize("datagram", [b"STOP", b"", b"go", b"\0" * 60_000])
def test_anything_is_a_stop_and_is_heard_once(tmp_path: Path, datagram: bytes) -> None:
    with StopLine(tmp_path / "run") as line:
        assert not line.said()
        write(line.path, datagram)
        assert line.said()
        assert not line.said()


def test_it_is_private_and_gone_with_the_guard(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "run"
    with StopLine(folder) as line:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert line.path.stat().st_mode & 0o777 == 0o600
        assert line.path.name == f"{os.getpid()}.stop"
    assert list(folder.iterdir()) == []


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(ConfigError, match="mode 0755"):
        StopLine(folder)


@pytest.mark.parametrize("what", ["file", "link"])
def test_what_is_no_folder_of_ours_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "run"
    if what == "file":
        path.write_text("")
    else:
        (tmp_path / "real").mkdir(mode=0o700)
        path.symlink_to(tmp_path / "real")
    with pytest.raises(ConfigError, match="run"):
        private(path)


def test_a_name_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most 107 bytes"):
        StopLine(tmp_path / ("x" * 100))


def test_a_flood_is_one_stop_and_takes_no_more_than_its_share(tmp_path: Path) -> None:
    with StopLine(tmp_path / "run") as line:
        sent = write(line.path, *[b"STOP"] * 10_000)
        assert sent >= 1
        assert line.said()
        while line.said():
            pass
        assert write(line.path, b"STOP") == 1, "and the next one is heard again"
        assert line.said()


def test_all_guards_are_told_and_dead_ones_are_swept_away(tmp_path: Path) -> None:
    folder = private(tmp_path / "run")
    dead = folder / "1.stop"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gone:
        gone.bind(str(dead))
    with StopLine(folder) as line:
        assert stop_all(folder) == (1, 1)
        assert line.said()
        assert not dead.exists()
    assert stop_all(folder) == (0, 0)


def test_the_runtime_folder_is_the_sessions_own_or_named_after_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_folder() == tmp_path / "edge_vla"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    assert runtime_folder() == Path(f"/tmp/edge_vla-{os.getuid()}")


def test_a_guard_that_hears_it_stops_at_once_and_latches(bench) -> None:
    bench.moving(GO)
    onset_ns = bench.now_ns + 1
    output = bench.guard.tick(bench.now_ns, [], b"", stop=True)
    assert output.state is GuardState.ESTOP_LATCHED
    assert [bench.base.decode_command(frame) for frame in output.writes[1:2]] == [STILL]
    status = bench.run(1000, bench.drive(GO))
    assert status.fault is FaultCode.OPERATOR_STOP
    assert bench.first(onset_ns, lambda twist: twist != STILL) == float("inf")


def test_a_service_is_reached_from_a_login_shell_and_what_is_not_ours_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, service = private(tmp_path / "session" / "edge_vla"), private(tmp_path / "run" / "edge_vla")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "session"))
    monkeypatch.setattr("edge_vla.guard.private.SERVICE", service)
    assert runtime_folders()[:2] == [mine, service]
    assert all(
        folder in {Path(f"/run/user/{os.getuid()}/edge_vla"), Path(f"/tmp/edge_vla-{os.getuid()}")} for folder in runtime_folders()[2:]
    )
    monkeypatch.setattr("edge_vla.guard.private.SERVICE", tmp_path / "none")
    assert runtime_folders()[:1] == [mine]
    assert tmp_path / "none" not in runtime_folders()


def stop_in(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> int:
    """`python -m edge_vla.stop` where only these folders are: a test must not stop somebody's robot."""
    monkeypatch.setattr("edge_vla.guard.stopline.runtime_folders", lambda: folders)
    monkeypatch.setattr("edge_vla.stop.runtime_folders", lambda: folders)
    return stop.main()


def test_every_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [private(tmp_path / "a"), private(tmp_path / "b")]
    with StopLine(folders[0]) as one, StopLine(folders[1]) as other:
        assert stop_in(folders, monkeypatch) == 0
        assert (one.said(), other.said()) == (True, True)
    assert capsys.readouterr().out == "2 told to stop\n"


def test_nobody_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert stop_in([tmp_path], monkeypatch) == 1
    said = capsys.readouterr()
    assert said.out == "0 told to stop\n"
    assert said.err == f"no guard listens in {tmp_path}\n"


@pytest.mark.deadline
def test_a_real_guard_is_stopped_by_a_real_process(rig, checkout: Path) -> None:
    """Also while the line is flooded: zero accepted within 150 ms of the first byte, the wheels within the declared time."""
    rig.drive()
    path = runtime_folder() / f"{rig.guard_pid}.stop"
    rig.wait_for(path.exists, 3.0)
    onset_ns = rig.now_ns()
    assert write(path, *[b"STOP"] * 1000) >= 1
    _, zero_ms, still_ms = rig.measure(onset_ns)
    assert zero_ms <= 150
    assert still_ms <= 150 + 1000 * declared_stop_s(0.3, 0.15) + 15
    assert any(event == "fault" and "OPERATOR_STOP: the STOP line" in detail for event, detail in rig.events())


def test_a_line_full_of_stops_nobody_has_read_counts_as_told(tmp_path: Path) -> None:
    with StopLine(tmp_path / "run") as line:
        assert {stop_all(tmp_path / "run") for _ in range(2000)} == {(1, 0)}
        assert line.said()


def test_a_name_that_is_taken_by_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run" / f"{os.getpid()}.stop" / "kept").mkdir(parents=True)
    (tmp_path / "run").chmod(0o700)
    with pytest.raises(ConfigError, match=rf"{os.getpid()}\.stop"):
        StopLine(tmp_path / "run")
