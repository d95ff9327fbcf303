"""A policy on a bundle's graphs: an instruction and frames go in, motion comes out. Clips nothing: the validator and the guard do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_vla.action_scaling import ActionScaling, Numbers
from edge_vla.backends.backbone_manifest import Scaling
from edge_vla.backends.bundle import Bundle, PolicyManifest
from edge_vla.backends.graphs import Array, Graphs
from edge_vla.backends.histories import Parts, Reader, reader
from edge_vla.backends.laps import Laps
from edge_vla.backends.vocabulary import read_embeddings
from edge_vla.backends.wording import Wording
from edge_vla.errors import EngineError
from edge_vla.pictures import Preparation, prepare
from edge_vla.types import Chunk, Frame, Reply, Twist

PAUSE_S = 2.0  # frames further apart than this, and than PAUSE_PERIODS actions, are no window of one motion
PAUSE_PERIODS = 5
WARM_UP = "go to the cup"


class PolicyEngine:
    """Answers an instruction about a frame with the motion the policy wants, from that frame and those before it.

    Another instruction, a frame older than the last one and a long pause begin a new window.
    """

    targets = None  # its instructions are open

    def __init__(self, bundle: Bundle, graphs: Graphs) -> None:
        """Raises ConfigError for files that are not what the manifest says, EngineError for files that are none."""
        m = self.manifest = bundle.a(PolicyManifest)
        self.laps, self.graphs = Laps(), graphs
        act: Array | None = None
        if m.act is not None:
            act = np.asarray(read_embeddings(bundle.path(m.act), (m.policy.latent, m.decoder.hidden)), np.float32)
        self._parts = Parts(m, Wording(bundle, m), act, graphs, self.laps)
        self._picture = Preparation(**m.picture.model_dump())
        self._scaling = scaling_of(m.policy.scaling)
        self._instruction = ""
        self._reader: Reader | None = None
        self._seen_ns: int | None = None  # when the newest frame of the window was captured

    @property
    def providers(self) -> tuple[str, ...]:
        """What the graphs run on."""
        return self.graphs.providers

    @property
    def moves(self) -> frozenset[str]:
        """Which of linear_x, linear_y and angular_z its actions drive; none of them is an arm's layout."""
        return frozenset(self.manifest.policy.motion)

    def forget(self) -> None:
        """Drop the frames before: what comes next is another run."""
        self._seen_ns = None
        if self._reader is not None:
            self._reader.forget()

    def warm_up(self) -> None:
        """Run every path once, the window growing to its full length, before the first tick."""
        width, height = self.manifest.picture.camera or (self.manifest.picture.width, self.manifest.picture.height)
        grey = np.full((height, width, 3), 127, np.uint8)
        self.forget()
        for k in range(self.manifest.policy.window):
            self.ask(Frame(grey, k, k), WARM_UP)
        self.forget()

    def ask(self, frame: Frame, prompt: str) -> Reply:
        """What to drive for the instruction `prompt`. Raises EngineError; ConfigError for an instruction or a frame it cannot take."""
        actions = self.actions(frame, prompt)
        p = self.manifest.policy
        axes = [p.motion.get(axis) for axis in ("linear_x", "linear_y", "angular_z")]
        rows = [[0.0 if at is None else float(action[at]) for at in axes] for action in actions]
        chunk = Chunk(tuple(Twist(*row) for row in rows), p.period_s, p.execute)
        return Reply("", 1.0, chunk=chunk, latency_s=self.laps.finish("reply"))

    def actions(self, frame: Frame, instruction: str) -> NDArray[np.float64]:
        """(C, A) in robot units, the gripper of an arm 1 where open and -1 where shut, in its tool's frame if labels are."""
        said = self.says(frame, instruction)
        with np.errstate(over="ignore"):
            actions: NDArray[np.float64] = self._scaling.decode(said.astype(np.float64))
        p = self.manifest.policy
        if p.scaling.gripper:
            middle = 0.0 if p.gripper_logits or p.bins is not None else 0.5
            actions[:, -1] = np.where(said[:, -1] > middle, 1.0, -1.0)
        if not np.isfinite(actions).all():
            raise EngineError(f"engine {self.manifest.name!r}: its scaling makes no finite motion of {said.tolist()}")
        return actions

    def says(self, frame: Frame, instruction: str) -> Array:
        """(C, A) as the head says it, arm before gripper; the frame joins the window."""
        self.laps.start()
        following = self._following(frame, instruction)
        image = prepare(frame.rgb, self._picture)[None]
        self.laps.lap("preprocess")
        pictures = np.array(self.graphs.run("vision", {"image": image})["tokens"], np.float32)
        self.laps.lap("vision")
        said = following.read(pictures)
        self._seen_ns = frame.t_capture_ns
        return said

    def _following(self, frame: Frame, instruction: str) -> Reader:
        """The reader of this instruction, with the frames that this one follows."""
        if self._reader is None or instruction != self._instruction:
            self._reader, self._instruction, self._seen_ns = reader(self._parts, instruction), instruction, None
        if self._seen_ns is not None:
            since_s = (frame.t_capture_ns - self._seen_ns) * 1e-9
            if not 0 <= since_s <= max(PAUSE_S, PAUSE_PERIODS * self.manifest.policy.period_s):
                self._reader.forget()
        return self._reader

    def close(self) -> None:
        self.graphs.close()


def scaling_of(told: Scaling) -> ActionScaling:
    """Numbers to robot units; an arm's stay in its tool's frame, whose pose nobody tells here."""
    bounds = None if told.bounds is None else (told.bounds[0], told.bounds[1])
    deviation = None if told.deviation is None else _numbers(told.deviation)
    return ActionScaling(bounds, _numbers(told.mean), deviation, told.mu, gripper=told.gripper)


def _numbers(told: float | list[float]) -> Numbers:
    return tuple(told) if isinstance(told, list) else told
