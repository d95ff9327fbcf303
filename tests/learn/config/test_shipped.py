"""RoboVLMs' own 11 configurations: read, and built onto tiny models of their backbones as its own code would."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from edge_vla.learn.build import build_policy
from edge_vla.learn.config import INERT, load_config
from tests.learn.config.shipped import FILES, shipped

Config = dict[str, Any]


def onto(config: Config, tiny: Callable[[str], Config]) -> Config:
    """The configuration with a tiny model's places in it; a `ViT-L-14` is what its tower is not."""
    found = tiny(config["robovlm_name"])
    config["vlm"] |= {key: value for key, value in found["vlm"].items() if key != "name"}
    config["tokenizer"] |= {"pretrained_model_name_or_path": found["vlm"]["pretrained_model_name_or_path"]}
    return config | ({"vision_encoder": found["vision_encoder"]} if "vision_encoder" in found else {})


def test_there_are_eleven() -> None:
    assert len(FILES) == 11


@pytest.mark.parametrize("name", FILES)
def test_it_is_read_and_what_it_says_in_vain_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(shipped(name)))
    with pytest.warns(UserWarning, match="without effect, here as in RoboVLMs: act_head.fwd_pred_next_n") as told:
        config = load_config(tmp_path / "c.json")
    assert len(told) == 1
    for key in ("use_pixel_loss", "act_head.with_history", "seq_len", "vlm.type"):
        assert key in str(told[0].message)
    assert not {*config, *(f"{section}.{key}" for section in ("vlm", "act_head", "train_setup") for key in config[section])} & INERT
    assert config["window_size"] == (16 if "hand" in name or "oxe" in name else 8)


@pytest.mark.parametrize("name", FILES)
def test_it_builds_acts_and_learns(name: str, tiny: Callable[[str], Config]) -> None:
    config = onto(shipped(name), tiny)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = build_policy(config)
    said = " | ".join(str(one.message) for one in told)
    assert f"image_size {config['image_size']}: {type(model).__name__} takes pictures of {model.image_size} px" in said
    assert ("image_mean" in said) is (name in ("calvin paligemma", "calvin moondream"))
    assert ("vision_resampler with vis_dim" in said) is (name == "calvin moondream")
    assert model.act_head is not None
    assert (model.act_head.window_size, model.act_head.fwd_pred_next_n) == (config["window_size"], 10)
    side, rows = model.image_size, model.instruction_ids("go")
    picture = torch.zeros(1, 2, 3, side, side)
    batch = {"vision_x": picture, "lang_x": torch.tensor([rows])} | ({"vision_gripper": picture} if config["use_hand_rgb"] else {})
    assert model.inference(**batch)["action"][0].shape == (1, 2, 10, 6)
    loss = model(**batch, action_labels=(torch.zeros(1, 2, 10, 6), torch.zeros(1, 2, 10)))["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.filterwarnings("ignore:configuration. without effect", "ignore:image_(size|mean|std) ")
def test_the_resampler_is_the_references_whatever_its_section_says(tiny: Callable[[str], Config]) -> None:
    """Depth 8 in every file; RoboVLMs builds by the width alone."""
    config = onto(shipped("calvin moondream"), tiny) | {"act_head": None}
    with pytest.warns(UserWarning, match="RoboVLMs builds depth 6, num_latents 64, .* without effect: depth 8"):
        model = build_policy(config)
    assert model.vision_resampler is not None
    assert (len(model.vision_resampler.layers), len(model.vision_resampler.latents)) == (6, 64)
    own = {"depth": 1, "num_latents": 2, "heads": 2, "dim_head": 8}
    model = build_policy(config | {"vision_resampler": own})
    assert model.vision_resampler is not None
    assert (len(model.vision_resampler.layers), len(model.vision_resampler.latents)) == (1, 2)
