"""A bundle's probes and answers made anew from a checkpoint directory, with torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_vla.backends.backbone_manifest import BackboneManifest, PolicyManifest
from edge_vla.backends.bundle import Bundle
from edge_vla.errors import ConfigError
from export.bundle.answering import answers_of, rooms
from export.bundle.checkpoints import load
from export.bundle.description import CAMERA
from export.bundle.probes import save_probes
from export.torch_graphs.graph_set import GraphSet
from export.torch_graphs.widening import widened


def refresh(bundle: Bundle, folder: Path) -> list[str]:
    """The names of the files that were written. Raises ConfigError for another model's folder."""
    m = bundle.manifest
    if not isinstance(m, BackboneManifest) or m.probes is None or m.reference is None:
        raise ConfigError(f"engine {bundle.folder} holds nothing to make anew; export it with `python -m export onnx`")
    model = load(folder)
    found = (model.hidden_size, len(model.word_embedding.weight))
    if found != (m.decoder.hidden, m.decoder.vocabulary):
        want = (m.decoder.hidden, m.decoder.vocabulary)
        raise ConfigError(f"model {folder}: width and vocabulary {found}, the bundle was made of a model with {want}")
    policy = isinstance(m, PolicyManifest)
    graphs = GraphSet(
        model, (m.picture.height, m.picture.width), acts="head" in m.graphs, rows=m.decoder.rows,
        static=m.decoder.static, both_ways=not policy and model.both_ways,
    )  # fmt: skip
    width, height = m.picture.camera or CAMERA
    pictures = rooms((width, height))
    with widened(model):
        save_probes(graphs.probes(np.load(bundle.path(m.decoder.embeddings), mmap_mode="r")), bundle.path(m.probes))
        answers = answers_of(model, m, pictures)
    bundle.path(m.reference).write_text(answers.model_dump_json(indent=1) + "\n")
    return [m.probes, m.reference]
