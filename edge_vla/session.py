"""One run's parts, started in order and ended in reverse: simulator, camera, guard, recorder, the two loops."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import cv2

from edge_vla.behaviours.state import Plan
from edge_vla.config import SIMULATED_PORT, RobotProfile
from edge_vla.drive import Seeing, Steering, Tick, latched
from edge_vla.errors import GuardError
from edge_vla.goals import GOALS, Goal
from edge_vla.guard.client import GuardProcess
from edge_vla.guard.memory import latch_path
from edge_vla.guard.private import runtime_folder
from edge_vla.guard.settings import GuardSettings
from edge_vla.latched import require_unlatched
from edge_vla.live import SeeLoop, Seen, SteerLoop, favoured, swept
from edge_vla.parts import ORACLE, make_camera, make_frame_rules, truth_of
from edge_vla.pilot import time_over
from edge_vla.record import Recorder, Stages
from edge_vla.robot import guard_limits, within
from edge_vla.status import StatusLine
from edge_vla.summary import Ending, Summary, Totals, summarise
from edge_vla.types import STILL, Camera, Engine, Frame

if TYPE_CHECKING:
    from edge_vla.sim.process import SimProcess
    from edge_vla.sim.view import Truth

UNDATED = ("shape", "sequence", "stamp", "future")  # refused before or for its stamp
FIRST_FRAME_S = 15.0  # a camera may take this long to start streaming
SWITCH_S = 0.0005  # what the 30 Hz loop waits for a thread that writes JSON; Python's usual 5 ms were the p99 of its ticks


@dataclass(frozen=True, slots=True)
class Request:
    """What the operator asked for, checked."""

    profile: RobotProfile
    plan: Plan
    engine: str
    seed: int
    timeout_s: float
    folder: Path
    allow_domain_mismatch: bool = False
    allow_unverified: bool = False
    source: Path | None = None  # of the profile; None: built in
    sentence: str = ""  # the operator's own, of a command
    stop_at_m: float | None = None  # as the operator said; the plan has a default
    reset: int | None = None  # the fault that the operator has looked at and lets go

    def no_faster_than(self, engine: Engine) -> tuple[Request, str]:
        """The request within the speeds the engine was evaluated at, and what that changed, in words."""
        profile, slowed = within(self.profile, engine)
        limits = profile.limits
        plan = replace(self.plan, max_linear_mps=limits.max_linear_mps, max_angular_rps=limits.max_angular_rps)
        return replace(self, profile=profile, plan=plan), slowed


class Interrupt:
    """SIGINT and SIGTERM: a flag while the loop runs, KeyboardInterrupt while parts are being started."""

    def __init__(self) -> None:
        self.signal = 0
        self.deferred = False

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler. A second signal is no different from the first: the stop is already under way."""
        first, self.signal = self.signal == 0, self.signal or number
        if first and not self.deferred:
            raise KeyboardInterrupt


