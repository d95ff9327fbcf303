"""Training configurations: parents, YAML, what is refused, what has no effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_vla.errors import ConfigError
from edge_vla.learn.config import INERT, SECTIONS, TOP, check_config, load_config

GOOD: dict[str, Any] = {
    "robovlm_name": "RoboPaligemma", "model": "paligemma", "window_size": 8, "fwd_pred_next_n": 10, "learning_rate": 2e-5,
    "train_setup": {"train_vision": True, "precision": "bf16"},
    "act_head": {"type": "LSTMDecoder", "action_dim": 7, "history_type": "post"},
    "vlm": {"pretrained_model_name_or_path": "models/paligemma", "name": "paligemma"},
}  # fmt: skip


def write(path: Path, config: object) -> Path:
    path.write_text(json.dumps(config))
    return path


def test_a_configuration_comes_back_as_it_was(tmp_path: Path) -> None:
    assert load_config(write(tmp_path / "c.json", GOOD)) == GOOD


def test_a_child_overrides_single_keys_of_its_parents_sections(tmp_path: Path) -> None:
    write(tmp_path / "grand.json", GOOD)
    write(tmp_path / "parent.json", {"parent": "grand.json", "window_size": 4, "train_setup": {"train_vision": False}})
    child = write(tmp_path / "child.json", {"parent": "parent.json", "act_head": {"latent": 2}})
    found = load_config(child)
    assert found["window_size"] == 4
    assert found["train_setup"] == {"train_vision": False, "precision": "bf16"}
    assert found["act_head"] == {**GOOD["act_head"], "latent": 2}
    assert "parent" not in found


def test_yaml_and_its_numbers(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("learning_rate: 2e-5\nwindow_size: 8\nuse_hand_rgb: no\ntrain_setup:\n  lora_dropout: 0.05\n")
    assert load_config(file) == {"learning_rate": 2e-5, "window_size": 8, "use_hand_rgb": False, "train_setup": {"lora_dropout": 0.05}}


def test_two_files_that_are_each_others_parent(tmp_path: Path) -> None:
    write(tmp_path / "a.json", {"parent": "b.json"})
    write(tmp_path / "b.json", {"parent": "a.json"})
    with pytest.raises(ConfigError, match="is its own parent"):
        load_config(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"windw_size": 8}, "unknown key 'windw_size'; did you mean 'window_size'?"),
        ({"act_head": {"latnt": 1}}, "unknown key 'act_head.latnt'; did you mean 'act_head.latent'?"),
        ({"use_state, False": True}, "unknown key 'use_state, False'; did you mean 'use_state'?"),
        ({"zzz": 1}, "unknown key 'zzz'"),
        ({"window_size": 0}, "window_size 0: want a whole number of at least 1"),
        ({"window_size": True}, "window_size True: want a whole number of at least 1"),
        ({"window_size": 2.0}, "window_size 2.0: want a whole number of at least 1"),
        ({"learning_rate": -1}, "learning_rate -1: want a number of at least 0"),
        ({"learning_rate": "fast"}, "learning_rate 'fast': want a number of at least 0"),
        ({"norm_min": float("nan")}, "norm_min nan: want a number"),
        ({"use_hand_rgb": 1}, "use_hand_rgb 1: want true or false"),
        ({"act_head": []}, r"act_head \[\]: want a section"),
        ({"act_head": {"type": "LSTM"}}, "act_head.type 'LSTM': want one of FCDecoder, LSTMDecoder, GPTDecoder, DiscreteDecoder"),
        ({"act_head": {"history_type": "past"}}, "act_head.history_type 'past': want one of post, pre, video"),
        ({"robovlm_name": "RoboPali"}, "robovlm_name 'RoboPali': want one of RoboFlamingo"),
        ({"a": 1, "b": 2}, "unknown key 'a'.*; unknown key 'b'"),
    ],
)
def test_a_wrong_key_or_value_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_config({**GOOD, **change})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.json", "{", "configuration .*c.json: Expecting property name"),
        ("c.yaml", "a: [1", "configuration .*c.yaml"),
        ("c.json", "[]", "holds a list, want a section"),
        ("c.json", '{"parent": 3}', "parent 3: want a string"),
        ("c.json", '{"parent": "gone.json"}', "configuration gone.json: No such file or directory"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / name)


def test_what_nobody_reads_is_left_out_and_told() -> None:
    with pytest.warns(UserWarning, match=r"without effect, here as in RoboVLMs: train_setup\.bits, use_tube_mask"):
        found = check_config({**GOOD, "use_tube_mask": False, "fwd_head": None, "train_setup": {**GOOD["train_setup"], "bits": -1}})
    assert found == GOOD


def test_no_key_is_both_acted_upon_and_without_effect() -> None:
    known = {*TOP, *(f"{section}.{key}" for section, keys in SECTIONS.items() for key in keys)}
    assert not known & INERT
