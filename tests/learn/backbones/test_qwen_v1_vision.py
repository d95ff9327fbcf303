"""Qwen-VL's image encoder and what it is shown, against a second derivation from torch's own parts in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from edge_vla.learn.backbones.qwen import RoboQwen
from edge_vla.learn.backbones.qwen.v1 import QwenVL
from edge_vla.learn.backbones.qwen.v1_vision import enlarging, stretch
from tests.learn.backbones.tiny_qwen import policy, write_qwen_v1


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> QwenVL:
    found = RoboQwen(policy(write_qwen_v1(tmp_path_factory.mktemp("v1")))).eval()
    assert isinstance(found, QwenVL)
    return found


def normed(x: Tensor, sd: dict[str, Tensor], name: str) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], sd[f"{name}.weight"], sd[f"{name}.bias"], 1e-6)


def torch_attention(sd: dict[str, Tensor], name: str, heads: int, *, interleaved: bool) -> nn.MultiheadAttention:
    """torch's own, which wants q, k and v in blocks."""
    key = (".in_proj.weight", ".in_proj.bias") if interleaved else (".in_proj_weight", ".in_proj_bias")
    weight, bias = (sd[name + k] for k in key)
    width = weight.shape[1]
    if interleaved:
        order = torch.arange(3 * width).reshape(heads, 3, -1).transpose(0, 1).flatten()
        weight, bias = weight[order], bias[order]
    out = nn.MultiheadAttention(width, heads, batch_first=True, dtype=torch.float64)
    out.load_state_dict(
        {
            "in_proj_weight": weight,
            "in_proj_bias": bias,
            "out_proj.weight": sd[f"{name}.out_proj.weight"],
            "out_proj.bias": sd[f"{name}.out_proj.bias"],
        }
    )
    return out.eval()


def see(sd: dict[str, Tensor], images: Tensor, *, interleaved: bool = True) -> Tensor:
    """The encoder once more, of torch's own parts, in float64."""
    x = functional.conv2d(images, sd["conv1.weight"], stride=14).flatten(2).transpose(1, 2)
    side = math.isqrt(x.shape[1])
    stored = sd["positional_embedding"].reshape(1, 16, 16, -1).permute(0, 3, 1, 2)
    x = x + functional.interpolate(stored, (side, side), mode="bicubic").flatten(2).transpose(1, 2)
    x = normed(x, sd, "ln_pre")
    for n in range(2):
        at = f"transformer.resblocks.{n}"
        y = normed(x, sd, f"{at}.ln_1")
        if interleaved:
            attention = torch_attention(sd, f"{at}.attn", 4, interleaved=True)
        else:
            blocks = {
                f"{at}.attn.in_proj_weight": sd[f"{at}.attn.in_proj.weight"],
                f"{at}.attn.in_proj_bias": sd[f"{at}.attn.in_proj.bias"],
            }
            attention = torch_attention(sd | blocks, f"{at}.attn", 4, interleaved=False)
        x = x + attention(y, y, y)[0]
        y = functional.gelu(functional.linear(normed(x, sd, f"{at}.ln_2"), sd[f"{at}.mlp.c_fc.weight"], sd[f"{at}.mlp.c_fc.bias"]))
        x = x + functional.linear(y, sd[f"{at}.mlp.c_proj.weight"], sd[f"{at}.mlp.c_proj.bias"])
    values = normed(x @ sd["attn_pool.kv_proj.weight"].T, sd, "attn_pool.ln_kv")
    places = sd["attn_pool.pos_embed"]
    rows = math.isqrt(len(places))
    far = (
        functional.interpolate(places.reshape(1, rows, rows, -1).permute(0, 3, 1, 2), (side, side), mode="bicubic")
        .flatten(2)
        .transpose(1, 2)
    )
    queries = (normed(sd["attn_pool.query"], sd, "attn_pool.ln_q") + places).expand(len(images), -1, -1)
    pooled = torch_attention(sd, "attn_pool.attn", 2, interleaved=False)(queries, values + far, values)[0]
    return normed(pooled, sd, "ln_post") @ sd["proj"]


@torch.no_grad()
def test_the_image_encoder_is_its_second_derivation(robot: QwenVL) -> None:
    sd = {name: tensor.double() for name, tensor in robot.vision_tower.state_dict().items()}
    images = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    got = robot.encode_images(images)[:, 0]
    want = see(sd, images.double())
    assert got.shape == (2, 16, 256)
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)
    assert (see(sd, images.double(), interleaved=False) - want).abs().max() > 0.1  # reading in_proj as three blocks is another model


@torch.no_grad()
def test_positions_grow_from_16_to_32_patches_a_side() -> None:
    table = torch.randn(256, 8)
    want = functional.interpolate(table.reshape(1, 16, 16, 8).permute(0, 3, 1, 2), (32, 32), mode="bicubic", align_corners=False)
    torch.testing.assert_close(stretch(enlarging(16, 32), table), want.permute(0, 2, 3, 1).reshape(1024, 8), rtol=0, atol=1e-5)
    assert torch.equal(stretch(enlarging(16, 16), table), table)


def test_preprocessing_squashes_and_normalises_like_clip(robot: QwenVL) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    small = np.asarray(Image.fromarray(rgb).resize((56, 56), Image.Resampling.BICUBIC), np.float64) / 255
    want = (small - [0.48145466, 0.4578275, 0.40821073]) / [0.26862954, 0.26130258, 0.27577711]
    got = robot.image_processor(rgb)
    assert got.shape == (3, 56, 56)
    np.testing.assert_allclose(got.numpy(), want.transpose(2, 0, 1), rtol=0, atol=1e-5)
