"""Qwen2.5-VL: pictures, positions, hidden states, logits and words equal transformers' own on the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from edge_vla.errors import ConfigError
from edge_vla.layout import ActionSpace, History, Recipe, lay_out
from edge_vla.learn import actor
from edge_vla.learn.backbones.qwen import RoboQwen
from edge_vla.learn.backbones.qwen.v2_5 import Qwen25VL
from edge_vla.learn.sequence import Parts, assemble
from tests.learn.backbones.tiny_qwen import V2_5, V2_5_SIZE, policy, write_qwen25

START, END, PAD_IMAGE = V2_5["vision_start_token_id"], V2_5["vision_end_token_id"], V2_5["image_token_id"]
SIDE = V2_5_SIZE // 8  # tokens a side
TOKENS = SIDE * SIDE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_qwen25(tmp_path_factory.mktemp("v2_5"))


@pytest.fixture(scope="module")
def robot(folder: Path) -> Qwen25VL:
    found = RoboQwen(policy(folder)).eval()
    assert isinstance(found, Qwen25VL)
    return found


def pictures(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (V2_5_SIZE, V2_5_SIZE, 3), np.uint8) for _ in range(n)]


def theirs(images: list[np.ndarray]) -> Any:
    """pixel_values and image_grid_thw of transformers' processor, held to the one size."""
    size = {"shortest_edge": V2_5_SIZE**2, "longest_edge": V2_5_SIZE**2}
    processor = Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, temporal_patch_size=2, size=size)
    return processor(images=images, return_tensors="pt")


def ours(robot: Qwen25VL, images: list[np.ndarray]) -> Tensor:
    return torch.stack([robot.preprocess(rgb) for rgb in images])


@torch.no_grad()
def test_pictures_are_seen_as_by_transformers(robot: Qwen25VL) -> None:
    images = pictures(2)
    given = theirs(images)
    assert given.image_grid_thw.tolist() == [[1, 12, 12]] * 2
    want = robot.backbone.get_image_features(given.pixel_values, given.image_grid_thw).pooler_output
    got = robot.encode_images(ours(robot, images))[:, 0]
    torch.testing.assert_close(got, torch.stack(list(want)), rtol=0, atol=1e-5)
    assert (got[0] - got[1]).abs().max() > 0.05


@torch.no_grad()
def test_windows_matter(robot: Qwen25VL, folder: Path) -> None:
    everywhere = RoboQwen(
        policy(write_qwen25(folder.parent / "full", vision_config=V2_5["vision_config"] | {"fullatt_block_indexes": [0, 1, 2]}))
    ).eval()
    image = ours(robot, pictures(1))
    assert (everywhere.encode_images(image) - robot.encode_images(image)).abs().max() > 1e-3


def test_a_smaller_picture_is_squashed_bicubically(robot: Qwen25VL) -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (96, 96, 3), np.uint8)
    want = theirs([rgb]).pixel_values  # a square stays one, so the original's own resize gives our size
    cut = want.reshape(SIDE, SIDE, 2, 2, 3, 2, 4, 4)[:, :, :, :, :, 0]
    np.testing.assert_allclose(robot.preprocess(rgb), cut.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, V2_5_SIZE, V2_5_SIZE), rtol=0, atol=1e-5)


def native_inputs(texts: list[Tensor], images: list[np.ndarray]) -> dict[str, Tensor]:
    """[image][text] rows, padded on the right, as transformers' forward takes them."""
    rows = [torch.cat([torch.tensor([START] + [PAD_IMAGE] * TOKENS + [END]), text]) for text in texts]
    longest = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest, dtype=torch.long)
    for k, row in enumerate(rows):
        ids[k, : len(row)], mask[k, : len(row)] = row, 1
    given = theirs(images)
    return {
        "input_ids": ids, "attention_mask": mask, "pixel_values": given.pixel_values, "image_grid_thw": given.image_grid_thw,
        "mm_token_type_ids": (ids == PAD_IMAGE).int(),
    }  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(5, 5), (6, 3)], ids=["even", "padded"])
