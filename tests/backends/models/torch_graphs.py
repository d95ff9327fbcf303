"""A model's own modules behind the Graphs protocol, in torch, and a bundle that describes them: what a host makes of it is compared with
what the model itself does. Nothing is traced; the graph files are placeholders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_vla.backends.backbone_contract import wanted
from edge_vla.backends.backbone_manifest import BackboneManifest, Decoder, PolicyManifest, SpeakerManifest
from edge_vla.backends.bundle import Bundle
from edge_vla.backends.manifest import Graph, Tensor
from edge_vla.learn.backbones.base import BaseRoboVLM
from export.bundle.bundling import ACT, EMBEDDINGS, REGION, TOKENIZER, signed, write_embeddings, write_tokenizer
from export.bundle.description import action_rows, picture_of, policy_of, question_of, region_of, sequence_of
from export.bundle.manifest import write_manifest
from export.torch_graphs.graph_set import GraphSet

Array = NDArray[np.float32]
PAST = ("past_keys", "past_values")
Rows = Sequence[Sequence[int]] | None


class TorchGraphs:
    """The modules that the exporter traces. What is fed is kept in `fed`, by graph."""

    providers = ("torch",)

    def __init__(self, model: BaseRoboVLM, bundle: Bundle) -> None:
        m = bundle.manifest
        assert isinstance(m, BackboneManifest)
        acts = "head" in m.graphs
        self._set = graph_set(model, m, acts=acts)
        self._modules = {name: module.eval() for name, module in self._set.modules.items()}
        self._told = {name: ([t.name for t in graph.inputs], [t.name for t in graph.outputs]) for name, graph in m.graphs.items()}
        shape = self._set.shape
        self._empty = torch.zeros(shape.layers, shape.kv_heads, 0, shape.head_dim)
        self.fed: list[tuple[str, dict[str, NDArray[Any]]]] = []
        self.closed = False
        self.begin()

    @property
    def past(self) -> int:
        return int(self._kept[0].shape[2])

    def run(self, name: str, feed: Mapping[str, NDArray[Any]]) -> dict[str, Array]:
        return {key: value.numpy() for key, value in self._run(name, self._taken(name, feed)).items()}

    def begin(self, behind: Mapping[str, NDArray[Any]] | None = None) -> None:
        assert behind is None, "no backbone has a prefix graph"
        self._kept = [self._empty, self._empty]

    def step(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, Array]:
        told = self._run("lm_step", self._taken("lm_step", feed) | dict(zip(PAST, self._kept, strict=True)))
        self._kept = [told.pop("keys"), told.pop("values")]
        return {key: value.numpy() for key, value in told.items()}

    def _taken(self, name: str, feed: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
        self.fed.append((name, {key: np.array(value) for key, value in feed.items()}))
        return {key: torch.from_numpy(value) for key, value in feed.items()}

    @torch.no_grad()
    def _run(self, name: str, feed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        inputs, outputs = self._told[name]
        assert set(feed) == set(inputs), f"{name} was fed {sorted(feed)}, and takes {sorted(inputs)}"
        with self._set.cut():
            found = self._modules[name](*(feed[key] for key in inputs))
        return dict(zip(outputs, found if isinstance(found, tuple) else (found,), strict=True))

    def close(self) -> None:
        self.closed = True


def graph_set(model: BaseRoboVLM, m: BackboneManifest, *, acts: bool) -> GraphSet:
    speaks = isinstance(m, SpeakerManifest)
    return GraphSet(model, (m.picture.height, m.picture.width), acts=acts, rows=m.decoder.rows, both_ways=speaks and model.both_ways)


def policy_bundle(
    model: BaseRoboVLM, folder: Path, camera: tuple[int, int] = (64, 48), rows: Rows = None, layout: list[str] | None = None, **changes: Any
) -> Bundle:
    """What the exporter says of a policy, without its graphs. `changes` are those of the section `policy`."""
    numbers = getattr(model.act_head, "action_tokenizer", None)
    common = _common(model, folder, camera, question=False, rows=rows or (None if numbers is None else action_rows(numbers)))
    act = ACT if model.action_space == "continuous" else None
    if act:
        np.save(folder / ACT, model.action_token.detach().float().expand(model.latent_num, -1).numpy())
    policy = policy_of(model, layout).model_copy(update=changes)
    return _written(
        PolicyManifest(kind="policy", instruction=model.instruction, max_text=model.max_text_len, policy=policy, act=act, **common), folder
    )


def speaker_bundle(model: BaseRoboVLM, folder: Path, camera: tuple[int, int] = (64, 48), rows: Rows = None, **changes: Any) -> Bundle:
    """Likewise of a model that answers in words and places."""
    region = region_of(model, REGION)
    if region is not None:
        np.savez(folder / REGION, **{name: t.float().numpy() for name, t in model.backbone.region_model.state_dict().items()})
    told: dict[str, Any] = {
        "kind": "vlm", "grammar": model.grammar, "spelling": model.spelling.value, "ends": sorted(model.end_ids()),
        "question": question_of(model), "region": region, **_common(model, folder, camera, question=True, rows=rows), **changes,
    }  # fmt: skip
    return _written(SpeakerManifest(**told), folder)


def _common(model: BaseRoboVLM, folder: Path, camera: tuple[int, int], *, question: bool, rows: Rows) -> dict[str, Any]:
    write_tokenizer(model, folder / TOKENIZER)
    write_embeddings(model, folder / EMBEDDINGS, np.float32)
    picture = picture_of(model, camera, question=question)
    with torch.no_grad():
        tokens = model.encode_images(torch.zeros(1, 3, picture.height, picture.width))[0, 0].shape
    shape = GraphSet(model, (picture.height, picture.width), acts=False).shape
    decoder = Decoder(
        layers=shape.layers, kv_heads=shape.kv_heads, head_dim=shape.head_dim, hidden=model.hidden_size, embeddings=EMBEDDINGS,
        vocabulary=len(model.word_embedding.weight), rows=None if rows is None else [list(span) for span in rows], max_new_tokens=12,
    )  # fmt: skip
    return {
        "schema_version": 1, "name": "tiny", "domain": "sim", "backend": "onnx", "precision": "fp32", "graphs": {}, "sha256": {},
        "max_linear_mps": 0.2, "max_angular_rps": 0.5, "picture": picture, "decoder": decoder,
        "sequence": sequence_of(model, (int(tokens[0]), int(tokens[1])), TOKENIZER, question=question),
    }  # fmt: skip


def _written(m: BackboneManifest, folder: Path) -> Bundle:
    """The bundle, opened. Its graphs have the tensors that hosts feed and read."""
    sides: dict[str, dict[str, list[Tensor]]] = {}
    for (graph, side), tensors in wanted(m).items():
        for name, (dtype, *axes) in tensors.items():
            shape = [_axis(m, axis) for axis in axes]
            sides.setdefault(graph, {}).setdefault(side, []).append(Tensor.model_construct(name=name, dtype=str(dtype), shape=shape))
    for graph in sides:
        (folder / f"{graph}.onnx").write_bytes(b"")
    m = m.model_copy(update={"graphs": {graph: Graph(file=f"{graph}.onnx", **told) for graph, told in sides.items()}})
    write_manifest(folder, signed(m, folder))
    return Bundle(folder)


def _axis(m: BackboneManifest, axis: str | int) -> str | int:
    if isinstance(axis, int) or axis == "?":
        return axis
    found: Any = m
    for part in axis.split("."):
        found = getattr(found, part)
    return int(found)
