"""What a tokenizer's lost configuration would do to a layout, and what a configuration's `tokenizer` section does to a tokenizer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_vla.errors import ConfigError
from edge_vla.learn.action_tokenizer import count_special_tokens
from edge_vla.learn.backbones import BACKBONES
from edge_vla.learn.build import build_policy

Config = dict[str, Any]
Make = Callable[..., Config]
UNHARMED = {"RoboQwen", "RoboMoonDream", "Qwen2.5"}  # the first two get their marks from their own code, the last from its class
LOST = {
    "RoboPaligemma": "no bos_token and no eos_token", "RoboKosMos": "no bos_token and no eos_token",
    "RoboLLaVA": "no bos_token and no eos_token", "RoboFlamingo": "no bos_token and no eos_token", "RoboUform": "no eos_token",
}  # fmt: skip
TASK = "go to the cup find a cup go to the cup"


@pytest.mark.parametrize("name", [*BACKBONES, "Qwen2.5"])
def test_a_tokenizer_without_its_configuration_keeps_its_marks_or_is_refused(name: str, make: Make, tmp_path: Path) -> None:
    config = make(name, **({"image_size": 32} if name == "Qwen2.5" else {}))
    whole, source = build_policy(config).tokenizer, Path(config["vlm"]["pretrained_model_name_or_path"])
    shutil.copytree(source.parent if name in ("RoboFlamingo", "RoboLLaVA") else source, tmp_path / "a", symlinks=True)
    folder = tmp_path / "a" / source.name if name in ("RoboFlamingo", "RoboLLaVA") else tmp_path / "a"
    (folder / "tokenizer_config.json").unlink()
    config["vlm"] = config["vlm"] | {"pretrained_model_name_or_path": str(folder)}
    if name not in UNHARMED:
        with pytest.raises(ConfigError, match=rf"its tokenizer has {LOST[name]}; is its tokenizer_config\.json there\?"):
            build_policy(config)
        return
    bare = build_policy(config).tokenizer
    assert [token is None for token in (bare.bos_token, bare.eos_token)] == [token is None for token in (whole.bos_token, whole.eos_token)]


@pytest.mark.parametrize("name", [*BACKBONES, "Qwen2.5"])
def test_an_instruction_is_cut_to_its_most(name: str, make: Make) -> None:
    size = {"image_size": 32} if name == "Qwen2.5" else {}
    whole = build_policy(make(name, **size)).instruction_ids(TASK)
    model = build_policy(make(name, tokenizer={"max_text_len": 5}, **size))
    cut = model.instruction_ids(TASK)
    assert len(cut) == 5 < len(whole)
    end = [model.tokenizer.eos_token_id] if name == "RoboKosMos" else []  # its tokenizer puts its end behind what is left
    assert cut == whole[: 5 - len(end)] + end
    assert build_policy(make(name, tokenizer={"max_text_len": len(whole)}, **size)).instruction_ids(TASK) == whole
    assert len(model.question_ids(TASK)) > 5, "of questions nothing is cut"


def test_additional_tokens_are_tokens_and_count_below_the_actions(make: Make) -> None:
    discrete = {"type": "DiscreteDecoder", "action_space": "discrete", "num_layers": None, "n_bin": 64}
    plain = build_policy(make(act_head=discrete))
    model = build_policy(make(act_head=discrete, tokenizer={"additional_special_tokens": ["<act>", "<obs>"]}))
    assert model.ids("<act>", special=False) == [len(plain.tokenizer)]
    assert count_special_tokens(model.tokenizer) == count_special_tokens(plain.tokenizer) + 2
    assert plain.act_head is not None
    assert model.act_head is not None
    first, moved = (head.action_tokenizer.action_token_end_idx for head in (plain.act_head, model.act_head))  # type: ignore[union-attr]
    assert moved == first - 2, "the reference takes its bins below all special tokens"
    with pytest.raises(ConfigError, match=r"additional_special_tokens \['t69'\]: the word embedding has 400 rows"):
        build_policy(make(tokenizer={"additional_special_tokens": [f"t{k}" for k in range(70)]}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_size": 56}, "image_size 56: RoboPaligemma takes pictures of 28 px a side"),
        ({"image_mean": [0.4, 0.4, 0.4]}, r"image_mean \[0.4, 0.4, 0.4\]: RoboPaligemma prepares pictures with \[0.5, 0.5, 0.5\]"),
        ({"image_std": [0.4, 0.4, 0.4]}, r"image_std \[0.4, 0.4, 0.4\]: RoboPaligemma prepares pictures with \[0.5, 0.5, 0.5\]"),
        ({"model": "kosmos"}, "model 'kosmos': RoboPaligemma writes its instructions as RoboVLMs does for 'paligemma'"),
        ({"tokenizer": {"tokenizer_type": "auto"}}, "tokenizer.tokenizer_type 'auto': RoboPaligemma writes its instructions"),
        ({"tokenizer": {"pretrained_model_name_or_path": "other"}}, "_path other: the tokenizer is the one in the model's folder, /"),
    ],
)
def test_what_the_backbone_decides_otherwise_is_told(change: Config, said: str, make: Make) -> None:
    with pytest.warns(UserWarning, match=said) as told:
        model = build_policy(make(**change))
    assert len(told) == 1
    assert (model.image_size, model.image_mean) == (28, (0.5, 0.5, 0.5))


def test_what_agrees_is_not_told(make: Make) -> None:
    folder = make()["vlm"]["pretrained_model_name_or_path"]
    words = {"tokenizer_type": "paligemma", "pretrained_model_name_or_path": folder}
    build_policy(make(image_size=28, image_mean=[0.5] * 3, image_std=[0.5] * 3, model="paligemma", tokenizer=words))
    assert build_policy(make("Qwen2.5", image_size=48)).image_size == 48
