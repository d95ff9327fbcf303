"""Which frames may have waited unseen, on a clock of the test's own."""

from __future__ import annotations

from edge_vla.cameras.stalls import GIVE_UP_NS, STALL_NS, Stalls

MS = 1_000_000
PERIOD = 50 * MS
T = 1_000_000 * MS


def test_a_reader_that_beats_believes_every_frame() -> None:
    stalls, now = Stalls(PERIOD, T), T
    for k in range(20):
        asked, now = now, now + (k % 5) * 40 * MS  # late, early, all at once
        for t in range(asked, now, 20 * MS):
            stalls.beat(t)
        assert stalls.young(asked, now)


def test_a_silence_of_exactly_the_limit_is_none() -> None:
    assert Stalls(PERIOD, T).young(T, T + STALL_NS)
    assert not Stalls(PERIOD, T).young(T, T + STALL_NS + 1)


def test_after_a_stall_nothing_is_believed_until_something_was_waited_for() -> None:
    stalls, now = Stalls(PERIOD, T), T + 2000 * MS
    assert not stalls.young(T, now)  # it came within the stall, nobody knows when
    for _ in range(4):  # what was behind it
        now += 2 * MS
        assert not stalls.young(now - 2 * MS, now)
    assert not stalls.young(now, now + PERIOD // 2 - 1)
    now += PERIOD // 2 - 1
    assert stalls.young(now, now + PERIOD // 2)
    assert stalls.young(now + PERIOD // 2, now + PERIOD // 2 + 1)  # and from then on as ever


def test_a_stall_seen_by_a_beat_counts_too() -> None:
    stalls = Stalls(PERIOD, T)
    stalls.beat(T + 1000 * MS)
    stalls.beat(T + 1010 * MS)
    assert not stalls.young(T, T + 1020 * MS)
    stalls.beat(T + 1080 * MS)
    assert stalls.young(T + 1020 * MS, T + 1080 * MS)


def test_doubt_at_the_start_leaves_out_what_was_buffered() -> None:
    stalls = Stalls(PERIOD, T)
    stalls.doubt(T)
    assert not stalls.young(T + 1, T + 2)
    assert stalls.young(T + 2, T + 2 + PERIOD)


def test_a_reader_that_is_always_late_is_blind_for_two_seconds_and_no_longer() -> None:
    stalls, now = Stalls(PERIOD, T), T
    stalls.doubt(now)
    verdicts = []
    while now < T + GIVE_UP_NS + 20 * MS:
        now += 10 * MS
        verdicts.append(stalls.young(now - 10 * MS, now))
    assert verdicts.index(True) == GIVE_UP_NS // (10 * MS)
