"""RoboQwen: which of the two generations a folder holds, and what both have in common."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from edge_vla.errors import ConfigError
from edge_vla.grammars import Spelling
from edge_vla.learn.backbones.base import BaseRoboVLM, Configs
from edge_vla.learn.checkpoint import read_config
from edge_vla.learn.config import model_folder
from edge_vla.learn.pictures import CLIP_MEAN, CLIP_STD

# config.json's model_type to the module beside this one and the class in it; each imports its own model code.
LAYOUTS = {"qwen": ("v1", "QwenVL"), "qwen2_5_vl": ("v2_5", "Qwen25VL")}
CHATML = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{picture}{{text}}<|im_end|>\n<|im_start|>assistant\n"
)


class RoboQwen(BaseRoboVLM):
    """`vlm` names a folder in the Hub's layout of Qwen-VL or of Qwen2.5-VL; what is made is the class for the one it holds."""

    name = "qwen"
    image_mean, image_std = CLIP_MEAN, CLIP_STD
    image_brackets = True
    spelling = Spelling.BYTES

    def __new__(cls, configs: Configs | None = None, *_: Any, **__: Any) -> RoboQwen:
        """Raises ConfigError for a folder that holds neither."""
        if cls is not RoboQwen or configs is None:
            return super().__new__(cls)
        return super().__new__(_layout(model_folder(configs)))

    @classmethod
    def import_name(cls, name: str, config: Mapping[str, Any]) -> str | None:
        """Qwen2.5-VL has two sets of names, before transformers 4.52 and since; its smallest model ties its head to the word embedding."""
        if config.get("model_type") != "qwen2_5_vl":
            return name
        tied = config.get("tie_word_embeddings", (config.get("text_config") or {}).get("tie_word_embeddings"))
        if name == "lm_head.weight" and tied:
            return "model.embed_tokens.weight"
        return name.replace("model.language_model.", "model.", 1).replace("model.visual.", "visual.", 1)


def _layout(folder: Path) -> type[RoboQwen]:
    found = read_config(folder).get("model_type")
    if found not in LAYOUTS:
        raise ConfigError(f"model {folder}: its config.json says model_type {found!r}, this backbone reads {', '.join(LAYOUTS)}")
    module, name = LAYOUTS[str(found)]
    kind: type[RoboQwen] = getattr(import_module(f"{__package__}.{module}"), name)
    return kind
