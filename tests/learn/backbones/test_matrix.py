"""Every backbone with every head in every history: it learns a fixed batch, and acts frame by frame as it acts on a window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones import BACKBONES
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.build import build_policy
from tests.learn.backbones.lesson import learners, teach, walk
from tests.learn.backbones.tiny_flamingo import write_flamingo
from tests.learn.backbones.tiny_moondream import write_moondream
from tests.learn.backbones.tiny_qwen import V2_5_SIZE, write_qwen25
from tests.learn.backbones.tiny_uform import write_uform

WINDOW, CHUNK, DIM = 3, 2, 4
HISTORIES = {
    "FCDecoder": ("post", "pre", "video"),
    "LSTMDecoder": ("post", "pre"),
    "GPTDecoder": ("post", "pre"),
    "DiscreteDecoder": ("post", "pre"),
}
CASES = [(name, head, history) for name in BACKBONES for head, histories in HISTORIES.items() for history in histories]
Config = dict[str, Any]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, paligemma: Path, kosmos: Path, llava: Path) -> Callable[[str], Config]:
    """What a configuration has to say about the tiny model of a backbone, written once."""
    made: dict[str, Config] = {
        name: at(path) for name, path in (("RoboPaligemma", paligemma), ("RoboKosMos", kosmos), ("RoboLLaVA", llava))
    }
    written: dict[str, Callable[[Path], Config]] = {
        "RoboFlamingo": lambda folder: write_flamingo(folder, "mpt"),
        "RoboMoonDream": lambda folder: (write_moondream(folder, "B"), at(folder))[1],
        "RoboQwen": lambda folder: at(write_qwen25(folder)) | {"image_size": V2_5_SIZE},
        "RoboUform": lambda folder: (write_uform(folder), at(folder))[1],
    }

    def get(name: str) -> Config:
        if name not in made:
            made[name] = written[name](tmp_path_factory.mktemp(name))
        return made[name]

    return get


def at(folder: Path) -> Config:
    return {"vlm": {"pretrained_model_name_or_path": str(folder)}}


def make(model: Config, name: str, head: str, history: str) -> BaseRoboVLM:
    torch.manual_seed(0)
    section = {
        "type": head,
        "hidden_size": 16,
        "action_dim": DIM,
        "action_space": "continuous",
        "history_type": history,
        "down_sample": "none",
    }
    section |= {"action_space": "discrete"} if head == "DiscreteDecoder" else {}
    setup = {"train_vision": True, "train_text_embedding": True, "freeze_backbone": False}
    return build_policy(
        {"robovlm_name": name, "window_size": WINDOW, "fwd_pred_next_n": CHUNK, "act_head": section, "train_setup": setup} | model
    )


def batch(model: BaseRoboVLM) -> Config:
    """Two rows whose texts are not equally long, the task's words as the backbone's instruction has them."""
    rng = np.random.default_rng(7)
    picture = model.preprocess(rng.integers(0, 255, (28, 28, 3), dtype=np.uint8))
    generator = torch.Generator().manual_seed(7)
    vision = torch.randn(2, WINDOW, *picture.shape, generator=generator)
    ids = [model.instruction_ids("go to the cup"), model.instruction_ids("go")]
    longest = max(len(row) for row in ids)
    text = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids]).bool()
    return {"vision_x": vision, "lang_x": text, "attention_mask": mask}


def labelled(model: BaseRoboVLM, given: Config, head: str, history: str) -> Config:
    generator = torch.Generator().manual_seed(8)
    frames = () if history == "video" else (WINDOW,)
    arm = torch.rand(2, *frames, CHUNK, DIM - 1, generator=generator) * 1.6 - 0.8
    gripper = torch.randint(0, 2, (2, *frames, CHUNK), generator=generator).float()
    if head != "DiscreteDecoder":
        return given | {"action_labels": (arm, gripper)}
    assert model.act_head is not None
    actions = torch.cat([arm, gripper[..., None] * 2 - 1], -1)[:, :, 0].numpy()  # one action a frame
    spelled = torch.as_tensor(np.asarray(model.act_head.action_tokenizer.encode_actions_to_token_ids(actions)))  # type: ignore[union-attr, operator]
    text, mask = (given[key][:, None].expand(-1, WINDOW, -1) for key in ("lang_x", "attention_mask"))
    keep = int(given["attention_mask"].sum(1).min())  # words of the shorter text, so that the action follows them in both rows
    ids = torch.cat([text[..., :keep], spelled], -1)
    labels = torch.cat([torch.full_like(text[..., :keep], -100), spelled], -1)
    seen = torch.cat([mask[..., :keep], torch.ones_like(spelled, dtype=torch.bool)], -1)
    return given | {"instr_and_action_ids": ids, "instr_and_action_labels": labels, "instr_and_action_mask": seen}


@pytest.mark.parametrize(("name", "head", "history"), CASES)
def test_it_learns_and_acts(tiny: Callable[[str], Config], name: str, head: str, history: str) -> None:
    if (name, history) == ("RoboFlamingo", "video"):  # frames inside one media mark have no order
        with pytest.raises(ConfigError, match="video"):
            make(tiny(name), name, head, history)
        return
    model = make(tiny(name), name, head, history)
    given = batch(model)
    optimiser = torch.optim.AdamW(learners(model), lr=3e-3)
    losses = teach(model.train(), optimiser, **labelled(model, given, head, history))
    assert losses[-1] < 0.8 * losses[0], losses
    model.eval()
    if head == "DiscreteDecoder":
        spelled = model.inference(**given)["action"]
        assert spelled.shape == (2, 1, DIM)
        assert np.abs(spelled).max() <= 1.0
        assert set(np.unique(spelled[..., -1])) <= {-1.0, 1.0}
        return
    frame_by_frame(model, given, history)


def frame_by_frame(model: BaseRoboVLM, given: Config, history: str) -> None:
    """`post`: one frame a call gives what the window gives at its last frame. `pre` and `video` see the window in every call."""
    whole = model.inference(**given)["action"][0]
    assert whole.shape == ((2, CHUNK, DIM - 1) if history == "video" else (2, WINDOW, CHUNK, DIM - 1))
    assert torch.isfinite(whole).all()
    assert (whole - model.inference(**(given | {"vision_x": given["vision_x"].flip(1)}))["action"][0]).abs().max() > 1e-6, "it is blind"
    if history == "post":
        steps = [arm for arm, _ in walk(model, **given)]
        torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-5, rtol=1e-5)
