"""What a watcher says when, on a clock of the test's own; and to whom, over real sockets."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.deadman import Guards, Purpose, Watch, Watcher, Word
from edge_vla.guard.deadman import DeadmanLine
from edge_vla.guard.stopline import StopLine, private
from edge_vla.inputs import InputGone

MS = 1_000_000
HELD, RELEASED, STOP = Word.HELD, Word.RELEASED, Word.STOP
Said = list[tuple[int, Word]]


def played(purpose: Purpose, *steps: tuple[int, bool | None], until_ms: int, every_ms: int = 1) -> Said:
    """(ms, word) of a watcher that is turned every `every_ms`; a step is the button from that ms on."""
    watcher, said, states = Watcher(purpose), Said(), dict(steps)
    state: bool | None = None
    for ms in range(until_ms):
        state = states.get(ms, state)
        if ms % every_ms == 0 and (word := watcher.turn(ms * MS, state)) is not None:
            said.append((ms, word))
    return said


def test_held_is_said_at_once_and_every_100_ms_and_released_once() -> None:
    said = played(Purpose.HOLD, (0, False), (10, True), (250, False), until_ms=600)
    assert said == [(10, HELD), (110, HELD), (210, HELD), (250, RELEASED)]


def test_a_button_that_is_held_from_the_start_has_to_be_let_go_first() -> None:
    assert played(Purpose.HOLD, (0, True), until_ms=500) == []
    assert played(Purpose.HOLD, (0, True), (300, False), (310, True), until_ms=320) == [(310, HELD)]


def test_a_button_that_is_gone_is_let_go_and_held_again_only_by_a_fresh_press() -> None:
    said = played(Purpose.HOLD, (0, False), (10, True), (50, None), (90, True), (200, False), (210, True), until_ms=300)
    assert said == [(10, HELD), (50, RELEASED), (210, HELD)]


def test_a_stop_button_says_stop_at_once_and_every_50_ms_and_held_while_it_is_not_pressed() -> None:
    said = played(Purpose.STOP, (0, False), (230, True), (340, False), until_ms=450)
    assert said == [(0, HELD), (100, HELD), (200, HELD), (230, STOP), (280, STOP), (330, STOP), (340, HELD), (440, HELD)]


def test_a_stop_button_that_is_pressed_from_the_start_stops() -> None:
    assert played(Purpose.STOP, (0, True), until_ms=60) == [(0, STOP), (50, STOP)]


def test_a_stop_button_that_is_gone_is_no_longer_vouched_for() -> None:
    assert played(Purpose.STOP, (0, False), (50, None), until_ms=400) == [(0, HELD), (50, RELEASED)]
    assert played(Purpose.STOP, (0, True), (20, None), until_ms=400) == [(0, STOP), (20, RELEASED)]


@pytest.mark.parametrize("purpose", Purpose)
def test_a_button_that_never_was_there_says_nothing(purpose: Purpose) -> None:
    assert played(purpose, until_ms=500) == []


def test_after_a_pause_there_is_no_burst() -> None:
    watcher = Watcher(Purpose.HOLD)
    watcher.turn(0, False)
    assert watcher.turn(1 * MS, True) is HELD
    assert [watcher.turn(now_ms * MS, True) for now_ms in (5000, 5001, 5099, 5100)] == [HELD, None, None, HELD]
    assert watcher.due_ns == 5200 * MS


@given(st.sampled_from(Purpose), st.lists(st.tuples(st.integers(0, 150), st.sampled_from([True, False, None])), max_size=60))
def test_held_is_said_only_of_a_button_that_is_as_it_should_be(purpose: Purpose, steps: list[tuple[int, bool | None]]) -> None:
    watcher, now_ns, spoken, last_held_ns = Watcher(purpose), 0, None, 0
    for wait_ms, pressed in steps:
        now_ns += wait_ms * MS
        word = watcher.turn(now_ns, pressed)
        spoken = word or spoken
        good = pressed is (purpose is Purpose.HOLD)
        assert word is not HELD or good
        assert word is not STOP or (purpose is Purpose.STOP and pressed)
        assert spoken is not HELD or good, "what is no longer held is said to be let go in the same turn"
        assert purpose is not Purpose.STOP or pressed is not True or spoken is STOP
        if word is HELD:
            last_held_ns = now_ns
        assert spoken is not HELD or now_ns - last_held_ns < 100 * MS


# -- to whom


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return private(tmp_path / "run")


@pytest.fixture
def guards(folder: Path):
    guards = Guards(folder)
    yield guards
    guards.close()


def ear(path: Path) -> socket.socket:
    """Another guard's end: a datagram socket of that name."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    listener.bind(str(path))
    return listener


def test_the_words_are_what_a_guard_understands(folder: Path, guards: Guards) -> None:
    with DeadmanLine(folder) as line:
        assert guards.say(HELD) == 1
        assert line.said() is True
        assert guards.say(RELEASED) == 1
        assert line.said() is False
    assert (HELD.value, RELEASED.value, STOP.value) == (b"HELD\n", b"RELEASED\n", b"STOP")


def test_stop_goes_to_the_stop_line_and_nothing_else_does(folder: Path, guards: Guards) -> None:
    with StopLine(folder) as stops, DeadmanLine(folder) as line:
        guards.say(HELD)
        guards.say(RELEASED)
        assert not stops.said()
        line.said()
        assert guards.say(STOP) == 1
        assert stops.said()
        assert line.said() is None


