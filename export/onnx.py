"""A checkpoint directory to a verified bundle of ONNX graphs.

python -m export onnx MODEL_DIR --out engines/NAME [--precision fp32|fp16|w8a8|w8|w4] [--calib SET]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_vla.errors import EdgeVLAError


def main(argv: list[str] | None = None) -> int:
    """0 for a bundle that agrees with its model, 1 for one that does not and says so, 2 for none."""
    cli = argparse.ArgumentParser(prog="python -m export onnx", description="A checkpoint directory to a verified bundle of ONNX graphs.")
    cli.add_argument("model", type=Path, help="what the trainer or import_robovlms wrote, or a public backbone's folder")
    cli.add_argument("--out", type=Path, required=True, help="folder of the bundle, for example engines/NAME")
    cli.add_argument("--precision", choices=("fp32", "fp16", "w8a8", "w8", "w4"), default="fp32")
    cli.add_argument("--calib", type=Path, help="calibration set with ranges, for w8a8: python -m calib int8, python -m calib ranges")
    cli.add_argument("--method", choices=("entropy", "percentile", "min_max"), default="entropy", help="of the ranges, for w8a8")
    cli.add_argument("--blocks", default="measured", help="for w8a8: all, measured (those faster here), or a bundle with *.blocks.json")
    cli.add_argument("--logits-bits", type=int, choices=(4, 8, 32), default=8, help="of the matrix of logits, for w4 and w8; 32: as it is")
    cli.add_argument("--as", dest="kind", choices=("policy", "vlm"), help="default: policy where there is a policy head")
    cli.add_argument("--backbone", help="class of a public backbone's folder, where its config.json does not tell: RoboPaligemma ...")
    cli.add_argument("--actions", help="what each dimension of an action moves: linear_x,angular_z; '-': nothing")
    cli.add_argument("--rows", nargs="+", default=None, help="'loc', or FIRST-END ...: rows that a vlm's logits are cut down to")
    cli.add_argument("--static", type=int, help="length of a cache that does not grow; default: it grows")
    cli.add_argument("--camera", default="640x480", help="WIDTHxHEIGHT of the pictures, px")
    cli.add_argument("--domain", choices=("sim", "real"), default="real", help="what it was trained on")
    cli.add_argument("--max-linear", type=float, default=0.15, help="m/s it may be driven at")
    cli.add_argument("--max-angular", type=float, default=0.5, help="rad/s")
    args = cli.parse_args(argv)
    try:
        return _export(args)
    except EdgeVLAError as err:
        print(f"export: {err}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"export: interrupted; {args.out} is as it was", file=sys.stderr)
        return 130


def _export(args: argparse.Namespace) -> int:
    from export.bundle.bundling import as_json, export_model
    from export.bundle.checkpoints import load, wanted_of
    from export.torch_graphs.releasing import keep_large_apart

    keep_large_apart()
    model = load(args.model, args.backbone)
    manifest = export_model(model, wanted_of(args, model), say=lambda line: print(f"{args.out}: {line}", file=sys.stderr))
    size = sum(path.stat().st_size for path in args.out.iterdir())
    print(as_json(manifest))
    found = manifest.verified
    if found is None or not found.passed:
        print(f"export: {args.out} does not agree with its model; the runtime will refuse it", file=sys.stderr)
        return 1
    print(f"export: {args.out}, {size / 1e6:.1f} MB, {found.agreeing} of {found.answers} answers as the model's", file=sys.stderr)
    return 0
