"""Names to parts: the only file that names adapters, each imported inside its branch. A new adapter is one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge_vla.errors import ConfigError
from edge_vla.guard.types import Base

if TYPE_CHECKING:
    from edge_vla.backends.bundle import Bundle
    from edge_vla.backends.graphs import Graphs
    from edge_vla.cameras.rules import FrameRules
    from edge_vla.config import BaseProfile, CameraProfile
    from edge_vla.sim.view import Truth
    from edge_vla.types import Camera, Engine, Frame, Reply

ORACLE = "oracle"


def make_base(profile: BaseProfile) -> Base:
    """The codec of the base a profile names. Raises ConfigError for an unknown kind or option."""
    from edge_vla.bases import make_base as base_by_name

    return base_by_name(profile.kind, profile.codec)


def make_camera(profile: CameraProfile, socket: Path | None) -> Camera:
    """The camera a profile names, open; `socket` is the simulator's. Raises ConfigError, CameraError."""
    from edge_vla.cameras.opening import open_camera

    return open_camera(profile, socket)


def truth_of(camera: Camera, seq: int) -> Truth | None:
    """What the simulator sent along with a frame; None for a camera that sees the real world."""
    from edge_vla.cameras.simulator import SimulatorCamera

    return camera.truth_of(seq) if isinstance(camera, SimulatorCamera) else None


def make_frame_rules(profile: CameraProfile) -> FrameRules:
    """The judge of this camera's frames."""
    from edge_vla.cameras.rules import FrameRules

    return FrameRules((profile.height, profile.width, 3))


def make_engine(  # noqa: PLR0913 - each is a word of a profile or of the command line
    name: str, *, threads: int, domain: str, truth_of: Callable[[int], Truth | None] | None = None, allow_domain: bool = False,
    allow_unverified: bool = False, provider: str = "cpu",
) -> Engine:  # fmt: skip
    """`oracle` (simulator only) or the engine in a bundle folder. Raises ConfigError for a bundle that must not drive this robot."""
    if name == ORACLE:
        from edge_vla.sim.oracle import OracleEngine

        if truth_of is None:
            raise ConfigError("engine 'oracle' answers from the simulator's truth: it cannot see a real room")
        return OracleEngine(truth_of)
    from edge_vla.backends.bundle import Bundle

    bundle = Bundle(Path(name))
    if (why := bundle.manifest.doubt) and not allow_unverified:
        raise ConfigError(f"engine {name!r} {why}; --allow-unverified drives it all the same, at your risk")
    if bundle.manifest.domain != domain and not allow_domain:
        raise ConfigError(
            f"engine {name!r} was trained on {bundle.manifest.domain!r} images and this robot is {domain!r}; "
            "--allow-domain-mismatch drives it all the same, at your risk"
        )
    return open_bundle(bundle, threads, provider)


def open_bundle(bundle: Bundle, threads: int = 1, provider: str = "cpu") -> Engine:
    """The engine in a checked bundle, whatever robot it is for. Raises ConfigError, EngineError."""
    return make_host(bundle, make_graphs(bundle, threads, provider))


def make_graphs(bundle: Bundle, threads: int = 1, provider: str = "cpu") -> Graphs:
    """A bundle's graphs on the runtime it was made for. Raises ConfigError for a provider that is not here."""
    if bundle.manifest.backend == "tensorrt":
        if provider != "cpu":
            raise ConfigError(f"engine {bundle.folder} holds TensorRT plans: engine.provider = {provider!r} is for ONNX graphs alone")
        from edge_vla.backends.tensorrt import TensorrtGraphs

        return TensorrtGraphs(bundle)
    from edge_vla.backends.onnx import OnnxGraphs

    return OnnxGraphs(bundle, threads, provider)


def make_host(bundle: Bundle, graphs: Graphs) -> Engine:
    """What asks a bundle's graphs, by the kind of its manifest."""
    from edge_vla.backends.bundle import PolicyManifest, SpeakerManifest

    if isinstance(bundle.manifest, PolicyManifest):
        from edge_vla.backends.policy import PolicyEngine

        return PolicyEngine(bundle, graphs)
    if isinstance(bundle.manifest, SpeakerManifest):
        from edge_vla.backends.speaker import SpeakerEngine

        return SpeakerEngine(bundle, graphs)
    from edge_vla.backends.finder import FinderEngine

    return FinderEngine(bundle, graphs)


def reference_of(name: str) -> tuple[tuple[Frame, str, Reply | None], ...]:
    """(picture, prompt, answer at export) of the bundle in that folder; a policy's answers are no replies.

    Raises ConfigError where it brings none.
    """
    from edge_vla.backends.answers import questions as own
    from edge_vla.backends.bundle import Bundle, FinderManifest
    from edge_vla.backends.reference import questions

    bundle = Bundle(Path(name))
    if isinstance(bundle.manifest, FinderManifest):
        return tuple((frame, prompt, want) for _, frame, prompt, want in questions(bundle))
    return tuple(own(bundle))


def verify_engine(engine: Engine, name: str) -> int:
    """Ask an engine what the bundle in that folder was asked at export; how many answers agree. Raises EngineError, ConfigError."""
    from edge_vla.backends.answers import require
    from edge_vla.backends.bundle import Bundle, FinderManifest
    from edge_vla.backends.reference import verify

    bundle = Bundle(Path(name))
    return verify(engine, bundle).answers if isinstance(bundle.manifest, FinderManifest) else require(engine, bundle)
