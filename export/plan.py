"""`python -m export plan MODEL --device BOARD`: memory and latency of a bundle, predicted before anything is built. Needs no torch.

MODEL is a model of docs/backbones.md by name, a model's folder in its public layout, a policy's folder, or a bundle's. The formulas are
in docs/planning.md; nothing printed here was measured on a device. Exit codes: 0 something fits, 2 refused.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from edge_vla.arguments import Arguments
from edge_vla.errors import ConfigError
from export.planning.bundles import plan_bundle
from export.planning.devices import DEVICES, GIB, Device, Mode, find_device, find_mode
from export.planning.footprint import WORKSPACE_BYTES, Footprint, footprint
from export.planning.nearest import Wish, instead, shorter_sequence
from export.planning.number_formats import PRECISIONS, Precision, find_precision
from export.planning.policy_shapes import KINDS, Policy
from export.planning.roofline import Time, look_s, stages, time_of
from export.planning.sheet import show
from export.planning.subject import Subject, find_subject
from export.planning.workload import BIN_ROWS, BOX_ROWS, OUTPUTS, Workload

EXIT_REFUSED = 2
WIDTH = 140  # columns where there is no terminal
USED_GIB = 1.5  # of an Orin without a desktop, its camera and this package's processes beside the engine; unverified


@dataclass(frozen=True, slots=True)
class Board:
    """Where it is to run."""

    device: Device
    mode: Mode
    used_bytes: int  # before anything of ours is there
    workspace_bytes: int = WORKSPACE_BYTES

    @property
    def free_bytes(self) -> int:
        return self.device.visible_bytes - self.used_bytes


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row."""

    precision: str
    engine: str
    footprint: Footprint
    times: tuple[Time, ...]
    over_bytes: int  # what the larger of running and building lacks; 0 and below fits
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        return self.over_bytes <= 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything predicted, and why it is refused, if it is."""

    subject: Subject
    load: Workload
    board: Board
    rows: tuple[Prediction, ...]
    refused: str = ""


def predict(subject: Subject, load: Workload, precision: Precision | None, board: Board) -> Prediction:
    """Of a model at a precision, or of a bundle at its own. Raises ConfigError."""
    if subject.bundle is not None:
        found = plan_bundle(subject.bundle, load, board.workspace_bytes)
        name, engine, memory, works, notes = found.precision, found.engine, found.footprint, found.stages, found.notes
    elif subject.model is not None and precision is not None:
        memory = footprint(subject.model, load, precision, board.workspace_bytes, subject.checkpoint_bytes)
        name, engine, works, notes = precision.name, precision.engine, stages(subject.model, load, precision), ()
    else:
        raise ConfigError(f"{subject.name}: a model is planned at a precision")
    times = tuple(time_of(work, board.device, board.mode) for work in works)
    return Prediction(name, engine, memory, times, max(memory.run_bytes, memory.build_bytes) - board.free_bytes, notes)


def make_plan(subject: Subject, load: Workload, board: Board, wanted: Precision | None = None) -> Plan:
    """Every precision the board has, or the bundle's; refused when what is wanted, or anything at all, does not fit. Raises ConfigError."""
    known: list[Precision | None] = [p for p in PRECISIONS.values() if p.runs_on(board.device)]
    rows = tuple(predict(subject, load, precision, board) for precision in (known if subject.bundle is None else [None]))
    judged = [row for row in rows if wanted is None or subject.bundle is not None or row.precision == wanted.name]
    if any(row.fits for row in judged):
        return Plan(subject, load, board, rows)
    return Plan(subject, load, board, rows, refusal(subject, load, judged[-1], board))


def refusal(subject: Subject, load: Workload, row: Prediction, board: Board) -> str:
    """Why it does not fit, and the nearest that does."""
    memory = row.footprint
    what, peak = max(("running", memory.run_bytes), ("building", memory.build_bytes), key=lambda pair: pair[1])
    free = f"{board.free_bytes / GIB:.1f} GiB are free ({board.device.visible_gib:g} visible, {board.used_bytes / GIB:g} in use)"
    said = f"{subject.name} at {row.precision} does not fit {board.device.name}: {what} it takes {peak / GIB:.1f} GiB, {free}"
    near = ", or ".join(_instead(subject, load, row, board))
    return f"{said}; nearest that fits: {near}" if near else f"{said}; nothing smaller or bigger that is known fits either"


