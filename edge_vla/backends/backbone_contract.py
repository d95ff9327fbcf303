"""Whether the manifest of a RoboVLMs-style model agrees with itself. Reads no file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from edge_vla.backends.backbone_manifest import AXES, BackboneManifest, PolicyManifest, Segment, SpeakerManifest
from edge_vla.backends.tensors import Axis, Wanted, disagreement
from edge_vla.grammars import GRAMMARS
from edge_vla.pictures import Preparation

Tensors = dict[str, tuple[Axis, ...]]
CLASSES = "MobileVLAClassificationDecoder"


def contradiction(m: BackboneManifest) -> str:
    """The first place where the manifest contradicts itself, with what would be right; "" for none."""
    own = _policy(m) if isinstance(m, PolicyManifest) else _speaker(m) if isinstance(m, SpeakerManifest) else ()
    return next(chain(_sequence(m), _picture(m), _decoder(m), own, _graphs(m)), "")


def _graphs(m: BackboneManifest) -> Iterator[str]:
    yield from disagreement(m, wanted(m))  # once the rest is right: their sizes are counted from it


def wanted(m: BackboneManifest) -> Wanted:
    """The tensors of the graphs a host of this manifest feeds and reads."""
    n, width = m.sequence.latents or (m.sequence.image_tokens, m.decoder.hidden)
    found: dict[tuple[str, str], Tensors] = {
        ("vision", "inputs"): {"image": ("float32", 1, 3, "picture.height", "picture.width")},
        ("vision", "outputs"): {"tokens": ("float32", 1, n, width)},
    }
    positions: tuple[Axis, ...] = ("int64", 1, "?") if m.sequence.grid is None else ("int64", 3, 1, "?")
    step: Tensors = {"embeddings": ("float32", 1, "?", "decoder.hidden"), "positions": positions, "mask": ("float32", 1, 1, "?", "?")}
    beside: Tensors = {"latents": ("float32", 1, "?", n, width), "seen": ("int64", 1, "?")} if m.sequence.latents else {}
    if isinstance(m, PolicyManifest) and m.policy.action_space != "discrete":
        read: Axis = "?" if m.policy.action_space == "down_sample" else m.policy.latent
        found["lm_step", "inputs"] = {**step, "act": ("int64", "?", read), **beside}
        found["lm_step", "outputs"] = {"tokens": ("float32", "?", read, "decoder.hidden")}
        found |= _head(m)
        return found
    kept: tuple[Axis, ...] = ("float32", "decoder.layers", "decoder.kv_heads", m.decoder.static or "?", "decoder.head_dim")
    slots: Tensors = {} if m.decoder.static is None else {"slots": ("int64", "?")}
    cache: Tensors = {"past_keys": kept, "past_values": kept, **slots}
    choice: Tensors = {} if m.decoder.rows is None else {"choice": ("int64", 1)}
    found["lm_step", "inputs"] = {**step, **cache, **beside}
    logits: Tensors = {"logits": ("float32", 1, m.decoder.logits), **choice, "hidden": ("float32", 1, "decoder.hidden")}
    found["lm_step", "outputs"] = {**logits, "keys": kept, "values": kept}
    return found


def _head(m: PolicyManifest) -> dict[tuple[str, str], Tensors]:
    p = m.policy
    read: Axis = p.latent if p.pool or p.action_space == "continuous" else "?"
    outputs: Tensors = {"actions": ("float32", 1, p.chunk, p.action_dim)}
    if p.scaling.gripper:
        outputs = {"arm": ("float32", 1, p.chunk, p.action_dim - 1), "gripper": ("float32", 1, p.chunk, 1)}
    told = next((t.shape for t in m.graphs["head"].inputs if len(t.shape) == 4), None) if "head" in m.graphs else None
    frames: Axis = 1 if p.window == 1 and told is not None and told[1] == 1 else "?"  # a window of one frame may be fixed
    return {("head", "inputs"): {"tokens": ("float32", 1, frames, read, "decoder.hidden")}, ("head", "outputs"): outputs}


def _sequence(m: BackboneManifest) -> Iterator[str]:
    s = m.sequence
    if (s.latents is None) is not (s.mark is None):
        yield f"sequence.mark: want a row exactly where sequence.latents says what it stands for, got {s.mark} and {s.latents}"
    if (s.latents is None) is (s.image_tokens == 0):
        yield f"sequence.image_tokens: want 0 exactly with latents beside the sequence, got {s.image_tokens} and {s.latents}"
    if s.grid is not None and s.grid[0] * s.grid[1] != s.image_tokens:
        yield f"sequence.grid: want two factors of {s.image_tokens} image tokens, got {s.grid}"
    named = {"brackets": s.brackets or [], "mark": [] if s.mark is None else [s.mark]}
    for name, rows in named.items():
        for row in rows:
            if row >= m.decoder.vocabulary:
                yield f"sequence.{name}: want rows below {m.decoder.vocabulary}, got {row}"


def _picture(m: BackboneManifest) -> Iterator[str]:
    p = m.picture
    if (p.kind == "pad") is not (p.fill is not None):
        yield f"picture.fill: want a colour exactly for pad, got {p.fill} for {p.kind}"
    if p.rounded and p.kind != "middle":
        yield f"picture.rounded: want it for middle only, got {p.kind}"
    if p.kind in {"middle", "pad"} and p.height != p.width:
        yield f"picture.width: want a square for {p.kind}, got {p.height} x {p.width}"
    in_crops = p.kind in {"closest", "mosaic"}
    for name in ("crop", "camera"):
        if in_crops is not (getattr(p, name) is not None):
            yield f"picture.{name}: want it exactly for closest and mosaic, got {getattr(p, name)} for {p.kind}"
    if (p.kind == "mosaic") is not (p.most is not None):
        yield f"picture.most: want a number exactly for mosaic, got {p.most} for {p.kind}"
    if p.crop is not None and p.margin * 2 >= p.crop:
        yield f"picture.margin: want less than half of {p.crop}, got {p.margin}"
    if p.camera is not None and min(p.camera) < 1:
        yield f"picture.camera: want a width and a height of at least 1, got {p.camera}"
    if in_crops and (laid := Preparation(**p.model_dump()).of(*(p.camera or ()))) != (p.height, p.width):
        yield f"picture.height: want {laid[0]} x {laid[1]}, as {p.kind} has a camera of {p.camera}, got {p.height} x {p.width}"


def _decoder(m: BackboneManifest) -> Iterator[str]:
    end = 0
    for k, span in enumerate(m.decoder.rows or []):
        if len(span) != 2 or not end <= span[0] < span[1] <= m.decoder.vocabulary:
            yield f"decoder.rows.{k}: want [first, end) in {end}..{m.decoder.vocabulary}, in order, got {span}"
            return
        end = span[1]


def _speaker(m: SpeakerManifest) -> Iterator[str]:
    if m.grammar not in GRAMMARS:
        yield f"grammar: want one of {', '.join(sorted(GRAMMARS))}, got {m.grammar!r}"
        return
    for k, row in enumerate(m.ends):
        if row >= m.decoder.vocabulary:
            yield f"ends.{k}: want a row below {m.decoder.vocabulary}, got {row}"
    yield from _segments(m, "question", m.question)
    spelled = GRAMMARS[m.grammar].spelled
    if spelled is not (m.region is None):
        yield f"region: want it exactly where rows do not spell numbers, got {'none' if m.region is None else 'one'} for {m.grammar!r}"
    if m.region is not None:
        yield from _segments(m, "region.detect", m.region.detect)


def _segments(m: SpeakerManifest, name: str, segments: list[Segment]) -> Iterator[str]:
    texts = [s.text for s in segments if s.text is not None]
    if sum(text.count("{text}") for text in texts) != 1:
        yield f"{name}: want {{text}} once, got {texts}"
    for k, s in enumerate(segments):
        if s.rows is not None and s.text is not None:
            yield f"{name}.{k}: want rows or a text, got both"
        if s.skip and s.text is None:
            yield f"{name}.{k}.skip: want it of a text only, got {s.skip}"
        if any(row >= m.decoder.vocabulary for row in s.rows or []):
            yield f"{name}.{k}.rows: want rows below {m.decoder.vocabulary}, got {s.rows}"
    pictures = sum(s.rows is None and s.text is None for s in segments)
    if pictures != 1:
        yield f"{name}: want one place for the picture, got {pictures}"


def _policy(m: PolicyManifest) -> Iterator[str]:
    p = m.policy
    if m.instruction.count("{text}") != 1:
        yield f"instruction: want {{text}} once, got {m.instruction!r}"
    yield from _motion(m)
    yield from _discrete(m)
    if (p.action_space == "continuous") is not (m.act is not None):
        yield f"act: want a file exactly for continuous actions, got {m.act} for {p.action_space}"
    if p.history == "video" and m.sequence.latents is not None:
        yield "policy.history: want post or pre, pictures beside the sequence have no order within one mark, got video"
    if p.pool and p.action_space != "down_sample":
        yield f"policy.pool: want it for down_sample only, got {p.action_space}"
    for name in ("mean", "deviation"):
        numbers = getattr(p.scaling, name)
        if isinstance(numbers, list) and len(numbers) != p.action_dim - int(p.scaling.gripper):
            yield f"policy.scaling.{name}: want 1 or {p.action_dim - int(p.scaling.gripper)} numbers, got {len(numbers)}"
    if p.scaling.bounds is not None and not p.scaling.bounds[0] < p.scaling.bounds[1]:
        yield f"policy.scaling.bounds: want the first below the second, got {p.scaling.bounds}"


def _motion(m: PolicyManifest) -> Iterator[str]:
    p = m.policy
    for axis, dimension in p.motion.items():
        if not 0 <= dimension < p.action_dim - int(p.scaling.gripper):
            yield f"policy.motion.{axis}: want a dimension in 0..{p.action_dim - int(p.scaling.gripper) - 1}, got {dimension}"
    if len(set(p.motion.values())) < len(p.motion):
        yield f"policy.motion: want a dimension of its own for each of {', '.join(AXES)}, got {p.motion}"
    if p.motion and p.head == CLASSES:
        yield f"policy.motion: want none for {CLASSES}, whose numbers are classes and no speeds, got {p.motion}"
    if p.motion and p.scaling.tool_frame:
        yield f"policy.motion: want none with policy.scaling.tool_frame, which is an arm's, got {p.motion}"


def _discrete(m: PolicyManifest) -> Iterator[str]:
    p = m.policy
    if (p.action_space == "discrete") is not (p.bins is not None):
        yield f"policy.bins: want them exactly for discrete actions, got {p.bins} for {p.action_space}"
    if p.bins is None:
        return
    if m.decoder.rows is None:
        yield "decoder.rows: want the rows of the discrete actions, got none"
    if not p.bins.low < p.bins.high:
        yield f"policy.bins.low: want less than {p.bins.high}, got {p.bins.low}"
    if p.bins.first_row + p.bins.count > m.decoder.vocabulary:
        yield f"policy.bins: want rows below {m.decoder.vocabulary}, got {p.bins.count} from {p.bins.first_row} on"
