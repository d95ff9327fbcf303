"""RoboQwen as a policy and as a speaker, for both generations: prompts, training, freezing, export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_vla.learn.backbones import backbone_class
from edge_vla.learn.backbones.qwen import RoboQwen
from edge_vla.learn.backbones.qwen.v1 import QwenVL
from edge_vla.learn.backbones.qwen.v2_5 import Qwen25VL
from edge_vla.learn.speaker import answer_ids
from edge_vla.learn.trainable import linear_names
from tests.learn.backbones.lesson import learners, teach, walk
from tests.learn.backbones.tiny_qwen import policy, ranks, write_qwen25, write_qwen_v1

TEXT_NORMS = ("transformer.h.0.ln_1", "model.language_model.layers.0.input_layernorm")
VISION_NORMS = ("transformer.visual.transformer.resblocks.0.ln_1", "model.visual.blocks.0.norm1")
WRITERS: dict[str, Callable[..., Path]] = {"v1": write_qwen_v1, "v2_5": write_qwen25}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITERS.items()}


@pytest.fixture(params=list(WRITERS))
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def batch(robot: RoboQwen, seed: int = 0, rows: int = 2) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    size, mask = robot.image_size, torch.ones(rows, 5, dtype=torch.bool)
    mask[-1, 3:] = False
    arm = torch.rand(rows, 3, 2, 3, generator=generator) * 2 - 1
    gripper = torch.randint(0, 2, (rows, 3, 2), generator=generator).float()
    return {
        "vision_x": torch.randn(rows, 3, 3, size, size, generator=generator), "attention_mask": mask, "action_labels": (arm, gripper),
        "lang_x": torch.randint(40, 90, (rows, 5), generator=generator),
    }  # fmt: skip


def loss(robot: RoboQwen, given: dict[str, Any]) -> Tensor:
    found: Tensor = robot(**given)["loss"]
    return found


# -- which one it is


def test_the_folder_says_which_it_is(folders: dict[str, Path]) -> None:
    made = {name: type(backbone_class("RoboQwen")(policy(path))) for name, path in folders.items()}
    assert made == {"v1": QwenVL, "v2_5": Qwen25VL}


# -- prompts


def spelled(robot: RoboQwen, question: str) -> tuple[str, str]:
    """What comes before and behind the picture."""
    ids, lead = robot.question_ids(question), robot.question_lead()
    return robot.tokenizer.decode(ids[:lead]), robot.tokenizer.decode(ids[lead:])


def test_qwen_vl_is_asked_about_picture_1(folders: dict[str, Path]) -> None:
    robot = RoboQwen(policy(folders["v1"]))
    assert spelled(robot, "What {action}?") == ("Picture 1: ", "\nWhat {action}?")
    joined = robot.tokenizer("Picture 1: <img></img>\nWhat {action}?").input_ids
    start, end = robot.bracket_ids()
    assert robot.question_ids("What {action}?") == [i for i in joined if i not in (start, end)]
    assert (start, end) == (len(ranks()) + 214, len(ranks()) + 215)
    assert robot.end_ids() == {len(ranks())}
    assert robot.instruction.format(text="go to the cup") == "go to the cup"


def test_qwen_vl_chat_is_asked_in_turns(tmp_path: Path) -> None:
    robot = RoboQwen(policy(write_qwen_v1(tmp_path, chat=True)))
    before, after = spelled(robot, "What?")
    assert before == "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nPicture 1: "
    assert after == "\nWhat?<|im_end|>\n<|im_start|>assistant\n"
    assert robot.end_ids() == {len(ranks()), len(ranks()) + 1, len(ranks()) + 2}


def test_qwen25_vl_is_asked_in_turns(folders: dict[str, Path]) -> None:
    robot = RoboQwen(policy(folders["v2_5"]))
    before, after = spelled(robot, "What?")
    assert before == "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    assert after == "What?<|im_end|>\n<|im_start|>assistant\n"
    assert robot.bracket_ids() == (559, 560)
    assert robot.end_ids() == {556, 558}


@torch.no_grad()
def test_qwen_vl_speaks_as_a_single_pass_would(folders: dict[str, Path]) -> None:
    """Word by word with a cache, against one pass over prompt, picture and answer."""
    robot = RoboQwen(policy(folders["v1"])).eval()
    rgb = np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8)
    said = answer_ids(robot, "What cup?", rgb, 6)
    ids, lead = robot.question_ids("What cup?"), robot.question_lead()
    start, end = robot.bracket_ids()
    words = robot.word_embedding(torch.tensor([[*ids[:lead], start, end, *ids[lead:], *said]]))
    image = robot.encode_images(robot.preprocess(rgb)[None])[:, 0]
    whole = torch.cat([words[:, : lead + 1], image, words[:, lead + 1 :]], 1)
    n = whole.shape[1]
    hidden = robot.run_text(whole, torch.ones(1, n, dtype=torch.bool), torch.arange(n)[None]).hidden
    assert robot.logits(hidden)[0, n - len(said) - 1 : n - 1].argmax(-1).tolist() == said
    assert robot.generate("What cup?", rgb, 6) == robot.decode(said)


# -- training and acting


def test_the_loss_falls(folder: Path) -> None:
    torch.manual_seed(0)
    robot = RoboQwen(policy(folder)).train()
    given = batch(robot)
    seen = teach(robot, torch.optim.Adam(learners(robot), 3e-3), **given)
    assert seen[-1] < 0.8 * seen[0]
    assert robot.action_token.abs().max() > 0


@torch.no_grad()
def test_a_frame_at_a_time_acts_as_the_window(folder: Path) -> None:
    torch.manual_seed(0)
    robot = RoboQwen(policy(folder)).eval()
    robot.action_token.normal_()
    given = batch(robot)
    text = (given["lang_x"], given["attention_mask"])
    arm, gripper = robot.inference(given["vision_x"], *text)["action"]
    for k, now in enumerate(walk(robot, given["vision_x"], lang_x=text[0], attention_mask=text[1])):
        torch.testing.assert_close(now[0][:, -1], arm[:, k], rtol=0, atol=1e-5)
        torch.testing.assert_close(now[1][:, -1], gripper[:, k], rtol=0, atol=1e-5)
    assert (arm[:, 0] - arm[:, 2]).abs().max() > 1e-4


@torch.no_grad()
def test_longer_texts_in_a_batch_change_nothing(folder: Path) -> None:
    robot = RoboQwen(policy(folder)).eval()
    robot.action_token.normal_()
    given = batch(robot)
    both = robot.inference(given["vision_x"], given["lang_x"], given["attention_mask"])["action"][0]
    robot.act_head.reset()
    alone = robot.inference(given["vision_x"][1:], given["lang_x"][1:, :3], given["attention_mask"][1:, :3])["action"][0]
    torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("history", ["pre", "video"])
def test_other_histories_learn(folder: Path, history: str) -> None:
    head = "LSTMDecoder" if history == "pre" else "FCDecoder"
    robot = RoboQwen(policy(folder, head, history))
    given = batch(robot)
    if history == "video":
        given["action_labels"] = tuple(labels[:, 0] for labels in given["action_labels"])
    loss(robot, given).backward()
    assert robot.action_token.grad.abs().max() > 0


@pytest.mark.parametrize("space", ["discrete", "down_sample"])
def test_other_action_spaces_learn(folder: Path, space: str) -> None:
    robot = RoboQwen(policy(folder, "DiscreteDecoder" if space == "discrete" else "FCDecoder", space=space, down_sample="pooling"))
    given = batch(robot)
    if space == "discrete":
        labels = given["lang_x"].masked_fill(~given["attention_mask"], -100)
        given |= {
            "instr_and_action_ids": given["lang_x"],
            "instr_and_action_labels": labels,
            "instr_and_action_mask": given["attention_mask"],
        }
        given["action_labels"] = None
    value = loss(robot, given)
    value.backward()
    assert torch.isfinite(value)
    assert robot.word_embedding.weight.grad.abs().max() > 0
    if space == "discrete":
        assert robot.eval().inference(given["vision_x"], given["lang_x"], given["attention_mask"])["action"].shape == (2, 1, 4)


def test_checkpointing_recomputes_and_changes_no_gradient(folder: Path) -> None:
    grads, runs = [], []
    for on in (False, True):
        torch.manual_seed(0)
        robot = RoboQwen(policy(folder, train_setup={"gradient_checkpointing": on, "train_vision": True})).train()
        parts = dict(robot.backbone.named_modules())
        first = [parts[name] for name in (*TEXT_NORMS, *VISION_NORMS) if name in parts]
        assert len(first) == 2
        seen = [0, 0]
        for number, norm in enumerate(first):
            norm.register_forward_hook(lambda *_, seen=seen, number=number: seen.__setitem__(number, seen[number] + 1))
        loss(robot, batch(robot)).backward()
        grads.append({name: p.grad for name, p in robot.named_parameters() if p.grad is not None})
        runs.append(seen)
    assert runs[1] == [2 * seen for seen in runs[0]]  # once more, in the backward pass
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, rtol=1e-4, atol=1e-6, msg=name)


def test_lora_adapts_the_language_model_and_not_the_vision_tower(folder: Path) -> None:
    robot = RoboQwen(policy(folder, train_setup={"lora_enable": True, "lora_r": 2, "train_vision": True}))
    assert not any("visual" in name for name in linear_names(robot))
    learning = {name for name, p in robot.backbone.named_parameters() if p.requires_grad}
    assert any("lora_A" in name for name in learning)
    assert not any("lora" in name for name in learning if "visual" in name)
    assert any("visual" in name for name in learning)  # train_vision goes on meaning what it says
    rest = {name for name in learning if not any(word in name for word in ("visual", "lora", "embed", "wte"))}
    assert not rest, "the output layer is part of the language model"
    loss(robot, batch(robot)).backward()


def test_only_the_last_layers_learn_if_so_set(folder: Path) -> None:
    setup = {"train_decoder_layers": 1, "train_vision": False, "train_text_embedding": False}
    robot = RoboQwen(policy(folder, train_setup=setup))
    learning = {name for name, p in robot.backbone.named_parameters() if p.requires_grad}
    assert learning
    assert all(".h.1." in name or "layers.1." in name for name in learning)


@torch.no_grad()
def test_half_the_bits_stay_close(folder: Path) -> None:
    robot = RoboQwen(policy(folder)).eval()
    given = batch(robot)
    image = given["vision_x"][:, 0]
    exact = robot.encode_images(image)
    rough = robot.to(torch.bfloat16).encode_images(image.to(torch.bfloat16))
    assert rough.dtype is torch.bfloat16
    assert (rough.float() - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_towers_export_without_looking_at_data(folder: Path) -> None:
    robot = RoboQwen(policy(folder, head="FCDecoder")).eval().requires_grad_(False)

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.robot = robot

        def forward(self, images: Tensor, words: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
            seen = self.robot.model_encode_images(images)
            return self.robot.run_text(torch.cat([seen, words], 1), mask, positions).hidden

    size = robot.image_size
    tokens = robot.model_encode_images(torch.zeros(1, 3, size, size)).shape[1]
    words, n = torch.randn(1, 3, robot.hidden_size), tokens + 3
    given = (torch.randn(1, 3, size, size), words, torch.ones(1, n, dtype=torch.bool), torch.arange(n).expand(3, 1, n))
    if isinstance(robot, QwenVL):
        given = (*given[:3], torch.arange(n)[None])
    exported = torch.export.export(Step(), given).module()
    other = (torch.randn(1, 3, size, size), torch.randn_like(words), *given[2:])
    torch.testing.assert_close(exported(*other), Step()(*other), rtol=0, atol=1e-5)
