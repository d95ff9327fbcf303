"""`python -m export default`: a Finder checkpoint to the bundle in engines/default, verified against torch before it is kept."""

import argparse
import hashlib
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

from edge_vla.backends.bundle import Bundle, Calibration, FinderManifest, Graph, Language, Preprocess, Prompts, Tensor, Tokens
from edge_vla.learn.data.views import COLUMNS, FREE_CAP_M, SIZE_PX
from edge_vla.learn.finder.language import BOS, EOS, LOC_BINS, PAD, UNK, WORDS, build_tokenizer
from edge_vla.learn.finder.model import IMAGE_TOKENS, Finder
from edge_vla.sim.objects import CLASSES
from export.calibrate import calibrate_bundle
from export.graphs import StepGraph, VisionGraph
from export.manifest import write_manifest
from export.precision import halve_convolutions, quantise
from export.reference import add_reference

OPSET = 18
GRAPHS = ("vision.onnx", "lm_step.onnx")
TOLERANCE = 2e-3  # of fp32 ONNX against fp32 torch, largest absolute difference of any output
STEP_INPUTS = ("embeddings", "positions", "mask", "past_keys", "past_values")
PROMPT_LENGTHS = (4, 9)  # checked at two lengths: an exporter may bake one in


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


def example(finder: Finder, text: int) -> tuple[torch.Tensor, ...]:
    """Inputs of a prefill with `text` prompt tokens."""
    config = finder.lm.config
    total = IMAGE_TOKENS + text
    past = torch.zeros(config.num_hidden_layers, config.num_key_value_heads, 0, config.head_dim)
    return torch.randn(1, total, config.hidden_size), torch.arange(total)[None], torch.zeros(1, 1, total, total), past, past.clone()


def trace(finder: Finder, folder: Path) -> None:
    """Write vision.onnx and lm_step.onnx, fp32."""
    vision, step = VisionGraph(finder).eval(), StepGraph(finder).eval()
    torch.onnx.export(
        vision, (torch.zeros(1, 3, SIZE_PX, SIZE_PX),), str(folder / "vision.onnx"), input_names=["image"],
        output_names=["tokens", "free_distance"], opset_version=OPSET, dynamo=True, external_data=False, verbose=False,
    )  # fmt: skip
    dim = torch.export.Dim.DYNAMIC
    torch.onnx.export(
        step, _decode_example(finder), str(folder / "lm_step.onnx"), input_names=list(STEP_INPUTS),
        output_names=["logits", "keys", "values"], opset_version=OPSET, dynamo=True, external_data=False, verbose=False,
        dynamic_shapes={
            "embeddings": {1: dim}, "positions": {1: dim}, "mask": {2: dim, 3: dim}, "past_keys": {2: dim}, "past_values": {2: dim},
        },
    )  # fmt: skip


def _decode_example(finder: Finder) -> tuple[torch.Tensor, ...]:
    """A step with both axes longer than one, so that neither is taken for a constant."""
    config = finder.lm.config
    past = torch.randn(config.num_hidden_layers, config.num_key_value_heads, 7, config.head_dim)
    return torch.randn(1, 5, config.hidden_size), torch.arange(7, 12)[None], torch.zeros(1, 1, 5, 12), past, past.clone()


def parity(finder: Finder, folder: Path) -> float:
    """Largest difference between torch and the graphs, on both graphs, at two prompt lengths, prefill and decode."""
    image = torch.rand(1, 3, SIZE_PX, SIZE_PX) * 2 - 1
    vision = ort.InferenceSession(str(folder / "vision.onnx"), providers=["CPUExecutionProvider"])
    step = ort.InferenceSession(str(folder / "lm_step.onnx"), providers=["CPUExecutionProvider"])
    worst = 0.0
    with torch.no_grad():
        want = VisionGraph(finder).eval()(image)
        worst = _difference(vision.run(None, {"image": image.numpy()}), want, worst)
        for inputs in (*(example(finder, n) for n in PROMPT_LENGTHS), _decode_example(finder)):
            got = step.run(None, {name: value.numpy() for name, value in zip(STEP_INPUTS, inputs, strict=True)})
            worst = _difference(got, StepGraph(finder).eval()(*inputs), worst)
    return worst


def _difference(got: list[np.ndarray], want: tuple[torch.Tensor, ...], worst: float) -> float:
    found = [np.abs(g - w.numpy()).max() for g, w in zip(got, want, strict=True) if g.size]
    return float(np.max([worst, *found]))  # unlike max(), keeps a nan


def forget_origin(path: Path) -> None:
    """Drop the exporter's stack traces: they name the paths of the machine the graph was made on."""
    model = onnx.load(str(path))
    del model.metadata_props[:]
    for part in (model.graph, *model.functions):
        for item in (*part.node, *part.value_info):
            del item.metadata_props[:]
            item.doc_string = ""
    onnx.save(model, str(path))


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
    files = ["vision.onnx", "lm_step.onnx", "tokenizer.json", "embeddings.npy"]
    return FinderManifest(
        schema_version=1, name="default", kind="vlm", domain="sim", backend="onnx", precision=precision,
        graphs={"vision": describe_graph(folder / "vision.onnx"), "lm_step": describe_graph(folder / "lm_step.onnx")},
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


def export_default(checkpoint: Path | None, out: Path, precision: str) -> FinderManifest:
    """Build, verify, then move into place; `out` is untouched until then. Raises SystemExit when torch and ONNX disagree."""
    finder, seen = load_finder(checkpoint)
    rows = finder.embed(torch.arange(finder.lm.config.vocab_size)).detach().numpy().astype(np.float16)
    fold_batch_norms(finder)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        folder = Path(scratch) / "new"  # of its own: the scratch folder is nobody else's to read
        folder.mkdir()
        trace(finder, folder)
        worst = parity(finder, folder)
        if not worst <= TOLERANCE:  # nan too
            raise SystemExit(f"torch and ONNX differ by {worst:.2e}, allowed is {TOLERANCE:.0e}: nothing was exported")
        made: dict[str, str | float | int] = {"images_seen": seen, "torch_onnx_max_abs": worst}
        if precision == "int8":
            for name in GRAPHS:
                quantise(folder / name)
            halve_convolutions(folder / "vision.onnx")
            made["torch_int8_max_abs"] = parity(finder, folder)
        for name in GRAPHS:
            forget_origin(folder / name)
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
    cli.add_argument("--views", type=Path, default=Path("data/validation"), help="labelled views to calibrate on")
    cli.add_argument("--limit", type=int, default=600, help="views used; 0 leaves the bundle uncalibrated")
    args = cli.parse_args(argv)
    manifest = export_default(None if args.untrained else args.checkpoint, args.out, args.precision)
    size = sum(path.stat().st_size for path in args.out.iterdir())
    print(f"{args.out}: {size / 1e6:.1f} MB, {manifest.made}", flush=True)
    if args.limit and not args.untrained:
        print(json.dumps(calibrate_bundle(args.out, args.views, args.limit), indent=1))
