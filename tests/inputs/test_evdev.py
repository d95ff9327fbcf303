"""Input events byte for byte: the struct, the numbers of the ioctls, repeats, a kernel that dropped events, any bytes at all."""

from __future__ import annotations

import errno
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.errors import ConfigError
from edge_vla.inputs import InputGone
from edge_vla.inputs.evdev import EVENT, EVIOCGBIT_KEY, EVIOCGKEY, KEYS, EvdevButton, KeyEvents, key_code, present

SYN, KEY, REL = 0, 1, 2
REPORT, DROPPED = 0, 3
CODE = 0x137


def event(kind: int, code: int, value: int) -> bytes:
    return struct.pack("@llHHi", 1_700_000_000, 123_456, kind, code, value)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def heard(button) -> list[bool]:
    said = []
    while (news := button.read()) is not None:
        said.append(news)
    return said


def test_sizes_and_numbers_are_those_of_the_kernels_headers() -> None:
    """What a C compiler makes of linux/input.h on a machine of 64 bits; on one of 32 the time is half as long."""
    assert EVENT.size == {8: 24, 4: 16}[struct.calcsize("@l")]
    assert (EVIOCGKEY, EVIOCGBIT_KEY) == (0x80604518, 0x80604521)
    assert (KEYS["KEY_SPACE"], KEYS["KEY_ESC"], KEYS["KEY_ENTER"], KEYS["KEY_PAUSE"]) == (57, 1, 28, 119)
    assert [KEYS[f"BTN_{name}"] for name in ("SOUTH", "EAST", "NORTH", "WEST")] == [0x130, 0x131, 0x133, 0x134]
    assert [KEYS[f"BTN_{name}"] for name in ("TL", "TR", "TL2", "TR2", "TRIGGER", "THUMB")] == [0x136, 0x137, 0x138, 0x139, 0x120, 0x121]


def test_a_key_that_is_held_at_opening_is_held(evdev) -> None:
    evdev.held = {CODE}
    button = evdev.make()
    assert evdev.asked == [EVIOCGBIT_KEY, EVIOCGKEY]
    assert heard(button) == [True]
    button.close()


def test_repeats_other_keys_and_other_events_are_no_news(evdev) -> None:
    button = evdev.make()
    heard(button)
    evdev.say((KEY, CODE, 2), (KEY, CODE + 1, 1), (REL, CODE, 1), (SYN, REPORT, 0))
    assert heard(button) == []
    evdev.say((KEY, CODE, 1), (KEY, CODE, 2), (KEY, CODE, 2), (SYN, REPORT, 0))
    assert heard(button) == [True]
    button.close()


@pytest.mark.parametrize("held", [False, True])
def test_where_the_kernel_dropped_events_it_is_asked(evdev, held: bool) -> None:
    button = evdev.make()
    heard(button)
    evdev.held = {CODE} if held else set()
    asked = len(evdev.asked)
    evdev.say((SYN, DROPPED, 0), (KEY, CODE, not held), (SYN, REPORT, 0))
    assert heard(button) == ([True] if held else [])
    assert evdev.asked[asked:] == [EVIOCGKEY]
    evdev.say((KEY, CODE, not held), (SYN, REPORT, 0))
    assert heard(button) == [not held], "whole again"
    button.close()


def test_between_dropping_and_the_next_report_nothing_is_believed(evdev) -> None:
    button = evdev.make()
    heard(button)
    evdev.say((SYN, DROPPED, 0), (KEY, CODE, 1))
    assert heard(button) == []
    evdev.held = {CODE}
    evdev.say((SYN, REPORT, 0))
    assert heard(button) == [True]
    button.close()


def test_unplugged_while_it_is_asked_what_was_lost_the_press_before_is_told_first(evdev) -> None:
    button = evdev.make()
    heard(button)
    evdev.fails = {EVIOCGKEY: errno.ENODEV}
    evdev.say((KEY, CODE, 1), (SYN, REPORT, 0), (SYN, DROPPED, 0), (SYN, REPORT, 0))
    assert button.read() is True
    evdev.pull_out()
    with pytest.raises(InputGone):
        button.read()
    button.close()


def test_a_flood_of_other_events_holds_nobody_up_and_the_press_behind_it_is_heard(evdev) -> None:
    button = evdev.make()
    heard(button)
    evdev.say(*[(REL, 0, 1), (SYN, REPORT, 0)] * 500)
    evdev.press()
    looks = 0
    while (news := button.read()) is None:
        looks += 1
    assert news is True
    assert looks == 1000 // 64, "64 events a look"
    button.close()