def _instead(subject: Subject, load: Workload, row: Prediction, board: Board) -> list[str]:
    if subject.bundle is None and subject.model is not None:
        wish = Wish(subject.model, load, PRECISIONS[row.precision], board.device)
        return instead(wish, lambda w: _fits(Subject(w.model.name, w.model), w.load, w.precision, replace(board, device=w.device)))
    shorter = shorter_sequence(load, None, lambda shorter: _fits(subject, shorter, None, board))
    bigger = [d for d in DEVICES if d.memory_gib > board.device.memory_gib and _fits(subject, load, None, replace(board, device=d))]
    return [said for said in (shorter, *(f"--device {d.name}" for d in bigger[:1])) if said] + ["its model exported at a lower precision"]


def _fits(subject: Subject, load: Workload, precision: Precision | None, board: Board) -> bool:
    return predict(subject, load, precision, replace(board, mode=board.device.modes[0])).fits


def as_json(plan: Plan) -> dict[str, Any]:
    """All figures in bytes and milliseconds; `measured` says that none of them is."""
    board = plan.board
    found: dict[str, Any] = {
        "model": plan.subject.name, "device": board.device.name, "power_mode": board.mode.name, "sm": list(board.device.sm),
        "measured": False, "batch": 1, "visible_bytes": board.device.visible_bytes, "used_bytes": board.used_bytes,
        "checkpoint_bytes": plan.subject.checkpoint_bytes, "parameters": plan.subject.model.parameters if plan.subject.model else None,
    }  # fmt: skip
    rows = []
    for row in plan.rows:
        floor_s, realistic_s = look_s(row.times)
        memory = row.footprint
        rows.append({
            "precision": row.precision, "engine": row.engine, "fits": row.fits, "over_bytes": max(row.over_bytes, 0),
            "weight_bytes": dict(memory.weights), "embedding_bytes": memory.rows, "kv_bytes": memory.cache,
            "activation_bytes": dict(memory.activations), "run_bytes": memory.run_bytes, "build_bytes": memory.build_bytes,
            "export_bytes": memory.export_bytes, "notes": list(row.notes), "look_floor_ms": floor_s * 1e3,
            "look_realistic_ms": realistic_s * 1e3,
            "stages": [
                {
                    "name": t.name, "times": t.times, "compute_ms": t.compute_s * 1e3, "memory_ms": t.memory_s * 1e3, "bound": t.bound,
                    "floor_ms": t.floor_s * 1e3, "realistic_ms": t.realistic_s * 1e3,
                }
                for t in row.times
            ],
        })  # fmt: skip
    return found | {"precisions": rows, "fits": [row.precision for row in plan.rows if row.fits], "refused": plan.refused or None}


