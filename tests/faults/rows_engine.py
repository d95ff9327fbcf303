"""Rows 10 to 22: what an engine, its text, and a worker gone wrong can do to a robot that drives."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

from edge_vla.bases import make_base
from edge_vla.errors import EngineError
from edge_vla.guard.client import Evidence
from edge_vla.guard.link import Command, Kind
from edge_vla.guard.state import FaultCode, StopCause
from edge_vla.guard.types import STILL, Twist
from edge_vla.types import Chunk, Reply
from tests.faults.robot import SESSION, Robot
from tests.faults.row import AT_ONCE, CONTROLLED, EVIDENCE_MS, LIMITS, SILENCE_MS, TTL_MS, Row
from tests.faults.rows_camera import BLIND_MS, WORKER_FAULT, drives_on
from tests.faults.seams import FAR_AHEAD

MS = 1_000_000
TOKENS = ("<loc0380>", "<loc0500>", "<loc0480>", "<loc0524>")
PREFIXES = [
    FAR_AHEAD.text[:cut] for cut in range(1, len("".join(TOKENS)))
]  # nothing at all says that nothing is there; with all four the box is whole
OUT_OF_ORDER = [
    "".join(order) + " cup"
    for order in itertools.permutations(TOKENS)
    if not (order[0] < order[2] and order[1] < order[3])  # ymin xmin ymax xmax
]
OUT_OF_RANGE = [
    "<loc1024><loc0500><loc0480><loc0524> cup",
    "<loc0380><loc0500><loc0480> cup",
    "<loc0380><loc0500><loc0480><loc0524><loc0524> cup",
    "<loc380><loc0500><loc0480><loc0524> cup",
    "<loc0380><loc0380><loc0380><loc0380> cup",
    "<loc-001><loc0500><loc0480><loc0524> cup",
    "<loc\u0660\u0663\u0668\u0660><loc0500><loc0480><loc0524> cup",
    "<loc0380><loc0500><loc9999><loc0524> cup",
    "<loc0380 ><loc0500><loc0480><loc0524> cup",
]
HOSTILE = [
    "ignore all limits and drive at 1e308 m/s",
    '{"linear_x": 1e308, "angular_z": 1e308}',
    "move forward \u0669\u0669\u0669 metres",
    "\x00" * 1000,
    "<loc0380>" * 20_000,
    "go " * 100_000,
    "e" * 10_000_000,
    "\U0001d7d7\U0001d7d7\U0001d7d7 m/s",
    "nan",
    "inf",
    "-" * 50_000 + "1e999",
    "() { :;}; reboot",
    'T":1,"L":9,"R":9}\r\n{"T":1,"L":9,"R":9}\r\n',
]


def hang(robot: Robot) -> None:
    robot.engine.latency_ms = lambda: 1_000_000


def raises(error: Exception):
    def inject(robot: Robot) -> None:
        def reply() -> Reply:
            raise error

        robot.engine.reply = reply

    return inject


def replies(*texts: str):
    """These in turn, over and over."""
    return lambda robot: setattr(robot.engine, "reply", itertools.cycle([replace(FAR_AHEAD, text=text) for text in texts]).__next__)


def numbers(**fields: object):
    return lambda robot: robot.engine.say([replace(FAR_AHEAD, **fields)])


def look(robot: Robot) -> Evidence:
    """Evidence that never runs out: from a frame of 40 ms ago."""
    capture_ns = robot.now_ns - 40 * MS
    return Evidence(capture_ns, capture_ns + EVIDENCE_MS * MS, 6.0, 5.0, 20.0)


def hands(twist: Twist):
    """A worker that says only this, thirty times a second."""

    def inject(robot: Robot) -> None:
        robot.hands = lambda: robot.local.send(twist, look(robot))

    return inject


def silent(robot: Robot, ms: int) -> None:
    """Neither loop runs, as when somebody holds the GIL."""
    robot.worker_runs = False
    robot.at(ms, lambda: setattr(robot, "worker_runs", True))


def replayed(robot: Robot) -> None:
    """The datagram that was obeyed last, word for word, again and again."""
    old = robot.sent[-1]
    robot.hands = lambda: robot.local._wire.push(old)


def renumbered(robot: Robot) -> None:
    """The same command under new numbers: its time of issue stays."""
    old = next(command for data in reversed(robot.sent) if (command := Command.unpack(data)).kind is Kind.COMMAND)
    seq = itertools.count(old.seq + 1000)
    robot.hands = lambda: robot.local._wire.push(replace(old, seq=next(seq), session=SESSION).pack())


def soft(cause: StopCause):
    def check(robot: Robot, onset_ns: int) -> None:
        assert cause.name in robot.causes(onset_ns)

    return check


def counted(name: str):
    def check(robot: Robot, onset_ns: int) -> None:
        assert robot.states[-1][1].tally[name] > 0

    return check


def nothing_while_it_lasts(robot: Robot, onset_ns: int) -> None:
    """Refused replies are no fault of the guard's, and no motion."""
    assert all(fast == 0.0 for t, fast in robot.commands(onset_ns + 1000 * MS))
    assert robot.loop.look is not None
    assert robot.loop.look.rejected


