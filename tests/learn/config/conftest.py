"""A tiny model for every backbone, and what a configuration says of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.learn.backbones.conftest import kosmos, llava, llava_mpt, paligemma, write_kosmos, write_llava, write_llava_mpt, write_paligemma

__all__ = ["kosmos", "llava", "llava_mpt", "paligemma", "write_kosmos", "write_llava", "write_llava_mpt", "write_paligemma"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, paligemma: Path, kosmos: Path, llava_mpt: Path) -> Callable[[str], dict[str, Any]]:
    """tiny("RoboUform"): the parts of a configuration that say where it is, written once. LLaVA is on MPT, Qwen the one of 2023."""
    from tests.learn.backbones.tiny_flamingo import write_flamingo
    from tests.learn.backbones.tiny_moondream import write_moondream
    from tests.learn.backbones.tiny_qwen import write_qwen25, write_qwen_v1
    from tests.learn.backbones.tiny_uform import write_uform

    def at(folder: Path) -> dict[str, Any]:
        return {"vlm": {"pretrained_model_name_or_path": str(folder)}}

    made = {"RoboPaligemma": at(paligemma), "RoboKosMos": at(kosmos), "RoboLLaVA": at(llava_mpt)}
    written: dict[str, Callable[[Path], dict[str, Any]]] = {
        "RoboFlamingo": write_flamingo,
        "RoboMoonDream": lambda folder: (write_moondream(folder, "B"), at(folder))[1],
        "RoboQwen": lambda folder: at(write_qwen_v1(folder)),
        "Qwen2.5": lambda folder: at(write_qwen25(folder)),
        "RoboUform": lambda folder: (write_uform(folder), at(folder))[1],
    }

    def get(name: str) -> dict[str, Any]:
        if name not in made:
            made[name] = written[name](tmp_path_factory.mktemp(name.lower().replace(".", "")))
        return made[name]

    return get


@pytest.fixture(scope="session")
def make(tiny: Callable[[str], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """make("RoboPaligemma", act_head={"latent": 2}, window_size=3): a configuration; sections are added to, None takes a section away."""

    def whole(name: str = "RoboPaligemma", **changes: Any) -> dict[str, Any]:
        head = {"type": "LSTMDecoder", "hidden_size": 16, "num_layers": 1, "action_dim": 4, "down_sample": "none"}
        robovlm = "RoboQwen" if name == "Qwen2.5" else name
        config = {"robovlm_name": robovlm, "window_size": 2, "fwd_pred_next_n": 2, "act_head": head} | tiny(name)
        for key, value in changes.items():
            both = isinstance(value, dict) and isinstance(config.get(key), dict)
            config[key] = {**config[key], **value} if both else value
        return config

    return whole
