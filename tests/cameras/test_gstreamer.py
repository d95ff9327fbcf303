"""GStreamer pipelines as cameras: what is started, what comes out to the last byte, what an error says, and that nothing is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge_vla.cameras import make_camera
from edge_vla.cameras.gstreamer import GStreamerCamera, tail
from edge_vla.cameras.launch import words_of
from edge_vla.cameras.stalls import STALL_NS
from edge_vla.cameras.wanted import Wanted
from edge_vla.errors import CameraError, ConfigError
from tests.cameras.pictures import await_frame
from tests.cameras.rigs import NO_GSTREAMER, GStreamerRig
from tests.cameras.test_contract import picture

READ_S = 20.0
GREY = "videotestsrc is-live=true pattern=solid-color foreground-color=0xff0a141e"
installed = pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason=NO_GSTREAMER)


def open_pipeline(pipeline: str, width: int = 320, height: int = 240, fps: int = 30, **options: object) -> Any:
    return make_camera("gstreamer", {"pipeline": pipeline, **options}, Wanted(width, height, fps))


def refusal(pipeline: str, **options: Any) -> str:
    with pytest.raises(CameraError) as caught, closing(open_pipeline(pipeline, **options)) as camera:
        camera.read(READ_S)
    return str(caught.value)


def read_to_the_end(camera: Any) -> None:
    while True:
        camera.read(READ_S)


def gone(pid: int) -> bool:
    """Dead, or a zombie whose new parent has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1] in ("Z", "X")
    except OSError:
        return True


def until_gone(pid: int) -> bool:
    give_up_s = time.monotonic() + READ_S
    while not gone(pid) and time.monotonic() < give_up_s:
        time.sleep(0.01)
    return gone(pid)


# -- what is started
def test_the_newest_buffer_alone_goes_into_the_pipe() -> None:
    queue = "queue leaky=downstream max-size-buffers=1 max-size-bytes=0 max-size-time=0 ! videoconvert"
    assert " ".join(tail(Wanted(640, 480, 30), "exact")) == f"{queue} ! video/x-raw,format=RGB,width=640,height=480"
    scaled = "videoscale add-borders=false ! video/x-raw,format=RGB,width=640,height=480,pixel-aspect-ratio=1/1"
    assert " ".join(tail(Wanted(640, 480, 30), "resize")) == f"{queue} ! {scaled}"


def test_a_pipelines_text_is_split_as_a_shell_would_and_none_is_started() -> None:
    assert words_of("rtspsrc location='rtsp://a/b c' ! fakesink") == ["rtspsrc", "location=rtsp://a/b c", "!", "fakesink"]
    assert words_of("a x=$(reboot) ; b") == ["a", "x=$(reboot)", ";", "b"]  # words to gst-launch, which refuses them


@pytest.mark.parametrize("text", ["", "  ", "!", "a !", "! a", "a ! ! b", "a 'b", "--help", "-e videotestsrc", "a\0b"])
def test_what_can_be_no_pipeline_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="pipeline"):
        words_of(text)


@pytest.mark.parametrize(("latency_ms", "good"), [(0.0, True), (1000, True), (-0.1, False), (1000.1, False), (float("nan"), False)])
@installed
def test_a_latency_that_no_camera_has_is_refused(latency_ms: float, good: bool) -> None:
    if good:
        open_pipeline(GREY, latency_ms=latency_ms).close()
    else:
        with pytest.raises(ConfigError, match=r"latency_ms = .*want 0 to 1000"):
            open_pipeline(GREY, latency_ms=latency_ms)


def test_another_way_to_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="fit = 'resise': want one of exact, resize; did you mean 'resize'"):
        open_pipeline(GREY, fit="resise")


def test_without_the_tool_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no gst-launch-1.0 here: apt-get install gstreamer1.0-tools" in refusal(GREY)


# -- what comes out
@installed
@pytest.mark.parametrize("width", [320, 321, 322, 323])
def test_rows_of_any_width_are_exact(width: int) -> None:
    """GStreamer fills rows up to four bytes; what it fills with is no picture."""
    with closing(open_pipeline(GREY, width)) as camera:
        frame = camera.read(READ_S)
        assert frame.rgb.shape == (240, width, 3)
        assert frame.rgb.flags.c_contiguous
        assert (frame.rgb == (10, 20, 30)).all()


@installed
def test_the_profiles_size_and_rate_can_be_named_in_the_pipeline() -> None:
    caps = "video/x-raw,width={width},height={height},framerate={fps}/1"
    with closing(open_pipeline(f"{GREY} ! {caps}", 64, 48, 10)) as camera:
        assert "video/x-raw,width=64,height=48,framerate=10/1" in camera.pipeline
        assert camera.read(READ_S).rgb.shape == (48, 64, 3)


@installed
def test_another_size_is_scaled_only_when_the_profile_says_so() -> None:
    big = f"{GREY} ! video/x-raw,width=640,height=400"
    assert "the profile wants 320x240 and the device gives 640x400" in refusal(big)
    with closing(open_pipeline(big, fit="resize")) as camera:
        assert (camera.read(READ_S).rgb == (10, 20, 30)).all()  # no black bars


