"""The bad line itself: what its shares mean, and that a seed repeats it. What a guard makes of it is in tests/faults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.errors import ConfigError
from edge_vla.sim.firmware.noise import BadLine, Faults

DATA = bytes(range(256)) * 40


class Tape:
    """A firmware that only remembers, and says what it was given to say."""

    def __init__(self, say: bytes = b"") -> None:
        self.heard, self.say, self.steps = b"", say, 0

    def feed(self, data: bytes, now_ns: int) -> None:
        self.heard += data

    def step(self, now_ns: int) -> None:
        self.steps += 1

    def read(self, now_ns: int) -> bytes:
        said, self.say = self.say, b""
        return said


def through(seed: int = 1, **shares: float) -> tuple[bytes, bytes]:
    """DATA to the base and back."""
    tape = Tape(DATA)
    line = BadLine(tape, Faults(**shares), seed)
    line.feed(DATA, 0)
    said = line.read(0)
    while line._to or line._from:
        line.feed(b"", 0)
        said += line.read(0)
    return tape.heard, said


def test_a_good_line_is_no_line() -> None:
    assert through() == (DATA, DATA)


def test_pieces_are_put_together_again() -> None:
    assert through(split=0.9) == (DATA, DATA)


@pytest.mark.parametrize(("share", "size"), [("drop", 0.75), ("duplicate", 1.25)])
def test_a_quarter_is_lost_or_doubled(share: str, size: float) -> None:
    for out in through(**{share: 0.25}):
        assert len(out) == pytest.approx(size * len(DATA), rel=0.03)


def test_a_changed_byte_differs_in_one_bit() -> None:
    for out in through(corrupt=0.25):
        differ = [a ^ b for a, b in zip(out, DATA, strict=True) if a != b]
        assert len(differ) == pytest.approx(0.25 * len(DATA), rel=0.06)
        assert all(bits.bit_count() == 1 for bits in differ)


def test_an_echo_comes_before_what_is_said() -> None:
    line = BadLine(Tape(b"own"), Faults(echo=1.0))
    line.feed(b"heard", 0)
    assert (line.read(0), line.read(0)) == (b"heardown", b"")


def test_a_seed_repeats_it() -> None:
    shares = {"drop": 0.1, "duplicate": 0.1, "corrupt": 0.1, "split": 0.5}
    assert through(3, **shares) == through(3, **shares) != through(4, **shares)


def test_time_passes_behind_it() -> None:
    tape = Tape()
    BadLine(tape, Faults()).step(5)
    assert tape.steps == 1


@given(st.sampled_from(["drop", "duplicate", "corrupt", "split", "echo"]), st.floats(allow_infinity=True).filter(lambda x: not 0 <= x <= 1))
def test_what_is_no_share_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"line {name}="):
        Faults(**{name: value})
