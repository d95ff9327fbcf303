"""The deadman: nothing moves unless somebody says that the button is held, and silence is a release."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.guard.deadman import DeadmanLine
from edge_vla.guard.ramp import declared_stop_s
from edge_vla.guard.state import FaultCode, GuardState, Refusal, StopCause
from edge_vla.guard.types import STILL, Twist
from edge_vla.guard.watch import DEADMAN_MS, DeadmanWatch

MS = 1_000_000
GO = Twist(0.3)
RAMP_MS = 1000 * 0.3 / 1.5 + 50


def say(line: DeadmanLine, *words: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
        for word in words:
            speaker.sendto(word, str(line.path))


@pytest.mark.parametrize(
    ("words", "held"),
    [
        ([], None), ([b"HELD\n"], True), ([b"HELD"], True), ([b"RELEASED\n"], False), ([b"HELD\n", b"RELEASED\n"], False),
        ([b"RELEASED\n", b"HELD\n"], True), ([b""], False), ([b"held"], False), ([b"HELD HELD"], False), ([b"\xff" * 9000], False),
    ],
)  # fmt: skip
def test_the_newest_word_counts_and_what_is_no_word_is_a_release(tmp_path: Path, words: list[bytes], held: bool | None) -> None:
    with DeadmanLine(tmp_path / "run") as line:
        say(line, *words)
        assert line.said() is held
        assert line.said() is None


def test_its_name_is_the_guards_and_it_is_private(tmp_path: Path) -> None:
    with DeadmanLine(tmp_path / "run") as line:
        assert line.path == tmp_path / "run" / f"{os.getpid()}.deadman"
        assert (line.path.stat().st_mode & 0o777, line.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not line.path.exists()


def test_held_for_its_patience_and_no_longer() -> None:
    watch = DeadmanWatch(400)
    assert watch.released(0)
    watch.hear(1_000 * MS, True)
    watch.hear(1_200 * MS, None)
    assert not watch.released(1_400 * MS)
    assert watch.released(1_400 * MS + 1)
    assert watch.released(999 * MS), "a clock that runs back is no clock"
    watch.hear(1_300 * MS, False)
    assert watch.released(1_300 * MS)


def held(make_bench, **fields):
    bench = make_bench(deadman=DeadmanWatch(), **fields)
    bench.button = True
    return bench


def test_nobody_holds_it_so_it_is_not_armed(make_bench) -> None:
    bench = make_bench(deadman=DeadmanWatch())
    bench.run(800)
    bench.local.arm()
    status = bench.run(20)
    assert (status.state, status.refusal) == (GuardState.DISARMED, Refusal.DEADMAN)
    bench.button = True
    bench.local.arm()
    assert bench.run(20).state is GuardState.ARMED_IDLE


@pytest.mark.parametrize(("button", "patience_ms"), [(False, 0), (None, DEADMAN_MS)], ids=["let go", "silence"])
def test_letting_go_is_a_controlled_stop(make_bench, button: bool | None, patience_ms: int) -> None:
    bench = held(make_bench).moving(GO)
    onset_ns = bench.now_ns
    bench.button = button
    status = bench.run(1500, bench.drive(GO))
    assert (status.state, status.cause, status.fault) == (GuardState.SOFT_STOP, StopCause.DEADMAN, FaultCode.NONE)
    slower_ms = bench.first(onset_ns, lambda twist: twist.linear_x < 0.299)
    assert patience_ms - 20 <= slower_ms <= patience_ms + 40
    assert bench.stop_bytes_ms(onset_ns) <= patience_ms + 40 + RAMP_MS
    assert bench.wheels_still_ms(onset_ns) <= patience_ms + 40 + 1000 * declared_stop_s(0.3, 0.15, 1.5)


def test_held_again_it_drives_on_after_a_second(make_bench) -> None:
    bench = held(make_bench).moving(GO)
    bench.button = False
    bench.run(1000, bench.drive(GO))
    bench.button = True
    again_ns = bench.now_ns
    assert bench.run(2500, bench.drive(GO)).applied == GO
    assert bench.first(again_ns, lambda twist: twist != STILL) >= 1000


def test_armed_and_let_go_before_anything_moves_nothing_moves(make_bench) -> None:
    bench = held(make_bench).armed()
    bench.button = False
    assert bench.run(1000, bench.drive(GO)).state is GuardState.ARMED_IDLE
    assert all(twist == STILL for _, twist in bench.frames)


def test_a_guard_without_one_ignores_what_is_said(bench) -> None:
    bench.moving(GO)
    bench.button = False
    assert bench.run(500, bench.drive(GO)).applied == GO


@given(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=80))
def test_whoever_has_let_go_never_moves_on(words: list[bool | None]) -> None:
    """After a release, and 400 ms after the last word, no frame is faster than the one before."""
    from tests.guard.conftest import Bench

    bench = Bench(deadman=DeadmanWatch())
    bench.button = True
    bench.moving(GO)
    last_ns = bench.now_ns
    for word in words:
        bench.button = word
        before = bench.frames[-1][1].linear_x
        bench.run(40, bench.drive(GO))
        last_ns = bench.now_ns - 20 * MS if word else last_ns
        if word is False or bench.now_ns - last_ns > 480 * MS:
            assert bench.frames[-1][1].linear_x <= before
