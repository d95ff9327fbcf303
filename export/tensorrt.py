"""`python -m export tensorrt BUNDLE`: a bundle's ONNX graphs to plans for this machine's TensorRT and GPU, in a bundle of their own.

Runs on the device that is to run the plans: a plan is code for one TensorRT and one GPU. Needs neither torch nor ONNX Runtime.
docs/tensorrt.md tells what is built and what none of it has been tried on. Exit codes: 0 done, 2 refused, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from edge_vla.arguments import Arguments
from edge_vla.backends.bundle import MANIFEST, Bundle
from edge_vla.backends.plan_contract import caches
from edge_vla.errors import ConfigError, EngineError
from edge_vla.machine.tree import ROOT, Tree
from edge_vla.opening import INSTALL
from export.planning.devices import DEVICES
from export.plans.profiles import Lengths, Profiles, lengths_of, profiles_of
from export.plans.room import need_of, refusal, room_here, room_of

if TYPE_CHECKING:
    from export.plans.builder import Choices

EXIT_REFUSED, EXIT_STOPPED = 2, 130
TARGETS = ("10.3", "11")  # of the gate: JetPack 6's TensorRT and the next major version


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be built."""

    source: Bundle
    out: Path
    lengths: Lengths
    profiles: Profiles
    kv: str
    cuda_graphs: bool
    timing: Path | None
    force: bool


def arguments() -> Arguments:
    cli = Arguments(
        "python -m export tensorrt", str(__doc__).partition("\n")[0], "exit codes: 0 done, 2 refused, 130 stopped; docs/tensorrt.md"
    )
    cli.add_argument("bundle", type=Path, help="folder of a bundle with ONNX graphs")
    cli.add_argument("--out", type=Path, help="folder of the new bundle (default: BUNDLE-tensorrt)")
    cli.add_argument("--workspace-mb", type=int, default=1024, help="memory that TensorRT may try layers in (default 1024)")
    cli.add_argument("--timing-cache", type=Path, help="file of timings (default: beside OUT, one for each TensorRT and GPU)")
    cli.add_argument("--level", type=int, default=3, help="TensorRT's optimisation level, 0 to 5 (default 3)")
    cli.add_argument("--kv", choices=("dynamic", "static"), help="caches that grow (usual), or of one length behind a mask")
    cli.add_argument("--max-prefill", type=int, help="most positions read at once (default: what the manifest says can be asked)")
    cli.add_argument("--max-past", type=int, help="most positions kept (default: a prefill and the longest answer)")
    cli.add_argument("--frames", type=int, help="most frames that a policy's head reads (default: the policy's window)")
    cli.add_argument("--tf32", action="store_true", help="let float32 products be rounded to 10 bits, as TensorRT would")
    cli.add_argument("--refit", action="store_true", help="weights of the plans can be replaced; one profile each")
    cli.add_argument("--strip-plan", action="store_true", help="plans without weights, which are read from ONNX at every start")
    cli.add_argument("--version-compatible", action="store_true", help="later TensorRTs may load the plans; they bring code of their own")
    cli.add_argument("--no-cuda-graphs", action="store_true", help="never replay a pass as one captured CUDA graph")
    cli.add_argument("--plan-check", action="store_true", help="only the gate and the prediction: builds nothing, needs no TensorRT")
    cli.add_argument("--device", help=f"predict for another board than this machine: {', '.join(d.name for d in DEVICES)}")
    cli.add_argument("--force", action="store_true", help="build what is predicted not to fit, keep plans that differ from their model")
    return cli


