"""A plan as two tables: what takes memory, and what takes time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from edge_vla.backends.backbone_manifest import PolicyManifest
from export.planning.bundles import image_tokens as tokens_of_picture
from export.planning.devices import GIB
from export.planning.roofline import REACHED_BANDWIDTH, REACHED_COMPUTE, Time, look_s

if TYPE_CHECKING:
    from rich.console import Console

    from export.plan import Plan, Prediction

PREDICTED = "predicted, not measured on a device"


def show(plan: Plan, console: Console) -> None:
    """Print it."""
    console.print(Text(heading(plan), style="bold"))
    console.print(Text(conditions(plan)))
    console.print(memory_table(plan))
    console.print(time_table(plan))
    for note in dict.fromkeys(note for row in plan.rows for note in row.notes):
        console.print(Text(note))


def heading(plan: Plan) -> str:
    board = plan.board
    return f"{plan.subject.name} on {board.device.title}, {board.mode.name}: {PREDICTED}"


def conditions(plan: Plan) -> str:
    """What the figures are for."""
    board, load = plan.board, plan.load
    answer = answer_of(plan)
    tokens = image_tokens(plan)
    memory = f"{board.device.visible_gib:g} GiB visible, {board.used_bytes / GIB:g} in use"
    return f"batch 1, {tokens} image tokens, {load.prompt} of prompt, {answer}; {memory}; {board.mode.bandwidth_gbps:g} GB/s"


def answer_of(plan: Plan) -> str:
    """What comes out of a look, in words."""
    load, bundle = plan.load, plan.subject.bundle
    if bundle is not None and isinstance(bundle.manifest, PolicyManifest):
        policy = bundle.manifest.policy
        return f"{policy.head}, window {policy.window}, {policy.chunk} x {policy.action_dim} numbers"
    if load.decodes or load.policy is None:
        return f"{load.new_tokens} new tokens"
    return f"{load.policy.kind}, window {load.policy.window}"


def image_tokens(plan: Plan) -> int:
    """Of all pictures of a look."""
    if plan.subject.bundle is not None:
        return tokens_of_picture(plan.subject.bundle.manifest)
    model = plan.load.fitted(plan.subject.model) if plan.subject.model else None
    return model.image_tokens * plan.load.looks(model) if model else 0


def memory_table(plan: Plan) -> Table:
    """GiB."""
    table = Table(title="memory, GiB", title_justify="left")
    for name in ("precision", "runs with", "weights", "embeddings", "KV", "activations", "running", "build peak", "ONNX export", "fits"):
        table.add_column(name, justify="left" if name in {"precision", "runs with", "fits"} else "right")
    for row in plan.rows:
        m = row.footprint
        cells = [m.weight_bytes, m.rows, m.cache, sum(m.activations.values()), m.run_bytes, m.build_bytes]
        export = "" if m.export_bytes is None else gib(m.export_bytes)
        table.add_row(row.precision, row.engine, *(gib(n) for n in cells), export, verdict(row))
    return table


def verdict(row: Prediction) -> Text:
    return Text("yes", "green") if row.fits else Text(f"no, {gib(row.over_bytes)} short", "red")


def gib(nbytes: float) -> str:
    """Two decimals, more where there would be nothing to see."""
    return f"{nbytes / GIB:.2f}" if nbytes >= 0.01 * GIB or not nbytes else f"{nbytes / GIB:.4f}"


def time_table(plan: Plan) -> Table:
    """Milliseconds, compute and memory of each stage."""
    title = f"latency, ms: compute / memory; realistic at {REACHED_COMPUTE:.0%} / {REACHED_BANDWIDTH:.0%}"
    table = Table(title=title, title_justify="left")
    table.add_column("precision")
    for time in plan.rows[0].times:
        table.add_column(time.name if time.times == 1 else f"{time.name} × {time.times}", justify="right")
    table.add_column("look", justify="right")
    table.add_column("realistic", justify="right")
    for row in plan.rows:
        floor_s, realistic_s = look_s(row.times)
        table.add_row(row.precision, *(stage(time) for time in row.times), f"{floor_s * 1e3:.1f}", f"{realistic_s * 1e3:.1f}")
    return table


def stage(time: Time) -> Text:
    """Both terms, the longer one bold."""
    shown = Text()
    for k, (seconds, bound) in enumerate(((time.compute_s, "compute"), (time.memory_s, "memory"))):
        shown.append(" / " if k else "")
        shown.append(f"{seconds * 1e3:.1f}", "bold" if time.bound == bound else "")
    return shown