def test_logits_are_transformers(robot: Qwen25VL, lengths: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    texts = [torch.randint(0, 250, (n,), generator=generator) for n in lengths]
    images = pictures(2)
    given = native_inputs(texts, images)
    robot.backbone.model.rope_deltas = None
    want = robot.backbone(**given).logits

    mask = given["attention_mask"][:, TOKENS + 2 :].bool()
    layout = lay_out(
        mask.numpy(), Recipe(bos=False, eos=False, image_tokens=TOKENS, image_brackets=True, action_space=ActionSpace.DISCRETE)
    )
    start, end = robot.brackets(2)
    parts = Parts(robot.word_embedding(given["input_ids"][:, TOKENS + 2 :]), robot.encode_images(ours(robot, images))[:, 0])
    parts = Parts(parts.text, parts.image, image_start=start, image_end=end)
    seen = torch.from_numpy(layout.mask)
    positions = torch.from_numpy(layout.positions(robot.position_grid))
    got = robot.logits(robot.run_text(assemble(layout, parts), seen, positions).hidden)
    torch.testing.assert_close(got[seen], want[given["attention_mask"].bool()], rtol=0, atol=1e-5)
    in_a_row = robot.logits(robot.run_text(assemble(layout, parts), seen, torch.from_numpy(layout.positions())).hidden)
    assert (in_a_row - got)[seen].abs().max() > 1e-3  # M-RoPE is not left out


@torch.no_grad()
def test_the_action_token_is_read_where_transformers_has_it(robot: Qwen25VL) -> None:
    torch.manual_seed(0)
    token = 0.3 * torch.randn(robot.hidden_size)
    robot.action_token.copy_(token)
    texts, images = [torch.randint(0, 250, (n,)) for n in (6, 3)], pictures(2)
    ids, mask = torch.zeros(2, 6, dtype=torch.long), torch.zeros(2, 6, dtype=torch.bool)
    for k, text in enumerate(texts):
        ids[k, : len(text)], mask[k, : len(text)] = text, True
    got = actor.read(robot, ours(robot, images)[:, None], ids, mask, {})[:, 0, 0]
    for k, text in enumerate(texts):  # a row alone, ACT before the last word, since the tokenizer has an eos
        spelled = torch.cat([text[:-1], torch.tensor([7]), text[-1:]])
        given = native_inputs([spelled], images[k : k + 1])
        places, _ = robot.backbone.model.get_rope_index(
            given["input_ids"], given["mm_token_type_ids"], given["image_grid_thw"], attention_mask=given["attention_mask"]
        )
        embedded = robot.backbone.get_input_embeddings()(given["input_ids"])
        features = robot.backbone.get_image_features(given["pixel_values"], given["image_grid_thw"]).pooler_output[0]
        embedded[0, 1 : 1 + TOKENS], embedded[0, -2] = features, token
        out = robot.backbone.model.language_model(inputs_embeds=embedded, position_ids=places, attention_mask=given["attention_mask"])
        torch.testing.assert_close(got[k], out.last_hidden_state[0, -2], rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_window_of_frames_is_numbered_on(robot: Qwen25VL) -> None:
    """History `pre`: the positions of two frames in one sequence are those of two pictures in one prompt."""
    recipe = Recipe(bos=False, eos=False, image_tokens=TOKENS, image_brackets=True, window=2, history=History.PRE)
    layout = lay_out(np.ones((1, 3), bool), recipe)
    one = torch.tensor([START] + [PAD_IMAGE] * TOKENS + [END, 1, 2, 3, 4])
    ids = torch.cat([one, one])[None]
    want, _ = robot.backbone.model.get_rope_index(ids, (ids == PAD_IMAGE).int(), torch.tensor([[1, 12, 12]] * 2))
    np.testing.assert_array_equal(layout.positions(robot.position_grid), want)


@torch.no_grad()
def test_it_says_what_transformers_generates(robot: Qwen25VL) -> None:
    rgb = pictures(1, seed=5)[0]
    text = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    text += "<|vision_start|>" + "<|image_pad|>" * TOKENS + "<|vision_end|>find the cup<|im_end|>\n<|im_start|>assistant\n"
    ids = torch.tensor([robot.tokenizer(text).input_ids])
    given = native_inputs([torch.tensor([0])], [rgb]) | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    given["mm_token_type_ids"] = (ids == PAD_IMAGE).int()
    robot.backbone.model.rope_deltas = None
    said = robot.backbone.generate(**given, max_new_tokens=8, do_sample=False, eos_token_id=sorted(robot.end_ids()), pad_token_id=0)
    want = robot.tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=False).strip()
    assert robot.generate("find the cup", rgb, 8) == want
    assert len(want) > 3


@torch.no_grad()
def test_a_step_at_a_time_is_the_whole_at_once(robot: Qwen25VL) -> None:
    x = torch.randn(1, 7, robot.hidden_size, generator=torch.Generator().manual_seed(0))
    mask, positions = torch.ones(1, 7, dtype=torch.bool), torch.arange(7)[None]
    want = robot.run_text(x, mask, positions).hidden
    out = robot.run_text(x[:, :4], mask[:, :4], positions[:, :4], keep=True)
    steps = [out.hidden]
    for n in range(4, 7):
        out = robot.run_text(x[:, n : n + 1], mask[:, : n + 1], positions[:, n : n + 1], out.cache, keep=True)
        steps.append(out.hidden)
    torch.testing.assert_close(torch.cat(steps, 1), want, rtol=0, atol=1e-5)


def test_the_size_has_to_be_whole_windows(folder: Path) -> None:
    with pytest.raises(ConfigError, match="image_size 40: want a multiple of 16"):
        RoboQwen(policy(folder, image_size=40))


def test_latents_of_a_resampler_have_no_grid(folder: Path) -> None:
    resampler = {"depth": 1, "dim_head": 8, "heads": 2, "num_latents": 4}
    robot = RoboQwen(policy(folder, use_vision_resampler=True, vision_resampler=resampler))
    assert robot.position_grid is None
    assert robot.encode_images(torch.randn(1, 3, V2_5_SIZE, V2_5_SIZE)).shape == (1, 1, 4, 64)


def test_without_a_size_it_is_448_pixels_and_256_tokens(robot: Qwen25VL) -> None:
    from edge_vla.learn.backbones.qwen.v2_5 import DEFAULT_SIZE

    assert DEFAULT_SIZE == 448
    assert (DEFAULT_SIZE // 28) ** 2 == 256
    assert robot.image_size == V2_5_SIZE
    assert robot.position_grid == (6, 6)
