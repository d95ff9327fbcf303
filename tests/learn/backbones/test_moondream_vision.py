"""Moondream's pictures: how they are prepared, cut, seen and put together again, against second derivations."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as fn
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.moondream import Moondream, RoboMoonDream, load_moondream
from edge_vla.learn.backbones.moondream_vision import averaged, stitched
from edge_vla.pictures import tiling
from tests.learn.backbones.tiny_moondream import CROP, MARGIN, PATCH, TINY, weights, write_moondream

GRID, WIDTH = CROP // PATCH, TINY["eyes"]
Rgb = NDArray[np.uint8]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("moondream")
    for layout in "BCD":
        write_moondream(root / layout, layout)
    return {layout: root / layout for layout in "BCD"}


def policy(folder: Path, **vlm: str) -> RoboMoonDream:
    return RoboMoonDream({"vlm": {"pretrained_model_name_or_path": str(folder), **vlm}}).eval()


def picture(height: int, width: int) -> Rgb:
    """Smooth enough that a wrong filter shows and a rounding does not."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + k) * np.cos(y / (7 + k)) for k in range(3)]
    return (127 + 120 * np.stack(waves, -1)).astype(np.uint8)


def names(layout: str) -> dict[str, str]:
    """The parts of the encoder under their public names."""
    if layout == "D":
        at = "model.vision."
        parts = {"patch": "patch_emb", "positions": "pos_emb", "first": "ln1", "second": "ln2", "last": "post_ln", "projection": "proj_mlp"}
        return {key: value if key in {"first", "second"} else at + value for key, value in parts.items()} | {"blocks": at + "blocks."}
    at = "vision_encoder.encoder.model.visual."
    return {
        "patch": at + "patch_embed.linear", "positions": at + "pos_embed", "first": "norm1", "second": "norm2", "last": at + "norm",
        "blocks": at + "blocks.", "projection": "vision_encoder.projection.mlp",
    }  # fmt: skip


def siglip(layout: str, crops: Tensor, *, eps: float = 1e-5, exact: bool = False) -> Tensor:
    """(n, 3, CROP, CROP) to (n, patches, width): patches by a convolution, attention by torch."""
    t = {name: tensor.double() for name, tensor in weights(layout).items()}
    n, heads = names(layout), 2

    def norm(name: str, x: Tensor) -> Tensor:
        return fn.layer_norm(x, x.shape[-1:], t[name + ".weight"], t[name + ".bias"], eps)

    kernel = t[n["patch"] + ".weight"].reshape(WIDTH, 3, PATCH, PATCH)
    x = fn.conv2d(crops.double(), kernel, t[n["patch"] + ".bias"], PATCH).flatten(2).mT + t[n["positions"]]
    for k in range(TINY["eyes_layers"]):
        at = f"{n['blocks']}{k}."
        qkv = fn.linear(norm(at + n["first"], x), t[at + "attn.qkv.weight"], t[at + "attn.qkv.bias"])
        q, key, v = qkv.reshape(*x.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
        seen = fn.scaled_dot_product_attention(q, key, v).transpose(1, 2).flatten(2)
        x = x + fn.linear(seen, t[at + "attn.proj.weight"], t[at + "attn.proj.bias"])
        x = x + two_layers(t, at + "mlp", norm(at + n["second"], x), exact=exact)
    return norm(n["last"], x)


def two_layers(t: dict[str, Tensor], name: str, x: Tensor, *, exact: bool = False) -> Tensor:
    inner = fn.linear(x, t[name + ".fc1.weight"], t[name + ".fc1.bias"])
    return fn.linear(fn.gelu(inner, approximate="none" if exact else "tanh"), t[name + ".fc2.weight"], t[name + ".fc2.bias"])


def project(layout: str, x: Tensor, *, exact: bool = False) -> Tensor:
    t = {name: tensor.double() for name, tensor in weights(layout).items()}
    return two_layers(t, names(layout)["projection"], x, exact=exact).float()


@pytest.mark.parametrize("layout", ["B", "C", "D"])
def test_one_crop_equals_a_second_derivation(folders: dict[str, Path], layout: str) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, CROP, CROP)
    seen = siglip(layout, images)
    want = project(layout, seen if layout == "B" else torch.cat([seen, seen], -1))
    found = load_moondream(folders[layout]).vision_encoder(images)
    assert found.shape == (2, GRID**2, TINY["dim"])
    torch.testing.assert_close(found, want, atol=1e-5, rtol=1e-5)
    assert (found[0] - found[1]).abs().max() > 0.01