def test_guards_that_start_and_end_are_found_and_missed(folder: Path, guards: Guards) -> None:
    assert guards.say(HELD) == 0
    with ExitStack() as stack:
        first, second = (stack.enter_context(ear(folder / f"{pid}.deadman")) for pid in (1, 2))
        assert guards.say(HELD) == 2
        assert [line.recv(100) for line in (first, second)] == [b"HELD\n", b"HELD\n"]
    assert guards.say(HELD) == 0
    assert guards.gone == 2
    assert list(folder.iterdir()) == [], "what nobody will ever listen to is swept away"


def test_a_guard_that_does_not_listen_is_counted_and_not_waited_for(folder: Path, guards: Guards) -> None:
    """A stopped process: its queue is full after a few words."""
    with ear(folder / "1.deadman") as deaf, ear(folder / "2.deadman") as good:
        words = 0
        while not guards.full:
            assert guards.say(HELD) >= 1
            good.recv(100)
            words += 1
            assert words < 10_000
        assert guards.say(RELEASED) == 1
        assert good.recv(100) == b"RELEASED\n"
        assert guards.gone == 0
        assert deaf.recv(100) == b"HELD\n"


def test_a_folder_that_is_not_there_yet_is_no_trouble(tmp_path: Path) -> None:
    guards = Guards(tmp_path / "later")
    assert [guards.say(word) for word in Word] == [0, 0, 0]
    private(tmp_path / "later")
    with DeadmanLine(tmp_path / "later") as line:
        guards.say(HELD)
        assert line.said() is True
    guards.close()


# -- the loop, turn by turn


class Scripted:
    """A button that says what it is told to say; an InputGone in the list is raised."""

    def __init__(self, *news: bool | InputGone | None) -> None:
        self.news = list(news)
        self.closed = 0
        self.reader, self.writer = os.pipe()

    def fileno(self) -> int:
        return self.reader

    def read(self) -> bool | None:
        news = self.news.pop(0) if self.news else None
        if isinstance(news, InputGone):
            raise news
        return news

    def close(self) -> None:
        self.closed += 1
        for fd in (self.reader, self.writer):
            if self.closed == 1:
                os.close(fd)


class Recorded(Guards):
    def __init__(self) -> None:
        self.words: list[Word] = []

    def say(self, word: Word) -> int:
        self.words.append(word)
        return 1


def make_watch(purpose: Purpose, *buttons: Scripted | InputGone) -> tuple[Watch, Recorded, list[str]]:
    said, guards, left = list[str](), Recorded(), list(buttons)

    def make() -> Scripted:
        found = left.pop(0) if left else InputGone("no more")
        if isinstance(found, InputGone):
            raise found
        return found

    watch = Watch(Watcher(purpose), guards, make, said.append)  # type: ignore[arg-type]
    return watch, guards, said


def test_a_tap_is_a_stop_though_it_is_over_before_anybody_looked() -> None:
    button = Scripted(False, True, False)
    watch, guards, _ = make_watch(Purpose.STOP, button)
    watch._open()
    watch.turn(0)
    assert guards.words == [HELD, STOP, HELD]
    button.close()


def test_gone_is_let_go_at_once_said_once_and_tried_again_with_growing_waits() -> None:
    first, second = Scripted(False, True, InputGone("d: unplugged")), Scripted(False, True)
    watch, guards, said = make_watch(Purpose.HOLD, first, InputGone("d: none"), InputGone("d: none"), second)
    watch._open()
    for now_ms in range(0, 3000, 10):
        watch.turn(now_ms * MS)
    assert first.closed == 1
    held = guards.words.index(RELEASED)
    assert guards.words[:held] == [HELD]
    assert guards.words[held + 1 :] == [HELD] * 13, "found at 10 + 250 + 500 + 1000 ms, said at 10 Hz since"
    assert said == [
        "the button is there", "d: unplugged: as long as it is gone, nobody holds it", "d: none: trying again", "the button is there",
    ]  # fmt: skip
    second.close()


def test_a_button_that_is_not_there_at_first_is_waited_for() -> None:
    button = Scripted(False)
    watch, guards, said = make_watch(Purpose.STOP, InputGone("d: none"), button)
    watch._open()
    watch.turn(0)
    assert guards.words == []
    watch.turn(250 * MS)
    assert guards.words == [HELD]
    assert said == ["d: none: trying again", "the button is there"]
    button.close()


@pytest.mark.parametrize(("purpose", "news"), [(Purpose.HOLD, [False, True]), (Purpose.STOP, [False])])
def test_whoever_ends_lets_go(purpose: Purpose, news: list[bool]) -> None:
    button = Scripted(*news)
    watch, guards, _ = make_watch(purpose, button)
    clock = iter(range(0, 10_000 * MS, MS))

    def tick() -> int:
        watch.leave = HELD in guards.words
        return next(clock)

    watch.run(tick)
    assert guards.words == [HELD, RELEASED]
    assert button.closed == 1


def test_a_bug_lets_go_too() -> None:
    button = Scripted(False, True)
    watch, guards, _ = make_watch(Purpose.HOLD, button)
    clock = iter([0, 1])
    with pytest.raises(StopIteration):
        watch.run(lambda: next(clock) if HELD not in guards.words else _raise_once(guards))
    assert guards.words[-1] is RELEASED
    assert button.closed == 1


def _raise_once(guards: Recorded) -> int:
    if RELEASED not in guards.words and not getattr(guards, "raised", False):
        guards.raised = True  # type: ignore[attr-defined]
        raise StopIteration
    return 5 * MS