def order_of(args: Any) -> Order:
    """Raises ConfigError for what cannot be built, before anything is."""
    source = Bundle(args.bundle)
    m = source.manifest
    if m.backend != "onnx":
        raise ConfigError(f"bundle {args.bundle} holds plans already; build from the bundle with its ONNX graphs")
    out: Path = args.out or args.bundle.resolve().with_name(f"{args.bundle.resolve().name}-tensorrt")
    if out.exists() and (out.resolve() == args.bundle.resolve() or not (out / MANIFEST).is_file()):
        raise ConfigError(f"out {out}: want a new folder, or another bundle's, which is replaced")
    if "prefix" in m.graphs:
        raise ConfigError(f"bundle {args.bundle} reads a picture in a graph of its own, for ONNX Runtime; export it with --portable")
    lengths = lengths_of(source, args.max_prefill, args.max_past, args.frames)
    allowed = caches(m.graphs["lm_step"])
    kv = args.kv or allowed[0]
    if kv not in allowed:
        raise ConfigError(f"kv {kv!r}: the step of {args.bundle} takes {' or '.join(allowed)}")
    profiles = profiles_of(m, lengths, kv, one=args.refit or args.strip_plan)
    return Order(source, out, lengths, profiles, kv, not args.no_cuda_graphs, args.timing_cache, args.force)


def require_gate(source: Bundle, targets: Sequence[str], console: Console) -> None:
    """Raises ConfigError for a graph that TensorRT would not take."""
    try:
        from export.gate import check
    except ModuleNotFoundError as err:
        raise ConfigError(f"bundle {source.folder}: its graphs are read with {err.name}, which is not installed: pip install onnx") from err
    for target in targets:
        for name, graph in source.manifest.graphs.items():
            findings = check(source.path(graph.file), target)
            if findings:
                more = f" (and {len(findings) - 1} more; python -m export gate {source.folder})" if len(findings) > 1 else ""
                raise ConfigError(f"bundle {source.folder}: TensorRT {target} does not take {name}: {findings[0]}{more}")
        console.print(f"gate: {len(source.manifest.graphs)} graphs within TensorRT {target}'s rules, by table; no parser was asked")


def require_room(order: Order, workspace_mb: int, args: Any, tree: Tree, console: Console) -> None:
    """Raises ConfigError for a build that is predicted not to fit, unless it is forced."""
    need = need_of(order.source, order.profiles, order.kv, workspace_mb * 2**20)
    room = room_of(args.device) if args.device else room_here(tree)
    console.print(
        f"memory, predicted: building {need.building / 2**30:.2f} GiB, running {need.running / 2**30:.2f} GiB; "
        f"{room.whose} {room.nbytes / 2**30:.2f} GiB"
    )
    if why := refusal(order.source.manifest.name, need, room):
        if not args.force:
            raise ConfigError(f"{why}; --force builds it all the same")
        console.print(f"forced: {why}")


def choices_of(args: Any) -> Choices:
    """Raises ConfigError, also without TensorRT: whatever builds needs it."""
    try:
        from export.plans.builder import Choices
    except ModuleNotFoundError as err:
        module = str(err.name).split(".")[0]
        raise ConfigError(f"no module {module}: {INSTALL.get(module, f'pip install {module}')}") from err
    return Choices(args.workspace_mb, args.level, args.tf32, args.refit, args.strip_plan, args.version_compatible)


def run(args: Any, tree: Tree, console: Console) -> None:
    """Raises ConfigError, EngineError, KeyboardInterrupt; nothing is left of what was not finished."""
    order = order_of(args)
    choices = None if args.plan_check else choices_of(args)
    require_gate(order.source, TARGETS if choices is None else [target_here()], console)
    require_room(order, args.workspace_mb, args, tree, console)
    if choices is None:
        return
    from export.plans.engine_plans import make_plans

    make_plans(order, choices, tree, console)


def target_here() -> str:
    """Of the gate, for the TensorRT found."""
    import tensorrt as trt

    return TARGETS[int(trt.__version__.split(".")[0]) >= 11]


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """`root` is the machine's files, for another one its tree."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        run(arguments().parse_args(sys.argv[1:] if argv is None else list(argv)), Tree(root), console)
    except (ConfigError, EngineError) as err:
        print(f"tensorrt: {err}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("tensorrt: stopped; nothing was written", file=sys.stderr)
        return EXIT_STOPPED
    return 0
