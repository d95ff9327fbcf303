"""`python -m export torch2trt PLANS MODEL`: a bundle of plans whose picture tower torch2trt has converted, layer by layer from torch.

For those who ask for torch2trt by name. It is on no registry and was last changed for TensorRT 10.0: it is installed from its repository,
needs torch with CUDA on the device, and ends with TensorRT 10, because it names calibrators that 11 has not. Its networks are not strongly
typed and ours stay float32 in it, its own precision flags unused. The usual route, `python -m export tensorrt`, needs none of that.
Nobody has run this on a device yet: docs/tensorrt.md. Exit codes: 0 done, 2 refused.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from edge_vla.arguments import Arguments
from edge_vla.backends.bundle import MANIFEST, Bundle
from edge_vla.backends.manifest import Graph
from edge_vla.errors import ConfigError, EngineError
from edge_vla.opening import INSTALL

REPOSITORY = "https://github.com/NVIDIA-AI-IOT/torch2trt"
EXIT_REFUSED = 2
VISION = "vision"


def arguments() -> Arguments:
    cli = Arguments("python -m export torch2trt", str(__doc__).partition("\n")[0], "exit codes: 0 done, 2 refused; docs/tensorrt.md")
    cli.add_argument("plans", type=Path, help="bundle of plans, made by `python -m export tensorrt` on this device")
    cli.add_argument("model", type=Path, help="what it was exported from: a model's or a policy's folder, or the default engine's last.pt")
    cli.add_argument("--out", type=Path, help="folder of the new bundle (default: PLANS-torch2trt)")
    return cli


def vision_of(model: Path) -> nn.Module:
    """The picture tower as the exporter traces it. Raises ConfigError."""
    if model.is_file():
        from export.default import fold_batch_norms, load_finder
        from export.finder.modules import VisionGraph as FinderVision

        finder, _ = load_finder(model)
        fold_batch_norms(finder)
        return FinderVision(finder).eval()
    from export.bundle.checkpoints import load
    from export.torch_graphs.model_graphs import VisionGraph

    return VisionGraph(load(model)).eval()


def require_tensorrt() -> None:
    """Raises ConfigError on a machine that has none, before a checkpoint is read."""
    try:
        import tensorrt  # noqa: F401
    except ModuleNotFoundError as err:
        raise ConfigError(f"no module tensorrt: {INSTALL['tensorrt']}") from err


def convert(vision: nn.Module, graph: Graph, device: str = "cuda") -> bytes:
    """A plan of the tower, with the manifest's names. Raises ConfigError without torch2trt, EngineError for what it does not convert."""
    import tensorrt as trt

    if int(trt.__version__.split(".")[0]) >= 11:
        raise ConfigError(f"torch2trt names calibrators that TensorRT 11 has not; this machine has {trt.__version__}: use export tensorrt")
    try:
        from torch2trt import torch2trt
    except ModuleNotFoundError as err:
        raise ConfigError(f"no module {err.name}: pip install git+{REPOSITORY}") from err
    image = torch.zeros(*(int(size) for size in graph.inputs[0].shape), device=device)
    try:
        made: Any = torch2trt(
            vision.eval().float().to(device), [image], input_names=[t.name for t in graph.inputs],
            output_names=[t.name for t in graph.outputs], keep_network=False,
        )  # fmt: skip
    except Exception as err:  # a converter that is missing shows as whatever the tensor lacks then
        raise EngineError(f"torch2trt does not convert this tower: {type(err).__name__}: {err}") from err
    if made.engine is None:
        raise EngineError("torch2trt converted this tower, TensorRT did not build it; its log is above")
    return bytes(made.engine.serialize())


def replace_vision(bundle: Bundle, plan: bytes, out: Path, console: Console) -> None:
    """A copy with that plan, proven as any other. Raises ConfigError, EngineError; then `out` is as it was."""
    from export.plans.engine_plans import prove, scratch_beside, sign

    with scratch_beside(out) as (new, old):
        for name in bundle.manifest.sha256:
            shutil.copyfile(bundle.path(name), new / name)
        (new / bundle.manifest.graphs["vision"].file).write_bytes(plan)
        sign(new, bundle.manifest.model_copy(update={"made": {**bundle.manifest.made, VISION: "torch2trt, float32"}}))
        prove(new, console, force=False)
        if out.exists():
            out.rename(old)
        new.rename(out)
    console.print(f"{out}: done")


def places_of(args: Any) -> tuple[Bundle, Path]:
    """(the bundle, where the new one goes). Raises ConfigError."""
    bundle = Bundle(args.plans)
    plan = bundle.manifest.plan
    if plan is None or VISION in plan.stripped:
        raise ConfigError(f"bundle {args.plans}: want plans with their weights, made by `python -m export tensorrt`")
    out = args.out or args.plans.resolve().with_name(f"{args.plans.resolve().name}-torch2trt")
    if out.exists() and not (out / MANIFEST).is_file():
        raise ConfigError(f"out {out}: want a new folder, or another bundle's, which is replaced")
    return bundle, out


def main(argv: Sequence[str] | None = None) -> int:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        args = arguments().parse_args(sys.argv[1:] if argv is None else list(argv))
        bundle, out = places_of(args)
        require_tensorrt()
        replace_vision(bundle, convert(vision_of(args.model), bundle.manifest.graphs["vision"]), out, console)
    except (ConfigError, EngineError) as err:
        print(f"torch2trt: {err}", file=sys.stderr)
        return EXIT_REFUSED
    return 0
