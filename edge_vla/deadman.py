"""`python -m edge_vla.deadman --input evdev --device D --key BTN_TR`: says to every guard of this user whether a button is held.

`--as hold`: robots with `[limits] deadman_ms` move only while it is. `--as stop`: pressed, all robots stop and stay stopped until they are
reset; those with `deadman_ms` also stop when this watcher or its button is gone. It is no emergency stop: motor power stays on.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from types import FrameType

from edge_vla.errors import ConfigError
from edge_vla.guard.deadman import SUFFIX
from edge_vla.guard.loop import Backoff
from edge_vla.guard.stopline import private, runtime_folder, stop_all
from edge_vla.inputs import INPUTS, Button, InputGone, make_button

MS = 1_000_000
HELD_NS, STOP_NS = 100 * MS, 50 * MS
TURN_S = 0.05  # so often a terminal's key is asked at least
NEWS_A_TURN = 8  # of a button that chatters
NEVER_NS = 1 << 62
LOCK = "watchers.lock"


class Word(Enum):
    """What is said, as it is on the wire."""

    HELD = b"HELD\n"
    RELEASED = b"RELEASED\n"
    STOP = b"STOP"


class Purpose(Enum):
    """What the button is for."""

    HOLD = "hold"
    STOP = "stop"


class Watcher:
    """What to say when. Pure: the clock is the caller's. A button that is gone is None."""

    def __init__(self, purpose: Purpose) -> None:
        self.due_ns = NEVER_NS  # when the last word has to be said again
        self._purpose = purpose
        self._pressed: bool | None = None
        self._trusted = False  # it has been seen let go: one that is held from the start may be stuck, or wired the wrong way round

    def turn(self, now_ns: int, pressed: bool | None) -> Word | None:  # noqa: FBT001 - the button itself
        """The word to say now, None for nothing."""
        before, self._pressed = self._word(), pressed
        self._trusted = pressed is False or (pressed is True and self._trusted)
        word = self._word()
        if word is before and now_ns < self.due_ns:
            return None
        self.due_ns = now_ns + {Word.HELD: HELD_NS, Word.STOP: STOP_NS}.get(word, NEVER_NS)
        return word

    def _word(self) -> Word:
        if self._purpose is Purpose.STOP and self._pressed:
            return Word.STOP
        held = self._trusted and self._pressed is (self._purpose is Purpose.HOLD)
        return Word.HELD if held else Word.RELEASED


class Guards:
    """The lines of all guards of this user that there are at the moment. Never waits: what finds no room is counted."""

    def __init__(self, folder: Path) -> None:
        self.full = self.gone = 0
        self._folder = folder
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def say(self, word: Word) -> int:
        """To whom it may concern; how many heard it."""
        if word is Word.STOP:
            told, gone = stop_all(self._folder)
            self.gone += gone
            return told
        return sum(self._told(path, word) for path in sorted(self._folder.glob(f"*{SUFFIX}")))

    def close(self) -> None:
        self._line.close()

    def _told(self, path: Path, word: Word) -> bool:
        try:
            self._line.sendto(word.value, str(path))
        except BlockingIOError:
            self.full += 1
        except ConnectionRefusedError:  # of a guard that was killed: nobody will ever listen there
            self.gone += 1
            with suppress(OSError):
                path.unlink()
        except OSError:
            self.gone += 1
        else:
            return True
        return False


@contextmanager
def claimed(folder: Path, purpose: Purpose) -> Iterator[None]:
    """A deadman is alone: a guard believes the newest word, so another watcher's would hold what this hand has let go.

    Raises ConfigError. Gone with the process, however it ends.
    """
    fd = os.open(private(folder) / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_NB | (fcntl.LOCK_EX if purpose is Purpose.HOLD else fcntl.LOCK_SH))
        except BlockingIOError as err:
            raise ConfigError(f"{folder}: another watcher is at work, and a deadman has to be the only one") from err
        yield
    finally:
        os.close(fd)


