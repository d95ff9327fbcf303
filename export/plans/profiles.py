"""Optimisation profiles: for which sizes TensorRT builds a bundle's plans, and for which it makes them fastest. Knows no TensorRT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_vla.backends.axes import ALL, FRAMES, NEW, PAST, READ, WINDOW, shapes
from edge_vla.backends.backbone_manifest import BackboneManifest, PolicyManifest
from edge_vla.backends.bundle import Bundle, FinderManifest
from edge_vla.backends.cache import PAST as CACHES
from edge_vla.backends.manifest import Graph, Manifest, Span
from edge_vla.backends.plan_contract import keeps
from edge_vla.backends.vocabulary import encode, load_tokenizer
from edge_vla.errors import ConfigError

TEXT, MOST_TEXT = 16, 64  # positions of a question or an instruction, special ones with them, where a manifest does not say
AROUND = 2  # positions before and after a picture
MOST = 1_000_000
Profiles = dict[str, list[dict[str, Span]]]
Sizes = Mapping[str, tuple[int, int, int]]  # of a profile, by what an axis counts: least, best, most


@dataclass(frozen=True, slots=True)
class Lengths:
    """Positions a plan is built for. Raises ConfigError for sizes that are none."""

    new: int  # most that are read at once
    best: int  # of these, what it is fastest at
    past: int | None  # most that are kept behind a later step; None where nothing is kept
    window: int = 1  # frames that a head reads
    frames: int = 1  # pictures of one sequence

    def __post_init__(self) -> None:
        if not 1 <= self.new <= MOST:
            raise ConfigError(f"prefill {self.new}: want 1 to {MOST}")
        if self.past is not None and not self.new <= self.past <= MOST:
            raise ConfigError(f"past {self.past}: want {self.new}, the longest prefill, to {MOST}")
        if not 1 <= self.window <= 4096:
            raise ConfigError(f"frames {self.window}: want 1 to 4096")


def lengths_of(bundle: Bundle, new: int | None = None, past: int | None = None, window: int | None = None) -> Lengths:
    """What a bundle is asked, as its manifest says; a number that is given is taken instead. Raises ConfigError."""
    m = bundle.manifest
    if isinstance(m, FinderManifest):
        best = most = m.language.image_tokens + _longest_question(bundle, m)
        answer = m.language.max_new_tokens
        pictures = frames = 1
    elif isinstance(m, BackboneManifest):
        policy = m.policy if isinstance(m, PolicyManifest) else None
        frames = window_of(m)
        pictures = 1 if policy is None or policy.history == "post" else frames
        each = m.sequence.image_tokens + AROUND + (policy.latent if policy is not None and policy.action_space == "continuous" else 0)
        most_text = m.max_text if isinstance(m, PolicyManifest) and m.max_text is not None else MOST_TEXT
        best, most = (pictures * (each + text) for text in (min(TEXT, most_text), most_text))
        answer = m.decoder.max_new_tokens
    else:
        raise ConfigError(f"engine {bundle.folder}: no profiles are known for {m.kind}")
    length = fixed_length(m.graphs["lm_step"])
    most = min(most, length or most) if new is None else new
    if length is not None and past not in (None, length):
        raise ConfigError(f"past {past}: the caches of {bundle.folder} have a length of {length}")
    kept = (length or (most + answer if past is None else past)) if keeps(m.graphs["lm_step"]) else None
    return Lengths(most, min(best, most), kept, frames if window is None else window, pictures)


def fixed_length(step: Graph) -> int | None:
    """Of caches that do not grow; None of those that do."""
    lengths = [tensor.shape[2] for tensor in step.inputs if tensor.name in CACHES]
    return lengths[0] if lengths and isinstance(lengths[0], int) else None


def window_of(m: BackboneManifest) -> int:
    return m.policy.window if isinstance(m, PolicyManifest) else 1


def profiles_of(m: Manifest, lengths: Lengths, kv: str, *, one: bool) -> Profiles:
    """By graph. A step that keeps something has a profile for its first pass and one for all later ones, or a common `one`."""
    found: Profiles = {}
    for name, graph in m.graphs.items():
        if name == "lm_step":
            found[name] = [spans(name, graph, sizes) for sizes in _step(graph, lengths, kv, one=one)]
        else:
            most = lengths.new
            sizes = {WINDOW: (1, lengths.window, lengths.window), READ: (1, lengths.best, most)}
            found[name] = [spans(name, graph, sizes)]
    return found


def spans(name: str, graph: Graph, sizes: Sizes) -> dict[str, Span]:
    """One profile. Raises ConfigError for an axis of unknown size."""
    least, best, most = (shapes(name, graph, {role: three[i] for role, three in sizes.items()}) for i in range(3))
    return {key: Span(least=list(least[key]), best=list(best[key]), most=list(most[key])) for key in least}


def _step(graph: Graph, lengths: Lengths, kv: str, *, one: bool) -> list[Sizes]:
    new, best, past = lengths.new, lengths.best, lengths.past
    rest = {FRAMES: (1, lengths.frames, lengths.frames), READ: (1, best, new)}
    if past is None:
        return [{NEW: (1, best, new), ALL: (1, best, new), **rest}]
    if fixed_length(graph) is not None:
        first = {NEW: (1, best, new), ALL: (past + 1, past + best, past + new), **rest}
        later = {NEW: (1, 1, 1), ALL: (past + 1, past + 1, past + 1), **rest}
        return [{NEW: (1, 1, new), ALL: (past + 1, past + 1, past + new), **rest}] if one else [first, later]
    if one:  # fastest at later steps: an answer has one first pass and several of these
        return [{NEW: (1, 1, new), PAST: (0, best, past), ALL: (1, best + 1, past + new), **rest}]
    first = {NEW: (1, best, new), PAST: (0, 0, 0), ALL: (1, best, new), **rest}
    behind = (past, past, past) if kv == "static" else (1, best, past)
    later = {NEW: (1, 1, 1), PAST: behind, ALL: (behind[0] + 1, behind[1] + 1, behind[2] + 1), **rest}
    return [first, later]


def _longest_question(bundle: Bundle, m: FinderManifest) -> int:
    """Positions of the longest question an engine of trained prompts answers: it is asked nothing else."""
    tokenizer = load_tokenizer(bundle)
    asked = [m.prompts.detect.replace("{thing}", thing) for thing in m.targets]
    asked += [m.prompts.presence.replace("{thing}", f"{article}{thing}") for thing in m.targets for article in ("", "a ", "an ")]
    return max(len(encode(tokenizer, prompt)) for prompt in (*asked, *m.prompts.sentences))