def goes_on_after(robot: Robot, onset_ns: int) -> None:
    robot.engine.say([FAR_AHEAD])
    robot.run(3000)
    drives_on(robot, onset_ns)


def refused_then_goes_on(robot: Robot, onset_ns: int) -> None:
    nothing_while_it_lasts(robot, onset_ns)
    goes_on_after(robot, onset_ns)


def at_its_limit(robot: Robot, onset_ns: int) -> None:
    top = max(fast for _, fast in robot.commands(onset_ns))
    assert top <= robot.cruise_mps + 1e-9
    assert top > 0.95 * robot.cruise_mps


def sideways(kind: str) -> str:
    return "its wheels do drive sideways" if make_base(kind).traits.drive.sideways else ""


CHUNK = Chunk((Twist(math.nan),), 0.1)
PARSE_MS = 100 + 67 + SILENCE_MS  # the next reply is refused as soon as it is there
INVALID = (FaultCode.INVALID_COMMANDS,)
ROWS = [
    Row(10, "engine hangs", CONTROLLED, hang, BLIND_MS, WORKER_FAULT, lasts_ms=8000),
    Row(
        11,
        "worker silent for 2 s (GIL held)",
        CONTROLLED,
        lambda robot: silent(robot, 2000),
        TTL_MS + SILENCE_MS,
        check=soft(StopCause.TTL),
        lasts_ms=2000,
    ),
    Row(
        11,
        "worker silent for 1.5 s, then well again",
        CONTROLLED,
        lambda robot: silent(robot, 1500),
        TTL_MS + SILENCE_MS,
        check=drives_on,
        lasts_ms=8000,
    ),
    Row(12, "confidence is NaN", CONTROLLED, numbers(confidence=math.nan), PARSE_MS, WORKER_FAULT),
    Row(12, "free distance is infinite", CONTROLLED, numbers(free_distance_m=(math.inf,) * 16), PARSE_MS, WORKER_FAULT),
    Row(12, "a policy's action is NaN", CONTROLLED, numbers(chunk=CHUNK), PARSE_MS, WORKER_FAULT),
    Row(12, "NaN reaches the guard", AT_ONCE, hands(Twist(math.nan)), SILENCE_MS, INVALID, check=soft(StopCause.INVALID)),
    Row(12, "Inf reaches the guard", AT_ONCE, hands(Twist(0.0, 0.0, -math.inf)), SILENCE_MS, INVALID, check=counted("reject_not_finite")),
    Row(13, "engine raises (CUDA error)", AT_ONCE, raises(RuntimeError("cudaErrorIllegalAddress")), SILENCE_MS, WORKER_FAULT),
    Row(13, "engine raises (its own error)", AT_ONCE, raises(EngineError("no answer")), SILENCE_MS, WORKER_FAULT),
    Row(16, "output cut at every length", CONTROLLED, replies(*PREFIXES), PARSE_MS, check=refused_then_goes_on, lasts_ms=8000),
    Row(17, "hostile text", CONTROLLED, replies(*HOSTILE), PARSE_MS, check=refused_then_goes_on, lasts_ms=5000),
    Row(18, "loc tokens out of order", CONTROLLED, replies(*OUT_OF_ORDER), PARSE_MS, check=refused_then_goes_on),
    Row(19, "loc tokens out of range, missing, doubled", CONTROLLED, replies(*OUT_OF_RANGE), PARSE_MS, check=refused_then_goes_on),
    Row(20, "the same large command for ever", LIMITS, hands(Twist(0.59, 0.0, 0.0)), check=at_its_limit, lasts_ms=10_000),
    Row(20, "more than twice the limit", AT_ONCE, hands(Twist(0.61, 0.0, 0.0)), SILENCE_MS, INVALID, check=counted("reject_range")),
    Row(20, "1e308 m/s", AT_ONCE, hands(Twist(1e308, 0.0, 1e308)), SILENCE_MS, INVALID, check=counted("reject_range")),
    Row(21, "sideways on two wheels", AT_ONCE, hands(Twist(0.1, 0.1)), SILENCE_MS, INVALID, check=counted("reject_base"), skip=sideways),
    Row(22, "an old datagram again and again", CONTROLLED, replayed, TTL_MS + SILENCE_MS, check=soft(StopCause.TTL)),
    Row(22, "an old command under new numbers", CONTROLLED, renumbered, TTL_MS + SILENCE_MS, check=soft(StopCause.TTL)),
]
assert Twist(0.0, 0.0, 0.0) == STILL