def arguments() -> Arguments:
    cli = Arguments("python -m export plan", str(__doc__).partition("\n")[0], "The formulas and what they leave out: docs/planning.md.")
    cli.add_argument("model", help="a model of docs/backbones.md by name, or a folder: a model's, a policy's, a bundle's")
    cli.add_argument("--device", required=True, help=", ".join(d.name for d in DEVICES))
    cli.add_argument("--precision", help=f"refuse unless this one fits: {', '.join(PRECISIONS)}")
    cli.add_argument("--power-mode", help="the fastest without it; docs/planning.md lists them")
    cli.add_argument("--memory", type=float, help="GiB of the module, where it is another than usual")
    cli.add_argument("--used", type=float, default=USED_GIB, help=f"GiB in use before (default {USED_GIB:g})")
    cli.add_argument("--workspace", type=int, default=WORKSPACE_BYTES // 2**20, help="MiB for TensorRT's builder to try layers in")
    cli.add_argument("--output", choices=OUTPUTS, help="what comes out (default text): words, boxes of a cut head, a policy head's actions")
    cli.add_argument("--rows", type=int, help="rows of the vocabulary that the head keeps")
    cli.add_argument("--prompt", type=int, help="tokens of the text")
    cli.add_argument("--new-tokens", type=int, help="tokens of the answer")
    cli.add_argument("--image-tokens", type=int, help="of all pictures, a multiple of the model's for one")
    cli.add_argument("--sequence", type=int, help="tokens that the cache is made for")
    cli.add_argument("--window", type=int, help="frames that a policy head reads")
    cli.add_argument("--latent", type=int, help="action tokens of a frame")
    cli.add_argument("--json", action="store_true", help="one line of JSON on stdout, everything else on stderr")
    return cli


def workload(subject: Subject, args: Any) -> Workload:
    """The look that the command line asks for, on top of what the model's folder says. Raises ConfigError."""
    given = {name: value for name, value in vars(args).items() if value is not None}
    sizes = {name: given[name] for name in ("rows", "prompt", "new_tokens", "image_tokens", "sequence") if name in given}
    head = {name: given[name] for name in ("window", "latent") if name in given}
    if subject.model is None:
        fixed = [f"--{name.replace('_', '-')}" for name in ("output", "rows", "image_tokens", "window", "latent") if name in given]
        if fixed:
            raise ConfigError(f"{', '.join(fixed)}: a bundle has what it was exported with")
        return replace(subject.load, **sizes)
    load = subject.load
    if args.output is not None:
        kind = KINDS.get(args.output)
        load = replace(load, policy=None if kind is None else replace(load.policy or Policy(kind, subject.model.hidden), kind=kind))
        sizes = ({"rows": min(BOX_ROWS, subject.model.vocabulary)} if args.output == "boxes" else {}) | sizes
    if head and load.policy is None:
        raise ConfigError(f"--{next(iter(head))}: only a policy head has one; name it with --output fc, lstm or gpt")
    if load.policy is not None:
        for name, value in head.items():
            if not 1 <= value <= 4096:
                raise ConfigError(f"{name} {value}: want 1 to 4096")
        load = replace(load, policy=replace(load.policy, **head))
        if load.policy is not None and load.policy.decodes:
            sizes = {"rows": min(BIN_ROWS, subject.model.vocabulary), "new_tokens": load.policy.action_dim} | sizes
    return replace(load, **sizes)


def board_of(args: Any) -> Board:
    """Raises ConfigError."""
    device = find_device(args.device, args.memory)
    if not 0 <= args.used < device.visible_gib:
        raise ConfigError(f"used {args.used:g} GiB: {device.name} has {device.visible_gib:g} visible; want 0 up to less than that")
    if not 1 <= args.workspace <= 1024 * 1024:
        raise ConfigError(f"workspace {args.workspace} MiB: want 1 to {1024 * 1024}")
    return Board(device, find_mode(device, args.power_mode), int(args.used * GIB), args.workspace * 2**20)


def wanted_precision(args: Any, subject: Subject, device: Device) -> Precision | None:
    """The one asked for. Raises ConfigError where the SM has it not, or the bundle is of another."""
    if args.precision is None:
        return None
    if subject.bundle is not None and args.precision != subject.bundle.manifest.precision:
        own = subject.bundle.manifest.precision
        raise ConfigError(f"precision {args.precision}: bundle {subject.name!r} is {own}, in its graphs; export it again for another")
    return None if subject.bundle is not None else find_precision(args.precision, device)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0 when something fits, 2 when it is refused."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args = arguments().parse_args(words)
        board = board_of(args)
        subject = find_subject(args.model)
        plan = make_plan(subject, workload(subject, args), board, wanted_precision(args, subject, board.device))
    except ConfigError as err:
        print(f"plan: {err}", file=sys.stderr)
        if "--json" in words:
            print(json.dumps({"refused": str(err)}))
        return EXIT_REFUSED
    console = Console(stderr=args.json, highlight=False)
    show(plan, console if console.is_terminal else Console(stderr=args.json, highlight=False, width=WIDTH))
    if args.json:
        print(json.dumps(as_json(plan)))
    if plan.refused:
        print(f"plan: {plan.refused}", file=sys.stderr)
    return EXIT_REFUSED if plan.refused else 0
