"""A terminal's key on a real pty: repeats hold it, silence lets it go, and the terminal is what it was afterwards."""

from __future__ import annotations

import os
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.errors import ConfigError
from edge_vla.inputs import InputGone
from edge_vla.inputs.keyboard import KeyboardButton

MS = 1_000_000


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def heard(button) -> list[bool]:
    said = []
    while (news := button.read()) is not None:
        said.append(news)
    return said


def test_a_first_press_counts_until_a_keyboard_would_repeat(keyboard) -> None:
    button = keyboard.make()
    heard(button)
    keyboard.type(b" ")
    assert heard(button) == [True]
    keyboard.now_ns += 600 * MS
    assert heard(button) == []
    keyboard.now_ns += 1
    assert heard(button) == [False]
    button.close()


def test_once_it_repeats_a_short_silence_is_a_release(keyboard) -> None:
    button = keyboard.make()
    heard(button)
    for wait_ms in (0, 500, 33, 33, 150):
        keyboard.now_ns += wait_ms * MS
        keyboard.type(b" ")
        assert heard(button) == ([True] if wait_ms == 0 else []), wait_ms
    keyboard.now_ns += 150 * MS
    assert heard(button) == []
    keyboard.now_ns += 1
    assert heard(button) == [False]
    button.close()


def test_a_burst_out_of_a_network_that_had_stalled_counts_no_longer_than_repeats_do(keyboard) -> None:
    button = keyboard.make()
    heard(button)
    keyboard.type(b" " * 50)
    assert heard(button) == [True]
    keyboard.now_ns += 151 * MS
    assert heard(button) == [False]
    button.close()


def test_what_was_typed_while_nobody_looked_for_long_is_a_release_and_a_press(keyboard) -> None:
    button = keyboard.make()
    keyboard.type(b" ")
    assert heard(button) == [False, True]
    keyboard.now_ns += 5000 * MS
    keyboard.type(b" ")
    assert heard(button) == [False, True]
    button.close()


@pytest.mark.parametrize(
    ("key", "typed", "counts"),
    [
        ("space", b"x\r\x1b[A", False), ("space", b"x x", True), ("x", b"X", True), ("X", b"x", True), ("enter", b"\r", True),
        ("any", b"\x1b", True), ("tab", b"\t", True),
    ],
)  # fmt: skip
def test_which_key(keyboard, key: str, typed: bytes, counts: bool) -> None:
    button = keyboard.make(key=key)
    heard(button)
    keyboard.type(typed)
    assert heard(button) == ([True] if counts else [])
    button.close()


@pytest.mark.parametrize(
    "words",
    [
        {"key": "shift"},
        {"key": ""},
        {"key": "\x03"},
        {"key": "ä"},
        {"first_ms": 601},
        {"repeat_ms": 149},
        {"first_ms": 200, "repeat_ms": 201},
    ],
)
def test_words_that_say_nothing_are_refused(keyboard, words: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="keyboard "):
        keyboard.make(**words)


def test_it_shows_nothing_waits_for_no_line_and_leaves_ctrl_c_alone(keyboard) -> None:
    before = termios.tcgetattr(keyboard.slave)
    button = keyboard.make()
    flags = termios.tcgetattr(keyboard.slave)[3]
    assert not flags & (termios.ICANON | termios.ECHO)
    assert flags & termios.ISIG
    keyboard.type(b"   ")
    button.close()
    assert termios.tcgetattr(keyboard.slave) == before
    os.set_blocking(keyboard.slave, False)
    with pytest.raises(BlockingIOError):
        os.read(keyboard.slave, 100)  # nothing of it is left for the shell


def test_what_was_typed_before_is_not_meant(keyboard) -> None:
    keyboard.type(b"   \n")
    button = keyboard.make()
    assert heard(button) == [False]
    button.close()


def test_a_terminal_that_has_gone_is_closed_without_a_word(keyboard) -> None:
    button = keyboard.make()
    heard(button)
    keyboard.pull_out()
    with pytest.raises(InputGone):
        button.read()
    button.close()


def test_a_file_that_is_no_terminal_is_none() -> None:
    files = open_files()
    with pytest.raises(InputGone, match="/dev/null is no terminal: Inappropriate ioctl"):
        KeyboardButton("/dev/null")
    assert open_files() == files


@given(st.lists(st.tuples(st.integers(0, 700), st.binary(max_size=40)), max_size=20))
def test_any_bytes_at_any_time_never_raise_and_silence_lets_go(steps: list[tuple[int, bytes]]) -> None:
    from tests.inputs.conftest import KeyboardRig

    rig = KeyboardRig()
    button = rig.make(key="any")
    state = button.read()
    try:
        for wait_ms, data in steps:
            rig.now_ns += wait_ms * MS
            rig.type(data.translate(None, b"\x03\x04\x11\x13\x1a\x1c"))  # what a terminal takes for itself
            for held in heard(button):
                assert held is not state
                state = held
        rig.now_ns += 601 * MS
        heard(button)
        assert heard(button) == []
        rig.now_ns += 601 * MS
        assert button.read() in (None, False)
    finally:
        button.close()
        rig.pull_out()
