"""One `detect` step: the exported engine against `transformers` generate, same weights, same machine, same run, in turn.

    .venv/bin/python -m benchmarks.engine_vs_transformers [--checkpoint training/finder/last.pt] [--threads 1]

Fresh weights take as long as trained ones; only the check that both say the same box then means little.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import GemmaForCausalLM

from edge_vla.backends.bundle import Bundle
from edge_vla.backends.finder import FinderEngine
from edge_vla.learn.finder.language import build_tokenizer
from edge_vla.learn.finder.model import IMAGE_TOKENS, Finder
from edge_vla.parts import open_bundle
from edge_vla.types import Frame
from export.default import export_default, load_finder


class PrefixGemma(GemmaForCausalLM):
    """Gemma that generates after a two-way prefix, as PaliGemma does: the mask of the prefill is given, not built."""

    prefix_mask: torch.Tensor | None = None

    def prepare_inputs_for_generation(self, input_ids, inputs_embeds=None, **kwargs):  # noqa: ANN001, ANN201 - transformers' own
        inputs = super().prepare_inputs_for_generation(input_ids, inputs_embeds=inputs_embeds, **kwargs)
        embeds = inputs.get("inputs_embeds")
        prefill = embeds is not None and embeds.shape[1] > 1
        inputs["attention_mask"] = self.prefix_mask if prefill else None
        return inputs


def transformers_detect(finder: Finder, lm: PrefixGemma, image: torch.Tensor, ids: list[int]) -> list[int]:
    """Vision tower, prefill and greedy decoding: four corners, the label, the end."""
    with torch.inference_mode():
        tokens, *_ = finder.image_tokens(image)
        embeds = torch.cat([tokens, lm.get_input_embeddings()(torch.tensor([ids]))], 1)
        total = embeds.shape[1]
        mask = torch.zeros(1, 1, total, total)
        mask[..., :IMAGE_TOKENS, IMAGE_TOKENS:] = torch.finfo(torch.float32).min
        lm.prefix_mask = mask
        return lm.generate(inputs_embeds=embeds, max_new_tokens=6, do_sample=False)[0].tolist()


def measure(engine: FinderEngine, finder: Finder, runs: int) -> dict[str, object]:
    """Both in turn on the same random frames; medians and the ratio of the pairs."""
    tokenizer = build_tokenizer()
    ids = tokenizer.encode("<bos> detect cup\n").ids
    lm = PrefixGemma(finder.lm.config).eval()
    lm.load_state_dict(finder.lm.state_dict())
    rng = np.random.default_rng(0)
    ours, theirs = [], []
    for k in range(runs + 3):
        frame = Frame(rng.integers(0, 255, (240, 320, 3), dtype=np.uint8), k, k)
        start = time.perf_counter()
        engine.ask(frame, "detect cup")
        middle = time.perf_counter()
        transformers_detect(finder, lm, torch.from_numpy(engine.preprocess(frame.rgb)), ids)
        end = time.perf_counter()
        if k >= 3:  # the first ones warm up
            ours.append((middle - start) * 1e3)
            theirs.append((end - middle) * 1e3)
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    return {
        "engine_ms_p50": round(statistics.median(ours), 1), "engine_ms_p99": round(sorted(ours)[int(0.99 * len(ours))], 1),
        "transformers_ms_p50": round(statistics.median(theirs), 1), "ratio_median": round(ratio, 2), "runs": runs,
    }  # fmt: skip


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__)
    cli.add_argument("--checkpoint", type=Path)
    cli.add_argument("--threads", type=int, default=1)
    cli.add_argument("--runs", type=int, default=50)
    args = cli.parse_args()
    torch.set_num_threads(args.threads)
    finder, seen = load_finder(args.checkpoint)
    for precision in ("fp32", "int8"):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "bundle"
            export_default(args.checkpoint, folder, precision)
            engine = open_bundle(Bundle(folder), args.threads)
            engine.warm_up()
            figures = measure(engine, finder, args.runs)
        print(json.dumps({"precision": precision, "threads": args.threads, "images_seen": seen, **figures}))


if __name__ == "__main__":
    main()
