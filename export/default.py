"""`python -m export default`: a Finder checkpoint to the bundle in engines/default, verified against torch before it is kept."""

import argparse
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from edge_vla.backends.bundle import Bundle, Calibration, FinderManifest, Graph, Language, Manifest, Preprocess, Prompts, Tensor, Tokens
from edge_vla.learn.data.shards import read_shard
from edge_vla.learn.data.views import COLUMNS, FREE_CAP_M, SIZE_PX
from edge_vla.learn.finder.batch import decode
from edge_vla.learn.finder.language import BOS, EOS, LOC_BINS, PAD, UNK, WORDS, build_tokenizer
from edge_vla.learn.finder.model import IMAGE_TOKENS, Finder
from edge_vla.sim.objects import CLASSES
from export.bundle.manifest import write_manifest
from export.finder.calibrate import calibrate_bundle
from export.finder.int8 import Picture, evened, quantise
from export.finder.onnx import forget_origin, modules_of, parity, trace
from export.finder.reference import add_reference

TOLERANCE = 2e-3  # of fp32 ONNX against fp32 torch, largest absolute difference of any output
PICTURES = 64  # that int8 scales are measured on


def load_finder(checkpoint: Path | None) -> tuple[Finder, int]:
    """The averaged weights of a training checkpoint, and the number of images they have seen; None is a fresh model."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    finder = Finder(tokenizer.get_vocab_size(), tokenizer.token_to_id("<loc0000>"), len(CLASSES), COLUMNS)
    if checkpoint is None:
        return finder.eval(), 0
    kept = torch.load(checkpoint, weights_only=True)
    finder.load_state_dict(kept["average"])
    return finder.float().eval(), int(kept["seen"])


def fold_batch_norms(finder: Finder) -> None:
    """Merge each convolution with the batch norm after it: the same function, half the nodes."""
    for module in finder.vision.stem.modules():
        if (
            isinstance(module, nn.Sequential)
            and len(module) >= 2
            and isinstance(module[0], nn.Conv2d)
            and isinstance(module[1], nn.BatchNorm2d)
        ):
            module[0] = nn.utils.fusion.fuse_conv_bn_eval(module[0], module[1])
            module[1] = nn.Identity()


def describe_graph(path: Path) -> Graph:
    """The tensors of a graph as the manifest names them."""
    kinds = {1: "float32", 7: "int64", 10: "float16", 2: "uint8"}
    graph = onnx.load(str(path), load_external_data=False).graph

    def tensors(values: list[onnx.ValueInfoProto]) -> list[Tensor]:
        found = []
        for value in values:
            shape = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            found.append(Tensor(name=value.name, dtype=kinds[value.type.tensor_type.elem_type], shape=shape))
        return found

    return Graph(file=path.name, inputs=tensors(list(graph.input)), outputs=tensors(list(graph.output)))


def manifest_of(finder: Finder, folder: Path, precision: str, made: dict[str, str | float | int]) -> FinderManifest:
    tokenizer = build_tokenizer()
    config = finder.lm.config
    words = sorted({tokenizer.token_to_id(word) for word in (*WORDS, *CLASSES)})
    graphs = {
        name: describe_graph(folder / f"{name}.onnx") for name in ("vision", "prefix", "lm_step") if (folder / f"{name}.onnx").exists()
    }
    files = [*(graph.file for graph in graphs.values()), "tokenizer.json", "embeddings.npy"]
    return FinderManifest(
        schema_version=1, name="default", kind="vlm", domain="sim", backend="onnx", precision=precision,
        graphs=graphs,
        preprocess=Preprocess(height=SIZE_PX, width=SIZE_PX, resize="area", colour="rgb", mean=[0.5] * 3, std=[0.5] * 3),
        tokens=Tokens(
            file="tokenizer.json", bos=BOS, eos=EOS, pad=PAD, unk=UNK, newline=tokenizer.token_to_id("\n"),
            loc_start=tokenizer.token_to_id("<loc0000>"), loc_bins=LOC_BINS, words=words,
        ),
        language=Language(
            layers=config.num_hidden_layers, kv_heads=config.num_key_value_heads, head_dim=config.head_dim, hidden=config.hidden_size,
            image_tokens=IMAGE_TOKENS, embeddings="embeddings.npy", max_new_tokens=24,
        ),
        prompts=Prompts(
            detect="detect {thing}", presence="is there {thing}?", sentences=["drive", "describe", "what is the main object?"],
        ),
        targets=list(CLASSES), free_distance_columns=COLUMNS, free_distance_cap_m=FREE_CAP_M, calibration=Calibration(),
        max_linear_mps=0.35, max_angular_rps=1.0, made=made,
        sha256={name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files},
    )  # fmt: skip


def range_pictures(views: Path, count: int = PICTURES) -> list[Picture]:
    """One picture each of shards evenly spread over those in `views`. Raises SystemExit where there are none."""
    shards = sorted(views.glob("*.npz"))
    if not shards:
        raise SystemExit(f"{views} holds no views to measure int8 scales on: render some (make train-default), or pass --precision fp32")
    spread = np.linspace(0, len(shards) - 1, min(count, len(shards))).astype(int)
    return [np.ascontiguousarray(decode(next(iter(read_shard(shards[k])))[0])) for k in spread]


def export_default(
    checkpoint: Path | None, out: Path, precision: str, pictures: Sequence[Picture] = (), *, portable: bool = False
) -> Manifest:
    """Build, verify, then move into place; `out` is untouched until then. int8 wants `pictures`.

    Raises SystemExit when torch and ONNX disagree.
    """
    finder, seen = load_finder(checkpoint)
    rows = finder.embed(torch.arange(finder.lm.config.vocab_size)).detach().numpy().astype(np.float16)
    fold_batch_norms(finder)
    modules = modules_of(finder, portable=portable)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        folder = Path(scratch) / "new"  # of its own: the scratch folder is nobody else's to read
        folder.mkdir()
        trace(evened(finder, pictures) if precision == "int8" else modules, folder)
        worst = parity(modules, folder)
        if not worst <= TOLERANCE:  # nan too
            raise SystemExit(f"torch and ONNX differ by {worst:.2e}, allowed is {TOLERANCE:.0e}: nothing was exported")
        made: dict[str, str | float | int] = {"images_seen": seen, "torch_onnx_max_abs": worst}
        if precision == "int8":
            quantise(folder, pictures)
            made |= {"torch_int8_max_abs": parity(modules, folder), "int8_pictures": len(pictures)}
        for name in modules:
            forget_origin(folder / f"{name}.onnx")
        np.save(folder / "embeddings.npy", rows)
        build_tokenizer().save(str(folder / "tokenizer.json"))
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
        manifest = manifest_of(finder, folder, precision, made | {"commit": commit, "torch": torch.__version__})
        write_manifest(folder, manifest)
        add_reference(folder)
        manifest = Bundle(folder).manifest
        if out.exists():
            out.rename(Path(scratch) / "old")
        folder.rename(out)
    return manifest


def main(argv: list[str] | None = None) -> None:
    cli = argparse.ArgumentParser(prog="python -m export default", description=__doc__)
    cli.add_argument("--checkpoint", type=Path, default=Path("training/finder/last.pt"))
    cli.add_argument("--out", type=Path, default=Path("engines/default"))
    cli.add_argument("--untrained", action="store_true", help="fresh weights: the control that must fail")
    cli.add_argument("--precision", choices=("fp32", "int8"), default="int8")
    cli.add_argument("--portable", action="store_true", help="fp32 graphs that TensorRT reads too: without the one that only saves time")
    cli.add_argument("--ranges", type=Path, default=Path("data/train"), help="views whose pictures int8 scales are measured on")
    cli.add_argument("--views", type=Path, default=Path("data/validation"), help="labelled views to calibrate on")
    cli.add_argument("--limit", type=int, default=600, help="views used; 0 leaves the bundle uncalibrated")
    args = cli.parse_args(argv)
    if args.portable and args.precision != "fp32":
        cli.error(f"--portable: want --precision fp32 with it, got {args.precision}, whose graphs only ONNX Runtime reads")
    pictures = range_pictures(args.ranges) if args.precision == "int8" else []
    manifest = export_default(None if args.untrained else args.checkpoint, args.out, args.precision, pictures, portable=args.portable)
    size = sum(path.stat().st_size for path in args.out.iterdir())
    print(f"{args.out}: {size / 1e6:.1f} MB, {manifest.made}", flush=True)
    if args.limit and not args.untrained:
        print(json.dumps(calibrate_bundle(args.out, args.views, args.limit), indent=1))