@pytest.mark.parametrize(("key", "code"), [("KEY_SPACE", 57), ("57", 57), (57, 57), ("0x137", 0x137), ("BTN_TR", 0x137)])
def test_a_key_by_name_or_number(key: str | int, code: int) -> None:
    assert key_code(key) == code


@pytest.mark.parametrize(
    ("key", "said"), [("BTN_RT", "did you mean 'BTN_"), (0, "1..767"), (768, "1..767"), ("-1", "1..767"), ("", "1..767")]
)
def test_a_key_that_is_none_is_refused(key: str | int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        key_code(key)


def test_a_device_without_that_key_is_refused_and_its_keys_are_named(evdev) -> None:
    evdev.has = {57, 28}
    files = open_files()
    with pytest.raises(ConfigError, match=r"event7 has no key 311; it has KEY_ENTER, KEY_SPACE$"):
        evdev.make()
    assert open_files() == files


def test_a_file_that_is_no_input_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="/dev/null is no input device; there is "):
        EvdevButton("/dev/null", "KEY_SPACE")  # with the kernel's own ioctl


@pytest.mark.parametrize("request_number", [EVIOCGBIT_KEY, EVIOCGKEY])
def test_unplugged_while_it_is_asked(evdev, request_number: int) -> None:
    evdev.fails = {request_number: errno.ENODEV}
    with pytest.raises(InputGone, match="event7: No such device"):
        evdev.make()


def test_what_there_is_is_listed_links_first(tmp_path: Path) -> None:
    devices, names = tmp_path / "dev", tmp_path / "sys"
    for number, name in ((10, "Pad"), (2, "Keys")):
        (names / f"event{number}" / "device").mkdir(parents=True)
        (names / f"event{number}" / "device" / "name").write_text(name + "\n")
        (devices / "by-id").mkdir(parents=True, exist_ok=True)
        (devices / f"event{number}").touch()
    (devices / "by-id" / "usb-Pad-event-joystick").symlink_to("../event10")
    (devices / "by-id" / "usb-Pad-joystick").symlink_to("../js0")
    want = f"there is {devices}/by-id/usb-Pad-event-joystick, {devices}/event2 (Keys), {devices}/event10 (Pad)"
    assert present(devices, names) == want
    assert present(tmp_path / "none", names) == f"there is nothing in {tmp_path}/none"


EVENTS = st.builds(event, st.sampled_from([SYN, KEY]), st.sampled_from([REPORT, DROPPED, CODE]), st.sampled_from([0, 1, 2]))
STREAMS = st.one_of(st.binary(max_size=600), st.lists(EVENTS, max_size=20).map(b"".join))


@given(STREAMS, st.lists(st.integers(0, 500), max_size=8))
def test_any_bytes_split_anywhere_mean_the_same_and_never_raise(data: bytes, cuts: list[int]) -> None:
    whole, parts = KeyEvents(CODE), KeyEvents(CODE)
    said = whole.feed(data)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert [held for a, b in pairwise(places) for held in parts.feed(data[a:b])] == said
    assert len(parts._rest) < EVENT.size


WORDS = st.tuples(st.sampled_from([SYN, KEY]), st.sampled_from([REPORT, DROPPED, CODE]), st.sampled_from([0, 1, 2]))


@given(st.lists(WORDS, max_size=40))
def test_events_against_a_plain_reading(words: list[tuple[int, int, int]]) -> None:
    events, dropping, want = KeyEvents(CODE), False, []
    for kind, code, value in words:
        if kind == SYN and code == DROPPED:
            dropping = True
        elif kind == SYN and code == REPORT:
            dropping = False
        elif kind == KEY and code == CODE and value != 2 and not dropping:
            want.append(value == 1)
    assert events.feed(b"".join(event(*word) for word in words)) == want


@pytest.mark.jetson
def test_a_real_keyboard() -> None:
    """With somebody at it: any /dev/input device of this machine opens with one of its keys and says how it stands."""
    for path in sorted(Path("/dev/input").glob("event*")):
        for name in KEYS:
            try:
                button = EvdevButton(str(path), name)
            except (ConfigError, InputGone):
                continue
            assert button.read() in (False, True)
            button.close()
            return
    pytest.skip("no /dev/input device with a key")