@installed
def test_another_size_that_shows_only_while_it_runs_is_refused_too(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(640 * 400 * 3))
    read = f"multifilesrc location={raw} loop=true ! rawvideoparse format=rgb width=640 height=400"
    said = refusal(read)  # what is agreed on is told by the way, and on a busy machine an error comes first
    assert "the profile wants 320x240 and the device gives 640x400" in said or "the pipeline gives no 320x240" in said, said


@installed
def test_the_latency_makes_a_frame_older() -> None:
    with closing(open_pipeline(GREY, latency_ms=80.0)) as camera:
        came_ns = camera.read(READ_S).t_capture_ns
        assert time.monotonic_ns() - came_ns >= 80_000_000


@installed
def test_frames_that_came_while_the_worker_stood_still_are_thrown_away(tmp_path: Path) -> None:
    """The thread is kept from running with frames on their way: none of them may look new afterwards."""
    rig = GStreamerRig(tmp_path)
    with closing(rig.open()) as camera:
        rig.show(picture(10))
        first = camera.read(READ_S)
        with camera._changed:  # it hangs with the frame 20 in its hands, stamped in time
            rig.write(picture(20).tobytes())
            while camera._seq == first.seq:
                time.sleep(0.001)
            rig.write(picture(30).tobytes())
            time.sleep(2 * STALL_NS * 1e-9)
            held_ns = time.monotonic_ns()
        in_time = camera.read(READ_S)
        assert (in_time.rgb[100, 100, 0], held_ns - in_time.t_capture_ns > STALL_NS) == (20, True)
        rig.show(picture(40))
        newest = camera.read(READ_S)
        assert newest.rgb[100, 100, 0] == 40
        assert newest.seq - in_time.seq >= 2  # 30 was seen and left out
        assert camera.dropped >= 1
        assert newest.t_capture_ns > held_ns
    rig.close()


# -- errors
@installed
@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("nosuchelement", ('no element "nosuchelement"', "tried: gst-launch-1.0 nosuchelement")),
        ("videotestsrc pattern=nosuch", ('could not set property "pattern"',)),
        ("filesrc location=/no/such/file ! decodebin", ('No such file "/no/such/file"',)),
        ("v4l2src device=/dev/video97", ("Cannot identify device '/dev/video97'", "video devices here: ")),
        ("videotestsrc num-buffers=0", ("has ended", "exit code 0")),
    ],
)
def test_a_pipeline_that_fails_says_why_in_gstreamers_own_words(pipeline: str, words: tuple[str, ...]) -> None:
    said = refusal(pipeline)
    assert f"gstreamer camera '{pipeline}'" in said
    assert all(word in said for word in words), said
    assert len(said) < 2000


@installed
def test_a_password_in_a_pipeline_is_not_told() -> None:
    said = refusal("rtspsrc location=rtsp://me:hunter2@127.0.0.1:1/x ! nosuchelement")
    assert "me:***@127.0.0.1" in said
    assert "hunter2" not in said


@installed
def test_a_pipeline_that_is_killed_is_an_error_at_once() -> None:
    with closing(open_pipeline(GREY)) as camera:
        camera.read(READ_S)
        os.kill(camera.child, signal.SIGKILL)
        with pytest.raises(CameraError, match=r"the pipeline has ended: exit code -9"):
            read_to_the_end(camera)


# -- what is left behind
@installed
def test_closing_ends_and_reaps_the_pipeline() -> None:
    camera = open_pipeline(GREY)
    pid = camera.child
    assert not gone(pid)
    camera.close()
    assert not Path(f"/proc/{pid}").exists()


@installed
def test_a_source_that_hears_nothing_is_killed(tmp_path: Path) -> None:
    """It waits for its FIFO and never comes to look at a signal."""
    rig = GStreamerRig(tmp_path)
    camera = rig.open()
    pid = camera.child
    camera.close()
    assert not Path(f"/proc/{pid}").exists()
    rig.close()


SCRIPT = f"""
import os
from edge_vla.cameras.gstreamer import GStreamerCamera
from edge_vla.cameras.wanted import Wanted
camera = GStreamerCamera(Wanted(320, 240, 30), {GREY!r})
camera.read(20.0)
print(camera.child, flush=True)
input()
"""


@pytest.fixture
def worker(checkout: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


@installed
def test_a_pipeline_dies_with_a_worker_that_is_killed(worker: subprocess.Popen[str]) -> None:
    assert worker.stdout is not None
    pid = int(worker.stdout.readline())
    assert not gone(pid)
    worker.kill()
    assert until_gone(pid)


@installed
def test_a_reader_that_does_not_read_is_no_queue() -> None:
    """A second of unread frames: the next one read is of now."""
    with closing(open_pipeline(f"{GREY} ! video/x-raw,framerate=30/1")) as camera:
        assert isinstance(camera, GStreamerCamera)
        assert await_frame(camera, lambda: camera.arrived >= 30)
        asked_ns = time.monotonic_ns()
        assert camera.read(READ_S).seq >= 30
        assert asked_ns - camera.read(READ_S).t_capture_ns < 100_000_000
        assert camera.dropped >= 29
