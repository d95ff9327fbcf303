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


def test_a_long_line_of_parents_is_no_circle(tmp_path: Path) -> None:
    for k in range(20):
        write(tmp_path / f"{k}.json", {"parent": f"{k + 1}.json"})
    write(tmp_path / "20.json", GOOD)
    assert load_config(tmp_path / "4.json") == GOOD, "16 parents"
    with pytest.raises(ConfigError, match=r"3.json: has more than 16 parents above each other: /.*3.json -> .* -> .*20.json"):
        load_config(tmp_path / "3.json")


def test_a_parent_is_found_beside_its_child_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "base.json", {"window_size": 3})
    child = write(tmp_path / "sub" / "c.json", {"parent": "base.json"})
    monkeypatch.chdir(tmp_path)
    assert load_config(child) == {"window_size": 3}
    write(tmp_path / "sub" / "base.json", {"window_size": 4})
    assert load_config(child) == {"window_size": 4}


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
        ({"parent": "base.json"}, "parent 'base.json': only a file has one; give load_config the file"),
        ({1: 2}, "key 1: want a string"),
        ({True: 2}, "key True: want a string"),
        ({"act_head": {1: 2}}, r"key \('act_head', 1\): want a string"),
        ({"val_dataset": {1: 2}}, r"key \('val_dataset', 1\): want a string"),
        ({"num_workers": 1.5}, "num_workers 1.5: want a whole number of at least 0, or one for each data set"),
        ({"num_workers": [4, -1]}, r"num_workers \[4, -1\]: want a whole number of at least 0"),
        ({"batch_size": []}, r"batch_size \[\]: want a whole number of at least 1"),
        ({"gpus": -3}, "gpus -3: want a whole number of at least 1, -1 for all, auto, or a list"),
        ({"seed": 0.5}, "seed 0.5: want a whole number of at least 0"),
        ({"train_setup": {"lora_dropout": 5}}, "train_setup.lora_dropout 5: want a number from 0 to 1"),
        ({"train_setup": {"train_decoder_layers": 1.7}}, "train_decoder_layers 1.7: want a whole number of at least 0, or -1 for all"),
        ({"train_setup": {"train_decoder_layers": -2}}, "train_decoder_layers -2: want a whole number"),
        ({"train_setup": {"precision": "bf17"}}, "train_setup.precision 'bf17': want one of bf16, bf16-mixed"),
        ({"norm_min": 1, "norm_max": -1}, "norm_min 1: want it below norm_max, which is -1"),
        ({"norm_min": 1}, "norm_min 1: want it below norm_max, which is 1.0"),
        ({"act_head": {"min_action": 0.5, "max_action": 0.5}}, "act_head.min_action 0.5: want it below act_head.max_action"),
        ({"image_mean": ["a"]}, r"image_mean \['a'\]: want 3 numbers, one for each colour"),
        ({"image_mean": [0.5, 0.5]}, "image_mean .*: want 3 numbers"),
        ({"image_std": [0.5, 0.5, 0]}, "image_std .*: want 3 numbers above 0"),
        ({"x_mean": ["a"]}, r"x_mean \['a'\]: want a number, or a list"),
        ({"x_std": [1.0, -1.0]}, "x_std .*: want a number of at least 0, or a list"),
        ({"mu_val": 0}, "mu_val 0: want a number above 0"),
        ({"min_lr_scale": 2}, "min_lr_scale 2: want a number from 0 to 1"),
        ({"trainer": {"max_epochs": 0}}, "trainer.max_epochs 0: want a whole number of at least 1, or -1 for no end"),
        ({"act_head": {"class_weights": [1, -1]}}, "act_head.class_weights .*: want a list of numbers of at least 0"),
        ({"tokenizer": {"additional_special_tokens": [1]}}, "additional_special_tokens .*: want a list of strings"),
        ({"train_dataset": {"windw_size": 3}}, "unknown key 'train_dataset.windw_size'; did you mean 'train_dataset.window_size'?"),
        ({"val_dataset": [{"data_dir": "x"}, {"tpye": "x"}]}, "unknown key 'val_dataset.tpye'; did you mean 'val_dataset.type'?"),
        ({"train_dataset": {"datasets": [{"rgb_pda": 3}]}}, "unknown key 'train_dataset.datasets.rgb_pda'; did you mean .*rgb_pad'?"),
        ({"train_dataset": "calvin"}, "train_dataset 'calvin': want a section, or a list of them"),
    ],
)
def test_a_wrong_key_or_value_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_config({**GOOD, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"trainer": {"precision": 16}}, {"trainer": {"precision": "bf16"}}, {"train_setup": {"precision": 16}}, {"x_mean": [0.0] * 7},
        {"x_std": [1.0] * 7}, {"x_mean": 0}, {"gpus": -1}, {"gpus": [0, 1]}, {"gpus": "auto"}, {"num_workers": [4, 4]},
        {"batch_size": [4, 1]},
        {"train_setup": {"train_decoder_layers": -1}}, {"trainer": {"max_steps": -1, "logger": False, "log_every_n_steps": 0}},
        {"norm_min": -0.65, "norm_max": 0.65}, {"window_size": None, "act_head": None, "image_mean": None, "norm_min": None},
        {"train_dataset": {"type": "ConcatDataset", "datasets": [{"type": "DiskCalvinDataset", "rgb_pad": 10}], "sampler": {"type": "x"}}},
        {"val_dataset": [{"type": "OpenVLADataset"}, {"type": "DiskCalvinDataset"}]},
    ],
)  # fmt: skip
def test_what_is_right_comes_back(change: dict[str, Any]) -> None:
    assert check_config({**GOOD, **change}) == {**GOOD, **change}


def test_a_null_parent_is_none() -> None:
    assert check_config({**GOOD, "parent": None}) == GOOD


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.json", "{", "configuration .*c.json: Expecting property name"),
        ("c.yaml", "a: [1", "configuration .*c.yaml"),
        ("c.json", "[]", "holds a list, want a section"),
        ("c.json", '{"parent": 3}', "parent 3: want a string"),
        ("c.json", '{"parent": "gone.json"}', r"c.json: parent 'gone.json': no such file, at /.*/gone.json or /.*/gone.json"),
        ("c.json", '{"parent": "/gone.json"}', "c.json: parent '/gone.json': no such file, at /gone.json$"),
        ("c.json", '{"window_size": 3, "window_size": 4}', "configuration .*c.json: key 'window_size' is given twice"),
        ("c.json", '{"act_head": {"latent": 1, "latent": 1}}', "key 'latent' is given twice"),
        ("c.yaml", "window_size: 3\nwindow_size: 4\n", "configuration .*c.yaml: key 'window_size' is given twice"),
        ("c.yaml", "act_head:\n  latent: 1\n  type: FCDecoder\n  latent: 2\n", "key 'latent' is given twice"),
        ("c.yaml", "1: 2\n", "c.yaml: key 1: want a string"),
        ("c.yaml", "on: 2\n", "c.yaml: key True: want a string"),
        ("c.yaml", "? [1, 2]\n: 3\n", "configuration .*c.yaml"),
        ("c.yaml", "window_size: !!python/object/apply:os.system ['false']\n", "could not determine a constructor"),
        ("c.yaml", "", "holds a NoneType, want a section"),
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
