"""What a built policy may be given: arguments, shapes, pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones import BACKBONES, backbone_class
from tests.learn.config.acting import build, given, labels

Config = dict[str, Any]
Make = Callable[..., Config]


# -- arguments


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"mode": "infer"}, "mode 'infer': want train or inference"),
        ({"action_lables": None}, "unknown batch key 'action_lables'; did you mean 'action_labels'?"),
        ({"vision_griper": None}, "unknown batch key 'vision_griper'; did you mean 'vision_gripper'?"),
        ({"data_source": "vl_pretrain"}, "data_source 'vl_pretrain': co-training on pictures and texts does not run in RoboVLMs"),
        ({"data_source": ["calvin_action", "vl_pretrain"]}, "data_source .*: co-training"),
        ({"data_source": "calvin"}, "data_source 'calvin': want a name with 'action' in it"),
        ({"position_ids": torch.zeros(1)}, "position_ids: has no effect in this model"),
        ({"use_cache": True}, "use_cache: has no effect"),
        ({"chunk": 2}, "unknown batch key 'chunk'"),
    ],
)
def test_forward_refuses_what_does_nothing(words: Config, message: str, make: Make) -> None:
    model = build(make())
    with pytest.raises(ConfigError, match=message):
        model(**given(model), action_labels=labels(model), **words)
    with pytest.raises(ConfigError, match=r"unknown batch key 'action_lables'"):
        model.inference(**given(model), action_lables=None)
    with pytest.raises(ConfigError, match="unknown batch key 'mode'"):
        model.inference(**given(model), mode="train")


TRAINERS = (
    "caption_labels", "caption_mask", "fwd_rgb_labels", "fwd_hand_rgb_labels", "fwd_mask", "raw_text", "rel_state", "vision_gripper",
    "instr_and_action_ids", "instr_and_action_labels", "instr_and_action_mask", "position_ids",
)  # fmt: skip


def test_forward_takes_what_the_references_trainer_gives(make: Make) -> None:
    model = build(make()).eval()
    plain = model(**given(model), action_labels=labels(model))["loss"]
    for source in ("calvin_action", ["calvin_action", "rt1_action"], None, []):
        loss = model(**given(model), action_labels=labels(model), data_source=source, use_cache=False, **dict.fromkeys(TRAINERS))["loss"]
        assert torch.equal(loss, plain)
    assert list(model(**given(model), mode="inference")) == ["action"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_x": torch.zeros(2, 3, 28, 28)}, r"vision_x of shape \(2, 3, 28, 28\): want \(batch, window, 3, H, W\)"),
        ({"lang_x": torch.ones(4).long()}, r"lang_x of shape \(4,\): want \(2, tokens\)"),
        ({"lang_x": torch.ones(3, 4).long()}, r"lang_x of shape \(3, 4\): want \(2, tokens\)"),
        ({"attention_mask": torch.ones(2, 3)}, r"attention_mask of shape \(2, 3\): want lang_x's"),
        ({"vision_gripper": torch.zeros(2, 3, 28, 28)}, r"vision_gripper of shape \(2, 3, 28, 28\): want"),
        ({"vision_x": torch.zeros(2, 2, 3, 28, 28, dtype=torch.uint8)}, "torch.uint8: want .* prepared"),
    ],
)
@pytest.mark.parametrize("space", ["continuous", "discrete"])
def test_a_wrong_shape_is_named(change: Config, message: str, space: str, make: Make) -> None:
    head = {"type": "DiscreteDecoder", "action_space": "discrete", "num_layers": None} if space == "discrete" else {}
    model = build(make(act_head=head))
    with pytest.raises(ConfigError, match=message):
        model.inference(**{**given(model), **change})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"windw_size": 4}, "unknown argument 'windw_size'"),
        ({"use_tube_msk": True}, "unknown argument 'use_tube_msk'; did you mean 'use_tube_mask'?"),
        ({"use_clip_norm": True}, "use_clip_norm True: there is no CLIP text encoder here"),
        ({"quantization_config": {"bits": 4}}, "quantization_config: weights are quantised at export"),
    ],
)
def test_the_constructor_refuses_what_does_nothing(words: Config, message: str, make: Make) -> None:
    with pytest.raises(ConfigError, match=message):
        backbone_class("RoboPaligemma")(make(), **words)


def test_the_constructor_takes_the_references_arguments(make: Make) -> None:
    config = make()
    unused = {"use_obs_queries": True, "use_act_queries": True, "use_pixel_loss": False, "use_mim_obs_loss": False,
              "vision_masked_ratio": 0.9, "use_time_causal_attn": False, "use_tube_mask": False, "use_clip_norm": False,
              "quantization_config": None}  # fmt: skip
    model = backbone_class("RoboPaligemma")(
        configs=config, train_setup_configs={"freeze_backbone": None}, act_head_configs={**config["act_head"], "latent": None},
        fwd_head_configs=None, window_size=5, use_hand_rgb=False, fwd_pred_next_n=4, use_vision_resampler=False,
        vision_resampler_configs=None, use_state=False, **unused,
    )  # fmt: skip
    assert (model.window_size, model.fwd_pred_next_n, model.unused_arguments) == (5, 4, sorted(unused))
    assert model.act_head is not None
    assert (model.act_head.window_size, model.act_head.fwd_pred_next_n) == (5, 4)


# -- pictures


def test_pictures_come_as_the_reference_gives_them(make: Make) -> None:
    model = build(make()).eval()
    rgb = np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)
    want = model.preprocess(rgb)
    assert torch.equal(model.image_processor(Image.fromarray(rgb)), want)
    assert torch.equal(model.image_processor(rgb), want)
    grey, clear = Image.fromarray(rgb[..., 0]), Image.fromarray(np.dstack([rgb, np.full((40, 30), 9, np.uint8)]), "RGBA")
    assert torch.equal(model.image_processor(grey), model.preprocess(np.repeat(rgb[..., :1], 3, 2)))
    assert torch.equal(model.image_processor(clear), want)
    assert model.generate("find the cup", Image.fromarray(rgb), 4) == model.generate("find the cup", rgb, 4)
    for wrong in (rgb.astype(np.float32), rgb[..., 0], [rgb], None):
        with pytest.raises(ConfigError, match="picture of"):
            model.generate("find the cup", wrong, 4)  # type: ignore[arg-type]


@torch.no_grad()
def test_a_list_of_pictures_is_a_batch(make: Make) -> None:
    model = build(make()).eval()
    frames = given(model)["vision_x"]
    want = model.encode_images(frames)
    assert want.shape == (2, 2, 4, 32)
    torch.testing.assert_close(model.encode_images([*frames]), want)
    torch.testing.assert_close(model.encode_images([*frames[:, 0]]), want[:, :1])
    torch.testing.assert_close(model.encode_images(frames[:, 0]), want[:, :1])
    for wrong in ([frames[0], frames[0, 0]], [], frames[0, 0], frames.long()):
        with pytest.raises(ConfigError, match="images of shape"):
            model.encode_images(wrong)


@torch.no_grad()
@pytest.mark.parametrize("name", [*BACKBONES, "Qwen2.5"])
def test_a_bf16_policy_takes_float32_pictures(name: str, make: Make) -> None:
    model = build(make(name, **({"image_size": 32} if name == "Qwen2.5" else {}), use_state=True)).eval()
    batch = given(model) | {"rel_state": torch.ones(2, 2, 7)}
    want = model.inference(**batch)["action"][0]
    got = model.bfloat16().inference(**batch)["action"][0]
    assert got.dtype == torch.bfloat16
    assert 0 < (got.float() - want).abs().max() < 0.2
    assert torch.equal(model.inference(**(batch | {"vision_x": batch["vision_x"].bfloat16()}))["action"][0], got)
