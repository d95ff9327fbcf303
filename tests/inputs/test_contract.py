"""What every registered button promises, over a real pipe or pty: its state at opening, changes in order, nothing lost, and a clear end."""

from __future__ import annotations

import select
from pathlib import Path

import pytest

from edge_vla.errors import ConfigError
from edge_vla.inputs import INPUTS, InputGone, make_button
from edge_vla.inputs.button import News


@pytest.fixture(params=sorted(INPUTS))
def rig(request: pytest.FixtureRequest, rigs, tmp_path: Path):
    assert request.param in rigs, f"a registered input wants a rig in {Path(__file__).parent}/conftest.py"
    rig = rigs[request.param](tmp_path)
    yield rig
    rig.pull_out()


@pytest.fixture
def button(rig):
    button = rig.make()
    yield button
    button.close()


def readable(button) -> bool:
    return bool(select.select([button], [], [], 0)[0])


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def heard(button) -> list[bool]:
    """All news there is."""
    said = []
    while (news := button.read()) is not None:
        said.append(news)
    return said


def test_every_rig_belongs_to_a_registered_input(rigs) -> None:
    assert sorted(rigs) == sorted(INPUTS)


def test_at_first_it_says_how_it_stands_then_nothing(button) -> None:
    assert heard(button) == [False]
    assert heard(button) == []
    assert not readable(button)


def test_a_press_and_a_release(rig, button) -> None:
    heard(button)
    rig.press()
    assert readable(button)
    assert heard(button) == [True]
    rig.release()
    assert heard(button) == [False]
    assert heard(button) == []
    rig.press()
    assert heard(button) == [True]


def test_a_tap_that_is_over_before_anybody_looked_is_told(rig, button, request: pytest.FixtureRequest) -> None:
    heard(button)
    rig.press()
    rig.release()
    if "keyboard" in request.node.name:  # it has no key-up: held since it was heard, and that is now
        assert heard(button) == [True]
        rig.release()
        assert heard(button) == [False]
    else:
        assert heard(button) == [True, False]


def test_pulled_out_is_gone(rig, button) -> None:
    heard(button)
    rig.pull_out()
    with pytest.raises(InputGone, match=r"gpiochip0 line 17|event7|/dev/pts/"):
        button.read()


def test_what_was_pressed_just_before_it_was_pulled_out_is_told_first(rig, button, request: pytest.FixtureRequest) -> None:
    heard(button)
    rig.press()
    rig.pull_out()
    if "keyboard" not in request.node.name:  # of a terminal that is gone the kernel keeps nothing
        assert button.read() is True
    with pytest.raises(InputGone):
        button.read()


def test_closing_gives_the_file_back_and_may_be_said_twice(rig) -> None:
    before = open_files()
    button = rig.make()
    assert open_files() == before + 1
    button.close()
    button.close()
    assert open_files() == before


def test_what_is_not_there_is_gone_and_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    for name, options in (("evdev", {"device": missing, "key": 57}), ("keyboard", {"device": missing}), ("gpio", {"chip": missing})):
        more = {"line": 1, "active": "low"} if name == "gpio" else {}
        with pytest.raises(InputGone, match=missing):
            make_button(name, options | more)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("evdve", {}, r"input 'evdve' is unknown; did you mean 'evdev'\? There are: evdev, gpio, keyboard"),
        ("evdev", {"device": "d", "kye": 1}, r"option 'kye' is unknown; did you mean 'key'\? There are: device, key"),
        ("evdev", {"device": "d", "key": 57, "ioctl": print}, "option 'ioctl' is unknown"),
        ("evdev", {"device": "d"}, "input 'evdev' wants key"),
        ("gpio", {}, "input 'gpio' wants chip, line, active"),
        ("keyboard", {"clock": print}, "option 'clock' is unknown"),
    ],
)
def test_a_wrong_word_is_refused_and_the_right_ones_are_named(name: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_button(name, options)


@pytest.mark.parametrize(
    ("noted", "told"),
    [
        ([], []), ([True], [True]), ([True, True], [True]), ([True, False], [True, False]), ([False, True, False, True], [False, True]),
        ([True, False] * 1000, [True, False]),
    ],
)  # fmt: skip
def test_news_keeps_the_last_two_changes(noted: list[bool], told: list[bool]) -> None:
    news = News()
    for held in noted:
        news.note(held=held)
    assert len(news) == len(told)
    assert [news.tell() for _ in range(len(told) + 1)] == [*told, None]
