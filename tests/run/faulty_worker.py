"""A real run with an engine that always sees a cup far ahead, until a word on stdin breaks something. Not a test.

Words: `hang`, `raise` (the engine), `freeze` (the simulator's camera). Answers `<word> <monotonic ns>` once it has happened.
The last line is the run's summary; then the simulator goes on, to be looked at, until it is told to `leave`.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from dataclasses import replace

from edge_vla.run import parse_args, request_of
from edge_vla.session import Interrupt, Session
from edge_vla.sim.settings import Fault
from edge_vla.types import Frame, Reply

FAR_AHEAD = Reply("<loc0380><loc0500><loc0480><loc0524> cup", 0.95, (4.0,) * 16)
ANSWER_S = 0.1


def say(*words: object) -> None:
    print(*words, flush=True)


class ScriptedEngine:
    """Takes a tenth of a second to see a cup two and a half metres straight ahead; does what `word` says instead once there is one."""

    targets = ("cup",)

    def __init__(self) -> None:
        self.word = ""

    def ask(self, frame: Frame, prompt: str) -> Reply:
        if self.word == "hang":
            say("hang", time.monotonic_ns())
            time.sleep(3600)
        if self.word == "raise":
            say("raise", time.monotonic_ns())
            raise RuntimeError("cudaErrorIllegalAddress")
        time.sleep(ANSWER_S)
        return FAR_AHEAD

    def close(self) -> None:
        """Nothing is held."""


def obey(session: Session, engine: ScriptedEngine, leave: threading.Event) -> None:
    for line in sys.stdin:
        if line.strip() == "leave":
            leave.set()
        elif line.strip() == "freeze":
            say("freeze", time.monotonic_ns())
            session._sim.inject(Fault.FROZEN)  # type: ignore[union-attr]
        else:
            engine.word = line.strip()


def main() -> int:
    interrupt = Interrupt()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt.handle)
    request = request_of(parse_args(["--goal", "find_object", "--target", "cup", "--engine", "oracle", *sys.argv[1:]]))
    request = replace(request, engine="scripted")
    with Session(request, interrupt) as session:
        engine, leave = ScriptedEngine(), threading.Event()
        threading.Thread(target=obey, args=(session, engine, leave), daemon=True).start()
        summary = session.run(engine)
        say(summary.to_json())
        leave.wait(30.0)
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(main())
