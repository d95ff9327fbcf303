"""Models that transformers has: its classes, loaded from a local folder, strictly and without running anybody's code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer
from transformers.initialization import no_init_weights
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging

from edge_vla.errors import ConfigError
from edge_vla.learn.checkpoint import check_weights, named, read_config, type_to_load

BOTH = ("bos_token", "eos_token")
# What the published tokenizers of a model_type have. Moondream's are given theirs by its own file; Qwen-VL of 2023 has neither.
MARKS = {
    "paligemma": BOTH, "kosmos-2": BOTH, "llava": BOTH, "llava_mpt": BOTH, "mosaic_gpt": BOTH, "mpt": BOTH, "gpt_neox": BOTH,
    "qwen2_5_vl": ("eos_token",), "vlm": ("eos_token",),
}  # fmt: skip


def load_native(kind: type[PreTrainedModel], folder: Path, model_types: tuple[str, ...]) -> nn.Module:
    """The model in `folder`, float32 but within `as_stored`.

    Raises ConfigError for another kind of model and for weights that are not exactly its own.
    """
    found = read_config(folder).get("model_type")
    if found not in model_types:
        raise ConfigError(f"model {folder}: its config.json says model_type {found!r}, this backbone reads {', '.join(model_types)}")
    types = check_weights(folder)  # whole and finite, in our words; transformers would fill what a file lacks with random numbers
    dtype = type_to_load(types)
    try:
        with _silence():
            loaded: Any = kind.from_pretrained(
                str(folder), output_loading_info=True, local_files_only=True, dtype=dtype, ignore_mismatched_sizes=True
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError) as err:
        raise ConfigError(f"model {folder}: {str(err).splitlines()[0][:300]}") from err
    model, report = loaded
    problems = {word: report[key] for word, key in (("missing", "missing_keys"), ("unexpected", "unexpected_keys")) if report[key]}
    shapes = [f"{name} {tuple(got)}, want {tuple(want)}" for name, got, want in report.get("mismatched_keys", ())]
    said = [f"{len(keys)} {word}: {named(keys)}" for word, keys in problems.items()]
    said += [f"{len(shapes)} of another shape: {named(shapes)}"] if shapes else []
    if said:
        raise ConfigError(f"model {folder}: these weights are not of a {found}; {'; '.join(said)}")
    model.set_attn_implementation("eager")  # the arithmetic that exports alike at every length
    if dtype is not torch.float32:
        _widen_tables(model, kind)
    return model


def _widen_tables(model: PreTrainedModel, kind: type[PreTrainedModel]) -> None:
    """Angles and scales as a float32 model has them: transformers makes some in the type of the weights, which rounds them."""
    config = deepcopy(model.config)
    for part in (config, *(getattr(config, name) for name in config.sub_configs)):
        part.dtype = torch.float32
    with no_init_weights():  # parameters that nobody writes to take no memory
        whole = kind(config)
    for name, table in whole.named_buffers():
        if table.is_floating_point():
            owner, _, key = name.rpartition(".")
            setattr(model.get_submodule(owner), key, table)


@contextmanager
def _silence() -> Iterator[None]:
    """No progress bars and no table of keys: what is wrong with a checkpoint is said once, by us."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer, padding on the right as the layouts want it. Raises ConfigError, also where it lost tokens of its own."""
    try:
        with _silence():
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise ConfigError(f"model {folder}: no usable tokenizer ({str(err).splitlines()[0][:200]})") from err
    if not tokenizer("a", add_special_tokens=False).input_ids:  # without its file some kinds are made empty, and say nothing
        raise ConfigError(f"model {folder}: no usable tokenizer (no vocabulary; is its tokenizer.json there?)")
    lost = [name for name in MARKS.get(str(read_config(folder).get("model_type")), ()) if getattr(tokenizer, name) is None]
    if lost:  # pictures and actions would go to other places of the sequence
        raise ConfigError(f"model {folder}: its tokenizer has no {' and no '.join(lost)}; is its tokenizer_config.json there?")
    tokenizer.padding_side = "right"
    return tokenizer