class Watch:
    """One button and whom it concerns. `leave` may be set from a signal handler."""

    def __init__(self, watcher: Watcher, guards: Guards, make: Callable[[], Button], say: Callable[[str], object]) -> None:
        self.leave = False
        self._watcher, self._guards, self._make, self._say = watcher, guards, make, say
        self._button: Button | None = None
        self._pressed: bool | None = None
        self._retry = Backoff()
        self._last_said = ""

    def run(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """Until `leave`. Raises ConfigError for a button that no waiting makes one."""
        try:
            self._open()
            while not self.leave:
                self.turn(clock())
                self._wait(clock())
        finally:
            self._let_go(clock())

    def turn(self, now_ns: int) -> None:
        """One look at the button, and what there is to say of it."""
        if self._button is None and self._retry.due(now_ns):
            self._open()
        for _ in range(NEWS_A_TURN):
            news = self._news()
            if news is None:
                break
            self._pressed = news
            self._tell(now_ns)
        self._tell(now_ns)

    def _news(self) -> bool | None:
        if self._button is None:
            return None
        try:
            return self._button.read()
        except InputGone as err:
            self._button.close()
            self._button, self._pressed, self._retry = None, None, Backoff()
            self._told(f"{err}: as long as it is gone, nobody holds it")
            return None

    def _tell(self, now_ns: int) -> None:
        word = self._watcher.turn(now_ns, self._pressed)
        if word is not None:
            self._guards.say(word)

    def _open(self) -> None:
        try:
            self._button = self._make()
        except InputGone as err:
            self._told(f"{err}: trying again")
            return
        self._retry = Backoff()
        self._told("the button is there")

    def _wait(self, now_ns: int) -> None:
        seconds = min(TURN_S, max(0.0, (self._watcher.due_ns - now_ns) * 1e-9))
        if self._button is None:
            time.sleep(seconds)
        else:
            select.select([self._button], [], [], seconds)

    def _told(self, text: str) -> None:
        if text != self._last_said:
            self._last_said = text
            self._say(text)

    def _let_go(self, now_ns: int) -> None:
        self._pressed = None
        self._tell(now_ns)
        if self._button is not None:
            self._button.close()
            self._button = None


def main(words: list[str] | None = None) -> int:
    """0 when it was told to end, 2 for words that say nothing."""
    cli = _arguments()
    args = cli.parse_args(words)
    options = {key: value for key in OPTIONS if (value := getattr(args, key)) is not None}
    folder, purpose = runtime_folder(), Purpose(args.purpose)
    guards = Guards(folder)
    watch = Watch(Watcher(purpose), guards, lambda: make_button(args.input, options), _say)

    def leave(_number: int, _frame: FrameType | None) -> None:
        watch.leave = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        with claimed(folder, purpose):
            watch.run()
    except ConfigError as err:
        sys.stderr.write(f"deadman: {err}\n")
        return 2
    finally:
        guards.close()
    if guards.full or guards.gone:
        _say(f"{guards.full} words found no room, {guards.gone} nobody")
    return 0


OPTIONS = ("device", "key", "chip", "line", "active", "pull", "debounce_ms", "first_ms", "repeat_ms")


def _arguments() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog="python -m edge_vla.deadman", description=__doc__)
    cli.add_argument("--input", choices=tuple(INPUTS), required=True, help="what kind of button")
    cli.add_argument("--as", dest="purpose", choices=[purpose.value for purpose in Purpose], default="hold", help="default: hold")
    cli.add_argument("--device", help="evdev: /dev/input/by-id/...; keyboard: a terminal, default this one")
    cli.add_argument("--key", help="evdev: KEY_SPACE, BTN_TR, ... or a number; keyboard: space or a letter")
    cli.add_argument("--chip", help="gpio: /dev/gpiochipN")
    cli.add_argument("--line", type=int, help="gpio: its number on the chip")
    cli.add_argument("--active", choices=("low", "high"), help="gpio: what it is while pressed; a stop button that opens: high")
    cli.add_argument("--pull", choices=("up", "down", "none"), help="gpio: default up")
    cli.add_argument("--debounce-ms", type=int, help="gpio: default 5")
    cli.add_argument("--first-ms", type=int, help="keyboard: how long a first press counts, default 600")
    cli.add_argument("--repeat-ms", type=int, help="keyboard: silence that is a release once it repeats, default 150")
    return cli


def _say(text: str) -> None:
    sys.stderr.write(f"deadman: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