class Session:
    """Holds everything that must be ended. Leaving the context stops the base first."""

    def __init__(self, request: Request, interrupt: Interrupt, say: Callable[[str], None] = lambda _: None) -> None:
        """`say` gets what the operator should know before anything moves."""
        self.request, self.interrupt, self._say = request, interrupt, say
        self._notices: list[str] = []  # what the operator should know afterwards
        self._stack = ExitStack()
        self._sim: SimProcess | None = None
        self._camera: Camera | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def truth_of(self, seq: int) -> Truth | None:
        """The simulator's truth about a frame, for the oracle."""
        return truth_of(self._camera, seq) if self._camera is not None else None

    def run(self, engine: Engine) -> Summary:
        """Start the parts, drive, sum up. `engine` is warm."""
        self.request, slowed = self.request.no_faster_than(engine)
        if slowed:
            self._say(slowed)
            self._notices.append(slowed)
        request = self.request
        self._stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(SWITCH_S)
        port = self._start_world(truth=request.engine == ORACLE)
        camera = self._camera = make_camera(request.profile.camera, Path(self._sim.frames) if self._sim else None)
        self._stack.callback(camera.close)
        camera.read(FIRST_FRAME_S)
        guard = self._stack.enter_context(GuardProcess.start(self._guard_settings(port)))
        if told := require_unlatched(guard, request.reset):
            self._say(told)
        self.interrupt.deferred = True  # from here on a signal ends the loop, which stops the base
        recorder = self._stack.enter_context(self._recorder(engine))
        return self._drive(engine, camera, guard, recorder)

    def _start_world(self, *, truth: bool) -> str:
        """The base's port; with a simulated robot, after starting its world."""
        profile, plan = self.request.profile, self.request.plan
        if profile.base.port != SIMULATED_PORT:
            return profile.base.port
        from edge_vla.sim.process import SimProcess
        from edge_vla.sim.settings import SimSettings

        camera = profile.camera
        settings = SimSettings(
            folder=str(self.request.folder), seed=self.request.seed, require=(plan.target,) if plan.target else (),
            width=camera.width, height=camera.height, fps=camera.fps, hfov_deg=camera.hfov_deg, height_m=camera.height_m,
            pitch_deg=camera.pitch_deg, forward_m=camera.forward_m, baud=profile.base.baud,
            base=profile.base.kind, base_options=profile.base.codec,
            truth=truth, follow=plan.goal is Goal.FOLLOW,
        )  # fmt: skip
        self._sim = self._stack.enter_context(SimProcess.start(settings))
        return self._sim.port

    def _guard_settings(self, port: str) -> GuardSettings:
        profile = self.request.profile
        return GuardSettings(
            base=profile.base.kind, port=port, baud=profile.base.baud, limits=guard_limits(profile),
            base_options=profile.base.codec, use_gyro=profile.simulated,
            log_path=str(self.request.folder / "guard.jsonl"), deadman_ms=profile.limits.deadman_ms,
            memory_path=None if profile.simulated else str(latch_path(runtime_folder(), port)),
        )  # fmt: skip

    def _recorder(self, engine: Engine) -> Recorder:
        profile = self.request.profile
        info: dict[str, Any] = {"name": self.request.engine}
        manifest = getattr(engine, "manifest", None)
        if manifest is not None:
            info |= {"sha256": dict(manifest.sha256), "domain": manifest.domain, "precision": manifest.precision}
        return Recorder(self.request.folder, self.request.plan, profile=profile.model_dump(), engine=info, simulated=profile.simulated)

    def _drive(self, engine: Engine, camera: Camera, guard: GuardProcess, recorder: Recorder) -> Summary:
        request, profile = self.request, self.request.profile
        self._stack.enter_context(swept())
        seeing = Seeing(engine, request.plan, guard.poses.at)
        steering, rules = Steering(guard, request.plan, profile.limits.ttl_ms), make_frame_rules(profile.camera)
        totals = Totals(1_000_000_000 // profile.steer.hz)
        see = SeeLoop(camera, seeing, aged(rules.judge, totals), steering.driven)
        loop = SteerLoop(see, steering, profile.steer.hz)
        status = StatusLine(request.plan.goal.value, request.plan.target, simulated=profile.simulated)
        notes = _Notes(totals, recorder, status, camera, rules)
        self._stack.callback(see.stop)
        see.start()
        with status, favoured():
            result, why = self._loop(loop, notes)
        guard.close()
        recorder.close()
        if request.plan.goal is Goal.SAVE_IMAGE and result == "reached":
            result, why = self._save_image(loop.frame)
        state = steering.state
        result, why = believed(result, why or state.why, still=bool(guard.confirmed_still))
        spoken = GOALS[request.plan.goal].answer.value == "words"
        notices = [*self._notices, getattr(camera, "notice", ""), notes.warning, recorder.notice]
        ending = Ending(
            result, why, profile.simulated, request.engine, words=state.words if spoken else "", record=request.folder,
            notice="; ".join(filter(None, notices)), status=guard.status, counts=notes.dropped(see),
            signal=self.interrupt.signal if result == "interrupted" else 0,
        )  # fmt: skip
        return summarise(request.plan, notes.totals, ending)

    def _loop(self, loop: SteerLoop, notes: _Notes) -> tuple[str, str]:
        """Tick until something ends the run: (result, why). Whatever it is, the base is told to stop before this returns."""
        started_ns = time.monotonic_ns()
        ending = None
        while ending is None:
            try:
                tick, seen, spent_ns = loop.tick(loop.wait())
            except GuardError as err:  # the guard is gone: the base's own watchdog stops the robot
                return "fault", str(err)
            told_ns = time.monotonic_ns()
            elapsed_ns = tick.inputs.now_ns - started_ns
            notes.take(loop, tick, seen, (spent_ns, elapsed_ns))
            ending = self._ending(loop, tick.inputs.now_ns, elapsed_ns)
            notes.totals.noted(time.monotonic_ns() - told_ns)
        return ending

    def _ending(self, loop: SteerLoop, now_ns: int, elapsed_ns: int) -> tuple[str, str] | None:
        """(result, why) when this tick was the last, None while it was not."""
        guard, steering = loop.steering.guard, loop.steering
        if self.interrupt.signal:
            guard.stop()
            return "interrupted", f"signal {signal.Signals(self.interrupt.signal).name}"
        if trouble := loop.see.trouble(now_ns):
            guard.fault()
            return "fault", trouble
        if latched(guard.status):
            return "fault", f"the guard latched {guard.status.fault.name.lower() if guard.status else ''}"
        if steering.done:
            return steering.state.outcome, ""
        if elapsed_ns > self.request.timeout_s * 1e9:
            guard.send(STILL)
            steering.state = time_over(steering.state, loop.look, self.request.plan)
            return steering.state.outcome, ""
        return None

    def _save_image(self, frame: Frame | None) -> tuple[str, str]:
        """Write what the run was made for: (result, why)."""
        path = self.request.folder / "image.png"
        if frame is None or not cv2.imwrite(str(path), cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR)):
            return "fault", f"cannot write {path}"
        return "reached", f"saved {path}"


