"""`gst-launch-1.0` as a child: started from a list of words, heard, ended. Knows nothing about frames.

A process of its own needs no OpenCV built with GStreamer, and a plugin that crashes takes nothing with it.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress

from edge_vla.errors import CameraError, ConfigError

TOOL = "gst-launch-1.0"
INSTALL = "apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
SAID_LINES, LINE_BYTES = 40, 500  # of what it says: the newest
COMPLAINT = 900  # characters of them that are told
LONG = 4096  # more of a line is not looked at
END_S = 1.0  # a source that waits for its device does not hear the first word
# The child dies with the thread that started it, a camera's own. Python first: a hook in the forked child may deadlock among threads.
WITH_US = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9)\n"  # PR_SET_PDEATHSIG, SIGKILL
    "os.getppid() == int(sys.argv[1]) or os._exit(1)\n"  # it died before that
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)
CHATTER = re.compile(
    r"(/GstPipeline:|Setting pipeline|Pipeline is|Freeing|New clock|Redistribute|Got EOS|Execution ended|EOS received|Interrupt|handling)"
)
SIZE = re.compile(r"caps = video/x-raw.* width=\(int\)(\d+), height=\(int\)(\d+)")
RUNS = re.compile(r"Pipeline is (live|PREROLLING|PREROLLED)|Setting pipeline to PLAYING")


def words_of(pipeline: str) -> list[str]:
    """A pipeline's text as words. Raises ConfigError for what could be none."""
    try:
        words = shlex.split(pipeline)
    except ValueError as err:
        raise ConfigError(f"pipeline {pipeline!r}: {err}") from err
    ends = {0, len(words) - 1} | {k + 1 for k, word in enumerate(words) if word == "!"}
    if not words or any(words[k] == "!" for k in ends if k < len(words)):
        raise ConfigError(f"pipeline {pipeline!r}: want elements with a '!' between each two, for example 'videotestsrc is-live=true'")
    if "\0" in pipeline or words[0].startswith("-"):
        raise ConfigError(f"pipeline {pipeline!r}: want elements, not options of {TOOL}")
    return words


class Launch:
    """One pipeline that writes to `sink`, a descriptor it inherits. `wait` takes in what it says. Everything in one thread."""

    def __init__(self, words: list[str], sink: int) -> None:
        if shutil.which(TOOL) is None:
            raise CameraError(f"no {TOOL} here: {INSTALL}")
        self.runs = False  # its elements are linked and their devices open
        self.size: tuple[int, int] | None = None  # of the newest video that was agreed on, anywhere in the pipeline
        self.silent = False  # it has ended
        self._said = deque[str](maxlen=SAID_LINES)
        self._rest = b""
        command = [sys.executable, "-I", "-S", "-c", WITH_US, str(os.getpid()), TOOL, "-v", *words]
        self._child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[sink],
            start_new_session=True, env={**os.environ, "LC_ALL": "C"},  # its words are read
        )  # fmt: skip
        assert self._child.stdout is not None  # noqa: S101 - for mypy
        self._ear = self._child.stdout.fileno()

    @property
    def pid(self) -> int:
        return self._child.pid

    def wait(self, sources: list[int], timeout_s: float) -> list[int]:
        """Those of `sources` that can be read, after at most so long; what the pipeline says meanwhile is taken in."""
        ready, _, _ = select.select([*sources, *([] if self.silent else [self._ear])], [], [], timeout_s)
        if self._ear in ready:
            self._hear()
        return [source for source in ready if source != self._ear]

    def _hear(self) -> None:
        data = os.read(self._ear, 65536)
        self.silent = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-LINE_BYTES:]
        for line in [*lines, self._rest] if self.silent else lines:
            self._note(line[:LONG].decode("utf-8", "replace").strip())

    def complaint(self) -> str:
        """What it said that is no chatter."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(END_S)
        return " ".join(dict.fromkeys(self._said))[:COMPLAINT] or f"exit code {self._child.returncode}"

    def end(self) -> None:
        """Politely first: a camera's daemon may keep what a killed client had open. Then for certain, and reaped."""
        for number in (signal.SIGINT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(END_S)
                break
        if self._child.stdout is not None:
            self._child.stdout.close()

    def _note(self, line: str) -> None:
        if RUNS.match(line):
            self.runs = True
        if found := SIZE.search(line):
            self.size = int(found[1]), int(found[2])
        if line and not CHATTER.match(line):
            self._said.append(line[:LINE_BYTES])
