"""Network cameras: logins stay secret, errors say who answers, and what was buffered never looks new. The far sides are real servers."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from edge_vla.cameras import make_camera
from edge_vla.cameras.stalls import STALL_NS
from edge_vla.cameras.stream import FFMPEG, told_to
from edge_vla.cameras.wanted import Wanted
from edge_vla.errors import CameraError, ConfigError
from edge_vla.hidden import hide_passwords
from tests.cameras.rigs import StreamRig
from tests.cameras.test_contract import level, picture
from tests.cameras.test_gstreamer import read_to_the_end

READ_S = 20.0


@pytest.fixture
def http() -> Iterator[StreamRig]:
    rig = StreamRig("http")
    yield rig
    rig.close()


@pytest.fixture
def guarded() -> Iterator[StreamRig]:
    """An RTSP server that wants the user `me` with the password `se:cret`."""
    rig = StreamRig("rtsp", "--login")
    yield rig
    rig.close()


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("rtsp://me:hunter2@10.0.0.7:554/live", "rtsp://me:***@10.0.0.7:554/live"),
        ("'http://:x@h/' and rtsp://a:b@c", "'http://:***@h/' and rtsp://a:***@c"),
        ("rtsp://me:a:b@h/", "rtsp://me:***@h/"),
        ("rtsp://me@h/x:y@z", "rtsp://me@h/x:y@z"),
        ("http://10.0.0.7:8080/a", "http://10.0.0.7:8080/a"),
    ],
)
def test_a_password_is_hidden(text: str, want: str) -> None:
    assert hide_passwords(text) == want


@pytest.mark.parametrize(
    "url", ["", "live", "/dev/video0", "ftp://h/x", "rtsp://", "rtsp:///x", "http://h:x/", "http://h:99999/", "file:///etc/passwd"]
)
def test_what_is_no_address_of_a_camera_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="want rtsp://, rtsps://, http://, https:// and a host"):
        make_camera("rtsp", {"url": url}, Wanted(320, 240, 15))


def test_where_nobody_listens_the_error_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and does not listen
        port = free.getsockname()[1]
        with pytest.raises(CameraError) as caught:
            make_camera("http", {"url": f"http://me:hunter2@127.0.0.1:{port}/live"}, Wanted(320, 240, 15))
    assert f"network camera http://me:***@127.0.0.1:{port}/live: it does not open" in str(caught.value)
    assert f"127.0.0.1 port {port}: Connection refused" in str(caught.value)
    assert "hunter2" not in str(caught.value) + "".join(capfd.readouterr())


def test_where_somebody_answers_the_error_says_what_to_look_at(http: StreamRig) -> None:
    http.url = http.url.replace("/live", "/nothing")
    with pytest.raises(CameraError, match=r"port \d+ answers, so is it http, is /nothing what it serves"):
        http.open()


def test_a_login_is_used_and_a_wrong_one_refused(guarded: StreamRig, capfd: pytest.CaptureFixture[str]) -> None:
    plain = guarded.url
    guarded.url = plain.replace("rtsp://", "rtsp://me:wr0ng@")
    with pytest.raises(CameraError) as caught:
        guarded.open(picture(90))
    guarded.url = plain.replace("rtsp://", "rtsp://me:se%3Acret@")
    with closing(guarded.open(picture(90))) as camera:
        assert level(guarded, camera.read(READ_S), (90,)) == 90
        assert camera.name == plain.replace("rtsp://", "network camera rtsp://me:***@")
    said = str(caught.value) + "".join(capfd.readouterr())
    assert "wr0ng" not in said
    assert "cret" not in said


def test_another_size_is_refused_or_resized(http: StreamRig) -> None:
    wanted = Wanted(160, 120, 20)
    with pytest.raises(CameraError, match="the profile wants 160x120 and the device gives 320x240"):
        make_camera("http", {"url": http.url}, wanted)
    http.set(picture(90))
    with closing(make_camera("http", {"url": http.url, "fit": "resize"}, wanted)) as camera:
        assert camera.read(READ_S).rgb.shape == (120, 160, 3)


def test_the_latency_makes_a_frame_older(http: StreamRig) -> None:
    with closing(http.open(picture(90), latency_ms=120)) as camera:
        came_ns = camera.read(READ_S).t_capture_ns
        assert time.monotonic_ns() - came_ns >= 120_000_000


def test_frames_that_came_while_the_worker_stood_still_are_thrown_away(http: StreamRig) -> None:
    """For 0.6 s the thread cannot hand over; what the server sent meanwhile waits in the socket and is old."""
    with closing(http.open(picture(50))) as camera:
        beating: Any = camera._beating
        before = camera.read(READ_S)
        with camera._changed, beating._lock:
            http.set(picture(100))
            time.sleep(4 * STALL_NS * 1e-9)
            held_ns = time.monotonic_ns()
        after = camera.read(READ_S)
        while after.t_capture_ns < held_ns:  # it may have had one in its hands
            after = camera.read(READ_S)
        assert after.seq - before.seq > 4  # of 20 a second
        assert level(http, after, (50, 100)) == 100
        assert camera.dropped >= 4


def test_a_server_that_falls_silent_has_ended(http: StreamRig) -> None:
    assert http.server is not None
    with closing(http.open(picture(90))) as camera:
        camera.read(READ_S)
        os.kill(http.server._process.pid, signal.SIGSTOP)
        with pytest.raises(CameraError, match="has ended, or was silent for 1 s"):
            read_to_the_end(camera)


def test_ffmpegs_options_are_in_the_environment_only_while_something_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = FFMPEG
    monkeypatch.setenv(first, "mine")
    monkeypatch.delenv(second, raising=False)
    seen = []

    def fail() -> None:
        seen.extend(os.environ[key] for key in FFMPEG)
        raise CameraError("as cameras do")

    with pytest.raises(CameraError), told_to(FFMPEG):
        fail()
    assert seen == list(FFMPEG.values())
    assert os.environ[first] == "mine"
    assert second not in os.environ