def believed(result: str, why: str, *, still: bool) -> tuple[str, str]:
    """(result, why) of a run whose guard has or has not seen the wheels stand. Unseen, nothing has ended well: not even a signal's run."""
    if still:
        return result, why
    return "fault", f"the wheels did not confirm zero; before that {result}: {why}" if why else "the wheels did not confirm zero"


def aged(judge: Callable[[Frame, int, float], str | None], totals: Totals) -> Callable[[Frame, int, float], str | None]:
    """The frame rules, with the age of every frame counted whose stamp is in order."""

    def judged(frame: Frame, now_ns: int, driven: float) -> str | None:
        why = judge(frame, now_ns, driven)
        if why not in UNDATED:
            totals.frame(now_ns - frame.t_capture_ns)
        return why

    return judged


class _Warns(Protocol):
    """The frame rules, as far as they warn."""

    @property
    def warning(self) -> str: ...


@dataclass(slots=True)
class _Notes:
    """Where each tick is counted, recorded and shown."""

    totals: Totals
    recorder: Recorder
    status: StatusLine
    camera: Camera
    rules: _Warns
    warning: str = ""  # the last the frame rules gave

    def take(self, loop: SteerLoop, tick: Tick, seen: Seen | None, took_ns: tuple[int, int]) -> None:
        """A tick and the answer it took in; `took_ns`: (this tick's own work, the run so far)."""
        look, guard = loop.look, loop.steering.guard.status
        if seen is not None and look is not None:
            stages = Stages(seen.asked_ns - seen.frame.t_capture_ns, seen.ready_ns - seen.asked_ns, loop.parse_ns)
            self.totals.look(look, stages)
            self.recorder.look(seen.frame, seen.reply, look, loop.see.seeing.p99_ns, stages)
        self.totals.tick(tick, took_ns[0])
        self.recorder.tick(tick, {**(guard.tally if guard else {}), **self.dropped(loop.see), **self.totals.counts})
        self.status.notice = self.rules.warning
        self.warning = self.rules.warning or self.warning
        self.status.show(tick, loop.steering.state.track, took_ns[1] * 1e-9)

    def dropped(self, see: SeeLoop) -> dict[str, int]:
        """What the worker has lost so far, by name; a camera that does not count has lost nothing that can be told."""
        return {"frames_unread": getattr(self.camera, "dropped", 0), **see.tally()}
