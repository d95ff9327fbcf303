"""A RoboVLMs-style model to a verified bundle, in a folder of its own until it is whole."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from edge_vla.backends.backbone_manifest import BackboneManifest, Decoder, PolicyManifest, SpeakerManifest
from edge_vla.backends.bundle import Bundle, sha256
from edge_vla.backends.manifest import Graph
from edge_vla.errors import ConfigError
from edge_vla.learn.action_tokenizer import ActionTokenizer
from edge_vla.learn.backbones.base import BaseRoboVLM
from export.bundle.answering import answers_of, rooms
from export.bundle.description import CAMERA, action_rows, picture_of, policy_of, question_of, region_of, sequence_of
from export.bundle.manifest import write_manifest
from export.bundle.probes import FILE as PROBES
from export.bundle.probes import Probe, save_probes
from export.bundle.verifying import verify
from export.default import describe_graph
from export.precision.narrowing import Narrowing, narrow, told
from export.torch_graphs.graph_set import GraphSet
from export.torch_graphs.releasing import release
from export.torch_graphs.widening import widened

EMBEDDINGS, TOKENIZER, ACT, REGION, ANSWERS = "embeddings.npy", "tokenizer.json", "act.npy", "region.npz", "answers.json"
PLAIN = Narrowing("fp32")
CHUNK_ROWS = 4096  # of the embedding in memory at a time
SENTENCES = ("go to the cup", "find the red ball!", "Drive 2 m forward, then turn left.", "컵을 찾아", "a")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the bundle is to be."""

    out: Path
    policy: bool  # answers with actions, not with words
    layout: list[str] | None = None  # what each dimension of an action moves
    rows: list[list[int]] | None = None  # [first, end) of the rows that a speaker's logits are left with
    static: int | None = None  # length of a cache that does not grow
    camera: tuple[int, int] = CAMERA
    domain: str = "real"
    max_linear_mps: float = 0.15  # the guard's limit for a robot that does not see how far it is free
    max_angular_rps: float = 0.5
    max_new_tokens: int = 32
    narrowing: Narrowing = PLAIN


def export_model(model: BaseRoboVLM, wanted: Wanted, say: Callable[[str], None] = lambda _: None) -> BackboneManifest:
    """Build, verify, move into place; `out` is as it was until then. Raises ConfigError."""
    if wanted.policy and model.act_head is None:
        raise ConfigError(f"model {model.model_path} has no policy head; export it as vlm")
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wanted.out.parent, prefix=f".{wanted.out.name}.") as scratch:
        folder = Path(scratch) / "new"  # of its own: the scratch folder is nobody else's to read
        folder.mkdir()
        try:
            manifest = _build(model.eval(), wanted, folder, say)
        except OSError as err:
            raise ConfigError(f"{wanted.out}: not written, {err.strerror or err}") from err
        if wanted.out.exists():
            wanted.out.rename(Path(scratch) / "old")
        folder.rename(wanted.out)
    return manifest


def _build(model: BaseRoboVLM, wanted: Wanted, folder: Path, say: Callable[[str], None]) -> BackboneManifest:
    graphs = _graph_set(model, wanted)
    write_tokenizer(model, folder / TOKENIZER)
    write_embeddings(model, folder / EMBEDDINGS, np.float32 if wanted.narrowing.precision == "fp32" else np.float16)
    release(model)
    say("tracing")
    graphs.write(folder)
    release(model)
    say("asking the model itself")
    probes = _ask(model, wanted, folder, graphs)
    release(model)
    if wanted.narrowing.precision != "fp32":
        say(f"narrowing to {wanted.narrowing.precision}")
        say(told(narrow(folder, wanted.narrowing, probes)))
    manifest = signed(_manifest(model, wanted, folder, graphs), folder)
    write_manifest(folder, manifest)
    say("verifying")
    found = verify(Bundle(folder), peer=f"torch {torch.__version__}")
    manifest = manifest.model_copy(update={"verified": found})
    write_manifest(folder, manifest)
    return manifest


def _ask(model: BaseRoboVLM, wanted: Wanted, folder: Path, graphs: GraphSet) -> list[Probe]:
    """Probes and answers, as the model gives them in float32 whatever its weights are stored in; both are written, the probes returned."""
    with widened(model):
        probes = graphs.probes(np.load(folder / EMBEDDINGS, mmap_mode="r"))
        answers = answers_of(model, _manifest(model, wanted, folder, graphs), rooms(wanted.camera))
    save_probes(probes, folder / PROBES)
    (folder / ANSWERS).write_text(answers.model_dump_json(indent=1) + "\n")
    return probes


def _graph_set(model: BaseRoboVLM, wanted: Wanted) -> GraphSet:
    found = model.preparation(wanted.camera, question=not wanted.policy)
    head = getattr(model.act_head, "action_tokenizer", None)
    rows: Any = wanted.rows
    if wanted.policy:
        rows = action_rows(head) if isinstance(head, ActionTokenizer) else None
    return GraphSet(
        model, (found.height, found.width), acts=wanted.policy and model.action_space != "discrete", rows=rows, static=wanted.static,
        both_ways=not wanted.policy and model.both_ways,
    )  # fmt: skip