def test_the_first_releases_had_exact_gelu_and_a_smaller_epsilon(folders: dict[str, Path]) -> None:
    """timm's encoder, until 2024-03-13."""
    torch.manual_seed(0)
    images = torch.randn(1, 3, CROP, CROP)
    found = load_moondream(folders["B"], "2024-03-13").vision_encoder(images)
    want = project("B", siglip("B", images, eps=1e-6, exact=True), exact=True)
    torch.testing.assert_close(found, want, atol=1e-5, rtol=1e-5)
    later = load_moondream(folders["B"], "2024-04-02").vision_encoder(images)
    assert (later - found).abs().max() > 1e-5
    torch.testing.assert_close(later, load_moondream(folders["B"]).vision_encoder(images))


def test_c_sees_the_whole_and_its_tiles_side_by_side(folders: dict[str, Path]) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, CROP, 2 * CROP)
    whole = images.unflatten(3, (CROP, 2)).mean(-1)  # a bilinear step by two is the mean of two
    tiles = torch.cat(
        [siglip("C", images[..., :CROP]).unflatten(1, (GRID, GRID)), siglip("C", images[..., CROP:]).unflatten(1, (GRID, GRID))], 2
    )
    detail = tiles.unflatten(2, (GRID, 2)).mean(3).flatten(1, 2)
    want = project("C", torch.cat([siglip("C", whole), detail], -1))
    torch.testing.assert_close(load_moondream(folders["C"]).vision_encoder(images), want, atol=1e-5, rtol=1e-5)


