"""A PaliGemma of any size with random bfloat16 weights, in the Hub's layout on disk, written tensor by tensor: no file is ever in memory.

.venv/bin/python -m benchmarks.big_checkpoint FOLDER        # the published 3B's shape, 5.8 GB
"""

import argparse
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, PreTrainedTokenizerFast

SHARD_BYTES = 2 * 10**9
# google/paligemma-3b-pt-224's config.json, but for what transformers has as defaults.
PALIGEMMA_3B: dict[str, Any] = {
    "architectures": ["PaliGemmaForConditionalGeneration"], "model_type": "paligemma", "torch_dtype": "bfloat16",
    "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "hidden_size": 2048, "image_token_index": 257152, "projection_dim": 2048,
    "text_config": {
        "model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18, "num_attention_heads": 8,
        "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 257216,
    },
    "vision_config": {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
        "num_attention_heads": 16, "image_size": 224, "patch_size": 14, "projection_dim": 2048, "vision_use_head": False,
    },
}  # fmt: skip
WORDS = ("<pad>", "<eos>", "<bos>", "<unk>", "\n", "detect", "cup", ";", "▁", "▁cup", "▁;", *"cup")
FIRST_LOC, LOCS = 256_000, 1024  # rows of the published tokenizer


def write_checkpoint(folder: Path, config: dict[str, Any], first_loc: int = FIRST_LOC, shard_bytes: int = SHARD_BYTES) -> int:
    """config.json, tokenizer and shards with their index; how many weights there are. The same weights every time."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    write_tokenizer(folder, first_loc)
    shapes = hub_shapes(config)
    shards = list(_shards(shapes, shard_bytes))
    names = [f"model-{k:05d}-of-{len(shards):05d}.safetensors" for k in range(1, len(shards) + 1)]
    generator = torch.Generator().manual_seed(0)
    for shard, name in zip(shards, names, strict=True):
        _write_shard(folder / name, {key: shapes[key] for key in shard}, generator)
    total = sum(2 * math.prod(shape) for shape in shapes.values())
    placed = {key: name for shard, name in zip(shards, names, strict=True) for key in shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": placed}))
    return total // 2


def hub_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes as the Hub's files have them; the head is the word embedding and not stored."""
    with torch.device("meta"):
        model = PaliGemmaForConditionalGeneration(PaliGemmaConfig(**config))
    places = {
        "model.language_model.": "language_model.model.", "model.vision_tower.": "vision_tower.vision_model.",
        "model.multi_modal_projector.": "multi_modal_projector.",
    }  # fmt: skip
    found = {}
    for name, parameter in model.named_parameters():
        place = next((place for place in places if name.startswith(place)), None)
        if place is not None:
            found[name.replace(place, places[place], 1)] = tuple(parameter.shape)
    return found


def _shards(shapes: dict[str, tuple[int, ...]], most: int) -> Iterator[list[str]]:
    shard, nbytes = list[str](), 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        if shard and nbytes + size > most:
            yield shard
            shard, nbytes = [], 0
        shard.append(name)
        nbytes += size
    yield shard


def _write_shard(file: Path, shapes: dict[str, tuple[int, ...]], generator: torch.Generator) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % 8)
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(told)) + told)
        for name, shape in shapes.items():
            _write_values(name, shape, out, generator)


def _write_values(name: str, shape: tuple[int, ...], out: Any, generator: torch.Generator) -> None:
    """Matrices that keep lengths, norms that do nothing (Gemma adds 1 to its own), biases of 0; some rows at a time."""
    rows = max(1, 2**24 * shape[0] // math.prod(shape))
    for first in range(0, shape[0], rows):
        part = (min(rows, shape[0] - first), *shape[1:])
        if len(shape) > 1:
            values = torch.randn(part, generator=generator) / math.sqrt(math.prod(shape[1:]))
        else:
            ones = "vision_tower" in name and "norm" in name and name.endswith(".weight")
            values = torch.full(part, float(ones))
        out.write(values.to(torch.bfloat16).view(torch.int16).numpy().data)


def write_tokenizer(folder: Path, first_loc: int) -> None:
    """Whole words, and the places where the published tokenizer has them; all other rows are words that nobody says."""
    told = dict(zip(WORDS, range(len(WORDS)), strict=True))
    told |= {f"word{row}": row for row in range(len(WORDS), first_loc)}
    told |= {f"<loc{k:04d}>": first_loc + k for k in range(LOCS)}
    made = Tokenizer(models.WordLevel(told, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split("\n", "isolated")])
    made.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    marks = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **marks).save_pretrained(folder)


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("folder", type=Path)
    print(f"{write_checkpoint(cli.parse_args().folder, PALIGEMMA_3B):,} weights")
