"""A GPIO line byte for byte: what is asked of the kernel, edges, how the line stands, any bytes at all."""

from __future__ import annotations

import errno
import os
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.errors import ConfigError
from edge_vla.inputs import InputGone
from edge_vla.inputs.gpio import EVENT, GET_LINE, GET_VALUES, REQUEST_BYTES, Edges, GpioButton, line_request, present


def edge(which: int, number: int = 1) -> bytes:
    return struct.pack("=QIIII24x", 5_000_000, which, 17, number, number)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def heard(button) -> list[bool]:
    said = []
    while (news := button.read()) is not None:
        said.append(news)
    return said


def test_sizes_and_numbers_are_those_of_the_kernels_headers() -> None:
    """What a C compiler makes of linux/gpio.h."""
    assert (REQUEST_BYTES, EVENT.size) == (592, 48)
    assert (GET_LINE, GET_VALUES) == (0xC250B407, 0xC010B40E)


@pytest.mark.parametrize(
    ("active", "pull", "flags"),
    [("high", "up", 0x134), ("low", "up", 0x136), ("high", "down", 0x234), ("low", "none", 0x436)],
)
def test_a_line_is_asked_for_as_an_input_with_both_edges(active: str, pull: str, flags: int) -> None:
    request = line_request(17, active, pull, 20)
    assert len(request) == 592
    assert struct.unpack_from("=64I", request) == (17, *[0] * 63)
    assert request[256:288].rstrip(b"\0") == b"edge_vla"
    assert struct.unpack_from("=QI", request, 288) == (flags, 1)
    assert struct.unpack_from("=IIQQ", request, 320) == (3, 0, 20_000, 1), "debounce in microseconds, for the first line"
    assert struct.unpack_from("=II", request, 560) == (1, 0), "one line"
    used = {*range(4), *range(256, 264), *range(288, 300), *range(320, 344), *range(560, 564)}
    assert not any(byte for place, byte in enumerate(request) if place not in used), "what is reserved is zero"


def test_without_debounce_there_is_no_attribute() -> None:
    request = line_request(3, "low", "up", 0)
    assert struct.unpack_from("=QI", request, 288) == (0x136, 0)
    assert not any(request[300:560])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"line": -1}, "line=-1: want a whole number in 0..65535"), ({"line": True}, "line=True"), ({"line": "7"}, "line='7'"),
        ({"active": "hi"}, "active='hi': want low or high"), ({"pull": ""}, "pull='': want up, down, none"),
        ({"debounce_ms": 101}, "debounce_ms=101: want a whole number in 0..100"), ({"debounce_ms": -1}, "debounce_ms=-1"),
    ],
)  # fmt: skip
def test_words_that_say_nothing_are_refused(gpio, words: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        gpio.make(**words)


def test_a_line_that_is_active_at_opening_is_held(gpio) -> None:
    gpio.level = 1
    button = gpio.make()
    assert gpio.request == line_request(17, "high", "up", 5)
    assert heard(button) == [True]
    button.close()


def test_the_line_itself_has_the_last_word(gpio) -> None:
    """Of more edges than it can keep, the kernel forgets some."""
    button = gpio.make()
    heard(button)
    os.write(gpio.fd, edge(1, 5))
    assert heard(button) == [True, False]
    gpio.level = 1
    os.write(gpio.fd, edge(2, 9))
    assert heard(button) == [True]
    button.close()


def test_an_edge_of_no_kind_is_none(gpio) -> None:
    button = gpio.make()
    heard(button)
    os.write(gpio.fd, edge(0) + edge(3))
    assert heard(button) == []
    button.close()


@pytest.mark.parametrize("request_number", [GET_LINE, GET_VALUES])
def test_a_line_that_is_not_to_be_had(gpio, request_number: int) -> None:
    gpio.fails = {request_number: errno.EBUSY}
    files = open_files()
    with pytest.raises(InputGone, match=r"gpiochip0 line 17: Device or resource busy"):
        gpio.make()
    assert open_files() == files


@pytest.mark.parametrize("given_fd", [0, -1])
def test_a_kernel_that_gives_no_line(gpio, given_fd: int) -> None:
    gpio.gives = given_fd
    with pytest.raises(InputGone, match="gives no line"):
        gpio.make()
    os.fstat(0)  # and nobody has closed stdin


def test_a_file_that_is_no_chip_is_refused() -> None:
    with pytest.raises(InputGone, match=r"/dev/null line 4: Inappropriate ioctl for device; there is "):
        GpioButton("/dev/null", 4, "low")  # with the kernel's own ioctl


def test_what_there_is_is_listed(tmp_path: Path) -> None:
    assert present(tmp_path) == f"there is no gpiochip in {tmp_path}"
    for number in (1, 0):
        (tmp_path / f"gpiochip{number}").touch()
    assert present(tmp_path) == f"there is {tmp_path}/gpiochip0, {tmp_path}/gpiochip1"


STREAMS = st.one_of(st.binary(max_size=600), st.lists(st.sampled_from([0, 1, 2]).map(edge), max_size=10).map(b"".join))


@given(STREAMS, st.lists(st.integers(0, 500), max_size=8))
def test_any_bytes_split_anywhere_mean_the_same_and_never_raise(data: bytes, cuts: list[int]) -> None:
    whole, parts = Edges(), Edges()
    said = whole.feed(data)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert [held for a, b in pairwise(places) for held in parts.feed(data[a:b])] == said
    assert len(parts._rest) < EVENT.size


@given(st.lists(st.sampled_from([0, 1, 2, 3]), max_size=30))
def test_edges_in_order(edges: list[int]) -> None:
    assert Edges().feed(b"".join(map(edge, edges))) == [which == 1 for which in edges if which in (1, 2)]


@pytest.mark.jetson
def test_a_real_line() -> None:
    """Any free line of this machine's chips: asked for, it says how it stands."""
    for path in sorted(Path("/dev").glob("gpiochip*")):
        for line in range(200):
            try:
                button = GpioButton(str(path), line, "high")
            except InputGone:
                continue
            assert button.read() in (False, True)
            button.close()
            return
    pytest.skip("no line of a /dev/gpiochip that is free")