def test_d_sees_overlapping_tiles(folders: dict[str, Path]) -> None:
    """Each tile gives the patches nearest its middle, which a look at where each patch lies decides."""
    model = policy(folders["D"])
    rgb = picture(150, 210)
    prepared = model.preprocess(rgb)
    rows, columns = prepared.shape[1] // CROP - 1, prepared.shape[2] // CROP
    assert (rows, columns) == (2, 4)
    crops = {(r, c): prepared[:, CROP * (r + 1) :, CROP * c :][:, :CROP, :CROP] for r in range(rows) for c in range(columns)}
    seen = {place: siglip("D", crop[None])[0].unflatten(0, (GRID, GRID)) for place, crop in crops.items()}
    step = GRID - 2 * MARGIN
    height, width = rows * step + 2 * MARGIN, columns * step + 2 * MARGIN
    field = torch.zeros(height, width, WIDTH, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            r, c = (min(max((at - MARGIN) // step, 0), count - 1) for at, count in ((y, rows), (x, columns)))
            field[y, x] = seen[r, c][y - r * step, x - c * step]
    detail = fn.adaptive_avg_pool2d(field.permute(2, 0, 1), (GRID, GRID)).permute(1, 2, 0).flatten(0, 1)
    want = project("D", torch.cat([siglip("D", prepared[None, :, :CROP, :CROP])[0], detail], -1))
    torch.testing.assert_close(model.encode_images(prepared[None])[0, 0], want, atol=1e-5, rtol=1e-5)


def test_averaging_is_torchs_adaptive_pooling() -> None:
    torch.manual_seed(0)
    for height, width in ((27, 27), (46, 65), (54, 27), (28, 103)):
        field = torch.randn(2, height, width, 5)
        want = fn.adaptive_avg_pool2d(field.permute(0, 3, 1, 2), (27, 27)).permute(0, 2, 3, 1)
        torch.testing.assert_close(averaged(field, 27), want, atol=1e-6, rtol=1e-5)


def test_tiles_stitch_back_into_what_they_were_cut_from() -> None:
    field, margin, window = torch.arange(46 * 65, dtype=torch.float32).reshape(46, 65, 1), 4, 19
    tiles = torch.stack([torch.stack([field[r * window :, c * window :][:27, :27] for c in range(3)]) for r in range(2)])
    assert torch.equal(stitched(tiles[None], margin)[0], field)


@pytest.mark.parametrize(
    ("size", "want"),
    [
        ((100, 500), (1, 1)), ((378, 378), (1, 1)), ((379, 379), (3, 3)), ((480, 640), (2, 4)), ((720, 1280), (2, 4)),
        ((1080, 1920), (2, 4)), ((1280, 720), (4, 2)), ((2000, 2000), (3, 3)), ((5000, 400), (10, 1)), ((379, 2000), (1, 6)),
    ],
)  # fmt: skip
def test_tilings_of_the_public_code(size: tuple[int, int], want: tuple[int, int]) -> None:
    """What moondream/torch/image_crops.py gives for 378 px crops with 56 px margins, at most 12."""
    assert tiling(size[0] - 112, size[1] - 112, 266, 12) == want


def rescaled(rgb: Rgb, height: int, width: int, filter_: Image.Resampling) -> Tensor:
    """Independent of the product's normalisation."""
    array = np.asarray(Image.fromarray(rgb).resize((width, height), filter_)).astype(np.float64)
    return torch.from_numpy(array / 127.5 - 1).permute(2, 0, 1).float()


@pytest.mark.parametrize(
    ("layout", "size", "want"),
    [
        ("B", (480, 640), (CROP, CROP)), ("B", (700, 700), (CROP, CROP)), ("C", (200, 200), (CROP, CROP)), ("C", (511, 300), (CROP, CROP)),
        ("C", (512, 300), (2 * CROP, CROP)), ("C", (300, 600), (CROP, 2 * CROP)), ("C", (700, 700), (2 * CROP, 2 * CROP)),
    ],
)  # fmt: skip
def test_pictures_of_b_and_c_are_squashed_bicubically(
    folders: dict[str, Path], layout: str, size: tuple[int, int], want: tuple[int, int]
) -> None:
    rgb = picture(*size)
    found = policy(folders[layout]).preprocess(rgb)
    assert found.shape == (3, *want)
    torch.testing.assert_close(found, rescaled(rgb, *want, Image.Resampling.BICUBIC), atol=1e-6, rtol=0)
    assert (found - rescaled(rgb, *want, Image.Resampling.LANCZOS)).abs().max() > 1e-3


@pytest.mark.parametrize(("size", "rows", "columns"), [((150, 210), 2, 4), ((50, 300), 1, 1), ((100, 61), 5, 2)])
def test_pictures_of_d_are_cut_into_crops(folders: dict[str, Path], size: tuple[int, int], rows: int, columns: int) -> None:
    rgb = picture(*size)
    found = policy(folders["D"]).preprocess(rgb)
    whole = rescaled(rgb, CROP, CROP, Image.Resampling.LANCZOS)
    torch.testing.assert_close(found[:, :CROP, :CROP], whole, atol=1e-6, rtol=0)
    if (rows, columns) == (1, 1):
        assert found.shape == (3, CROP, CROP)
        return
    assert found.shape == (3, CROP * (rows + 1), CROP * columns)
    window, margin = CROP - 2 * MARGIN * PATCH, MARGIN * PATCH
    large = rescaled(rgb, rows * window + 2 * margin, columns * window + 2 * margin, Image.Resampling.LANCZOS)
    for r in range(rows):
        for c in range(columns):
            tile = found[:, CROP * (r + 1) :, CROP * c :][:, :CROP, :CROP]
            torch.testing.assert_close(tile, large[:, r * window :, c * window :][:, :CROP, :CROP], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("layout", "size"), [("B", (CROP, 2 * CROP)), ("C", (CROP, CROP + 1)), ("D", (CROP, 2 * CROP)), ("D", (10, 10))])
def test_pictures_of_another_size_are_one_clear_error(folders: dict[str, Path], layout: str, size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=rf"pictures of {size[0]} x {size[1]} px: Moondream {layout} wants what its preprocess gives"):
        policy(folders[layout]).encode_images(torch.zeros(1, 3, *size))


def test_what_is_no_picture_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="want \\(H, W, 3\\) uint8 RGB"):
        policy(folders["D"]).preprocess(np.zeros((4, 4, 3), np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["C", "D"])
def test_the_encoder_traces_without_a_branch_on_data(folders: dict[str, Path], layout: str) -> None:
    """As the exporter does: a fixed size, other values."""
    eyes: Moondream = load_moondream(folders[layout])
    shape = (1, 3, CROP, CROP) if layout == "C" else (1, 3, 3 * CROP, 2 * CROP)
    torch.manual_seed(0)
    with torch.no_grad():
        traced = torch.export.export(eyes.vision_encoder, (torch.randn(shape),)).module()
        images = torch.randn(shape)
        torch.testing.assert_close(traced(images), eyes.vision_encoder(images), atol=1e-6, rtol=1e-5)
    assert math.prod(shape[2:]) % CROP == 0
