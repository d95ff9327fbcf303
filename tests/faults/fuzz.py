"""`python -m tests.faults.fuzz --replies 7000000 --streams 3000000`: replies and base bytes that nobody meant, and what comes of them.

Not a test file. A reply goes through every parser and the validator; bytes, with a worker's datagram beside them, through one tick of a
guard of each base. Unsafe is an exception, a number that is none, a command beyond a limit, a memory that grows. Half of the inputs are
damaged real ones.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rich.progress import Progress

from edge_vla.bases import BASES, make_base
from edge_vla.errors import ParseError, UnsafeCommand
from edge_vla.guard.core import Guard
from edge_vla.guard.limits import Limits
from edge_vla.guard.link import Command, Kind
from edge_vla.guard.types import STILL, Twist
from edge_vla.parse import VLAActionParser, parse_detections
from edge_vla.sim.firmware import make_firmware
from edge_vla.sim.firmware.wheels import FirstOrderWheels
from edge_vla.validate import ActionValidator

BATCH = 20_000
TICK_NS = 20_000_000
SESSION = 5
WORDS = (
    "<loc0380>", "<loc0500>", "<loc1023>", "<loc1024>", "<loc", ">", "cup", " ; ", "move", "forward", "turn left", "90 degrees", "0.5 m",
    "1e308", "nan", "-inf", "앞으로", "왼쪽으로", "돌아", "멈춰", "천천히", "오십 센티",
    "stop", "not", "no,", '{"linear_x": 9}', "\n", "\x00",
    "\u0663", "\u2792", "m/s", "-", "999999999", "and then", "<loc0000>",
)  # fmt: skip
SEEDS = (
    "<loc0380><loc0500><loc0480><loc0524> cup",
    "<loc0256><loc0256><loc0512><loc0512> ball ; <loc0100><loc0200><loc0300><loc0400> cup",
    "move forward 0.3 m then turn left 90 degrees",
    "앞으로 50센티미터 가서 왼쪽으로 돌아",
    "stop",
    "turn right slowly",
    "go back half a metre",
)


def replies(rng: random.Random) -> Iterator[str]:
    """Damaged sentences, and words thrown together."""
    while True:
        if rng.random() < 0.5:
            text = list(rng.choice(SEEDS))
            for _ in range(rng.randrange(1, 6)):
                at = rng.randrange(len(text) + 1)
                text[at : at + rng.randrange(3)] = rng.choice(WORDS) if rng.random() < 0.5 else chr(rng.randrange(1, 0x3000))
            yield "".join(text)
        else:
            yield rng.choice(("", " ")).join(rng.choices(WORDS, k=rng.randrange(8)))


class Reader:
    """Every parser and the validator, and what they may make of a reply."""

    def __init__(self) -> None:
        self._parser, self._validator = VLAActionParser(), ActionValidator()

    def read(self, text: str) -> int:
        """How many of its actions move. Raises ValueError for what is unsafe."""
        moving = 0
        with suppress(ParseError):
            for box in parse_detections(text):
                _want(0.0 <= box.y_min <= box.y_max <= 1.0 and 0.0 <= box.x_min <= box.x_max <= 1.0, "a box outside the picture")
        for action in (self._parser.parse_text_output(text), self._parser.parse_segmentation_output(text, 320, 240)):
            safe = self._validator.validate_action(action)
            speeds = (safe.linear_x, safe.linear_y, safe.angular_z)
            _want(all(map(math.isfinite, speeds)), "no number")
            _want(math.hypot(safe.linear_x, safe.linear_y) <= 0.5 + 1e-9 and abs(safe.angular_z) <= 1.0 + 1e-9, f"{speeds}")
            moving += speeds != (0.0, 0.0, 0.0)
        return moving


def fuzz_replies(seed: int) -> tuple[int, list[str]]:
    """(actions that move, what was unsafe) of one batch."""
    rng, reader, bad, moving = random.Random(seed), Reader(), [], 0
    source = replies(rng)
    for _ in range(BATCH):
        text = next(source)
        try:
            moving += reader.read(text)
        except Exception as err:  # noqa: BLE001 - whatever it is, it is what is looked for
            bad.append(f"{text!r}: {err!r}")
    return moving, bad


def _want(truth: bool, what: str) -> None:
    if not truth:
        raise ValueError(what)


class Tormented:
    """A guard of one base, its firmware, and whoever spoils what they hear."""

    def __init__(self, kind: str, rng: random.Random) -> None:
        self.base, self.rng = make_base(kind), rng
        self.limits = Limits(max_linear_mps=0.3)
        self.wheels = FirstOrderWheels(gains=[1.0] * len(self.base.traits.drive.wheels(STILL)))
        self.firmware = make_firmware(kind, {}, self.wheels)
        self.guard = Guard(self.base, self.limits, SESSION)
        self.now_ns, self.seq = 10**12, 0
        turn = max(self.base.traits.drive.wheels(Twist(0.0, 0.0, 1.0)))
        self.most = min(self.limits.max_wheel_mps, 0.3 + turn * self.limits.max_angular_radps) + 1e-9

    def turn(self) -> bool:
        """One tick; whether it moved anything. Raises ValueError for what is unsafe."""
        self.now_ns += TICK_NS
        self.wheels.advance(0.02)
        self.firmware.step(self.now_ns)
        output = self.guard.tick(self.now_ns, self._worker(), self._line(self.firmware.read(self.now_ns)))
        moved = False
        for frame in output.writes:
            self.base.sent(frame, self.now_ns)
            self.firmware.feed(frame, self.now_ns)
            with suppress(UnsafeCommand):
                wheels = self.base.traits.drive.wheels(self.base.decode_command(frame))
                _want(all(abs(wheel) <= self.most for wheel in wheels), f"{frame!r} says {wheels}")
                moved = moved or any(wheels)
        kept = [value for value in vars(self.base).values() if isinstance(value, (bytes, bytearray, str, list))]
        _want(all(len(value) <= 8192 for value in kept), "a memory that grows")
        return moved

    def _line(self, said: bytes) -> bytes:
        roll = self.rng.random()
        if roll < 0.9:
            return said
        if roll < 0.95 and said:
            at = self.rng.randrange(len(said))
            return said[:at] + bytes((said[at] ^ 1 << self.rng.randrange(8),)) + said[at + self.rng.randrange(2) :]
        return said + self.rng.randbytes(self.rng.randrange(60))

    def _worker(self) -> list[bytes]:
        rng, self.seq = self.rng, self.seq + 1
        speed = rng.choice((0.2, 0.3, -0.1, 0.59, 9.0, math.nan, 1e308)) if rng.random() < 0.01 else 0.25
        kind = rng.choices((Kind.COMMAND, Kind.ARM, Kind.RESET, Kind.DISARM), (900, 50, 48, 2))[0]
        if kind is Kind.COMMAND and self.now_ns // 10**9 % 4 == 0:
            return []  # whoever asks for motion is not armed: now and then nobody asks
        twist, ends_ns = Twist(speed, 0.0, rng.uniform(-1.0, 1.0)), self.now_ns + 10**9
        fault_id = self.guard.control.machine.fault_id
        said = Command(SESSION, self.seq, kind, twist, self.now_ns, 150, self.now_ns, ends_ns, 6.0, 5.0, 9.0, fault_id).pack()
        if rng.random() < 0.02:
            at = rng.randrange(len(said))
            said = said[:at] + rng.randbytes(2) + said[at + 2 :]
        return [said]


def fuzz_streams(seed: int) -> tuple[int, list[str]]:
    """(ticks that moved something, what was unsafe) of one batch on one base."""
    kind = list(BASES)[seed % len(BASES)]
    tormented, moving, bad = Tormented(kind, random.Random(seed)), 0, []
    try:
        for _ in range(BATCH):
            moving += tormented.turn()
    except Exception as err:  # noqa: BLE001 - whatever it is, it is what is looked for
        bad.append(f"{kind}, seed {seed}: {err!r}")
    return moving, bad


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz")
    parser.add_argument("--replies", type=int, default=7_000_000)
    parser.add_argument("--streams", type=int, default=3_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where the counts go, as JSON")
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    bad: list[str] = []
    began_s = time.monotonic()
    with multiprocessing.Pool(args.jobs) as pool, Progress() as progress:
        for name, fuzz, wanted in (("replies", fuzz_replies, args.replies), ("streams", fuzz_streams, args.streams)):
            batches = -(-wanted // BATCH)
            task = progress.add_task(name, total=batches)
            for moving, found in pool.imap_unordered(fuzz, range(args.seed, args.seed + batches)):
                counts.update({name: BATCH, f"{name} that moved": moving})
                bad += found
                progress.advance(task)
    print(
        json.dumps(dict(counts) | {"unsafe": len(bad), "seconds": round(time.monotonic() - began_s), "seed": args.seed, "first": bad[:5]})
    )
    if args.out is not None:
        args.out.write_text(json.dumps(dict(counts) | {"unsafe": len(bad), "seed": args.seed}, indent=1) + "\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