def write_tokenizer(model: BaseRoboVLM, path: Path) -> None:
    """The tokenizer in the form that needs no transformers. Raises ConfigError where that one cuts words otherwise."""
    plain = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    plain.no_truncation()
    plain.no_padding()
    for text in (*SENTENCES, *(model.instruction.format(text=said) for said in SENTENCES)):
        want = model.ids(text)
        got = plain.encode(text, add_special_tokens=model.adds_special).ids
        if got != want:
            raise ConfigError(f"model {model.model_path}: {text!r} is {want} to transformers, {got} to tokenizers alone: no host could ask")
    plain.save(str(path))


@torch.no_grad()
def write_embeddings(model: BaseRoboVLM, path: Path, dtype: Any) -> None:
    """(vocabulary, d) rows as the language model takes them, scaled where it scales. Raises ConfigError for one that is not finite."""
    table, kind = model.word_embedding, np.dtype(dtype)
    rows, width = len(table.weight), model.hidden_size
    with path.open("wb") as out, widened(table):  # written, not mapped: pages of a file count as this process's memory
        np.lib.format.write_array_header_1_0(out, {"descr": kind.str, "fortran_order": False, "shape": (rows, width)})
        for first in range(0, rows, CHUNK_ROWS):
            wide = table(torch.arange(first, min(first + CHUNK_ROWS, rows))).numpy()
            with np.errstate(over="ignore"):
                part = wide.astype(kind)
            if not np.isfinite(part).all():
                raise ConfigError(f"model {model.model_path}: its word embedding has rows from {first} on that {kind} cannot hold")
            out.write(part.tobytes())


def _manifest(model: BaseRoboVLM, wanted: Wanted, folder: Path, graphs: GraphSet) -> BackboneManifest:
    listed = {path.stem: describe(path) for path in sorted(folder.glob("*.onnx"))}
    n, width = (int(size) for size in listed["vision"].outputs[0].shape[1:])
    common: dict[str, Any] = {
        "schema_version": 1, "name": wanted.out.name, "domain": wanted.domain, "backend": "onnx", "precision": wanted.narrowing.precision,
        "graphs": listed, "max_linear_mps": wanted.max_linear_mps, "max_angular_rps": wanted.max_angular_rps, "reference": ANSWERS,
        "probes": PROBES, "sha256": {}, "made": provenance(model),
        "picture": picture_of(model, wanted.camera, question=not wanted.policy),
        "sequence": sequence_of(model, (n, width), TOKENIZER, question=not wanted.policy),
        "decoder": Decoder(
            layers=graphs.shape.layers, kv_heads=graphs.shape.kv_heads, head_dim=graphs.shape.head_dim, hidden=model.hidden_size,
            embeddings=EMBEDDINGS, vocabulary=len(model.word_embedding.weight),
            static=wanted.static, max_new_tokens=wanted.max_new_tokens,
            rows=None if graphs.rows is None else [list(span) for span in graphs.rows],
        ),
    }  # fmt: skip
    if wanted.policy:
        acts = model.action_space == "continuous"
        if acts:
            np.save(folder / ACT, model.action_token.detach().float().expand(model.latent_num, -1).numpy())
        return PolicyManifest(
            kind="policy", instruction=model.instruction, max_text=model.max_text_len, policy=policy_of(model, wanted.layout),
            act=ACT if acts else None, **common,
        )  # fmt: skip
    region = region_of(model, REGION)
    if region is not None:
        values = {name: value.float().numpy() for name, value in model.backbone.region_model.state_dict().items()}
        np.savez(folder / REGION, **values)
    return SpeakerManifest(
        kind="vlm", grammar=model.grammar, spelling=model.spelling.value, ends=sorted(model.end_ids()), question=question_of(model),
        region=region, **common,
    )  # fmt: skip


def describe(path: Path) -> Graph:
    """A graph's tensors, and where its weights are."""
    beside = path.with_name(f"{path.name}.data")
    return describe_graph(path).model_copy(update={"data": beside.name if beside.exists() else None})


def signed(manifest: BackboneManifest, folder: Path) -> BackboneManifest:
    """With the sha256 of every file that it names."""
    return manifest.model_copy(update={"sha256": {name: sha256(folder / name) for name in sorted(manifest.files)}})


def provenance(model: BaseRoboVLM) -> dict[str, str | float | int]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {"model": model.name, "folder": model.model_path.name, "commit": commit, "torch": torch.__version__}


def as_json(manifest: BackboneManifest) -> str:
    found = manifest.verified
    return json.dumps({"name": manifest.name, "kind": manifest.kind, "verified": None if found is None else found.model_dump()})


def spans(text: Sequence[str]) -> list[list[int]]:
    """["1024-2048", ...] as [first, end) pairs. Raises ConfigError."""
    found = []
    for one in text:
        first, _, end = one.partition("-")
        if not (first.isdigit() and end.isdigit() and int(first) < int(end)):
            raise ConfigError(f"rows {one!r}: want FIRST-END, for example 256000-257024")
        found.append([int(first), int(end)])
    return found
